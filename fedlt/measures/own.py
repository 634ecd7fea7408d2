"""Takes the sums of metrics of a user's own (`fedlt.metric`) over the pieces of a test set, and tries such metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fedlt.data.task import Task
from fedlt.errors import Problem, ScenarioError
from fedlt.measures.figure import Figure
from fedlt.measures.figures import METRICS
from fedlt.measures.sums import Arrays, Key
from fedlt.metric import Metric

KEY = "evaluation.metrics"
TAKEN = {figure.last_part for figure in METRICS.values()}
"""Names of figures that FedLT itself measures."""


@dataclass
class OwnSums:
    """What the metrics sum over the pieces that one worker tests."""

    metrics: tuple[Metric, ...]
    task: Task
    pieces: dict[Key, Arrays] = field(default_factory=dict)

    def add(self, model: str, logits: Mapping[str, Tensor], targets: Tensor, client: int, rows: Tensor) -> None:
        """A piece of a test set: logits [B, C] of each variant, targets and row numbers [B]."""
        for place, metric in enumerate(self.metrics):
            for variant, value in logits.items():
                key = place, f"{model}:{variant}", client, int(rows[0])
                self.pieces[key] = as_arrays(metric.sums(value, targets, self.task))


def as_arrays(sums: Mapping[str, Any]) -> Arrays:
    """The sums of one piece as float64."""
    return {name: torch.as_tensor(value).detach().cpu().double().numpy() for name, value in sums.items()}


def try_metrics(metrics: Iterable[Metric], task: Task) -> None:
    """Pass made-up batches through each metric. Raises `ScenarioError` for one that raises or cannot be added up."""
    generator = torch.Generator().manual_seed(0)
    names: dict[str, int] = {}
    for place, metric in enumerate(metrics):
        key = f"{KEY}.{place}"
        try:
            figures = _figures_of_made_up(metric, task, generator)
            described = records(metric)
        except Exception as error:
            message = f"{type(metric).__name__} failed on made-up logits: {type(error).__name__}: {error}"
            raise ScenarioError(Problem(key, f"{message}; mend it")) from error

        for name in figures:
            if name in TAKEN or name in names or not name.isidentifier():
                reason = "is taken" if name.isidentifier() else "is no plain word"
                raise ScenarioError(Problem(key, f"the figure's name {name!r} {reason}; give it another"))
            names[name] = place

        for record in described:
            if record.name not in figures:
                message = f"describe() tells of {record.name!r}, and figures() gives {', '.join(figures)}"
                raise ScenarioError(Problem(key, f"{message}; give both the same names"))


def records(metric: Metric) -> list[Figure]:
    """What the metric tells of its figures. Raises TypeError for what is no record."""
    found = list(metric.describe())
    wrong = [record for record in found if not isinstance(record, Figure)]
    if wrong:
        raise TypeError(f"describe() gives {wrong[0]!r}; expected fedlt.Figure(name, text, ...)")
    return found


def _figures_of_made_up(metric: Metric, task: Task, generator: torch.Generator) -> dict[str, float]:
    """Figures of three batches, one of them masked and one of a single sample."""
    sums: list[Arrays] = []
    for size, masked in ((5, False), (4, True), (1, False)):
        logits = torch.randn(size, task.num_classes, generator=generator)
        if masked:
            logits[:, 0] = -torch.inf
        y = torch.randint(task.num_classes, (size,), generator=generator)
        sums.append(as_arrays(metric.sums(logits, y, task)))

    shapes = [{name: value.shape for name, value in found.items()} for found in sums]
    if shapes[1:] != shapes[:-1]:
        raise ValueError(f"sums() gives other names or shapes for other batches: {shapes[0]} and then {shapes[1:]}")
    whole = {name: sums[0][name] + sums[1][name] + sums[2][name] for name in sums[0]}
    figures = metric.figures(whole)
    wrong = [name for name, value in figures.items() if not isinstance(value, float | int)]
    if wrong or not figures:
        raise TypeError(f"figures() gives {figures!r}; expected a number by name")
    return {name: float(value) for name, value in figures.items()}
