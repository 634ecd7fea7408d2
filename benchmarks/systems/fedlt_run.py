"""FedLT through its public API. Times come from the run folder, so that nothing is added to what is timed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.job import Job, Outcome
from benchmarks.workloads import Workload

PARTS = ("workers", "train_seconds", "evaluate_seconds", "move_seconds", "exchange_seconds", "aggregate_seconds")


def run(
    job: Job,
    backend: str,
    precision: str = "float32",
    channels_last: bool | None = None,
    strategy: Any = "fedavg",
    every: int | None = None,
    evaluated: int | None = None,
    workers: int | str = "auto",
) -> Outcome:
    """Run the workload's scenario. channels_last: None leaves the choice to FedLT. every: evaluates after so many
    rounds; None only after the last, which is not timed. evaluated: personal models that are tested; None: all.
    """
    import fedlt

    os.environ["FEDLT_CACHE"] = str(job.data.parent / "cache")
    content = scenario(job.workload, job.data, job.rounds, every or job.rounds + 1)
    content["strategy"] = strategy
    content["evaluation"]["clients"] = evaluated
    content["resources"] = {"backend": backend, "precision": precision, "workers": workers}
    if channels_last is not None:
        content["model"]["channels_last"] = channels_last
    done = fedlt.run(content, out=job.folder, force=True)
    rows = done.rounds
    from safetensors.numpy import load_file

    return Outcome(
        finished=rows["ended"].tolist(),
        images=rows["samples"].tolist(),
        steps=rows["steps"].tolist(),
        weights=load_file(done.folder / "model.safetensors"),
        parts={name: rows[name].tolist() for name in PARTS},
    )


def scenario(workload: Workload, data: Path, rounds: int, every: int) -> dict[str, Any]:
    """The workload as a FedLT scenario, the clients given by the data's column `client`."""
    return {
        "data": {"name": str(data), "group_columns": ["client"]},
        # Clients, blocks and cohorts as the other systems are given them.
        "federation": {
            "clients": None,
            "participation": workload.cohort / workload.clients,
            "rounds": rounds,
            "partition": {"name": "natural", "column": "client"},
            "block": workload.block,
        },
        "local": {
            "epochs": workload.epochs,
            "batch_size": workload.batch_size,
            "lr": workload.lr,
            "momentum": workload.momentum,
        },
        "model": dict(workload.model),
        "evaluation": {"every": every},
        "seed": workload.seed,
    }
