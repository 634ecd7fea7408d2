"""Callbacks: what their hooks hear, how they stop a run, and what becomes of a run that one ends by an error."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from same_figures import assert_equal

import fedlt
from fedlt import Callback, RunState
from fedlt.errors import FedLTError, Interrupted, ScenarioError
from fedlt.results.runs import Run, open_run
from server.rounds.loop import Rounds
from tests.conftest import PowerCut

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "callbacks.md"


class Notes(Callback):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def on_start(self, run: RunState) -> None:
        self.heard.append(("start", run.round, run.total_rounds, (run.folder / "partition.npz").is_file()))

    def on_round(self, run: RunState) -> None:
        self.heard.append(("round", run.round, run.row["train_loss"]))

    def on_evaluation(self, run: RunState) -> None:
        written = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))["final_round"]
        self.heard.append(("evaluation", run.round, run.figures["generic/accuracy"], written))

    def on_end(self, run: RunState) -> None:
        self.heard.append(("end", run.round, run.status, run.error))


class StopsAt(Callback):
    """Asks for the end in a hook of a round; counts in its state what it has heard."""

    def __init__(self, hook: str, round: int) -> None:
        self.hook, self.round = hook, round

    def on_round(self, run: RunState) -> None:
        self._heard("on_round", run)

    def on_evaluation(self, run: RunState) -> None:
        self._heard("on_evaluation", run)

    def _heard(self, hook: str, run: RunState) -> None:
        self.state[hook] = self.state.get(hook, 0) + 1
        if (hook, self.state[hook]) == (self.hook, self.round):
            run.stop("enough")


def short(tiny: dict[str, Any], out: Path, rounds: int, *callbacks: Callback, **options: Any) -> Run:
    """A run with private heads, so that what clients keep counts, and a checkpoint of every round."""
    where = ["strategy=fedrod", "resources.checkpoint=1", f"federation.rounds={rounds}"]
    return fedlt.run(tiny, *where, out=out, callbacks=callbacks, **{"backend": "inline", **options})


# What is heard --------------------------------------------------------------------------------------------------------


def test_hooks_hear_of_everything_in_order_after_it_is_written(tiny: dict[str, Any], tmp_path: Path) -> None:
    notes = Notes()
    run = short(tiny, tmp_path / "told", 2, notes)
    losses, accuracy = run.rounds.train_loss, run.metrics[run.metrics.metric == "generic/accuracy"].value.tolist()
    assert notes.heard == [
        ("start", 0, 2, True),
        ("round", 1, losses[0]),
        ("evaluation", 1, accuracy[0], 1),
        ("round", 2, losses[1]),
        ("evaluation", 2, accuracy[1], 2),
        ("end", 2, "finished", ""),
    ]
    plain = short(tiny, tmp_path / "plain", 2)
    assert_equal(run, plain)
    assert run.summary.keys() == plain.summary.keys()


def test_the_state_is_empty_in_each_run_and_of_each_callback_its_own(tiny: dict[str, Any], tmp_path: Path) -> None:
    one, other = StopsAt("on_round", 99), StopsAt("on_round", 2)
    for out in ("a", "b"):
        run = short(tiny, tmp_path / out, 3, one, other)
        assert run.summary["stopped"] == {"by": "StopsAt 2", "reason": "enough", "round": 2}
        assert one.state == other.state == {"on_round": 2, "on_evaluation": 2}


# Stopping -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["on_round", "on_evaluation"])
def test_a_stopped_run_is_the_run_of_so_many_rounds(
    tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], hook: str
) -> None:
    run = short(tiny, tmp_path / "r", 5, StopsAt(hook, 2))
    assert (run.status, run.summary["final_round"], run.summary["rounds"]) == ("finished", 2, 2)
    assert run.summary["stopped"] == {"by": "StopsAt", "reason": "enough", "round": 2}
    assert_equal(run, short(tiny, tmp_path / "two", 2))
    assert not (run.folder / "checkpoints").exists()

    again = short(tiny, tmp_path / "r", 5, quiet=False)  # shown as it is, also without the callback
    assert again.summary["ended"] == run.summary["ended"]
    assert "StopsAt stopped the run after round 2: enough" in capsys.readouterr().out
    assert "stopped" not in short(tiny, tmp_path / "r", 5, force=True).summary


def test_a_stop_between_two_evaluations_is_evaluated_at_once(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["evaluation"]["every"] = 4
    run = short(tiny, tmp_path / "r", 8, StopsAt("on_round", 2))
    assert [run.summary[key] for key in ("final_round", "rounds", "evaluations")] == [2, 2, 1]
    assert_equal(run, short(tiny, tmp_path / "two", 2))


@pytest.mark.parametrize("hook", ["on_round", "on_evaluation"])
def test_a_stop_after_the_last_round_is_none(tiny: dict[str, Any], tmp_path: Path, hook: str) -> None:
    assert "stopped" not in short(tiny, tmp_path, 2, StopsAt(hook, 2)).summary


def test_more_rounds_than_a_stopped_run_begin_anew(
    tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short(tiny, tmp_path, 4, StopsAt("on_round", 2))
    longer = short(tiny, tmp_path, 5, quiet=False)
    assert "cannot be gone on with: a callback has stopped it" in capsys.readouterr().out
    assert "goes_on_from" not in longer.summary


@pytest.mark.usefixtures("ray_workers")
@pytest.mark.parametrize(("backend", "workers"), [("processes", 2), ("ray", 2)])
def test_a_stop_has_equal_bits_on_every_backend(
    tiny: dict[str, Any], tmp_path: Path, backend: str, workers: int
) -> None:
    run = short(tiny, tmp_path / backend, 4, StopsAt("on_evaluation", 2), backend=backend, workers=workers)
    two = short(tiny, tmp_path / "two", 2)
    assert run.summary["model_hash"] == two.summary["model_hash"]
    assert run.metrics.equals(two.metrics)


@pytest.mark.parametrize("hook", ["on_round", "on_evaluation"])
@pytest.mark.parametrize("place", [1, 2, 3, 4, "tested", "saved"])
def test_a_killed_run_stops_where_it_would_have_stopped(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: str, place: int | str
) -> None:
    """Killed in a round up to that after the stop, before the last evaluation is written, or before the models are."""
    whole = short(tiny, tmp_path / "whole", 6, StopsAt(hook, 3))
    take = Rounds.take

    def failing(self: Rounds, reports: Any) -> Any:
        if self.progress.round + 1 == place:
            raise RuntimeError("power cut")
        return take(self, reports)

    def dead(*arguments: Any) -> Any:
        raise RuntimeError("power cut")

    killed = False
    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "take", failing)
        if place == "tested":
            from server.rounds import loop

            gather = loop.gather
            patch.setattr(loop, "gather", lambda round, *rest: dead() if round == 3 else gather(round, *rest))
        if place == "saved":
            patch.setattr("server.app.save_models", dead)
        try:
            short(tiny, tmp_path / "killed", 6, StopsAt(hook, 3))
        except RuntimeError:
            killed = True
    assert killed == (place != 4)  # the fourth round is trained in vain, or not at all

    again = short(tiny, tmp_path / "killed", 6, StopsAt(hook, 3))
    assert again.summary["stopped"] == whole.summary["stopped"] == {"by": "StopsAt", "reason": "enough", "round": 3}
    assert_equal(again, whole)
    assert (again.summary["evaluations"], again.summary["rounds"]) == (3, 3)


class Signals(Callback):
    """Interrupts its own process once, in the second round."""

    sent = False

    def on_round(self, run: RunState) -> None:
        if run.round == 2 and not self.sent:
            self.sent = True
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_in_the_round_of_a_stop_keeps_the_stop(tiny: dict[str, Any], tmp_path: Path) -> None:
    notes, signals = Notes(), Signals()
    with pytest.raises(Interrupted, match="stopped after round 2"):
        short(tiny, tmp_path / "r", 4, signals, notes, StopsAt("on_round", 2))
    assert notes.heard[-1][:3] == ("end", 2, "interrupted")
    run = short(tiny, tmp_path / "r", 4, signals, StopsAt("on_round", 2))
    assert run.summary["stopped"]["round"] == 2
    assert_equal(run, short(tiny, tmp_path / "two", 2))


def test_a_run_goes_on_where_the_callback_that_stopped_it_is_given_no_more(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        short(tiny, tmp_path / "r", 4, Signals(), StopsAt("on_round", 2))
    run = short(tiny, tmp_path / "r", 4)
    assert "stopped" not in run.summary and run.summary["resumed"] == [2]
    assert_equal(run, short(tiny, tmp_path / "whole", 4))


def test_under_patience_the_best_models_are_kept_as_always(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = [0.3, 0.5, 0.4, 0.6]
    monkeypatch.setattr(
        "server.rounds.stopping.validation_figures",
        lambda evaluation, split: {"validation/generic/accuracy": figures[evaluation.round - 1]},
    )
    tiny["data"]["validation"], tiny["evaluation"]["patience"] = 0.2, 3
    stopped = short(tiny, tmp_path / "stopped", 4, StopsAt("on_evaluation", 3))
    assert stopped.summary["stopped"]["round"] == 3
    assert (stopped.summary["early_stopping"]["round"], stopped.summary["final_round"]) == (2, 2)
    tiny["evaluation"]["patience"] = 1
    patient = short(tiny, tmp_path / "patient", 4)
    assert patient.summary["model_hash"] == stopped.summary["model_hash"]
    assert "stopped" not in patient.summary


def test_the_models_of_the_best_evaluation_are_kept_before_it_is_written(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, power_cut: PowerCut
) -> None:
    """With no other checkpoint than that of the best evaluation, a run goes on by hearing of that evaluation again."""
    monkeypatch.setattr(
        "server.rounds.stopping.validation_figures",
        lambda evaluation, split: {"validation/generic/accuracy": -abs(evaluation.round - 2.0)},
    )
    tiny["data"]["validation"], tiny["evaluation"]["patience"] = 0.2, 2
    changes = ["resources.checkpoint=0", "federation.rounds=6"]
    whole = fedlt.run(tiny, *changes, out=tmp_path / "whole", callbacks=[Notes()])
    with power_cut(2):
        fedlt.run(tiny, *changes, out=tmp_path / "r", callbacks=[Notes()])
    again = fedlt.run(tiny, *changes, out=tmp_path / "r", callbacks=[Notes()])
    assert (again.summary["resumed"], again.summary["evaluations"]) == ([2], 4)
    assert_equal(again, whole)


# Errors ---------------------------------------------------------------------------------------------------------------


class Breaks(StopsAt):
    """Raises in a hook of a round, once it is told to."""

    def __init__(self, hook: str, round: int) -> None:
        super().__init__("", 0)
        self.breaks, self.at, self.whole = hook, round, False

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name != object.__getattribute__(self, "__dict__").get("breaks"):
            return found

        def hook(run: RunState) -> None:
            found(run)
            if run.round == self.at and not self.whole:
                raise KeyError("generic/fewer")

        return hook


@pytest.mark.parametrize(
    ("hook", "round", "when"),
    [
        ("on_start", 0, "in on_start before the first round"),
        ("on_round", 2, "in on_round of round 2"),
        ("on_evaluation", 2, "in on_evaluation of round 2"),
    ],
)
def test_a_callback_that_raises_ends_the_run_which_can_go_on(
    tiny: dict[str, Any], tmp_path: Path, hook: str, round: int, when: str
) -> None:
    notes, breaks = Notes(), Breaks(hook, round)
    message = f"callback Breaks failed {when}: KeyError: 'generic/fewer' (in Breaks."
    with pytest.raises(FedLTError, match=re.escape(message)):
        short(tiny, tmp_path / "r", 3, notes, breaks)
    assert notes.heard[-1][2] == "failed" and message in notes.heard[-1][3]
    (folder,) = (tmp_path / "r").iterdir()
    assert open_run(folder).status == "failed"

    breaks.whole = True
    run = short(tiny, tmp_path / "r", 3, breaks)
    assert run.summary["resumed"] == ([] if round == 0 else [1] if hook == "on_round" else [2])
    assert_equal(run, short(tiny, tmp_path / "whole", 3))
    assert breaks.state == {"on_round": 3, "on_evaluation": 3}


def test_what_the_end_hook_raises_is_told_and_the_run_stays_finished(tiny: dict[str, Any], tmp_path: Path) -> None:
    notes = Notes()
    with pytest.raises(FedLTError, match="callback Breaks failed in on_end of round 2: KeyError"):
        short(tiny, tmp_path, 2, Breaks("on_end", 2), notes)
    assert notes.heard[-1] == ("end", 2, "finished", "")  # the next one is told all the same
    (folder,) = tmp_path.iterdir()
    assert open_run(folder).status == "finished"


class StopsEarly(Callback):
    def on_start(self, run: RunState) -> None:
        run.stop("never mind")


class Forgets(Callback):
    def on_round(self, run: RunState) -> None:
        self.state["run"] = run


class Misspelt(Callback):
    def on_evaluate(self, run: RunState) -> None: ...


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (StopsEarly(), r"stop\(\) has no meaning in on_start; call it in on_round or on_evaluation"),
        (Forgets(), "state of callback Forgets cannot be kept.*put numbers, texts and lists there"),
    ],
)
def test_misuse_ends_the_run_with_a_sentence(
    tiny: dict[str, Any], tmp_path: Path, callback: Callback, message: str
) -> None:
    with pytest.raises(FedLTError, match=message):
        short(tiny, tmp_path, 2, callback)


@pytest.mark.parametrize(
    ("callback", "backend", "message"),
    [
        (Notes, "inline", r"callbacks: Notes is a class; give an instance of it: Notes\(\)"),
        ("./mine.py:Mine", "inline", "callbacks: str is no callback; let it inherit fedlt.Callback"),
        (Misspelt(), "inline", "'on_evaluate', which nobody calls; did you mean 'on_evaluation'"),
        (Notes(), "flower", r"a process of its own, which no object reaches; name a class of a file, track="),
    ],
)
def test_what_cannot_listen_is_refused_before_any_work(
    tiny: dict[str, Any], tmp_path: Path, callback: Any, backend: str, message: str
) -> None:
    with pytest.raises(ScenarioError, match=message):
        short(tiny, tmp_path, 2, callback, backend=backend)
    assert not list(tmp_path.iterdir())


OWN = """
from dataclasses import dataclass

