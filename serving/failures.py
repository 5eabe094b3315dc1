"""What a request is refused with: TensorFlow Serving's codes, and what they are in HTTP and in gRPC."""

from __future__ import annotations

from enum import Enum

import grpc
import tensorflow as tf


class Code(Enum):
    """A status code: its HTTP status and its gRPC one."""

    INVALID_ARGUMENT = (400, grpc.StatusCode.INVALID_ARGUMENT)
    FAILED_PRECONDITION = (400, grpc.StatusCode.FAILED_PRECONDITION)
    UNAUTHENTICATED = (401, grpc.StatusCode.UNAUTHENTICATED)
    PERMISSION_DENIED = (403, grpc.StatusCode.PERMISSION_DENIED)
    NOT_FOUND = (404, grpc.StatusCode.NOT_FOUND)
    RESOURCE_EXHAUSTED = (429, grpc.StatusCode.RESOURCE_EXHAUSTED)
    CANCELLED = (499, grpc.StatusCode.CANCELLED)
    INTERNAL = (500, grpc.StatusCode.INTERNAL)
    UNAVAILABLE = (503, grpc.StatusCode.UNAVAILABLE)
    DEADLINE_EXCEEDED = (504, grpc.StatusCode.DEADLINE_EXCEEDED)

    @property
    def http(self) -> int:
        return self.value[0]

    @property
    def grpc(self) -> grpc.StatusCode:
        return self.value[1]


class Failure(Exception):
    """An answer that is no result."""

    def __init__(self, code: Code, message: str):
        super().__init__(message)
        self.code, self.message = code, message


def invalid(message: str) -> Failure:
    """A request that can never be answered."""
    return Failure(Code.INVALID_ARGUMENT, message)


def failure_of(error: tf.errors.OpError) -> Failure:
    """What TensorFlow refused a run with."""
    codes = {
        tf.errors.InvalidArgumentError: Code.INVALID_ARGUMENT,
        tf.errors.OutOfRangeError: Code.INVALID_ARGUMENT,
        tf.errors.DeadlineExceededError: Code.DEADLINE_EXCEEDED,
        tf.errors.ResourceExhaustedError: Code.RESOURCE_EXHAUSTED,
        tf.errors.CancelledError: Code.UNAVAILABLE,
    }
    message = error.message.removeprefix("Graph execution error:\n\n")  # which Python puts before it
    return Failure(codes.get(type(error), Code.INTERNAL), message)
