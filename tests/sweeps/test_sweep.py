"""Sweeps: the grid's grammar, what is skipped, what fails, what a kill leaves, and equal bits however it is run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from forked import Forked
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.config.scenario import load_scenario
from fedlt.errors import ScenarioError
from fedlt.results.runs import Run, load_runs
from fedlt.sweeps.grid import Job, plan, split_values
from fedlt.sweeps.sweep import check, how_many, run_jobs, sweep
from fedlt.sweeps.view import Live, Quiet
from fedlt.sweeps.workers import _Reporter

pytestmark = pytest.mark.slow

ODD = "class Odd(Strategy):\n    def build(self, model, task):\n        raise ValueError('too odd')\n"
FAILING = "class Bad(Strategy):\n    def fit(self, client):\n        raise OSError('no luck')\n"


@pytest.fixture
def scenario(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tiny scenario as a file in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(load_scenario(tiny).to_yaml(), encoding="utf-8")
    return "small.yaml"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["sweep", *arguments])


@pytest.fixture(autouse=True)
def _forked_workers(request: pytest.FixtureRequest) -> None:
    """For all tests but that of the bits, which has workers as a user has them."""
    if request.function is not test_side_by_side_gives_equal_bits:
        request.getfixturevalue("forked_workers")


def hashes(runs: list[Run] | tuple[Run, ...]) -> dict[str, str]:
    return {run.folder.name: run.summary["model_hash"] for run in runs}


# The grid -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a", ["a"]),
        ("fedavg,fedprox", ["fedavg", "fedprox"]),
        ("0.01, 0.1", ["0.01", "0.1"]),
        ("fedavg,{name: fedprox, mu: 0.1}", ["fedavg", "{name: fedprox, mu: 0.1}"]),
        ("[1,2],[3,4]", ["[1,2]", "[3,4]"]),
        ("[1,2]", ["[1,2]"]),
        ("{a: [1,2], b: 3},c", ["{a: [1,2], b: 3}", "c"]),
        ('"a,b",c', ['"a,b"', "c"]),
        ("{a: 'x,}'},c", ["{a: 'x,}'}", "c"]),
        ("it's,that", ["it's", "that"]),
        ("", [""]),
    ],
)
def test_commas_outside_of_brackets_separate_values(text: str, values: list[str]) -> None:
    assert split_values(text) == values


@pytest.mark.parametrize(
    ("text", "message"), [("{a: 1", "a } is missing"), ("a,,b", "a value is empty"), ("a,'b", "a ' is missing")]
)
def test_broken_values_are_told(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_values(text)


def test_the_grid_is_every_combination_seed_by_seed(tiny: dict[str, Any]) -> None:
    words = ["strategy=fedavg,{name: fedprox, mu: 0.5}", "local.lr=0.01,0.1", "federation.rounds=3"]
    jobs = plan(tiny, words, [0, 7])
    assert [job.seed for job in jobs] == [0] * 4 + [7] * 4
    first = [(job.scenario.strategy.name, job.scenario.local.lr, job.scenario.federation.rounds) for job in jobs[:4]]
    assert first == [("fedavg", 0.01, 3), ("fedavg", 0.1, 3), ("fedprox", 0.01, 3), ("fedprox", 0.1, 3)]
    assert jobs[2].scenario.strategy.options == {"mu": 0.5}
    assert jobs[5].name == "strategy=fedavg local.lr=0.1 seed 7"
    assert plan(tiny, ["seed=1,2"])[1].name == "seed 2"
    assert [job.label for job in plan(tiny, ["local.lr=0.1"], [1, 2])] == ["", ""]


def test_the_command_of_a_job_repeats_it() -> None:
    job = plan("digits_lt", ["strategy={name: fedprox, mu: 0.1},local"], [3])[0]
    assert job.command == "fedlt run digits_lt 'strategy={name: fedprox, mu: 0.1}' seed=3"
    assert load_scenario("digits_lt", ["strategy={name: fedprox, mu: 0.1}", "seed=3"]).hash == job.scenario.hash


@pytest.mark.parametrize(
    ("words", "seeds", "message"),
    [
        (["strategy=fedavg,fedporx,fedpox"], [], r"(?s)2 problems in the grid\n.*'fedporx'.*'fedpox'"),
        (["strategy=fedavg,fedprox", "strategy.mu=0.1"], [], r"strategy\.mu: unknown key of fedavg"),
        (["local.lr=0.1,0.10"], [], "'local.lr=0.10 seed 0' is the same run as 'local.lr=0.1 seed 0'"),
        (["local.lr=0.1,[2"], [], r"local\.lr: cannot read the values: a \] is missing"),
        (["seed=1,2"], [3], "seed: is given as a key and as --seeds"),
        (["rounds"], [], "rounds: an override is written key=value"),
    ],
)
def test_every_mistake_of_the_grid_is_told_at_once(
    tiny: dict[str, Any], words: list[str], seeds: list[int], message: str
) -> None:
    with pytest.raises(ScenarioError, match=message):
        plan(tiny, words, seeds)


def test_nothing_runs_where_the_grid_or_the_data_are_wrong_or_no_combination_fits(
    scenario: str, own_file: Callable[..., Path]
) -> None:
    own_file(ODD)
    for words, message in (
        (["local.lr=0.1,-1"], r"local\.lr: expected a number > 0, got -1"),
        (["federation.clients=6,5000"], r"federation\.clients: 5000 clients cannot share"),
        (["strategy=./mine.py:Odd"], r"1 problem in the grid\n  model: \S+mine.py:Odd does not fit mlp; .*: too odd"),
        (["--parallel", "many"], "--parallel: expected auto or a whole number >= 1, got 'many'"),
        (["--parallel", "0"], "--parallel: expected auto or a whole number >= 1, got 0"),
        (["resources.backend=ray", "--parallel", "2", "seed=0,1"], "--parallel: runs side by side are inline, but"),
    ):
        result = call(scenario, *words)
        assert result.exit_code == 2, words
        assert re.search(message, result.stderr), result.stderr
        assert not Path("runs").exists()


# Running it -----------------------------------------------------------------------------------------------------------


def test_a_sweep_ends_with_the_comparison_and_skips_what_is_finished(scenario: str) -> None:
    words = [scenario, "strategy=local,fedavg", "--seeds", "0-1", "--parallel", "1"]
    first = call(*words, "--reference", "fedavg")
    assert first.exit_code == 0, first.output
    lines = first.stdout.splitlines()
    assert lines[0] == "small: 4 runs (2 methods, 2 seeds), 0 finished before, 4 to do, one after the other"
    assert [line.partition(":")[0] for line in lines[1:5]] == [
        "[1/4] strategy=local seed 0",
        "[2/4] strategy=fedavg seed 0",
        "[3/4] strategy=local seed 1",
        "[4/4] strategy=fedavg seed 1",
    ]
    assert "accuracy in %, last evaluation" in first.stdout
    assert "difference to fedavg in points" in first.stdout
    runs = load_runs("runs")
    assert {run.summary["seed"] for run in runs} == {0, 1}
    assert runs[0].summary["command"] == "fedlt run small.yaml strategy=fedavg seed=0"

    again = call(scenario, "strategy=local,fedavg,fedprox", "--seeds", "0-1", "--parallel", "1")
    assert again.stdout.splitlines()[0].endswith("4 finished before, 2 to do, one after the other")
    assert hashes(runs).items() <= hashes(load_runs("runs")).items()
    assert len(load_runs("runs")) == 6


def test_a_grid_of_settings_ends_with_a_table_for_each(scenario: str) -> None:
    result = call(scenario, "federation.partition.alpha=0.5,5.0", "--parallel", "1")
    assert result.exit_code == 0, result.output
    assert "federation.partition.alpha=0.5\n\naccuracy" in result.stdout
    assert "federation.partition.alpha=5.0\n\naccuracy" in result.stdout


@pytest.mark.parametrize("parallel", ["1", "2"])
def test_a_failing_run_does_not_stop_the_others(scenario: str, own_file: Callable[..., Path], parallel: str) -> None:
    own_file(FAILING)
    result = call(scenario, "strategy=./mine.py:Bad,fedavg", "--seeds", "0-1", "--parallel", parallel)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: 2 of 4 runs failed\n  strategy=./mine.py:Bad seed 0: client ")
    assert "OSError: no luck" in result.stderr
    assert len(re.findall(r"^\[\d/4\] .* failed: client \d failed in round 1", result.stdout, re.MULTILINE)) == 2
    assert sorted(run.status for run in load_runs("runs")) == ["failed", "failed", "finished", "finished"]
    assert "left out" not in result.stdout  # a failed run of this sweep is told once, below


def test_failures_are_told_in_the_order_of_the_grid(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def last_first(shared: Any, processes: int, out: Path, force: bool, view: Any) -> None:
        for job in reversed(shared.jobs):
            view.failed(job, "no luck")

    monkeypatch.setattr("fedlt.sweeps.workers.side_by_side", last_first)
    result = sweep(tiny, "strategy=local,fedavg", seeds=[0, 1], out=tmp_path, parallel=2)
    assert [name.removeprefix("strategy=") for name in result.failures] == [
        "local seed 0",
        "fedavg seed 0",
        "local seed 1",
        "fedavg seed 1",
    ]


def test_side_by_side_gives_equal_bits(tiny: dict[str, Any], tmp_path: Path) -> None:
    words = ("strategy=fedavg,fedprox",)
    apart = sweep(tiny, *words, seeds=[0, 1], out=tmp_path / "one", parallel=1)
    together = sweep(tiny, *words, seeds=[0, 1], out=tmp_path / "two", parallel=2)
    assert hashes(apart.runs) == hashes(together.runs)
    assert len(set(hashes(apart.runs).values())) == 4
    assert {run.summary["grid"] for run in together.runs} == {"InlineGrid"}
    assert [row.name for row in together.compare()[0].rows] == ["fedavg", "fedprox"]


@pytest.mark.usefixtures("ray_session")
def test_one_after_the_other_keeps_one_set_of_ray_workers(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["fedlt.sweeps.grids"]
    made = []
    hold = module._hold_ray
    monkeypatch.setattr(module, "_hold_ray", lambda *wanted: made.append(wanted[:2]) or hold(*wanted))
    words = "resources.backend=ray", "resources.workers=1"
    over_ray = sweep(tiny, *words, seeds=[0, 1, 2], out=tmp_path / "ray")
    inline = sweep(tiny, seeds=[0, 1, 2], out=tmp_path / "inline", parallel=1)
    assert {run.summary["grid"] for run in over_ray.runs} == {"RayGrid"}
    assert made == [(1, "auto")]
    assert hashes(over_ray.runs) == hashes(inline.runs)


def test_a_worker_that_dies_fails_its_run_only(tiny: dict[str, Any], tmp_path: Path, own_file: Any) -> None:
    own_file("class Gone(Strategy):\n    def fit(self, client):\n        import os\n        os._exit(7)\n")
    result = sweep(tiny, f"strategy={tmp_path}/mine.py:Gone,fedavg", seeds=[0, 1], out=tmp_path / "runs", parallel=2)
    assert list(result.failures.values()) == ["its process ended with exit code 7"] * 2
    assert [run.summary["strategy"] for run in result.runs] == ["fedavg", "fedavg"]


SLOW = (
    "class Slow(Strategy):\n    def fit(self, client):\n        import time\n"
    "        time.sleep(0.02)\n        client.train(self.loss)\n"
)


def children_of(process: int) -> list[int]:
    """Processes that the process has started and that live."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def start(*words: str) -> tuple[Forked, list[int]]:
    """A sweep with two workers in a process of its own, in which one run at least is finished, and its workers."""
    code = "from fedlt.commands.cli import main; main()"
    process = Forked([sys.executable, "-c", code, "sweep", *words, "--parallel", "2"])
    wait_for(lambda: process.poll() is not None or any(map(is_finished, load_runs("runs*"))))
    assert process.poll() is None, process.communicate()
    workers = children_of(process.pid)
    assert len(workers) == 2
    return process, workers


