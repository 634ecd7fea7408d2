"""Runs that train the same: one trains, the others test what it kept, and all are what they would have been alone."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from forked import Forked

import fedlt
from fedlt.config import catalog
from fedlt.config.scenario import load_scenario
from fedlt.results.runs import Run, load_runs
from fedlt.sweeps.grid import Job, plan
from fedlt.sweeps.sharing import share
from fedlt.sweeps.sweep import check, run_jobs
from fedlt.sweeps.view import Quiet

pytestmark = pytest.mark.slow

ALIKE = ("fedavg", "fedavg_posthoc", "fednpc", "knnper", "fedavg_ft")
"""Some built-in strategies that train as FedAvg does."""

TABLES = ("clients", "classes", "calibration", "metrics", "confusion")


def seconds(run: Run) -> list[str]:
    """Columns of the table of rounds that tell of time."""
    return [name for name in run.rounds.columns if name.endswith("seconds") or name == "ended"]


def same(one: Run, other: Run) -> bool:
    """Whether two runs hold the same: every table, every figure, the models and the files."""
    rounds = [run.rounds.drop(columns=seconds(run)) for run in (one, other)]
    return (
        one.summary["model_hash"] == other.summary["model_hash"]
        and repr(one.final) == repr(other.final)
        and all(getattr(one, table).equals(getattr(other, table)) for table in TABLES)
        and rounds[0].equals(rounds[1])
        and sorted(path.name for path in one.folder.iterdir()) == sorted(path.name for path in other.folder.iterdir())
    )


@pytest.fixture
def setting(tiny: dict[str, Any]) -> dict[str, Any]:
    """Four rounds, of which the second and the last are tested."""
    return tiny | {"federation": tiny["federation"] | {"rounds": 4}, "evaluation": {"every": 2}}


def that_share(setting: dict[str, Any]) -> list[Job]:
    """Of every built-in strategy under plain cross-entropy, and every built-in learner inside FedAvg, those that fit
    the setting and train as another of them does.
    """
    jobs: dict[str, Job] = {}
    for kind, plain in (("strategy", "learner=cross_entropy"), ("learner", "strategy=fedavg")):
        for name in catalog.names(kind):
            [job] = plan(setting, [f"{kind}={name}", plain])
            jobs.setdefault(job.scenario.run_name, replace(job, label=f"{kind}={name}"))

    fitting, _ = check(members := _members([*jobs.values()]))
    return _members([job for job in members if job.name in fitting])


def _members(jobs: list[Job]) -> list[Job]:
    leaders = share(jobs).leaders
    return [job for job in jobs if job.name in {*leaders, *leaders.values()}]


def test_all_built_in_methods_that_share_are_what_they_would_have_been_alone(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    jobs = that_share(tiny)
    assert {job.label for job in jobs} >= {*(f"strategy={name}" for name in ALIKE), "learner=tau_norm"}

    swept = run_jobs(jobs, tmp_path / "swept", 1, False, Quiet())
    assert not swept.failures
    leaders = share(jobs).leaders
    for job, run in zip(jobs, swept.runs, strict=True):
        assert ("trained_by" in run.summary) == (job.name in leaders), job.name
        assert same(run, fedlt.run(job.scenario.to_dict(), out=tmp_path / "alone")), job.name


@pytest.mark.parametrize("parallel", [1, 2])
@pytest.mark.usefixtures("forked_workers")
def test_each_run_is_what_it_would_have_been_alone(setting: dict[str, Any], tmp_path: Path, parallel: int) -> None:
    swept = fedlt.sweep(setting, f"strategy={','.join(ALIKE)}", out=tmp_path / "swept", parallel=parallel)
    by_name = {run.summary["strategy"]: run for run in swept.runs}
    assert {name for name, run in by_name.items() if "trained_by" in run.summary} == {*ALIKE} - {"fedavg"}
    for name, run in by_name.items():
        alone = fedlt.run(setting, f"strategy={name}", out=tmp_path / "alone")
        assert same(run, alone), name
    assert not list(tmp_path.rglob("training.json"))  # what was kept for the others is gone

    # A member goes on with more rounds as any run does.
    longer = [fedlt.run(setting, "strategy=knnper", "federation.rounds=5", out=tmp_path / where)
              for where in ("swept", "alone", "anew")]  # fmt: skip
    assert [run.summary.get("goes_on_from", "") != "" for run in longer] == [True, True, False]
    assert len({run.summary["model_hash"] for run in longer}) == 1


def test_what_clients_keep_is_taken_too(setting: dict[str, Any], tmp_path: Path, own_file: Callable[..., Path]) -> None:
    path = own_file("""
