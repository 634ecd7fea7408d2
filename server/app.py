"""The Flower ServerApp: `server.app:app`. It runs one scenario over whatever grid it is given, into a run folder."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedlt.assembly import Assembly, assemble
from fedlt.console import Console
from fedlt.data.federation import Federation, federate
from fedlt.evaluation import Evaluation
from fedlt.record import RunWriter
from fedlt.results import Run, finished_run, open_run
from fedlt.scenario import Scenario, load
from fedlt.trackers import Followed, trackers
from server.artifacts import model_hash, save_models
from server.rounds import Rounds

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Entry under Flower's own runtime. Run-config keys: scenario, overrides (separated by spaces), out, cwd, force."""
    config = context.run_config
    os.chdir(str(config["cwd"]) or ".")
    scenario = load(str(config["scenario"]), str(config["overrides"]).split())
    out = Path(str(config["out"]) or "runs").resolve()
    console = Console()
    done = None if config["force"] else finished_run(out / scenario.run_name)
    if done is None:
        command = f"flwr run . (scenario {scenario.name})"
        done = serve(grid, scenario, federate(scenario), out, console, command, str(config["track"]).split())
    console.finished(done)


def serve(
    grid: Grid,
    scenario: Scenario,
    federation: Federation,
    out: Path,
    console: Console,
    command: str,
    track: Sequence[str] = (),
) -> Run:
    """Run the scenario and return its run. A failed run's folder is kept, with status `failed`. track: names of
    trackers that follow it."""
    started = time.perf_counter()
    parts = assemble(scenario, federation, torch.device("cpu"))
    followed = Followed(trackers(track), scenario.to_dict())
    meta = _meta(scenario, federation, grid, command, parts)
    writer = RunWriter(out / scenario.run_name, scenario.to_yaml(), meta, followed)
    total = scenario.federation.rounds

    def on_round(row: dict[str, Any]) -> None:
        writer.round(row)
        console.round(row["round"], total)

    def on_evaluation(found: Evaluation) -> None:
        console.evaluation(found.round, total, writer.evaluation(found), writer)

    rounds = Rounds(grid, scenario, federation, parts, on_round, on_evaluation)
    writer.start()
    try:
        writer.partition(federation)
        console.start(scenario, federation)
        progress = rounds.run()
        save_models(progress, writer.folder)
        timings = {"total_seconds": time.perf_counter() - started}
        writer.finish(model_hash=model_hash(progress), timings=timings)
    except BaseException as error:
        writer.fail(error)
        raise
    return open_run(writer.folder)


def _meta(scenario: Scenario, federation: Federation, grid: Grid, command: str, parts: Assembly) -> dict[str, Any]:
    return {
        "scenario": scenario.name,
        "strategy": scenario.strategy.name,
        "needs": list(parts.strategy.needs),
        "learner": scenario.learner.name,
        "model": scenario.model.name,
        "parameters": sum(parameter.numel() for parameter in parts.model.parameters()),
        "seed": scenario.seed,
        "numerics": scenario.numerics,
        "command": command,
        "grid": type(grid).__name__,
        "scenario_hash": scenario.hash,
        "partition_hash": federation.digest(),
    }
