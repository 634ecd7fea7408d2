"""The Flower ServerApp: `server.app:app`. It runs one scenario over whatever grid it is given, into a run folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedlt.callback import Callback, RunState
from fedlt.config.declarations import BEYOND_MODEL
from fedlt.config.scenario import Scenario, load_scenario
from fedlt.data.federation import Federation, federate
from fedlt.process.memory import give_back
from fedlt.results.console import Console
from fedlt.results.kept_code import keep_code
from fedlt.results.record import RunWriter
from fedlt.results.recorded import write_description
from fedlt.results.run_warnings import LastLook
from fedlt.results.runs import Run, kept_run, open_run
from fedlt.results.trackers import Tracker, trackers
from fedlt.training.assembly import Assembly, assemble
from fedlt.training.initial import Initial
from fedlt.training.sameness import training_hash
from server.grids.local import LocalGrid
from server.rounds.hooks import Hooks
from server.rounds.loop import Rounds
from server.rounds.remarks import remarks_of
from server.rounds.replay import replay
from server.rounds.stopping import Patience
from server.state import durable, training
from server.state.artifacts import model_hash, save_models
from server.state.checkpoint import Checkpoints
from server.state.keeper import Keeper, check_space
from server.state.lengthen import find_shorter
from server.state.states import StateStore

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Entry under Flower's own runtime.

    Run-config keys: scenario, overrides (separated by spaces), out, cwd, force, resume (a round; 0: the last one kept).
    """
    config = context.run_config
    os.chdir(str(config["cwd"]) or ".")
    base = Path.cwd() if config["cwd"] else None  # `fedlt run` gives a copy of its scenario that lies elsewhere
    scenario = load_scenario(str(config["scenario"]), str(config["overrides"]).split(), base=base)
    out = Path(str(config["out"]) or "runs").resolve()
    console = Console()
    force, resume_from = bool(config["force"]), int(config["resume"]) or None
    done = None if force else kept_run(out, scenario, console.note)
    if done is None:
        command = f"flwr run . (scenario {scenario.name})"
        callbacks = trackers(str(config["track"]))
        done = serve(grid, scenario, federate(scenario), out, console, command, callbacks, force, resume_from)
    console.finished(done)


