"""One evaluation: the statistics that came in, and the metrics and rows of the tables that follow from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedlt.data.groups import by_count, by_mass
from fedlt.measures.collapse import Moments, class_columns, client_alignment, collapse_figures
from fedlt.measures.confidence import Confidence
from fedlt.measures.figures import VALIDATION
from fedlt.measures.metrics import (
    GROUPS,
    Confusion,
    generic_metrics,
    named,
    personal_columns,
    personal_summary,
)
from fedlt.measures.side import attempt
from fedlt.measures.sums import Arrays, own_figures

if TYPE_CHECKING:
    from fedlt.data.targets import Targets
    from fedlt.metric import Metric

Columns = Mapping[str, Any]
"""Columns of a table: arrays or lists of one length, and single values that hold for all rows."""


Own = tuple["Metric", dict[str, dict[int, Arrays]]]
"""A metric of a user's own, and what it has summed."""


class Rows(Protocol):
    """Lists of row numbers, one per client: client k's are `values[offsets[k]:offsets[k + 1]]`."""

    @property
    def values(self) -> NDArray[np.int64]: ...
    @property
    def offsets(self) -> NDArray[np.int64]: ...


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
    def counts(self, k: int, /) -> NDArray[np.int64]: ...


@dataclass(frozen=True)
class Evaluation:
    """The statistics of one evaluation. Outer keys of confusion matrices are variants of a model; "" is the headline.

    generic: on the global test set. personal: client -> on its own test set. personal_masked: the same, with the
    classes that the client never saw in training excluded from its predictions. skipped: clients that failed in it.
    confidence: by the model's name in metrics (`generic`, `personal[psi]`). features: moments of the global test set's
    features under the generic backbone. head: [C, D] rows of the generic head. validation: the same on the validation
    set, without features and head; None where nothing is set apart. own: of each metric of the user's, the sums by the
    model's name and by client (-1: the generic model).
    """

    round: int
    generic: dict[str, Confusion] = field(default_factory=dict)
    personal: dict[str, dict[int, Confusion]] = field(default_factory=dict)
    personal_masked: dict[str, dict[int, Confusion]] = field(default_factory=dict)
    skipped: int = 0
    confidence: dict[str, Confidence] = field(default_factory=dict)
    features: Moments | None = None
    head: NDArray[np.float64] | None = None
    validation: Evaluation | None = None
    own: tuple[Own, ...] = ()


def validation_figures(validation: Evaluation, split: Split) -> dict[str, float]:
    """Every figure of the validation set: `validation/generic/accuracy`, `validation/personal_masked[phi]/few`, ..."""
    return {f"{VALIDATION}{name}": value for name, value in Derived(validation, split).metrics.items()}


def mass_counts(split: Split) -> NDArray[np.int64]:
    """[C] the clients' local test sets summed, from which the groups by mass follow."""
    return split.test_targets.counts(split.tests.values)