from strategies.fedper import FedPer


@dataclass(frozen=True)
class Halved(FedPer):
    def personal(self, client, x):
        return 0.5 * client.model(x)
""")
    first = fedlt.run(setting, "strategy=fedper", "resources.keep=true", out=tmp_path / "kept")
    taken = fedlt.run(setting, f"strategy={path}:Halved", out=tmp_path / "kept")
    assert taken.summary["trained_by"] == first.folder.name
    assert same(taken, fedlt.run(setting, f"strategy={path}:Halved", out=tmp_path / "alone"))
    assert (taken.folder / "clients.safetensors").read_bytes() == (first.folder / "clients.safetensors").read_bytes()


def test_a_later_run_takes_what_was_kept_on_request(setting: dict[str, Any], tmp_path: Path) -> None:
    fedlt.run(setting, "resources.keep=true", out=tmp_path)
    assert "trained_by" in fedlt.run(setting, "strategy=knnper", out=tmp_path).summary
    assert "trained_by" not in fedlt.run(setting, "strategy=knnper", out=tmp_path, force=True).summary
    assert "trained_by" not in fedlt.run(setting, "strategy=fednpc", "seed=1", out=tmp_path).summary
    # Round 1 was not kept, as it was not tested.
    assert "trained_by" not in fedlt.run(setting, "strategy=fednpc", "evaluation.every=1", out=tmp_path).summary
    # Another table of the same rounds is fine.
    assert "trained_by" in fedlt.run(setting, "strategy=fednpc", "evaluation.every=4", out=tmp_path).summary


def test_a_damaged_checkpoint_is_not_taken(setting: dict[str, Any], tmp_path: Path) -> None:
    first = fedlt.run(setting, "resources.keep=true", out=tmp_path)
    manifest = first.folder / "checkpoints" / "000002" / "checkpoint.json"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace("0", "1", 1), encoding="utf-8")
    assert "trained_by" not in fedlt.run(setting, "strategy=knnper", out=tmp_path).summary


def test_what_may_end_a_run_early_shares_nothing(setting: dict[str, Any], own_file: Callable[..., Path]) -> None:
    words = ["strategy=fedavg,knnper"]
    assert len(share(plan(setting, words)).leaders) == 1
    patient = setting | {"data": setting["data"] | {"validation": 0.2}}
    assert not share(plan(patient, [*words, "evaluation.patience=2"])).leaders
    assert not share(plan(setting, [*words, "local.lr=0.1,0.2"])).leaders.keys() & {
        "strategy=fedavg local.lr=0.1 seed 0"
    }
    assert len(share(plan(setting, [*words, "local.lr=0.1,0.2"])).leaders) == 2


def test_where_the_training_fails_the_others_train_themselves(
    setting: dict[str, Any], tmp_path: Path, own_file: Callable[..., Path]
) -> None:
    path = own_file("""
@dataclass(frozen=True)
class CannotPredict(Strategy):
    def generic(self, server, x):
        raise RuntimeError("no luck")
""")
    swept = fedlt.sweep(setting, f"strategy={path}:CannotPredict,knnper,fedavg_ft", out=tmp_path, parallel=1)
    assert len(swept.failures) == 1
    assert [run.status for run in swept.runs] == ["finished", "finished"]
    assert not any("trained_by" in run.summary for run in swept.runs)


def test_a_killed_sweep_goes_on(setting: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    long = setting | {"federation": setting["federation"] | {"rounds": 30}, "evaluation": {"every": 5}}
    Path("small.yaml").write_text(load_scenario(long).to_yaml(), encoding="utf-8")
    code = "from fedlt.commands.cli import main; main()"
    words = ["sweep", "small.yaml", f"strategy={','.join(ALIKE)}", "--parallel", "1"]
    process = Forked([sys.executable, "-c", code, *words], start_new_session=True)
    while not list(Path("runs").glob("*knnper*/run.json")) and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    swept = fedlt.sweep("small.yaml", f"strategy={','.join(ALIKE)}", parallel=1)
    assert len(swept.runs) == len(ALIKE)
    assert {run.summary["model_hash"] for run in swept.runs} == {swept.runs[0].summary["model_hash"]}
    assert [run.folder.name for run in load_runs("runs") if "trained_by" not in run.summary] == [
        run.folder.name for run in swept.runs if run.summary["strategy"] == "fedavg"
    ]
    assert not list(Path("runs").rglob("training.json"))
