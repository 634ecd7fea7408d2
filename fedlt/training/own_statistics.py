"""Tries metrics and statistics of a user's own on made-up predictions, before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from fedlt.config.hook_names import defined_otherwise
from fedlt.config.hook_results import given as in_words
from fedlt.config.own_lines import told
from fedlt.data.task import Task
from fedlt.errors import HookError, Problem, ScenarioError
from fedlt.learner import Prediction
from fedlt.measures.evaluation import KEYS, KINDS, Split, known
from fedlt.measures.figure import Figure
from fedlt.measures.figures import METRICS
from fedlt.measures.sums import as_sums
from fedlt.results.tables import TABLES
from fedlt.statistic import NOBODY, Arrays, Known, Metric, Predicted, Statistic, Subject

KEY = "evaluation.metrics"
TAKEN = frozenset(figure.last_part for figure in METRICS.values())
"""Names of figures that runs have."""

SIZES = ((5, False), (4, True), (1, False))
"""Samples of each made-up batch, and whether a class is masked in it."""


def try_own(own: Sequence[Metric | Statistic], task: Task, split: Split) -> None:
    """Pass made-up batches through each of them.

    Raises:
        ScenarioError: for one that raises, cannot be merged or takes a name that is taken.
    """
    taken = set(TAKEN)
    for place, one in enumerate(own):
        key = f"{KEY}.{place}"
        try:
            for text in defined_otherwise(one, Metric if isinstance(one, Metric) else Statistic):
                raise ScenarioError(Problem(key, text))
            names = _try_metric(one, task, split) if isinstance(one, Metric) else _try_statistic(one, task, split)
            described = records(one)
        except ScenarioError:
            raise
        except Exception as error:
            message = f"{type(one).__name__} failed on made-up logits: {told(error)}"
            raise ScenarioError(Problem(key, f"{message}; mend it")) from error

        for name in names:
            if name in taken or not name.isidentifier():
                reason = "is taken" if name.isidentifier() else "is no plain word"
                raise ScenarioError(Problem(key, f"the figure's name {name!r} {reason}; give it another"))
        taken |= names

        for record in described:
            if record.name not in names:
                message = f"describe() tells of {record.name!r}, and figures() gives {', '.join(sorted(names))}"
                raise ScenarioError(Problem(key, f"{message}; give both the same names"))


def records(one: Metric | Statistic) -> list[Figure]:
    """What it tells of its figures.

    Raises:
        TypeError: for what is no record.
    """
    described = list(one.describe())
    wrong = [record for record in described if not isinstance(record, Figure)]
    if wrong:
        raise TypeError(f"describe() gives {wrong[0]!r}; expected fedlt.Figure(name, text, ...)")
    return described


def _try_metric(metric: Metric, task: Task, split: Split) -> set[str]:
    """Names of the figures of three batches."""
    given: list[Any] = [metric.sums(batch.logits, batch.targets, task) for batch in made_up(task, split)]
    if odd := [found for found in given if not isinstance(found, Mapping)]:
        raise HookError(f"sums() gives {in_words(odd[0])}; return numbers by name, as in {{'right': ...}}")
    sums = [as_sums(found) for found in given]
    shapes = [{name: value.shape for name, value in found.items()} for found in sums]
    if shapes[1:] != shapes[:-1]:
        raise ValueError(f"sums() gives other names or shapes for other batches: {shapes[0]} and then {shapes[1:]}")
    figures: Any = metric.figures({name: sums[0][name] + sums[1][name] + sums[2][name] for name in sums[0]})
    if not isinstance(figures, Mapping):
        raise HookError(f"figures() gives {in_words(figures)}; return numbers by name, as in {{'top_3': 0.5}}")
    if not figures:
        raise TypeError("figures() gives {}; expected a number by name")
    return _numbers(figures)


def _try_statistic(statistic: Statistic, task: Task, split: Split) -> set[str]:
    """Names of the figures of three batches, of each kind of model."""
    frozen = getattr(type(statistic), "__dataclass_params__", None)
    if frozen is not None and frozen.frozen:
        raise TypeError("a statistic keeps what it has seen: write @dataclass without frozen=True")

    about = known(split)
    names: set[str] = set()
    shapes: dict[str, Any] = {}
    for kind in KINDS:
        subject = Subject(kind)
        batches = made_up(task, split, NOBODY if kind == "generic" else 0)

        def collected(*chosen: Predicted, of: Subject = subject) -> Arrays:
            one = statistic.empty(task, of)
            for batch in chosen:
                one.add(batch)
            return one.to_arrays()

        halves = [collected(*batches[:2]), collected(batches[2])]
        for arrays in halves:
            _expect_arrays(arrays, shapes)

        # The same result in any order, as `merge` promises.
        one, other = (_merged(statistic.empty(task, subject), order, about) for order in (halves, halves[::-1]))
        if not all(np.array_equal(one[name], other.get(name, np.inf), equal_nan=True) for name in one):
            raise ValueError(
                f"merge() gives {one}, and in the other order {other}: sum integers, or keep sums of floats "
                "apart by their first row (fedlt.measures.sums.Pieces)"
            )
        names |= _numbers(one)

    if not names:
        raise TypeError("figures() gives {} for every kind of model; expected a number by name")
    return names


def _merged(into: Statistic, parts: Sequence[Arrays], about: Known) -> dict[str, float]:
    """Figures of parts that came in messages, in this order; the rows are tried, too."""
    for place, arrays in enumerate(parts):
        other = into if not place else into.empty(into.task, into.subject)
        other.from_arrays({name: value.copy() for name, value in arrays.items()})
        if place:
            into.merge(other)

    for table, columns in into.rows(about).items():
        if table not in KEYS or KEYS[table] not in columns:
            keys = ", ".join(f"{name} ({key})" for name, key in KEYS.items())
            raise ValueError(f"rows() names {table!r} with {sorted(columns)}; expected a table with its key: {keys}")
        if known_columns := sorted(set(columns) & TABLES[table].keys() - {KEYS[table]}):
            raise ValueError(f"rows() gives {', '.join(known_columns)}, which the table {table} has already")
    return into.figures(about)


def _expect_arrays(arrays: Arrays, shapes: dict[str, Any]) -> None:
    """Each has an axis and holds numbers, and all of one name fit below each other.

    Args:
        shapes: of those seen so far.
    """
    for name, value in arrays.items():
        if not isinstance(value, np.ndarray) or not value.ndim or value.dtype.kind not in "biuf":
            raise TypeError(f"to_arrays() gives {name}={value!r}; expected an array of numbers with one axis or more")
        shape = value.dtype, value.shape[1:]
        if shapes.setdefault(name, shape) != shape:
            raise ValueError(f"to_arrays() gives other types or shapes of {name}: {shapes[name]} and then {shape}")


def _numbers(figures: Mapping[str, float]) -> set[str]:
    if not all(isinstance(value, float | int) for value in figures.values()):
        raise TypeError(f"figures() gives {figures!r}; expected a number by name")
    return set(figures)


def made_up(task: Task, split: Split, client: int = NOBODY) -> list[Predicted]:
    """Batches of five, four and one samples, with targets of the test set and made-up logits."""
    generator = torch.Generator().manual_seed(0)
    batches, first = [], 0
    for size, masked in SIZES:
        rows = np.arange(first, first + size)
        y = split.test_targets.take(rows % len(split.test_targets))
        one_a_sample = y.dim() == 1 or y.shape[1:] == (task.num_classes,)
        logits = torch.randn(*(y.shape[:1] if one_a_sample else y.shape), task.num_classes, generator=generator)
        if masked:
            logits[..., 0] = -torch.inf
        batches.append(Predicted(Prediction(logits), y, torch.from_numpy(rows), client))
        first += size
    return batches
