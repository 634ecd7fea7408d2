"""The facade: run a scenario from Python. Flower and Ray are reached from here, by late imports."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from fedlt.comparing.own_names import checked_name
from fedlt.config.overrides import Override, Sections, as_words
from fedlt.config.scenario import Scenario, load_scenario
from fedlt.errors import Problem, ScenarioError
from fedlt.process.own_packages import refuse_taken
from fedlt.results.console import Console
from fedlt.results.runs import Run, kept_run, open_run
from fedlt.results.trackers import Track, checked, trackers, words
from fedlt.sweeps.grids import IMPORTS, Grids, worker_count

if TYPE_CHECKING:
    from fedlt.callback import Callback
    from fedlt.data.federation import Federation
    from fedlt.training.assembly import Assembly

PROCESSES_PAY_FROM = 1e11  # multiply-adds of a run (some three seconds of one core); below, one process is as quick


def run(
    scenario: str | Path | dict[str, Any] | Scenario,
    *overrides: Override,
    out: str | Path = "runs",
    backend: str | None = None,
    workers: int | str | None = None,
    force: bool = False,
    resume_from: int | None = None,
    quiet: bool = True,
    track: Track = (),
    callbacks: Callback | Sequence[Callback] = (),
    name: str = "",
    **sections: Unpack[Sections],
) -> Run:
    """Run a scenario and return its run. What was stopped goes on from its last checkpoint.

    Args:
        scenario: a name, a path, a dictionary, or a checked scenario.
        overrides: `key=value`, `~key`, or dictionaries of keys and values.
        out: parent of the run folder.
        backend, workers: as in `resources`.
        force: start over, also what is finished or was made of files that have changed since.
        resume_from: go on from the checkpoint of this round, not from the last one.
        track: what follows the run: names of trackers (`tensorboard`, `./mine.py:Mine`) and callbacks, one or several.
        callbacks: what listens to the run and may stop it (`fedlt.callback`).
        name: what the method is called in tables, pictures and reports; kept with the run, and of no other effect.
        sections: overrides by keyword, `strategy="fedprox", local={"lr": 0.1}`.

    Raises:
        ScenarioError: before any work.
        ClientError: where a client fails.
        Interrupted: after a signal; it is a KeyboardInterrupt.
    """
    if "seeds" in sections:
        raise ScenarioError(Problem("seeds", "a run has one, seed=0; fedlt.sweep(..., seeds=range(3)) takes several"))

    chosen = _with_resources(as_words([*overrides, sections]), backend, workers)
    checked = load_scenario(scenario.to_dict() if isinstance(scenario, Scenario) else scenario, chosen)
    if isinstance(scenario, Scenario):
        checked = replace(checked, name=scenario.name)

    with Grids() as grids:
        command = f"fedlt.run({checked.name!r})"

        # The call that goes on with the run, for the line that tells of an interruption.
        options = [] if Path(out) == Path("runs") else ["--out", str(out)]
        repeated = [str(scenario), *chosen, *options] if isinstance(scenario, str | Path) else []
        console = Console(quiet, words=repeated)

        return run_scenario(checked, Path(out), console, force, command, grids, track, resume_from, callbacks, name)


def join(run: str | Path | Run, rounds: int = 1, epochs: int = 1) -> dict[str, float]:
    """What a finished run is worth to the clients that it held out (`federation.held_out`), by metric.

    `clients.join` tells the four ways to join, whose names open those of the metrics: `trained/accuracy`,
    `trained_masked[phi]/few`. Kept as `join.json` in the run folder.

    Args:
        rounds: of the strategy's own local work.
        epochs: of fine-tuning a head.
    """
    refuse_taken("server", "clients")
    from clients.join import join as join_run
    from fedlt.results.tables import write_json

    opened = run if isinstance(run, Run) else open_run(run)
    metrics = join_run(opened, rounds, epochs)
    write_json(opened.folder / "join.json", {"rounds": rounds, "epochs": epochs, "metrics": metrics})
    return metrics


def run_scenario(
    scenario: Scenario,
    out: Path,
    console: Console,
    force: bool,
    command: str,
    grids: Grids,
    track: Track = (),
    resume_from: int | None = None,
    callbacks: Callback | Sequence[Callback] = (),
    name: str = "",
    keep: bool = False,
    share: bool | None = None,
) -> Run:
    """Run a checked scenario, go on with what was stopped, or return the finished run of it.

    Args:
        scenario: checked.
        out: folder of runs; the run's own is in it.
        console: says how far it is.
        force: start over, whatever there is.
        command: kept in the run's folder.
        grids: gives the workers; whoever made it closes it.
        track: names or objects of trackers.
        resume_from: the round whose checkpoint to go on from; None: the last one.
        callbacks: objects that hear of rounds and evaluations.
        name: the run's from now on; the one that it has already unless given.
        keep: keep what it trains for others, whatever the scenario says.
        share: take what another has trained; it does unless it starts over.

    Raises:
        ScenarioError: for what does not fit together, before anything starts.
    """
    name = checked_name(name) if name else ""
    if force and resume_from is not None:
        raise ScenarioError(Problem("--resume-from", "goes on with a run, and --force starts over; choose one"))
    refuse_taken("server", "clients")
    asked = words(track)
    names = [word for word in asked if isinstance(word, str)]
    own = [*trackers(asked), *(checked("callbacks", callback) for callback in words(callbacks))]
    if scenario.resources.backend == "flower" and (callbacks or len(names) < len(asked)):
        message = "backend=flower runs in a process of its own, which no object reaches"
        raise ScenarioError(Problem("callbacks", f"{message}; name a class of a file, track=['./mine.py:Mine']"))

    out = out.expanduser().resolve()
    done = None if force else kept_run(out, scenario, console.note)
    if done is not None:
        if own:
            console.note("its trackers and callbacks hear nothing, as the run is finished; --force runs it again")
        done.rename(name)
        console.finished(done, already=True)
        return done
    _check_writable(out)
    from fedlt.data.federation import federate

    federation = federate(scenario)  # before torch is imported, so that errors in the data are told at once
    if scenario.resources.backend == "ray":
        grids.start_ray(scenario)
    from fedlt.training.assembly import assemble, pick_device, try_own_model

    parts = assemble(scenario, federation, pick_device("cpu"))  # what does not fit is found before anything starts
    try_own_model(scenario, federation, parts)
    backend = pick_backend(scenario, federation, parts)
    try:
        if backend == "flower":
            from server.grids.flower_runtime import run_under_flower

            # The ServerApp prints the table there.
            result = run_under_flower(scenario, out, not console.quiet, names, force, resume_from)
            result.rename(name)
        else:
            with IMPORTS:
                from server.app import serve

            grid = grids.get(backend, scenario, federation)
            keeps, shared = keep or scenario.resources.keep, not force if share is None else share
            result = serve(
                grid, scenario, federation, out, console, command, own, force, resume_from, name, keeps, shared
            )
            console.finished(result)
    finally:
        console.close()
    if backend == "flower":
        console.path(result)
    return result


def forget(scenarios: Iterable[Scenario], out: Path) -> None:
    """Delete what runs in `out` kept of their training for each other only, in a sweep that is over or was killed."""
    from server.state import training

    for scenario in scenarios:
        if not scenario.resources.keep:
            training.forget(out / scenario.run_name)


def pick_backend(scenario: Scenario, federation: Federation, parts: Assembly) -> str:
    """The backend that `auto` stands for: this process for short runs and for a single worker, Ray for GPUs and where
    there is a cluster, else processes.

    Args:
        scenario: whose `resources.backend` is asked for.
        federation: says how much there is to compute.
        parts: of the run; the model's arithmetic is counted.

    Raises:
        ScenarioError: where the chosen one does not fit.
    """
    from fedlt.nn.cost import multiply_adds
    from fedlt.training.assembly import pick_device

    chosen = scenario.resources.backend
    if chosen in ("inline", "ray", "flower"):
        return chosen

    from server.grids.process_grid import available

    if chosen != "auto":
        if not available() or pick_device(scenario.resources.device).type != "cpu":
            message = "processes are forked, on Linux and without a GPU (resources.device=cpu); take ray"
            raise ScenarioError(Problem("resources.backend", message))
        return chosen
    if worker_count(scenario) == 1 or parts.strategy.scope == "centralized":
        return "inline"
    settings = scenario.federation
    local, clients = scenario.local, len(federation.clients)
    each = len(federation.clients.values) * local.epochs
    if local.steps is not None:
        each = clients * local.steps * local.batch_size
    samples = each * settings.participation * settings.rounds
    arithmetic = 3 * samples * multiply_adds(parts.model, parts.task.inputs)  # backward is two forward passes
    if arithmetic < PROCESSES_PAY_FROM:
        return "inline"
    alone = "RAY_ADDRESS" not in os.environ and pick_device(scenario.resources.device).type == "cpu"
    return "processes" if alone and available() else "ray"


def _with_resources(overrides: Iterable[str], backend: str | None, workers: int | str | None) -> list[str]:
    """Overrides plus the two that have options of their own."""
    chosen = [*overrides]
    if backend is not None:
        chosen.append(f"resources.backend={backend}")
    if workers is not None:
        chosen.append(f"resources.workers={workers}")
    return chosen


def _check_writable(out: Path) -> None:
    existing = next(path for path in (out, *out.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ScenarioError(Problem("--out", f"cannot write to {out}; give another folder"))