def is_finished(run: Run) -> bool:
    return run.status == "finished"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_sweep_that_is_killed_in_the_middle_goes_on_with_what_is_left(
    scenario: str, own_file: Callable[..., Path]
) -> None:
    own_file(SLOW)
    words = [scenario, "strategy=./mine.py:Slow", "federation.rounds=4", "--seeds", "0-3"]
    process, workers = start(*words)
    process.kill()
    process.communicate(timeout=30)
    wait_for(lambda: not any(map(alive, workers)))
    before = {run.folder: (run.folder / "run.json").stat().st_mtime_ns for run in load_runs("runs") if is_finished(run)}
    assert 1 <= len(before) < 4

    again = call(*words, "--parallel", "1")
    assert again.exit_code == 0, again.output
    assert f"{len(before)} finished before, {4 - len(before)} to do" in again.stdout
    assert {folder: (folder / "run.json").stat().st_mtime_ns for folder in before} == before
    whole = sweep(scenario, *words[1:3], seeds=range(4), out="whole", parallel=1)
    assert hashes(load_runs("runs")) == hashes(sorted(whole.runs, key=lambda run: run.folder.name))
    assert all(one.metrics.equals(two.metrics) for one, two in zip(load_runs("runs"), load_runs("whole"), strict=True))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_ctrl_c_ends_a_sweep_and_its_workers_and_marks_their_runs(
    scenario: str, own_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedlt.sweeps.workers.PATIENCE", 100.0)  # a round may take long where others compute as well
    own_file(SLOW)
    process, workers = start(scenario, "strategy=./mine.py:Slow", "federation.rounds=12", "--seeds", "0-9")
    # Both workers may finish their runs at once, and none be under way.
    wait_for(lambda: any(run.status == "running" and 1 <= run.summary["rounds"] <= 3 for run in load_runs("runs")))
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    first, command = errors.splitlines()
    assert (process.returncode, first) == (130, "interrupted; the same call skips what is finished:")
    assert command.startswith("  fedlt sweep ") and command.endswith("--seeds 0-9 --parallel 2")
    assert not any(map(alive, workers))
    statuses = [run.status for run in load_runs("runs")]
    assert "finished" in statuses
    assert 1 <= len(statuses) - statuses.count("finished") <= 2  # what the two workers were at
    assert "running" not in statuses


def test_a_run_whose_sweep_is_gone_does_not_fail_of_its_reports() -> None:
    """It is interrupted; failing at the same moment, it could be left as if it went on."""
    (job,) = plan("digits_lt", [])
    ours, theirs = Pipe()
    ours.close()
    reporter = _Reporter(theirs)
    reporter.round(job, 1, 2)
    reporter.line(job, "accuracy")
    with pytest.raises(ConnectionError):
        reporter.failed(job, "the end of the worker")


def test_auto_follows_the_rule(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def processes(jobs: list[Job], parallel: int | str) -> int:
        backends, refused = check(jobs)
        assert not refused
        return how_many(jobs, parallel, backends)

    jobs = plan(tiny, [], range(5))
    monkeypatch.setattr("fedlt.process.cores.available_cores", lambda: 4)
    assert processes(jobs, "auto") == 4
    assert processes(jobs[:3], "auto") == 3  # short ones: several workers would not pay
    assert processes(jobs[:1], "auto") == processes([], "auto") == 1
    monkeypatch.setattr(sys.modules["fedlt.sweeps.run"], "PROCESSES_PAY_FROM", 0.0)
    assert processes(jobs, "auto") == 4  # long ones that fill the cores
    assert processes(jobs[:3], "auto") == 1  # long ones that do not: workers share each of them
    assert processes(jobs[:3], 2) == 2
    assert processes(plan(tiny, ["resources.backend=ray"], range(5)), "auto") == 1


# What cannot run ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", ["1", "2"])
def test_what_cannot_run_is_named_before_any_work_and_at_the_end_and_the_others_run(
    scenario: str, own_file: Callable[..., Path], parallel: str
) -> None:
    own_file(ODD)
    words = "strategy=./mine.py:Odd,fedavg,fedloge,local", "learner=cross_entropy,focal"
    result = call(scenario, *words, "--seeds", "0", "--parallel", parallel)
    assert result.exit_code == 1
    how = "one after the other" if parallel == "1" else "2 side by side"
    lines = result.stdout.splitlines()
    assert lines[0] == f"small: 8 runs (8 methods, 1 seed), 0 finished before, 3 cannot run, 5 to do, {how}"
    odd = (
        "strategy=./mine.py:Odd learner=cross_entropy, strategy=./mine.py:Odd learner=focal: "
        f"model: {Path.cwd()}/mine.py:Odd does not fit mlp; change one of the two: too odd"
    )
    focal = (
        "strategy=fedloge learner=focal: learner: FedLoGe trains by losses of its own and would ignore focal; "
        "use learner=cross_entropy, or another strategy"
    )
    assert lines[1:3] == [f"cannot run: {odd}", f"cannot run: {focal}"]
    assert [line.split("]")[0] for line in lines[3:8]] == [f"[{number}/8" for number in range(4, 9)]
    assert result.stderr == f"error: 3 of 8 runs could not run\n  {odd}\n  {focal}\n"
    assert len(load_runs("runs")) == 5
    assert {run.status for run in load_runs("runs")} == {"finished"}

    again = call(scenario, *words, "--seeds", "0", "--parallel", parallel)
    assert (again.exit_code, again.stderr) == (1, result.stderr)
    assert "5 finished before, 3 cannot run, 0 to do, one after the other" in again.stdout


def test_what_cannot_run_and_what_fails_are_told_apart(scenario: str, own_file: Callable[..., Path]) -> None:
    own_file(ODD + "\n\n" + FAILING)
    words = [scenario, "strategy=./mine.py:Odd,./mine.py:Bad,fedavg", "--parallel", "1", "--reference"]
    result = call(*words, "./mine.py:Odd")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: 1 of 3 runs failed\n  strategy=./mine.py:Bad seed 0: client ")
    assert result.stderr.partition("1 of 3 runs could not run\n  strategy=./mine.py:Odd: model: ")[2]
    assert "no differences: --reference: './mine.py:Odd' names no single row" in result.stdout
    assert "accuracy in %, last evaluation" in result.stdout


def test_python_finds_what_could_not_run_among_the_failures(tiny: dict[str, Any], tmp_path: Path) -> None:
    result = sweep(tiny, "strategy=fedbn,fedavg", seeds=[0, 1], out=tmp_path, parallel=1)
    names = ("strategy=fedbn seed 0", "strategy=fedbn seed 1")
    assert tuple(result.failures) == result.refused == names
    assert result.failures[names[0]].startswith("model: fedbn does not fit mlp; change one of the two: the model has ")
    assert [run.summary["strategy"] for run in result.runs] == ["fedavg", "fedavg"]


def test_where_nothing_can_run_what_all_have_is_told_once(tiny: dict[str, Any], tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(600, 5)).astype(np.float32), np.arange(600) % 10
    np.savez(tmp_path / "rows.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    words = f"data.name={tmp_path}/rows.npz", "model=cnn"
    with pytest.raises(ScenarioError, match=r"^1 problem in the grid\n  model: cnn needs images[^\n]*$"):
        sweep(tiny, "strategy=fedavg,fedprox", *words, seeds=[0, 1], out=tmp_path / "runs")

    with pytest.raises(ScenarioError) as caught:
        sweep(tiny, "strategy=fedbn,local,centralized", "local.together=2", out=tmp_path / "runs")
    told = [str(problem).partition(" clients ")[0].partition(" does ")[0] for problem in caught.value.problems]
    assert told == [
        "strategy=fedbn: model: fedbn",
        "strategy=local: local.together:",
        "strategy=centralized: local.together:",
    ]
    assert not (tmp_path / "runs").exists()


# Its view -------------------------------------------------------------------------------------------------------------


def test_the_view_of_a_terminal_shows_the_grid(tiny: dict[str, Any], tmp_path: Path) -> None:
    from fedlt.comparing.sheet import plain_text

    jobs: list[Job] = plan(tiny, ["strategy=local,fedavg,fedprox"], [0, 1])
    run = fedlt.run(tiny, out=tmp_path)
    shown = Live()
    Quiet.begin(shown, jobs, {jobs[1].name: run}, 2, {jobs[4].name: "too odd"})
    shown.started(jobs[0])
    shown.started(jobs[3])
    shown.round(jobs[0], 1, 2)
    shown.failed(jobs[3], "no luck")
    text = plain_text(shown.table())
    generic, personal = (f"{100 * run.final[f'{kind}/accuracy']:.1f}" for kind in ("generic", "personal"))
    assert re.search(r"strategy=local +round 1/2 +failed\n", text)
    assert re.search(rf"strategy=fedavg +{generic} / {personal} +cannot run\n", text)
    assert re.search(r"strategy=fedprox +· +·\n", text)
    assert re.search(r"1 of 4 done, 1 failed; 0:00, about \d:\d\d left", text)


def test_jobs_of_one_name_are_refused_as_one_would_hide_the_other(tiny: dict[str, Any], tmp_path: Path) -> None:
    jobs = [*plan(tiny, ["local.lr=0.1"]), *plan(tiny, ["local.lr=0.2"])]
    assert jobs[0].name == jobs[1].name
    with pytest.raises(ValueError, match="several jobs are called seed 0; give each a label of its own"):
        run_jobs(jobs, tmp_path, 1, False, Quiet())