def serve(
    grid: Grid,
    scenario: Scenario,
    federation: Federation,
    out: Path,
    console: Console,
    command: str,
    callbacks: Sequence[Callback] = (),
    force: bool = False,
    resume_from: int | None = None,
    name: str = "",
    keep: bool = False,
    share: bool = True,
) -> Run:
    """Run the scenario, or go on from its last checkpoint, and return its run. A failed run's folder is kept.

    Raises `Interrupted` after a signal.

    Args:
        callbacks: the user's own, and trackers.
        force: start over.
        resume_from: the round whose checkpoint to go on from.
        name: what the run's method is called; what it was called before, unless given.
        keep: keep the models of all evaluations, for runs that train the same.
        share: take those of such a run, if there is one.
    """
    parts = assemble(scenario, federation, torch.device("cpu"))
    remarks = remarks_of(scenario, federation, parts)
    tested = federation.test_share_text(scenario.data.test_share)
    remarks += [text for text in (tested, federation.untested_text()) if text]
    folder = out / scenario.run_name
    check_space(folder, parts, len(federation.clients))

    meta = _meta(scenario, federation, grid, command, parts)
    if name := name or _name_so_far(folder):
        meta["name"] = name
    writer = RunWriter(folder, scenario.to_yaml(), meta)
    hooks = Hooks(RunState(folder, scenario, federation, remarks, writer.log), callbacks)
    trained = training_hash(scenario, parts.strategy, parts.learner)
    writer.summary["training_hash"] = trained
    # What may end the run early is told of models that nobody has kept.
    shareable = scenario.evaluation.patience is None and all(isinstance(each, Tracker) for each in callbacks)
    taken = None
    if share and shareable and resume_from is None:
        taken = training.find(out, trained, scenario, federation)
    keeps = training.evaluated(scenario) if keep and shareable and taken is None else ()
    checkpoints = Checkpoints(folder, scenario, federation.digest(), federation.made_of, keeps)
    end = None if scenario.evaluation.patience is not None else scenario.federation.rounds
    keeper = Keeper(checkpoints, writer, scenario.resources.checkpoint, console.note, end, hooks, taken is None)
    patience = Patience(scenario, federation, keeper)
    look = LastLook(writer, list(parts.learner.stages())[-1].share)
    hooks.first = [*([patience] if patience.active else []), writer, console]
    hooks.last = [look, keeper]

    def noted(line: str) -> None:
        console.note(line)
        writer.log(line)

    states = StateStore(folder / "checkpoints" / "states")
    rounds = Rounds(grid, scenario, federation, parts, states, hooks.round, hooks.evaluation, writer.log)
    rounds.failures.note = noted
    rounds.on_reply, rounds.stopped = keeper.interrupts.beat, hooks.stopped
    replaced_before = _replaced(grid)  # by earlier runs on the same workers
    with hooks.ending(), keeper.recording():
        durable.make(folder)
        with durable.exclusive(folder), keeper.interrupts.caught(), closing(states):
            keeper.begin(rounds.progress, force, resume_from, find_shorter(folder, scenario))
            keep_code(scenario, folder)
            hooks.start(rounds.progress.round)
            give_back()  # what it took to deal the data, of which no round needs anything
            if taken is not None:
                writer.summary["trained_by"] = taken.folder.name
                console.note(f"{taken.folder.name} has trained the same model: its rounds are taken, and tested anew")
            progress = rounds.run() if taken is None else replay(rounds, taken)
            kept_end = keeper.ended(progress)

            if patience.active:
                reached = progress.round
                keeper.back_to(patience.state["round"], progress)
                writer.keep(patience.state["round"])
                console.note(patience.text(reached))
            save_models(progress, folder)
            write_description(folder, federation)

            replaced = _replaced(grid) - replaced_before
            timings = {"total_seconds": keeper.seconds}
            ends: dict[str, Any] = {"timings": timings, "workers_replaced": replaced, "warnings": look.warnings}
            if (stopped := hooks.early_stop()) is not None:
                ends["stopped"] = stopped
            writer.finish(model_hash=model_hash(progress, parts.strategy), **ends)
            if keeps:
                training.note(folder, trained, scenario, federation, kept_end)
    return open_run(folder)


def _replaced(grid: Grid) -> int:
    """Workers that were lost and replaced since the grid was made, as far as it knows its workers."""
    return grid.replaced if isinstance(grid, LocalGrid) else 0


def _name_so_far(folder: Path) -> str:
    """What the run in this folder, if there is one, was called by its user."""
    return open_run(folder).name if (folder / "run.json").is_file() else ""


def _begun(initial: Initial) -> dict[str, Any]:
    """What `run.json` keeps of the weights that the model began with; the digest of their file is among the inputs."""
    return {"source": initial.source, "taken": len(initial.taken) - len(initial.anew), "anew": initial.anew}


def _meta(scenario: Scenario, federation: Federation, grid: Grid, command: str, parts: Assembly) -> dict[str, Any]:
    """What `run.json` says of a run before its first round."""
    needs = *parts.strategy.needs, *parts.learner.needs, *parts.selection.needs

    return {
        "scenario": scenario.name,
        "strategy": scenario.strategy.name,
        "needs": [need for need in dict.fromkeys(needs) if need in BEYOND_MODEL],
        "learner": scenario.learner.name,
        "model": scenario.model.name,
        "targets": federation.kind,
        "single_label": parts.task.target.one_label,
        "parameters": sum(parameter.numel() for parameter in parts.model.parameters()),
        "seed": scenario.seed,
        "numerics": scenario.numerics,
        "command": command,
        "grid": type(grid).__name__,
        "scenario_hash": scenario.hash,
        "partition_hash": federation.digest(),
        "inputs": federation.made_of,
        "attackers": list(parts.chain.untested),
        **({"init_from": _begun(parts.initial)} if parts.initial is not None else {}),
    }
