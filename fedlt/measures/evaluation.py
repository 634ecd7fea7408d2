"""One evaluation: the statistics that came in, and the metrics and rows of the tables that follow from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedlt.data.groups import Grouping, by_mass
from fedlt.measures.metrics import GROUPS
from fedlt.measures.side import attempt
from fedlt.statistic import ALL, Columns, Known, Rows, Statistic, Subject

if TYPE_CHECKING:
    from fedlt.data.targets import Targets
    from fedlt.data.task import Task
    from fedlt.measures.collect import Collected

Found = dict[tuple[str, Subject], Statistic]
"""Statistics by their name and the model that they are of."""

KINDS = ("generic", "personal", "personal_masked")
"""Kinds of models, in the order of their figures."""

KEYS = {"clients": "client", "classes": "class", "calibration": "bin"}
"""The column that tells the rows of a table apart, where several statistics may give columns of it."""


class SetApart(Protocol):
    """What the record needs of `fedlt.data.validation.ValidationSet`."""

    def summary(self) -> dict[str, Any]: ...


class Split(Protocol):
    """What the record needs of `fedlt.data.federation.Federation`."""

    @property
    def class_names(self) -> Sequence[str]: ...
    @property
    def class_counts(self) -> NDArray[np.int64]: ...
    @property
    def train_targets(self) -> Targets: ...
    @property
    def test_targets(self) -> Targets: ...
    @property
    def clients(self) -> Rows: ...
    @property
    def tests(self) -> Rows: ...
    @property
    def validation(self) -> SetApart | None: ...
    @property
    def grouping(self) -> Grouping: ...
    def counts(self, k: int, /) -> NDArray[np.int64]: ...


@dataclass(frozen=True)
class Evaluation:
    """The statistics of one evaluation.

    Attributes:
        statistics: by name and model, in the order of their figures.
        skipped: clients that failed in it.
        head: [C, D] rows of the generic head.
    """

    round: int
    statistics: Found = field(default_factory=dict)
    skipped: int = 0
    head: NDArray[np.float64] | None = None

    def of(self, name: str, kind: str, validation: bool = False) -> dict[str, Statistic]:
        """A statistic of one kind of model, by variant; the headline's, "", comes first."""
        return {
            subject.variant: statistic
            for (found, subject), statistic in self.statistics.items()
            if (found, subject.kind, subject.validation) == (name, kind, validation)
        }


def merged(reports: Sequence[Collected], kinds: Mapping[str, Statistic], task: Task) -> Found:
    """What several workers have collected, put together.

    Figures of the test set come first, then by statistic and kind of model. Variants stand in the order in which the
    strategy gives them for the first statistic, then by name.

    Args:
        kinds: the run's statistics by name, which stay empty.
    """
    statistics: Found = {}
    for report in reports:
        for (name, key), arrays in report.items():
            subject = Subject.parse(key)
            one = kinds[name].empty(task, subject)
            one.from_arrays({array: value.copy() for array, value in arrays.items()})  # messages are read-only
            if (name, subject) in statistics:
                statistics[name, subject].merge(one)
            else:
                statistics[name, subject] = one

    places = list(kinds)

    def order(item: tuple[str, Subject]) -> tuple[bool, int, int, str]:
        name, subject = item
        place = places.index(name)
        return subject.validation, place, KINDS.index(subject.kind), subject.variant if place else ""

    return {key: statistics[key] for key in sorted(statistics, key=order)}


def mass_counts(split: Split) -> NDArray[np.int64]:
    """[C] the clients' local test sets summed, from which the groups by mass follow."""
    return split.test_targets.counts(split.tests.values)


def known(split: Split, head: NDArray[np.float64] | None = None) -> Known:
    """What figures of a federation's models may be set against."""
    return Known(
        class_names=split.class_names,
        class_counts=split.class_counts,
        mass_counts=mass_counts(split),
        test_counts=split.test_targets.counts(),
        client_counts=split.counts,
        train_samples=np.diff(split.clients.offsets),
        test_samples=np.diff(split.tests.offsets),
        head=head,
        tests=split.tests,
        grouping=split.grouping,
    )