from fedlt import Callback


@dataclass(frozen=True)
class Second(Callback):
    enough: int = 2

    def on_round(self, run):
        self.state["heard"] = self.state.get("heard", 0) + 1
        if self.state["heard"] == self.enough:
            run.stop("twice is enough")
"""


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.parametrize("parallel", [1, 2])
def test_each_run_of_a_sweep_has_a_callback_of_its_own(tiny: dict[str, Any], tmp_path: Path, parallel: int) -> None:
    (tmp_path / "second.py").write_text(OWN, encoding="utf-8")
    own, out = f"{tmp_path}/second.py:Second", tmp_path / "r"
    found = fedlt.sweep(tiny, "federation.rounds=4", seeds=[0, 1], out=out, parallel=parallel, track=own)
    assert [run.summary["stopped"]["round"] for run in found.runs] == [2, 2]
    with pytest.raises(ScenarioError, match="track: a sweep makes a callback anew for each of its runs"):
        fedlt.sweep(tiny, track=[Notes()])  # type: ignore[list-item]


# The page -------------------------------------------------------------------------------------------------------------


def example(name: str, folder: Path) -> Path:
    """The file of that name as the page shows it: ten lines of code at most, beside the imports and blank lines."""
    for text in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL):
        if text.startswith(f"# {name}\n"):
            lines = [line for line in text.splitlines() if line.strip() and not line.startswith(("#", "from "))]
            assert len(lines) <= 10
            (folder / name).write_text(text, encoding="utf-8")
            return folder / name
    raise AssertionError(f"{PAGE} shows no {name}")


def test_the_early_stopping_of_the_page(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Steps of no size improve nothing: the first evaluation is the best, and three more are waited for."""
    file = example("plateau.py", tmp_path)
    changes = ["local.lr=1e-9", "federation.rounds=8", "data.validation=0.2"]
    run = fedlt.run(tiny, *changes, out=tmp_path / "r", track=f"{file}:Plateau")
    stopped = run.summary["stopped"]
    assert (stopped["by"], stopped["round"], run.summary["final_round"]) == ("Plateau", 4, 4)
    assert stopped["reason"].startswith("the tail was no better than ")
    assert run.warnings  # a model that learnt nothing: the last evaluation is looked at, as in every run


def test_the_message_of_the_page(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = fedlt.run(tiny, track=f"{example('tell.py', tmp_path).name}:Tell")
    with pytest.raises(FedLTError, match="not finite"):
        fedlt.run(tiny, "local.lr=1e30", track="./tell.py:Tell")
    done, failed = (tmp_path / "messages.txt").read_text(encoding="utf-8").splitlines()
    assert done == f"{run.folder.name} finished after round 2, tail {100 * run.final['generic/few']:.1f} % "
    assert "failed after round" in failed and "not finite" in failed


def test_the_contract_is_imported_without_torch(own_file: Callable[..., Path]) -> None:
    import subprocess
    import sys

    code = "import sys; from fedlt import Callback, RunState; assert not {'torch', 'numpy'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
