"""Sweeps: all runs of a grid, of which those that are finished are skipped and those that fail do not stop the rest.

    result = sweep("digits_lt", "strategy=local,fedavg,fedprox", seeds=range(3))
    print(result.compare(reference="fedavg"))

Runs go side by side, one process with one thread each, or one after the other, each over as many Ray workers as it
asks for; the workers are then kept from run to run. `how_many` holds the rule. Both give equal bits.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.recording.console import Console
from fedlt.results import Run, finished_run
from fedlt.run import Grids, pick_backend, run_scenario
from fedlt.sweeps.grid import Job, plan
from fedlt.sweeps.view import Quiet

if TYPE_CHECKING:
    from fedlt.comparing.comparison import Comparison
    from fedlt.sweeps.view import Listener, View


@dataclass(frozen=True)
class Sweep:
    """What became of a grid, in its order. runs: the finished ones. failures: job -> what went wrong."""

    runs: tuple[Run, ...]
    failures: Mapping[str, str]

    def compare(self, **options: Any) -> list[Comparison]:
        """A comparison of the runs for each setting of data, partition and evaluation; options as in `compare`."""
        from fedlt.comparing.compare import compare_each

        return compare_each(self.runs, **options)


def sweep(
    scenario: str | Path | dict[str, Any],
    *overrides: str,
    seeds: Iterable[int] = (),
    out: str | Path = "runs",
    parallel: int | str = "auto",
    force: bool = False,
) -> Sweep:
    """Run every combination of the overrides' values for every seed, and return what became of them.

    overrides: `key=value,value`, as `fedlt.sweeps.grid` reads them. seeds: the scenario's own unless given. parallel:
    runs side by side, or `auto`. force: run again what is finished. Raises `ScenarioError` before any work; a run that
    fails is found in the result.
    """
    return run_jobs(plan(scenario, overrides, list(seeds)), Path(out), parallel, force, Quiet())


def run_jobs(jobs: Sequence[Job], out: Path, parallel: int | str, force: bool, view: View) -> Sweep:
    """Run the jobs that are not finished; `view` hears of everything."""
    out = out.expanduser().resolve()
    done = {} if force else {job.name: run for job in jobs if (run := finished_run(out / job.scenario.run_name))}
    left = [job for job in jobs if job.name not in done]
    processes = how_many(left, parallel)
    view.begin(jobs, done, processes)
    try:
        if processes > 1:
            from fedlt.sweeps.workers import side_by_side

            side_by_side(left, processes, out, force, view)
        else:
            _one_after_another(left, out, force, view)
    finally:
        view.close()
    runs = {job.name: finished_run(out / job.scenario.run_name) for job in jobs if job.name not in view.failures}
    failures = {job.name: view.failures[job.name] for job in jobs if job.name in view.failures}
    return Sweep(tuple(run for run in runs.values() if run is not None), failures)


def how_many(jobs: Sequence[Job], parallel: int | str) -> int:
    """Processes to run the jobs in; 1: one after the other. Everything about the jobs is checked on the way.

    `auto`: a run alone on a core wastes nothing, while workers that share a run wait for each other in every round.
    So runs go side by side where they fill the cores, or are too short for several workers to pay. They go one after
    the other where fewer long runs than cores are left, where a GPU computes, and where the scenario names a backend
    of several workers.
    """
    if not jobs:
        return 1
    short = [backend == "inline" for backend in _backends(jobs)]
    named = {job.scenario.resources.backend for job in jobs} & {"processes", "ray", "flower"}
    if isinstance(parallel, int):
        if parallel < 1:
            raise ScenarioError(Problem("--parallel", f"expected auto or a whole number >= 1, got {parallel}"))
        if parallel > 1 and named:
            text = f"runs side by side are inline, but resources.backend={sorted(named)[0]}"
            raise ScenarioError(Problem("--parallel", f"{text}; leave one of them out"))
        return min(parallel, len(jobs))
    from fedlt.assembly import available_cores, pick_device

    cores = available_cores()
    on_gpu = any(pick_device(job.scenario.resources.device).type != "cpu" for job in jobs)
    if named or on_gpu or not (all(short) or len(jobs) >= cores):
        return 1
    return min(cores, len(jobs))


def _backends(jobs: Sequence[Job]) -> list[str]:
    """The backend that each job would have if it ran alone. Loads each partition and builds each model once."""
    from fedlt.data.federation import federate

    federations = {}
    for job in jobs:  # before torch is imported, so that errors in the data are told at once
        key = _data_key(job)
        if key not in federations:
            federations[key] = federate(job.scenario)
    from fedlt.assembly import assemble, pick_device

    found: dict[str, str] = {}
    backends = []
    for job in jobs:
        key = str(replace(job.scenario, seed=0))
        if key not in found:
            federation = federations[_data_key(job)]
            parts = assemble(job.scenario, federation, pick_device("cpu"))
            found[key] = pick_backend(job.scenario, federation, parts)
        backends.append(found[key])
    return backends


def _data_key(job: Job) -> str:
    """Equal for jobs that share data and partition."""
    settings = job.scenario.federation
    return str((job.scenario.data, settings.clients, settings.partition, settings.local_test, settings.empty, job.seed))


def _one_after_another(jobs: Sequence[Job], out: Path, force: bool, view: View) -> None:
    waiting = deque(jobs)
    while waiting:
        with Grids() as grids:  # new workers after a failure, whatever state it left them in
            while waiting and attempt(waiting.popleft(), out, force, view, grids):
                pass


def attempt(job: Job, out: Path, force: bool, view: Listener, grids: Grids) -> bool:
    """Run one job; whether it went well. Ctrl-C goes through."""
    view.started(job)
    try:
        view.ended(job, run_scenario(job.scenario, out, _Heard(view, job), force, job.command, grids))
    except FedLTError as error:
        view.failed(job, str(error))
    except Exception as error:  # one broken run must not end the others
        view.failed(job, f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
    return job.name not in view.failures


class _Heard(Console):
    """The console of one run of a sweep: silent itself, it tells the view."""

    def __init__(self, view: Listener, job: Job) -> None:
        super().__init__(quiet=True)
        self.view, self.job = view, job

    def round(self, number: int, total: int) -> None:
        self.view.round(self.job, number, total)
