"""What a child process is asked to do, and what it answers."""

from __future__ import annotations

import json
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
class Told:
    """What a child tells of a run.

    finished: time at which each round was over (seconds since the epoch). images, steps: of each round, all clients
    together. moved: distance between the initial and the final weights. parts: seconds of each round by what took
    them, where the system tells.
    """

    finished: list[float]
    images: list[int]
    steps: list[int]
    moved: float
    parts: dict[str, list[float]]


@dataclass(frozen=True)
class Outcome:
    """What a system did: as `Told`, and weights: the final generic model by tensor name."""

    finished: list[float]
    images: list[int]
    steps: list[int]
    weights: dict[str, NDArray[np.float32]]
    parts: dict[str, list[float]] = field(default_factory=dict)