def figures(found: Found, about: Known) -> dict[str, float]:
    """Metrics by name; those of a variant carry it in brackets: `generic[psi]/accuracy`, `personal_masked[psi]/few`;
    those on the validation set begin with `validation/`. A line of what cannot be computed goes to `about.told`.
    """
    values: dict[str, float] = {}
    for (_, subject), statistic in found.items():
        what = f"{statistic.title or type(statistic).__name__} of {subject.full_name}"
        measured = attempt(what, partial(statistic.figures, about), dict[str, float](), about.told)
        values |= {f"{subject.full_name}/{name}": value for name, value in measured.items()}
    return values


def validation_figures(evaluation: Evaluation, split: Split) -> dict[str, float]:
    """Every figure of the validation set: `validation/generic/accuracy`, `validation/personal_masked[phi]/few`, ..."""
    return figures({key: one for key, one in evaluation.statistics.items() if key[1].validation}, known(split))


class Derived:
    """What follows from an evaluation.

    Attributes:
        metrics: see `figures`.
        told: a line for each figure that could not be computed. rows(): (table, columns) pairs for
            `fedlt.results.tables`.
    """

    def __init__(self, evaluation: Evaluation, split: Split) -> None:
        self.evaluation, self.known = evaluation, known(split, evaluation.head)
        self.metrics = figures(evaluation.statistics, self.known)
        self.told = self.known.told

    def rows(self) -> Iterator[tuple[str, Columns]]:
        """All rows of this evaluation, by table."""
        round = self.evaluation.round
        for (table, block), columns in self._blocks().items():
            name = {"variant": block} if table == "clients" else {"model": block}
            yield table, {"round": round, **name, **columns}
        yield "metrics", {"round": round, "metric": list(self.metrics), "value": list(self.metrics.values())}

    def _blocks(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Columns of each table and model; of the clients' table, of each variant of the personal models.

        The first statistic of a block has its rows, and the columns of others are looked up for these.
        """
        blocks: dict[tuple[str, str], dict[str, Any]] = {}
        shared: list[tuple[str, str, Columns]] = []  # table, variant, columns
        for (_, subject), statistic in self.evaluation.statistics.items():
            if subject.validation:
                continue
            what = f"rows of {statistic.title or type(statistic).__name__} of {subject.name}"
            measured = attempt(what, partial(statistic.rows, self.known), dict[str, Columns](), self.told)
            for table, columns in measured.items():
                block = table, subject.variant if table == "clients" else subject.name
                if subject.variant == ALL or (table == "clients" and subject.kind == "generic"):
                    shared.append((table, subject.variant, columns))
                elif block in blocks:
                    _join(blocks[block], columns, KEYS[table])
                else:
                    blocks[block] = dict(columns)

        # What the generic model is for clients stands beside the same variant of theirs; the headline's beside others.
        for table, variant, columns in sorted(shared, key=lambda each: each[1] in ("", ALL)):
            for (other, name), held in blocks.items():
                if other == table and (variant in ("", ALL) or name == variant):
                    _join(held, columns, KEYS[table])
        for (table, _), held in blocks.items():
            held |= {name: value for name, value in self._told(table, held).items() if name not in held}
        return blocks

    def _told(self, table: str, held: Mapping[str, Any]) -> dict[str, Any]:
        """Columns of a table that nobody measures: what the split says of its clients or classes."""
        about, names = self.known, np.array(GROUPS)

        if table == "clients":
            clients = held["client"]
            return {"train_samples": about.train_samples[clients], "test_samples": about.test_samples[clients]}

        if table == "classes":
            classes = held["class"]
            return {
                "name": [about.class_names[number] for number in classes],
                "train_count": about.class_counts[classes],
                "test_count": about.test_counts[classes],
                "group_count": names[about.groups][classes].tolist(),
                "group_mass": names[by_mass(about.mass_counts)][classes].tolist(),
            }
        return {}


def _join(held: dict[str, Any], columns: Columns, key: str) -> None:
    """Add columns to those of a block, for the rows that it has."""
    ids = np.asarray(columns[key])
    order = np.argsort(ids, kind="stable")
    for name, values in columns.items():
        if name not in held:
            held[name] = _look_up(np.asarray(held[key]), ids[order], np.asarray(values)[order])


def _look_up(rows: NDArray[np.int64], ids: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
    """[n] the value of each row, given the values of ascending ids; NaN for a row that is not among them."""
    looked_up = np.full(len(rows), np.nan)
    known = np.isin(rows, ids)
    looked_up[known] = values[np.searchsorted(ids, rows[known])]
    return looked_up
