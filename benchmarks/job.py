"""What a child process is asked to do, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.workloads import Workload


@dataclass(frozen=True)
class Job:
    """One run of one system. data: the .npz file of the workload. folder: an empty one for whatever it writes."""

    workload: Workload
    data: Path
    folder: Path
    rounds: int


@dataclass(frozen=True)
class Outcome:
    """What a system did.

    finished: time at which each round was over (seconds since the epoch). images, steps: of each round, all clients
    together. weights: the final generic model by tensor name.
    """

    finished: list[float]
    images: list[int]
    steps: list[int]
    weights: dict[str, NDArray[np.float32]]


def steady(outcome: Outcome, warmup: int) -> dict[str, Any]:
    """Figures of the rounds after the warm-up, which ends with the round before them.

    images_per_second, seconds_per_round; window: start and end of the steady state, seconds since the epoch;
    images: trained in it; images_all, steps_all: of all rounds; first_round_at: end of the first round.
    """
    if len(outcome.finished) <= warmup:
        raise ValueError(f"{len(outcome.finished)} rounds leave none after {warmup} rounds of warm-up; use more")
    start, end = outcome.finished[warmup - 1], outcome.finished[-1]
    images, rounds = sum(outcome.images[warmup:]), len(outcome.finished) - warmup
    return {
        "images_per_second": images / (end - start),
        "seconds_per_round": (end - start) / rounds,
        "window": [start, end],
        "images": images,
        "images_all": sum(outcome.images),
        "steps_all": sum(outcome.steps),
        "rounds": len(outcome.finished),
        "first_round_at": outcome.finished[0],
    }