class Derived:
    """What follows from an evaluation. told: a line for each side figure that could not be computed.

    metrics: value by name; those of a variant carry it in brackets: `generic[psi]/accuracy`,
    `personal_masked[psi]/few`; those on the validation set begin with `validation/`. rows(): (table, columns) pairs for
    `fedlt.results.tables`.
    """

    def __init__(self, evaluation: Evaluation, split: Split) -> None:
        self.evaluation, self.split, self.mass = evaluation, split, mass_counts(split)
        self.personal = {
            named(kind, variant): personal_columns(confusions, split.counts)
            for kind, variants in (("personal", evaluation.personal), ("personal_masked", evaluation.personal_masked))
            for variant, confusions in variants.items()
        }
        self.metrics: dict[str, float] = {}

        self.told: list[str] = []
        for variant, confusion in evaluation.generic.items():
            self.metrics |= generic_metrics(confusion, split.class_counts, self.mass, named("generic", variant))
        for model, columns in self.personal.items():
            self.metrics |= personal_summary(columns, model)
        for model, confidence in evaluation.confidence.items():
            measure = partial(confidence.figures, model)
            self.metrics |= attempt(f"the confidence of {model}", measure, dict[str, float](), self.told)

        for metric, models in evaluation.own:
            for model, by_client in models.items():
                measure, what = partial(own_figures, metric, by_client), f"{type(metric).__name__} of {model}"
                figures = attempt(what, measure, dict[str, float](), self.told)
                self.metrics |= {f"{model}/{name}": value for name, value in figures.items()}

        if evaluation.features is not None:
            measure = partial(collapse_figures, evaluation.features, evaluation.head, told=self.told)
            self.metrics |= attempt("the geometry of features and head", measure, dict[str, float](), self.told)

        if evaluation.validation is not None:
            self.metrics |= validation_figures(evaluation.validation, split)

    def rows(self) -> Iterator[tuple[str, Columns]]:
        """All rows of this evaluation, by table."""
        found, round = self.evaluation, self.evaluation.round
        for variant, confusion in found.generic.items():
            yield "classes", {"round": round, "model": named("generic", variant), **self._classes(confusion)}
            yield from self._confusions(named("generic", variant), {-1: confusion})
        for kind, variants in (("personal", found.personal), ("personal_masked", found.personal_masked)):
            for variant, confusions in variants.items():
                yield from self._confusions(named(kind, variant), confusions)
        for variant in found.personal:
            yield "clients", {"round": round, "variant": variant, **self._clients(variant)}
        for model, confidence in found.confidence.items():
            yield "calibration", {"round": round, "model": model, **confidence.curve_columns()}
        yield "metrics", {"round": round, "metric": list(self.metrics), "value": list(self.metrics.values())}

    def _classes(self, confusion: Confusion) -> Columns:
        names, found = np.array(GROUPS), self.evaluation
        undefined = dict.fromkeys(("feature_norm", "head_norm", "duality"), np.full(confusion.num_classes, np.nan))
        columns = partial(class_columns, found.features, found.head)  # type: ignore[arg-type]
        return {
            "class": np.arange(confusion.num_classes),
            "name": list(self.split.class_names),
            "train_count": self.split.class_counts,
            "test_count": confusion.support,
            "recall": confusion.recall(),
            "group_count": names[by_count(self.split.class_counts)].tolist(),
            "group_mass": names[by_mass(self.mass)].tolist(),
            **(undefined if found.features is None else attempt("the table of class features", columns, undefined, [])),
        }

    def _clients(self, variant: str) -> Columns:
        columns, masked = (
            self.personal[named("personal", variant)],
            self.personal.get(named("personal_masked", variant)),
        )
        clients = columns["client"]
        confidence, features = self.evaluation.confidence.get(named("personal", variant)), self.evaluation.features
        none = clients[:0]
        ids, nll, brier = (none, none, none) if confidence is None else confidence.per_client()
        mask = (none, none) if masked is None else (masked["client"], masked["accuracy"])
        align = (none, none) if features is None else (features.clients, client_alignment(features))

        return {
            "client": clients,
            "train_samples": np.diff(self.split.clients.offsets)[clients],
            "test_samples": columns["test_samples"],
            "accuracy": columns["accuracy"],
            "accuracy_masked": _look_up(clients, *mask),
            **{name: columns[name] for name in GROUPS},
            "nll": _look_up(clients, ids, nll),
            "brier": _look_up(clients, ids, brier),
            "alignment": _look_up(clients, *align),
        }

    def _confusions(self, model: str, confusions: Mapping[int, Confusion]) -> Iterator[tuple[str, Columns]]:
        if confusions:
            clients = np.repeat(list(confusions), [len(confusion.count) for confusion in confusions.values()])
            cells = np.concatenate([confusion.encode() for confusion in confusions.values()])
            columns = {"true": cells[:, 0], "pred": cells[:, 1], "count": cells[:, 2]}
            yield "confusion", {"round": self.evaluation.round, "model": model, "client": clients, **columns}


def _look_up(clients: NDArray[np.int64], ids: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
    """[K] each client's value, given the values of ascending ids; NaN for a client that is not among them."""
    found = np.full(len(clients), np.nan)
    held = np.isin(clients, ids)
    found[held] = values[np.searchsorted(ids, clients[held])]
    return found
