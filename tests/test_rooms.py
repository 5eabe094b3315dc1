"""Arrays that are lent out: never one that somebody still holds, and none anew while there is one to spare."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from sonicrnn.rooms import ALIGNED_BYTES, Rooms


def address(of: np.ndarray) -> int:
    return int(of.ctypes.data)


@pytest.mark.parametrize("shape", [(3,), (5, 7), (1000, 40)])
def test_rooms_are_of_the_shape_and_begin_where_tensorflow_wants_them_to(shape: tuple[int, ...]) -> None:
    for examples in (1, 4, 13):
        room = Rooms(shape).take(examples)
        assert (room.shape, room.dtype) == ((examples, *shape), np.float32)
        assert address(room) % ALIGNED_BYTES == 0
        assert room.flags.c_contiguous


def test_what_is_let_go_of_is_used_again_and_what_is_held_is_not() -> None:
    rooms = Rooms((8, 8))
    one, two = rooms.take(4), rooms.take(4)
    held, freed = address(one), address(two)
    part = one[1:, 2]  # a view of it holds it, too
    del one, two
    gc.collect()
    assert address(rooms.take(4)) == freed
    others = [rooms.take(4) for _ in range(3)]
    assert held not in map(address, others)
    del part
    gc.collect()
    assert address(rooms.take(4)) == held


def test_a_smaller_batch_takes_a_part_and_a_larger_one_a_room_of_its_own() -> None:
    rooms = Rooms((8,))
    before = address(rooms.take(4))
    small = rooms.take(2)
    assert (address(small), small.shape) == (before, (2, 8))
    del small
    assert rooms.take(6).shape == (6, 8)


def test_batches_that_are_kept_keep_what_is_in_them() -> None:
    rooms = Rooms((50,))

    def filled(index: np.ndarray) -> np.ndarray:
        room = rooms.take(4)
        room[:] = index
        return room

    made = tf.data.Dataset.range(60).map(lambda i: tf.numpy_function(filled, [i], tf.float32)).prefetch(2)
    kept = [(index, batch) for index, batch in enumerate(made) if index % 7 == 0]
    arrays = [(index, batch.numpy()) for index, batch in kept]
    del kept
    for index, batch in enumerate(made):  # lent once more, all but those that are looked at
        assert np.all(batch == index)
    for index, array in arrays:
        assert np.all(array == index)


def test_a_training_makes_no_more_rooms_than_are_under_way() -> None:
    rooms, seen = Rooms((50,)), set()

    def filled(index: np.ndarray) -> np.ndarray:
        room = rooms.take(4)
        seen.add(address(room))
        return room

    for _ in tf.data.Dataset.range(500).map(lambda i: tf.numpy_function(filled, [i], tf.float32)).prefetch(2):
        pass
    assert len(seen) <= 12


def test_threads_that_take_rooms_at_once_get_one_each() -> None:
    rooms = Rooms((2,))

    def work(number: int) -> bool:
        whole = True
        for _ in range(2000):
            room = rooms.take(1)
            room[:] = number
            whole &= bool(np.all(room == number))
        return whole

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
