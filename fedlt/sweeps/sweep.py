"""Sweeps: all runs of a grid, of which those that are finished are skipped and those that fail do not stop the rest.

    result = sweep("digits_lt", {"strategy": ["local", "fedavg", "fedprox"]}, seeds=range(3))
    print(result.compare(reference="fedavg"))

Runs go side by side, one process with one thread each, or one after the other, each over as many Ray workers as it
asks for; the workers are then kept from run to run. `how_many` holds the rule. Both give equal bits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from fedlt.config.overrides import Override, Sections, as_words
from fedlt.errors import Problem, ScenarioError
from fedlt.process.own_packages import refuse_taken
from fedlt.process.wording import counted
from fedlt.results.runs import Run, finished_run, kept_run
from fedlt.results.trackers import Track, trackers, words
from fedlt.sweeps.attempt import attempt
from fedlt.sweeps.grid import Job, plan
from fedlt.sweeps.grids import Grids
from fedlt.sweeps.run import forget, pick_backend
from fedlt.sweeps.sharing import Shared, share
from fedlt.sweeps.view import Quiet

if TYPE_CHECKING:
    from fedlt.comparing.comparison import Comparison
    from fedlt.data.federation import Federation
    from fedlt.data.provenance import Seen
    from fedlt.sweeps.view import View


@dataclass(frozen=True, repr=False)
class Sweep:
    """What became of a grid, in its order. Whatever takes runs takes a sweep: `plots.draw("clients", result)`.

    Attributes:
        runs: the finished ones.
        failures: job -> what went wrong.
        refused: those of the failures that never began, because their parts do not fit together.
    """

    runs: tuple[Run, ...]
    failures: Mapping[str, str]
    refused: tuple[str, ...] = ()

    def compare(self, reference: str = "", **options: Any) -> list[Comparison]:
        """A comparison of the runs for each setting of data, partition and evaluation.

        Args:
            reference: a row's name; the others then get paired differences.
            options: the others of `compare`.
        """
        from fedlt.comparing.compare import compare_each

        return compare_each(self.runs, reference=reference, **options)

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)

    def __repr__(self) -> str:
        """One line; its runs' would fill pages."""
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"Sweep({counted(len(self.runs), 'run')}{failed})"

    def _repr_markdown_(self) -> str:
        """What a notebook shows: the comparisons, and what failed."""
        from fedlt.comparing.table import render

        failed = "\n".join(f"- {name}: {reason}" for name, reason in self.failures.items())
        tables = render(self.compare(), "markdown") if self.runs else ""
        return "\n\n".join(filter(None, [f"`{self!r}`", tables, failed]))


def sweep(
    scenario: str | Path | dict[str, Any],
    *overrides: Override,
    seeds: Iterable[int] = (),
    out: str | Path = "runs",
    parallel: int | str = "auto",
    force: bool = False,
    track: str | Sequence[str] = (),
    **sections: Unpack[Sections],
) -> Sweep:
    """Run every combination of the overrides' values for every seed, and return what became of them.

    Args:
        overrides: `key=value,value`, as `fedlt.sweeps.grid` reads them, or dictionaries, whose lists are values to
            combine.
        seeds: whole numbers, such as `range(3)`; the scenario's own unless given.
        out: parent of the run folders.
        parallel: runs side by side, or `auto`.
        force: run again what is finished.
        track: names of trackers and callbacks that follow each run, made anew for each (`fedlt.results.trackers`).
        sections: overrides by keyword, `strategy=["fedavg", "fedprox"]`.

    Raises:
        ScenarioError: before any work, where the grid or the data are wrong or no combination can run; a run that
            fails, or cannot run beside others that can, is found in the result.
    """
    if isinstance(seeds, str | int):
        raise ScenarioError(Problem("seeds", f"expected several whole numbers, such as range(3), got {seeds!r}"))
    jobs = followed(plan(scenario, as_words([*overrides, sections], several=True), list(seeds)), track)
    return run_jobs(jobs, Path(out), parallel, force, Quiet())


def followed(jobs: Iterable[Job], track: Track) -> list[Job]:
    """The jobs, each followed by trackers of its own.

    Raises:
        ScenarioError: for what is none, and for objects.
    """
    asked = words(track)
    names = tuple(word for word in asked if isinstance(word, str))
    if len(names) < len(asked):
        message = "a sweep makes a callback anew for each of its runs; name its class: './mine.py:Mine'"
        raise ScenarioError(Problem("track", message))
    trackers(names)
    return [replace(job, track=names) for job in jobs]


def run_jobs(jobs: Sequence[Job], out: Path, parallel: int | str, force: bool, view: View) -> Sweep:
    """Run the jobs that are not finished.

    Args:
        jobs: of a grid, each with a name of its own.
        out: folder of runs.
        parallel: runs side by side; `auto`: see `how_many`.
        force: run those that are finished, too.
        view: hears of everything.

    Raises:
        ValueError: for jobs of one name: by their names they are told apart.
        ScenarioError: where none of them fits.
    """
    refuse_taken("server", "clients")
    names = [job.name for job in jobs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"several jobs are called {', '.join(sorted(twice))}; give each a label of its own")
    out = out.expanduser().resolve()
    done = {} if force else _finished(jobs, out)
    backends, refused = check([job for job in jobs if job.name not in done])
    if refused and len(refused) == len(jobs):
        raise _nothing_fits(jobs, refused)
    told = {name: "; ".join(map(str, error.problems)) for name, error in refused.items()}

    left = [job for job in jobs if job.name in backends]
    processes = how_many(left, parallel, backends)
    shared = share(left)
    view.begin(jobs, done, processes, told, shared.leaders)
    try:
        if processes > 1:
            from fedlt.sweeps.workers import side_by_side

            side_by_side(shared, processes, out, force, view)
        else:
            _one_after_another(shared, out, force, view)
        forget((job.scenario for job in jobs), out)
    finally:
        view.close()
    wrong = told | view.failures
    runs = (finished_run(out / job.scenario.run_name) for job in jobs if job.name not in wrong)
    failures = {job.name: wrong[job.name] for job in jobs if job.name in wrong}
    return Sweep(tuple(run for run in runs if run is not None), failures, tuple(told))


