"""Trackers hear of every round and every evaluation; TensorBoard's and MLflow's own readers find it all."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.errors import FedLTError, ScenarioError
from fedlt.results import trackers as module
from fedlt.results.trackers import Tracker, trackers


class Notes(Tracker):
    """A tracker that writes down what it is told."""

    package = "json"
    heard: list[tuple[Any, ...]]

    def start(self, folder: Path, keys: Mapping[str, Any]) -> None:
        Notes.heard = [("start", folder.name, dict(keys))]

    def log(self, round: int, figures: Mapping[str, float]) -> None:
        Notes.heard.append(("log", round, dict(figures)))

    def finish(self, status: str) -> None:
        Notes.heard.append(("finish", status))


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> type[Notes]:
    monkeypatch.setitem(module.TRACKERS, "notes", Notes)
    return Notes


@pytest.mark.slow
def test_a_tracker_hears_of_everything(notes: type[Notes], tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, out=tmp_path, track=["notes"])
    first, *logged, last = notes.heard
    assert first[:2] == ("start", run.folder.name)
    assert first[2]["federation.partition.alpha"] == 0.5
    assert last == ("finish", "finished")
    rounds = [(number, found["rounds/train_loss"]) for _, number, found in logged if "rounds/train_loss" in found]
    assert rounds == list(zip(run.rounds["round"], run.rounds.train_loss, strict=True))
    evaluations = {number: found for _, number, found in logged if "generic/accuracy" in found}
    assert list(evaluations) == [1, 2]
    finite = {name: value for name, value in run.final.items() if math.isfinite(value)}
    assert evaluations[2] == finite
    assert "rounds/round" not in logged[0][2]


def test_a_failed_run_is_told_and_its_own_error_is_the_one_raised(
    notes: type[Notes], tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Notes, status: str) -> None:
        Notes.heard.append(("finish", status))
        raise RuntimeError("the tracker's server is gone")

    monkeypatch.setattr(Notes, "finish", broken)
    with pytest.raises(FedLTError, match="not finite"):
        fedlt.run(tiny, "local.lr=1e30", out=tmp_path, track=["notes"])
    assert notes.heard[-1] == ("finish", "failed")


def test_unknown_and_missing_trackers_are_told_before_any_work(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ScenarioError, match="did you mean 'tensorboard'"):
        fedlt.run(tiny, out=tmp_path, track=["tensorbord"])
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ScenarioError, match=r"pip install 'fedlt\[wandb\]'"):
        trackers(["wandb"])
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_reads_what_was_logged(tiny: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="pip install -e '.[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = fedlt.run(tiny, out=tmp_path, track=["tensorboard"])
    found = EventAccumulator(str(run.folder / "tensorboard"))
    found.Reload()
    losses = [(event.step, event.value) for event in found.Scalars("rounds/train_loss")]
    expected = list(zip(run.rounds["round"], run.rounds.train_loss, strict=True))
    assert losses == [(step, pytest.approx(value)) for step, value in expected]
    assert found.Scalars("generic/few")[-1].value == pytest.approx(run.final["generic/few"])


def test_mlflows_file_store_holds_what_was_logged(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="pip install -e '.[mlflow]'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3 prefers its local database
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    out = ["--out", str(tmp_path / "runs"), "--track", "mlflow", "--backend", "inline"]
    scenario = tmp_path / "tiny.yaml"
    from omegaconf import OmegaConf

    scenario.write_text(OmegaConf.to_yaml(OmegaConf.create(tiny)), encoding="utf-8")
    done = CliRunner().invoke(app, ["run", str(scenario), *out])
    assert done.exit_code == 0, done.output
    (run,) = fedlt.load_runs(str(tmp_path / "runs"))
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("fedlt")
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == (run.folder.name, "FINISHED")
    assert found.data.params["local.lr"] == "0.05"
    assert found.data.metrics["generic/few"] == pytest.approx(run.final["generic/few"])
    history = client.get_metric_history(found.info.run_id, "rounds/train_loss")
    assert [(m.step, m.value) for m in history] == list(zip(run.rounds["round"], run.rounds.train_loss, strict=True))


def test_mlflow_takes_the_names_of_variants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="pip install -e '.[mlflow]'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    tracker = module.MLflow()
    tracker.start(tmp_path / "some-run", {"seed": 0, "long": "x" * 10_000})
    tracker.log(3, {"personal_masked[phi_psi]/few": 0.5})
    tracker.finish("failed")
    client = mlflow.MlflowClient()
    (found,) = client.search_runs([client.get_experiment_by_name("fedlt").experiment_id])
    assert (found.info.status, found.data.metrics) == ("FAILED", {"personal_masked.phi_psi/few": 0.5})


def test_wandb_is_called_as_it_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in: the real one wants an account, or a service process of its own."""
    calls: list[Any] = []

    class Run:
        def log(self, data: dict[str, float], step: int) -> None:
            calls.append((data, step))

        def finish(self, exit_code: int) -> None:
            calls.append(exit_code)

    def init(**options: Any) -> Run:
        calls.append(options)
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    tracker = module.WandB()
    tracker.start(tmp_path / "some-run", {"seed": 0})
    tracker.log(3, {"generic/few": 0.5})
    tracker.finish("finished")
    folder = str(tmp_path / "some-run")
    assert calls == [
        {"project": "fedlt", "name": "some-run", "dir": folder, "config": {"seed": 0}},
        ({"generic/few": 0.5, "round": 3}, 3),
        0,
    ]


