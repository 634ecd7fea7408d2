"""What a child process is asked to do, and what it answers."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
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
class Order:
    """What the parent asks a child for. changes: to the workload's fields. options: of the system, beside its own."""

    system: str
    workload: str
    data: Path
    folder: Path
    rounds: int
    changes: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line that `from_json` takes back."""
        return json.dumps(asdict(self), default=str)

    @staticmethod
    def from_json(text: str) -> Order:
        """The order that `to_json` wrote."""
        content = json.loads(text)
        return Order(**{**content, "data": Path(content["data"]), "folder": Path(content["folder"])})


@dataclass(frozen=True)
class Outcome:
    """What a system did.

    finished: time at which each round was over (seconds since the epoch). images, steps: of each round, all clients
    together. weights: the final generic model by tensor name. parts: seconds of each round by what took them, where
    the system tells.
    """

    finished: list[float]
    images: list[int]
    steps: list[int]
    weights: dict[str, NDArray[np.float32]]
    parts: dict[str, list[float]] = field(default_factory=dict)


def steady(outcome: Outcome, warmup: int) -> dict[str, Any]:
    """Figures of the rounds after the warm-up, which ends with the round before them.

    images_per_second, seconds_per_round; window: start and end of the steady state, seconds since the epoch;
    images: trained in it; images_all, steps_all: of all rounds; first_round_at: end of the first round. drift: median
    seconds of the last tenth of these rounds over that of the first tenth. Parts: means, in seconds per round.
    """
    if len(outcome.finished) <= warmup:
        raise ValueError(f"{len(outcome.finished)} rounds leave none after {warmup} rounds of warm-up; use more")
    start, end = outcome.finished[warmup - 1], outcome.finished[-1]
    images, rounds = sum(outcome.images[warmup:]), len(outcome.finished) - warmup
    seconds, tenth = np.diff(outcome.finished[warmup - 1 :]).tolist(), -(-rounds // 10)
    return {
        "images_per_second": images / (end - start),
        "seconds_per_round": (end - start) / rounds,
        "window": [start, end],
        "images": images,
        "images_all": sum(outcome.images),
        "steps_all": sum(outcome.steps),
        "rounds": len(outcome.finished),
        "first_round_at": outcome.finished[0],
        "drift": statistics.median(seconds[-tenth:]) / statistics.median(seconds[:tenth]),
        **{name: statistics.fmean(values[warmup:]) for name, values in outcome.parts.items()},
    }
