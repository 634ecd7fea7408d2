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

from fedlt.config.declarations import BEYOND_MODEL
from fedlt.config.scenario import Scenario, load
from fedlt.data.federation import Federation, federate
from fedlt.measures.evaluation import Evaluation
from fedlt.results.console import Console
from fedlt.results.record import RunWriter
from fedlt.results.run_warnings import run_warnings
from fedlt.results.runs import Run, kept_run, open_run
from fedlt.results.trackers import Followed, trackers
from fedlt.training.assembly import Assembly, assemble, cohort_size
from server.grids.local import LocalGrid
from server.rounds.loop import Rounds
from server.rounds.stopping import Patience
from server.state import durable
from server.state.artifacts import model_hash, save_models
from server.state.checkpoint import Checkpoints
from server.state.keeper import Keeper, check_space
from server.state.lengthen import find_shorter
from server.state.states import StateStore

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Entry under Flower's own runtime. Run-config keys: scenario, overrides (separated by spaces), out, cwd, force,
    resume (a round; 0: the last one kept)."""
    config = context.run_config
    os.chdir(str(config["cwd"]) or ".")
    base = Path.cwd() if config["cwd"] else None  # `fedlt run` gives a copy of its scenario that lies elsewhere
    scenario = load(str(config["scenario"]), str(config["overrides"]).split(), base)
    out = Path(str(config["out"]) or "runs").resolve()
    console = Console()
    force, resume_from = bool(config["force"]), int(config["resume"]) or None
    done = None if force else kept_run(out, scenario, console.note)
    if done is None:
        command = f"flwr run . (scenario {scenario.name})"
        track = str(config["track"]).split()
        done = serve(grid, scenario, federate(scenario), out, console, command, track, force, resume_from)
    console.finished(done)


def serve(
    grid: Grid,
    scenario: Scenario,
    federation: Federation,
    out: Path,
    console: Console,
    command: str,
    track: Sequence[str] = (),
    force: bool = False,
    resume_from: int | None = None,
) -> Run:
    """Run the scenario, or go on from its last checkpoint, and return its run. A failed run's folder is kept.

    track: names of trackers that follow it. force: start over. resume_from: the round whose checkpoint to go on from.
    Raises `Interrupted` after a signal.
    """
    parts = assemble(scenario, federation, torch.device("cpu"))
    remarks = [*parts.remarks(), *parts.strategy.remarks(cohort_size(scenario, len(federation.clients)))]
    if untested := federation.untested_text():
        remarks.append(untested)
    folder = out / scenario.run_name
    check_space(folder, parts, len(federation.clients))
    followed = Followed(trackers(track), scenario.to_dict())
    writer = RunWriter(folder, scenario.to_yaml(), _meta(scenario, federation, grid, command, parts), followed)
    total = scenario.federation.rounds

    def on_round(row: dict[str, Any]) -> None:
        writer.round(row)
        console.round(row["round"], total)

    warnings: list[str] = []

    def on_evaluation(found: Evaluation) -> bool:
        if patience.active:
            if patience.hear(found):
                keeper.keep(rounds.progress)
            writer.summary["early_stopping"] = patience.state
        console.evaluation(found.round, total, writer.evaluation(found), writer)
        ends = patience.exhausted
        if ends or found.round == total:
            last_stage = list(parts.learner.stages())[-1].share
            names, lr = federation.class_names, scenario.local.lr
            warnings.extend(run_warnings(found, names, writer.losses(), lr, last_stage))
        return ends

    patience = Patience(scenario, federation)
    states = StateStore(folder / "checkpoints" / "states")
    rounds = Rounds(grid, scenario, federation, parts, states, on_round, on_evaluation, writer.log)
    checkpoints = Checkpoints(folder, scenario, federation.digest(), federation.made_of)
    end = None if patience.active else total
    keeper = Keeper(checkpoints, writer, scenario.resources.checkpoint, console.note, end)
    rounds.on_reply = keeper.interrupts.beat
    with keeper.recording():
        durable.make(folder)
        with durable.exclusive(folder), keeper.interrupts.caught(), closing(states):
            keeper.begin(rounds.progress, force, resume_from, find_shorter(folder, scenario))
            patience.state = writer.summary.get("early_stopping", {})
            writer.partition(federation)
            console.start(scenario, federation, rounds.progress.round)
            for line in remarks:
                console.note(line)
                writer.log(line)
            progress = rounds.run(lambda: keeper.after_round(rounds.progress))
            keeper.ended(progress)
            if patience.active:
                keeper.back_to(patience.state["round"], progress)
                writer.keep(patience.state["round"])
                console.note(patience.text(total))
            save_models(progress, folder)
            replaced = grid.replaced if isinstance(grid, LocalGrid) else 0
            timings = {"total_seconds": keeper.seconds}
            ends: dict[str, Any] = {"timings": timings, "workers_replaced": replaced, "warnings": warnings}
            writer.finish(model_hash=model_hash(progress, parts.strategy), **ends)
    return open_run(folder)


def _meta(scenario: Scenario, federation: Federation, grid: Grid, command: str, parts: Assembly) -> dict[str, Any]:
    needs = *parts.strategy.needs, *parts.learner.needs
    return {
        "scenario": scenario.name,
        "strategy": scenario.strategy.name,
        "needs": [need for need in dict.fromkeys(needs) if need in BEYOND_MODEL],
        "learner": scenario.learner.name,
        "model": scenario.model.name,
        "parameters": sum(parameter.numel() for parameter in parts.model.parameters()),
        "seed": scenario.seed,
        "numerics": scenario.numerics,
        "command": command,
        "grid": type(grid).__name__,
        "scenario_hash": scenario.hash,
        "partition_hash": federation.digest(),
        "inputs": federation.made_of,
        "attackers": list(parts.chain.untested),
    }
