"""What a run says while it goes on: lines in a pipe, a word where it takes hours, and what the bar shows."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fedlt
from fedlt.callback import RunState
from fedlt.process import pace
from fedlt.process.bar import Bar
from fedlt.results import long_runs
from fedlt.results.console import Console
from fedlt.results.long_runs import costly_evaluations, idle_cores, long_run

FIGURES = {"generic/accuracy": 0.5, "generic/balanced_accuracy": 0.5}


class Played:
    """A run whose rounds take as long as is said, heard by a console."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, console: Console, rounds: int, every: int, clients: int
    ) -> None:
        self.now = 0.0
        monkeypatch.setattr(pace.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(long_runs, "available_cores", lambda: 4)
        overrides = [f"federation.rounds={rounds}", f"evaluation.every={every}", "data.longtail=none"]
        sizes = np.full(clients, 3)
        federation: Any = SimpleNamespace(
            clients=SimpleNamespace(sizes=sizes), train_targets=np.zeros(3 * clients), validation=None
        )
        self.logged: list[str] = []
        scenario = fedlt.load_scenario("digits_lt", overrides)
        self.state = RunState(Path("nowhere"), scenario, federation, log=self.logged.append)
        self.console = console
        console.on_start(self.state)

    def round(self, number: int, seconds: float, evaluating: float = 0.0, loss: float = 2.0) -> None:
        self.now += seconds
        self.state.round = number
        self.state.row = {
            "round": number, "seconds": seconds, "train_loss": loss, "clients": 8, "samples": 1, "workers": 1,
            "evaluate_seconds": evaluating,
        }  # fmt: skip
        self.console.on_round(self.state)

    def evaluation(self, number: int) -> None:
        self.state.round, self.state.figures = number, FIGURES
        self.console.on_evaluation(self.state)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return lambda: capsys.readouterr().out.splitlines()


def test_a_pipe_hears_of_a_long_round_at_once_and_then_now_and_then(
    monkeypatch: pytest.MonkeyPatch, printed: Any
) -> None:
    run = Played(monkeypatch, Console(), rounds=100, every=50, clients=2)
    assert printed() == ["digits_lt: fedavg, cnn, 2 clients with 3 training samples (6 in all), 100 rounds"]
    run.round(1, 12.0)
    assert printed() == ["round 1/100  training loss 2.000, 12 s a round, about 20 min to go, evaluations not counted"]
    for number in range(2, 6):
        run.round(number, 12.0)
    assert printed() == []
    run.round(6, 12.0, loss=float("nan"))
    assert printed() == ["round 6/100  12 s a round, about 19 min to go, evaluations not counted"]
    run.now += 12.0 + 5.0  # the seventh round and an evaluation, in one exchange
    run.evaluation(6)
    (line,) = printed()
    assert line == "round 6/100  generic 50.0 %  [89 s, 19 min to go]"  # 93 rounds of 12 s, two evaluations of 5 s
    assert run.logged == [line]


def test_a_short_run_says_nothing_before_its_evaluation(monkeypatch: pytest.MonkeyPatch, printed: Any) -> None:
    run = Played(monkeypatch, Console(), rounds=10, every=10, clients=1)
    assert printed() == ["digits_lt: fedavg, cnn, 1 client with 3 training samples (3 in all), 10 rounds"]
    for number in range(1, 11):
        run.round(number, 0.1)
    run.evaluation(10)
    assert printed() == ["round 10/10  generic 50.0 %  [1.0 s]"]


def test_hours_are_said_once_with_what_makes_them_shorter(monkeypatch: pytest.MonkeyPatch, printed: Any) -> None:
    run = Played(monkeypatch, Console(), rounds=300, every=1, clients=2)
    run.round(1, 20.0)  # a first round says little of the others
    run.round(2, 20.0, evaluating=8.0)
    run.round(3, 20.0, evaluating=8.0)
    (said,) = (line for line in printed() if "Shorter:" in line)
    assert said == (
        "This run takes about 1 h 40 min. Shorter: fewer rounds (federation.rounds=75 for a first look); fewer "
        "evaluations (a larger evaluation.every); --backend processes, which shares each round among 4 cores. Ctrl-C "
        "keeps what is done, and the same command goes on from there"
    )
    assert run.console.runs == 0


def test_several_runs_of_one_command_count_together(monkeypatch: pytest.MonkeyPatch, printed: Any) -> None:
    for runs, words in ((1, None), (5, "These 5 runs take about 2 h 30 min"), (0, None)):
        run = Played(monkeypatch, Console(runs=runs), rounds=30, every=30, clients=2)
        run.round(1, 60.0)
        said = [line for line in printed() if "Shorter:" in line]
        assert [line.partition(". ")[0] for line in said] == ([words] if words else [])


def test_what_makes_a_run_shorter_fits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert long_run("It takes", 3599, 10) == ""
    assert long_run("It takes", 3600, 3, evaluating=700).startswith(
        "It takes about 60 min. Shorter: fewer rounds (federation.rounds=1 for a first look). Ctrl-C"
    )
    monkeypatch.setattr(long_runs, "available_cores", lambda: 4)
    assert [idle_cores(1, 8, "cpu"), idle_cores(4, 8, "cpu"), idle_cores(1, 1, "cpu")] == [4, 1, 1]


def test_tests_that_take_longer_than_training_are_told_of(tmp_path: Path, tiny: dict[str, Any], printed: Any) -> None:
    told = "60 % of the workers' time went into evaluations; evaluation.every=4 or evaluation.clients=25"
    assert costly_evaluations(40.0, 60.0, every=1, evaluations=9, clients=100) == f"{told} makes them cheaper"
    assert costly_evaluations(60.0, 40.0, every=1, evaluations=9, clients=100) == ""
    assert costly_evaluations(20.0, 30.0, every=1, evaluations=9, clients=100) == ""  # under a minute in all
    assert "every" not in costly_evaluations(40.0, 60.0, every=1, evaluations=2, clients=100)
    assert costly_evaluations(40.0, 60.0, every=1, evaluations=2, clients=20) == ""  # nothing to spare

    run = fedlt.run(tiny, "federation.rounds=4", out=tmp_path)
    slow = run.rounds.assign(train_seconds=[10.0] * 4, evaluate_seconds=[0.0, 20.0, 20.0, 20.0])
    slow.to_parquet(run.folder / "rounds.parquet")
    Console().finished(fedlt.open_run(run.folder))  # of four evaluations of 20 s, the last has no row
    assert "67 % of the workers' time went into evaluations; evaluation.every=4 makes them cheaper" in printed()


def test_quiet_and_verbose(monkeypatch: pytest.MonkeyPatch, printed: Any) -> None:
    run = Played(monkeypatch, Console(quiet=True), rounds=300, every=2, clients=2)
    run.round(1, 100.0)
    run.evaluation(1)
    assert printed() == []
    run = Played(monkeypatch, Console(verbose=True), rounds=2, every=2, clients=2)
    run.round(1, 0.5)
    run.round(2, 0.25, loss=float("nan"))
    assert printed()[1:] == [
        "round 1/2  training loss 2.000, 8 clients, 1 sample, 0.5 s",
        "round 2/2  8 clients, 1 sample, 0.25 s",
    ]


def test_the_bar_shows_the_loss_and_the_time_left_from_the_first_round_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console as Rich

    text = io.StringIO()
    console = Console()
    run = Played(monkeypatch, console, rounds=10, every=10, clients=2)
    console._bar = Bar("round", 10, 0, console._clock, Rich(file=text, force_terminal=True, width=100))
    run.now += 5
    console._bar._progress.refresh()
    assert "first round, 0:05" in text.getvalue()
    run.round(1, 65.0)
    console._bar._progress.refresh()
    shown = text.getvalue()
    console.close()
    assert "training loss 2.000" in shown
    assert "10:30 left" in shown  # nine rounds of 70 s
