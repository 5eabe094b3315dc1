from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb

from sonicrnn import dashboard
from sonicrnn.errors import UserError
from sonicrnn.scores import FIGURES
from tests.wandb_server import WandbServer

pytest.importorskip("wandb_workspaces")

CURVES = {
    "loss",
    "validation_loss",
    "gradient_norm",
    "learning_rate",
    "throughput/steps_per_second",
    "throughput/frames_per_second",
    "throughput/song_seconds_per_second",
}
MEDIA = {"audio/free_run", "audio/spectrogram", "pictures/target_against_prediction"}


@pytest.fixture
def new_wandb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """W&B that reads its environment anew; nobody is logged in."""
    wandb.teardown()
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("NETRC", str(tmp_path / "no netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb config"))
    yield
    wandb.teardown()


def panels(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for section in spec["section"]["panelBankConfig"]["sections"] for panel in section["panels"]]


def test_a_dry_run_prints_all_that_is_logged_and_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    dashboard.main(["ada/song", "--dry-run"])
    view = json.loads(capsys.readouterr().out)
    assert (view["entity"], view["project"], view["name"]) == ("ada", "song", "sonicrnn")
    found: dict[str, list[str]] = {}
    for panel in panels(view["spec"]):
        config = panel["config"]
        found.setdefault(panel["viewType"], []).extend(config.get("metrics") or config.get("mediaKeys"))
    assert set(found) == {"Run History Line Plot", "Media Browser", "Bar Chart"}
    assert sorted(found["Run History Line Plot"]) == sorted(CURVES)
    assert sorted(found["Media Browser"]) == sorted(MEDIA)
    assert found["Bar Chart"] == [f"summary_metrics.scores/{figure.key}" for figure in FIGURES]
    loss = panels(view["spec"])[0]["config"]
    assert (loss["xAxis"], loss["metrics"]) == ("_step", ["loss", "validation_loss"])


@pytest.mark.parametrize("place", ["song", "ada/", "/song", "ada/song/x", ""])
def test_a_wrong_place_is_explained(place: str) -> None:
    with pytest.raises(UserError, match=r"ENTITY/PROJECT.*ada/sonicrnn"):
        dashboard.main([place, "--dry-run"])


@pytest.mark.usefixtures("new_wandb")
def test_who_is_not_logged_in_is_told_so() -> None:
    with pytest.raises(UserError, match="wandb login"):
        dashboard.main(["ada/song"])


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("wandb_workspaces")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(UserError, match="pip install wandb-workspaces"):
        dashboard.main(["ada/song", "--dry-run"])


@pytest.mark.usefixtures("new_wandb")
def test_it_is_saved_and_says_where(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        dashboard.main(["ada/song"])
        (view,) = server.views
        assert (view["entityName"], view["projectName"], view["displayName"]) == ("ada", "song", "sonicrnn")
        assert len(panels(json.loads(view["spec"]))) == len(
            panels(dashboard.as_json(dashboard.make_workspace("a", "b"))["spec"])
        )
        assert capsys.readouterr().out.startswith(f"dashboard: {server.url}/ada/song?nw=")


@pytest.mark.usefixtures("new_wandb")
def test_a_refusal_is_passed_on_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from wandb_workspaces.workspaces import Workspace

    def refuse(self: Workspace) -> None:
        raise ValueError("Project `ada/song`\nnot found")

    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setattr(Workspace, "save", refuse)
    with pytest.raises(UserError, match=r"ada/song was not saved \(Project `ada/song` not found\): is that"):
        dashboard.main(["ada/song"])