def _finished(jobs: Sequence[Job], out: Path) -> dict[str, Run]:
    """The runs that are there, by the jobs' names.

    Raises:
        ScenarioError: where files changed since: what is to come would not be comparable.
    """
    runs: dict[str, Run | None] = {}
    problems: dict[Problem, None] = {}
    seen: Seen = {}
    for job in jobs:
        try:
            runs[job.name] = kept_run(out, job.scenario, seen=seen)
        except ScenarioError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise ScenarioError(list(problems), source="the sweep")
    return {name: run for name, run in runs.items() if run is not None}


def check(jobs: Sequence[Job]) -> tuple[dict[str, str], dict[str, ScenarioError]]:
    """By the jobs' names, the backend that each would have if it ran alone, and why the others cannot run.

    Loads each partition and builds each model once.

    Raises:
        ScenarioError: where the data are wrong.
    """
    from fedlt.data.federation import federate

    federations = {}
    for job in jobs:  # before torch is imported, so that errors in the data are told at once
        key = _data_key(job)
        if key not in federations:
            federations[key] = federate(job.scenario)

    # Whether the parts fit does not depend on the seed, and may take a while to find out.
    found: dict[str, str | ScenarioError] = {}
    for job in jobs:
        key = str(replace(job.scenario, seed=0))
        if key not in found:
            found[key] = _backend(job, federations[_data_key(job)])

    results = {job.name: found[str(replace(job.scenario, seed=0))] for job in jobs}
    backends = {name: result for name, result in results.items() if isinstance(result, str)}
    refused = {name: result for name, result in results.items() if isinstance(result, ScenarioError)}
    return backends, refused


def _backend(job: Job, federation: Federation) -> str | ScenarioError:
    """The job's backend if it ran alone, or why it cannot run."""
    from fedlt.training.assembly import assemble, pick_device

    try:
        return pick_backend(job.scenario, federation, assemble(job.scenario, federation, pick_device("cpu")))
    except ScenarioError as error:
        return error


def _nothing_fits(jobs: Sequence[Job], refused: Mapping[str, ScenarioError]) -> ScenarioError:
    """The problems of all jobs; those that not all have, with the labels of the jobs that have them."""
    labels: dict[Problem, dict[str, None]] = {}
    for job in jobs:
        for problem in refused[job.name].problems:
            labels.setdefault(problem, {})[job.label] = None

    everywhere = len({job.label for job in jobs})
    problems = [
        problem if len(held) == everywhere else Problem("", f"{', '.join(held)}: {problem}")
        for problem, held in labels.items()
    ]
    return ScenarioError(problems, source="the grid")


def how_many(jobs: Sequence[Job], parallel: int | str, backends: Mapping[str, str]) -> int:
    """Processes to run the jobs in; 1: one after the other.

    `auto`: a run alone on a core wastes nothing, while workers that share a run wait for each other in every round.
    So runs go side by side where they fill the cores, or are too short for several workers to pay. They go one after
    the other where fewer long runs than cores are left, where a GPU computes, and where the scenario names a backend
    of several workers.

    Args:
        jobs: that are left to run.
        parallel: a number, or `auto`.
        backends: as `check` finds them.
    """
    if not jobs:
        return 1
    short = [backends[job.name] == "inline" for job in jobs]
    named = {job.scenario.resources.backend for job in jobs} & {"processes", "ray", "flower"}
    if isinstance(parallel, int):
        if parallel < 1:
            raise ScenarioError(Problem("--parallel", f"expected auto or a whole number >= 1, got {parallel}"))
        if parallel > 1 and named:
            text = f"runs side by side are inline, but resources.backend={sorted(named)[0]}"
            raise ScenarioError(Problem("--parallel", f"{text}; leave one of them out"))
        return min(parallel, len(jobs))
    from fedlt.process.cores import available_cores
    from fedlt.training.assembly import pick_device

    cores = available_cores()
    on_gpu = any(pick_device(job.scenario.resources.device).type != "cpu" for job in jobs)
    if named or on_gpu or not (all(short) or len(jobs) >= cores):
        return 1
    return min(cores, len(jobs))


def _data_key(job: Job) -> str:
    """Equal for jobs that share data and partition."""
    settings = job.scenario.federation
    return str((job.scenario.data, settings.clients, settings.partition, settings.local_test, settings.empty, job.seed))


def _one_after_another(shared: Shared, out: Path, force: bool, view: View) -> None:
    """Run the jobs in this process."""
    waiting = deque(shared.jobs)
    while waiting:
        with Grids() as grids:  # new workers after a failure, whatever state it left them in
            while waiting and attempt(job := waiting.popleft(), out, force, view, grids, job.name in shared.leaders):
                pass