# Of one's own ---------------------------------------------------------------------------------------------------------

IMPORT = "from fedlt import Callback\n\n\n"


@pytest.mark.slow
def test_the_tracker_of_the_page_follows_a_run(
    tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(module.__file__).parents[2] / "docs" / "howto" / "trackers.md").read_text(encoding="utf-8")
    calls, file = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "tail.py").write_text(file, encoding="utf-8")
    if find_spec("tensorboard"):
        monkeypatch.chdir(tmp_path)
        exec(calls.replace("track=", '"federation.rounds=1", track='), {})
    run = fedlt.run(tiny, out=tmp_path / "r", track=[f"{tmp_path}/tail.py:Tail"])
    assert (
        f"{run.folder.name} finished, best tail {max(run.metrics[run.metrics.metric == 'generic/few'].value):.2f}"
        in (capsys.readouterr().out)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class Mine: ...\n", "Mine is no callback; let it inherit fedlt.Callback, whose hooks are on_start, on_round"),
        (
            "class Mine:\n    def start(self): ...\n    def log(self): ...\n",
            "start is now on_start, log is now on_round",
        ),
        (f"{IMPORT}class Mine(Callback):\n    def on_eval(self, run): ...\n", "'on_eval', which nobody calls; did you"),
        (f"{IMPORT}class Mine(Callback):\n    def __init__(self, to): ...\n", "Mine cannot be made without arguments"),
        ("Mine = 3\n", "has no class 'Mine'"),
        ("import nowhere_at_all\n", "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_what_is_no_tracker_is_refused_before_any_work(
    tiny: dict[str, Any], tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError, match="track: ") as error:
        fedlt.run(tiny, out=tmp_path / "r", track=[f"{tmp_path}/mine.py:Mine"])
    assert message in str(error.value)
    assert not list(tmp_path.glob("r/*"))
    with pytest.raises(ScenarioError, match="there is no file"):
        fedlt.run(tiny, out=tmp_path / "r", track=["./nowhere.py:Mine"])


@pytest.mark.parametrize(
    "track",
    [
        Notes(),
        [Notes()],
        ("notes",),
        "notes, notes",
        ["notes", "notes"],
        ["notes notes", None],
    ],
    ids=["object", "objects", "tuple", "text", "list", "words"],  # equal in the processes that share the tests
)
def test_one_tracker_or_several_by_name_or_as_objects(
    notes: type[Notes], tiny: dict[str, Any], tmp_path: Path, track: Any
) -> None:
    """However it is written, one tracker hears of each evaluation once."""
    Notes.heard = []
    fedlt.run(tiny, "federation.rounds=1", out=tmp_path, track=track)
    assert [kind for kind, *_ in Notes.heard] == ["start", "log", "log", "finish"]


@pytest.mark.slow
def test_tensorboard_by_name_beside_an_object(notes: type[Notes], tiny: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="pip install -e '.[tensorboard]'")
    for place, track in enumerate(("tensorboard", ["tensorboard", Notes()])):
        Notes.heard = []
        run = fedlt.run(tiny, "federation.rounds=1", out=tmp_path / str(place), track=track)  # type: ignore[arg-type]
        assert list((run.folder / "tensorboard").glob("events*"))
        assert bool(Notes.heard) == bool(place)


@pytest.mark.parametrize(
    ("track", "message"),
    [
        (Notes, "track: Notes is a class; give an instance of it: Notes()"),
        (3, "track: int is no callback; let it inherit fedlt.Callback"),
        ("./mine.py", "with the name of its class"),
    ],
)
def test_what_cannot_follow_a_run_is_told_under_its_key(track: Any, message: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(message)):
        trackers(track)


def test_a_hook_with_other_arguments_is_told_before_any_work() -> None:
    class Bare(fedlt.Callback):
        def on_evaluation(self) -> None: ...  # type: ignore[override]

    message = "Bare.on_evaluation takes (self) -> 'None', and is given (self, run); write def on_evaluation(self, run)"
    with pytest.raises(ScenarioError, match=re.escape(message)):
        trackers(Bare())


def test_track_may_stand_several_times_in_a_command(notes: type[Notes], tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from fedlt import Callback\nclass Mine(Callback):\n    pass\n", encoding="utf-8")
    words = ["run", "digits_lt", "federation.rounds=1", "--out", str(tmp_path / "r"), "--backend", "inline"]
    Notes.heard = []
    done = CliRunner().invoke(app, [*words, "--track", "notes", "--track", f"{path}:Mine"])
    assert done.exit_code == 0, done.output
    assert Notes.heard[-1] == ("finish", "finished")
    again = CliRunner().invoke(app, [*words, "--track", "notes"])
    assert "its trackers and callbacks hear nothing, as the run is finished; --force runs it again" in again.output
