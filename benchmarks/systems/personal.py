"""The price of testing every client's personal model in every round: without it, with it, and without the cache."""

from __future__ import annotations

from pathlib import Path

from benchmarks.job import Job, Outcome
from benchmarks.systems import fedlt_run

STRATEGY = Path(__file__).parents[1] / "personal_strategy.py"


def run(job: Job, evaluated: bool, cached: bool = True) -> Outcome:
    """FedLT on Ray with private heads; evaluated: all models after every round, and so inside the timed rounds."""
    strategy = {"name": f"{STRATEGY}:PrivateHead", "cached": cached}
    return fedlt_run.run(job, backend="ray", strategy=strategy, every=1 if evaluated else None)
