"""What a sweep says in a pipe while its runs go on, and where it takes hours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fedlt.process import pace
from fedlt.sweeps.grid import plan
from fedlt.sweeps.view import Lines


@pytest.fixture
def shown(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[Lines, list[Any], list[float]]:
    """A view of two runs of 100 rounds, both of which have begun; the runs; and the time in seconds."""
    now = [0.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    jobs = plan(tiny, ["strategy=fedavg,fedprox", "federation.rounds=100"])
    view = Lines(verbose=True)
    view.begin(jobs, {}, 2, {})
    assert capsys.readouterr().out.endswith("2 runs (2 methods, 1 seed), 0 finished before, 2 to do, 2 side by side\n")
    for job in jobs:
        view.started(job)
    return view, jobs, now


def test_a_pipe_hears_of_a_sweep_before_its_first_run_ends(shown: Any, capsys: pytest.CaptureFixture[str]) -> None:
    view, (first, second), now = shown
    now[0] = 5
    view.round(first, 1, 100)
    assert capsys.readouterr().out == ""
    now[0] = 12
    view.round(second, 2, 100)
    view.round(first, 2, 100)
    # 1.5 % of the work in 12 s, when the line is due: 98.5 % take 788 s; the second line is too early
    assert capsys.readouterr().out == "[0/2] strategy=fedprox seed 0: round 2/100; about 13 min to go in all\n"
    view.round(first, 3, 100)
    now[0] = 80
    view.round(first, 4, 100)
    assert capsys.readouterr().out == "[0/2] strategy=fedavg seed 0: round 4/100; about 43 min to go in all\n"
    view.failed(second, "no luck\nTraceback")
    view.line(first, "round 4/100  generic 50.0 %")
    assert capsys.readouterr().out.splitlines() == [
        "[1/2] strategy=fedprox seed 0: failed: no luck",
        "strategy=fedavg seed 0: round 4/100  generic 50.0 %",
    ]


def test_runs_that_only_test_are_little_of_the_time_left(shown: Any, capsys: pytest.CaptureFixture[str]) -> None:
    view, jobs, now = shown
    view.begin(jobs, {}, 2, {}, [jobs[1].name])
    assert capsys.readouterr().out.endswith("2 to do (1 on another's training), 2 side by side\n")
    now[0] = 55
    view.round(jobs[0], 50, 100)
    # 50 of 110 parts of the work in 55 s, where the run that only tests has ten parts: 60 are left
    assert capsys.readouterr().out == "[0/2] strategy=fedavg seed 0: round 50/100; about 66 s to go in all\n"


def test_a_sweep_that_takes_hours_says_so_once(shown: Any, capsys: pytest.CaptureFixture[str]) -> None:
    view, (first, _), now = shown
    now[0] = 29
    view.round(first, 1, 100)
    assert "Shorter" not in capsys.readouterr().out
    for number in (2, 3):
        now[0] = 90.0 * number
        view.round(first, number, 100)
    said = [line for line in capsys.readouterr().out.splitlines() if "Shorter:" in line]
    # 1 % of the work in 180 s
    assert len(said) == 1
    assert said[0].startswith("These 2 runs take about 5 h 0 min. Shorter: fewer rounds (federation.rounds=25 for a")


def test_evaluations_are_told_where_they_are_asked_for(tiny: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (job,) = plan(tiny, [])
    Lines().line(replace(job, label="a"), "round 1")
    assert capsys.readouterr().out == ""
