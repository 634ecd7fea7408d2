"""A data set as plain arrays, checked once so that nothing downstream has to ask again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import as_lists, as_texts, coded, held_as, ordered, refuse
from fedlt.data.inputs import Given, InputKind
from fedlt.data.inputs import read as read_inputs
from fedlt.data.inputs.numbers import fitted
from fedlt.data.inputs.pictures import Fit
from fedlt.data.kind_of import suggested
from fedlt.data.targets import Groups, Targets
from fedlt.data.texts import with_tokens
from fedlt.target import Target

if TYPE_CHECKING:
    from fedlt.config.sections import Data

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class RawLabels:
    """A data set without its inputs.

    Attributes:
        train_targets, test_targets: labels and group columns; every class occurs in the training set.
        class_names: C names.
        in_source_order: row i is row i of the source; false for labels that were made from public class counts alone.
    """

    name: str
    train_targets: Targets
    test_targets: Targets
    class_names: tuple[str, ...]
    in_source_order: bool = True

    @property
    def y_train(self) -> NDArray[Any]:
        """[N, ...] the training labels as an array."""
        return self.train_targets.values

    @property
    def y_test(self) -> NDArray[Any]:
        """[N, ...] the test labels as an array."""
        return self.test_targets.values


@dataclass(frozen=True, eq=False)
class RawData(RawLabels):
    """A data set: `RawLabels`, and the inputs as their kind stores them.

    Attributes:
        x_train, x_test: [N, ...], one row a sample.
        inputs: their kind, fitted to all of x_train (`fedlt.data.inputs`).
        digests: those of the files that it was read from, by their names.
    """

    x_train: NDArray[Any] = field(kw_only=True)
    x_test: NDArray[Any] = field(kw_only=True)
    inputs: InputKind = field(kw_only=True)
    digests: Mapping[str, str] = field(default_factory=dict, kw_only=True)


def checked_labels(
    name: str,
    y_train: NDArray[Any],
    y_test: NDArray[Any],
    train_groups: Columns,
    test_groups: Columns,
    class_names: Sequence[str] = (),
    kind: Target | None = None,
) -> RawLabels:
    """Labels as their kind keeps them, and group columns as int64. Raises `ScenarioError`.

    Args:
        kind: of the targets; None: as the data say.
    """
    for split, y in (("training", y_train), ("test", y_test)):
        if not len(y):
            raise refuse(f"{name}: the {split} set is empty")
        _refuse_blank(name, split, y)

    chosen = suggested(name, y_train, class_names) if kind is None else kind
    read = chosen.read(name, y_train, y_test, class_names)
    train, test = _coded_groups(name, train_groups, test_groups, len(y_train), len(y_test))
    targets = Targets(read.train, len(read.class_names), chosen, train)
    _refuse_rows_without_label(name, "training", targets)
    frequency = targets.counts()
    tested = Targets(read.test, len(read.class_names), chosen, test, frequency)
    _refuse_classes_without_training(name, frequency, tested.counts(), read.class_names)
    _refuse_rows_without_label(name, "test", tested)
    return RawLabels(name, targets, tested, read.class_names)


def stratum(name: str, labels: NDArray[Any], class_names: Sequence[str], kind: Target | None) -> NDArray[Any]:
    """What a data set is split by, [N]: one label a row as it is, of several the class that the row follows.

    Raises `ScenarioError`.

    Args:
        labels: [N, ...] of all rows, as the source has them.
        class_names, kind: as in `checked_labels`.
    """
    if labels.ndim == 1 and as_lists(labels) is None:
        return labels
    return checked_labels(name, labels, labels, {}, {}, class_names, kind).train_targets.lead


def checked(labels: RawLabels, train: Given, test: Given, config: Data, place: Path | None) -> RawData:
    """The labels with their inputs, in the form in which their kind stores them.

    Args:
        labels: as `checked_labels` gave them.
        train: inputs of the training rows, as the source has them.
        test: likewise.
        config: the size of pictures, and what makes tokens of texts.
        place: folder for large arrays; None: memory.

    Raises:
        ScenarioError: where there are not as many inputs as labels, and for what the inputs' kind refuses.
    """
    name = labels.name
    for split, given, y in (("training", train, labels.train_targets), ("test", test, labels.test_targets)):
        x = given.x
        if not x.size and given.categories is None:
            raise refuse(f"{name}: the {split} inputs are empty, of shape {list(x.shape)}")
        if x.shape[:1] != (len(y),):
            raise refuse(f"{name}: {split} inputs of shape {list(x.shape)} for {len(y)} labels")

    train, test = with_tokens(name, train, test, config, labels.train_targets.kind)
    fit = Fit.of(config)
    train, test = fitted(name, train, fit, place, "train"), fitted(name, test, fit, place, "test")
    kind, x_train, x_test = read_inputs(name, train, test)
    return RawData(**vars(labels), x_train=x_train, x_test=x_test, inputs=kind)


def _refuse_blank(name: str, split: str, labels: NDArray[Any]) -> None:
    """An empty text is no name of a class; tables hold one where a label was forgotten."""
    texts = labels.ravel().tolist() if labels.dtype.kind in "UO" else []
    blank = [row for row, label in enumerate(texts) if isinstance(label, str) and not label.strip()]
    if blank:
        what = f"{name}: {len(blank)} rows of the {split} set (row {blank[0]} first) have an empty text as label"
        raise refuse(f"{what}; leave them out", "data.target_column")


def _refuse_classes_without_training(
    name: str, frequency: NDArray[np.int64], tested: NDArray[np.int64], class_names: Sequence[str]
) -> None:
    """Nothing can learn a class without training samples.

    Args:
        frequency, tested: [C] samples of either split.
    """
    missing = np.flatnonzero(frequency == 0)
    if not len(missing):
        return
    first = class_names[missing[0]]
    plain = first == str(missing[0])  # a number, not a name
    what = f"{len(missing)} of {len(frequency)} classes ({f'class {first}' if plain else repr(first)} first)"
    in_test = f", and {tested[missing].sum()} test samples" if tested[missing].any() else ""
    left_out = "leave their test samples out" if in_test else ""
    rest = "renumber the classes to 0..C-1 without gaps" if plain else "take them out of the names of the classes"
    remedy = f"{left_out} and {rest}" if left_out else rest
    raise refuse(f"{name}: {what} have no training sample{in_test}; {remedy}")


def _refuse_rows_without_label(name: str, split: str, targets: Targets) -> None:
    """A row that follows no class could be dealt to nobody."""
    held = np.zeros(len(targets), bool)
    held[targets.kind.labels(targets.values)[0]] = True
    bare = np.flatnonzero(~held)
    if len(bare):
        what = f"{name}: {len(bare)} rows of the {split} set (row {bare[0]} first) have no label"
        raise refuse(f"{what}; leave them out, or give them a class of their own, such as none", "data.targets")


def _coded_groups(
    name: str, train_groups: Columns, test_groups: Columns, train_rows: int, test_rows: int
) -> tuple[Groups, Groups]:
    """Group columns of both sets as whole numbers."""
    train: dict[str, NDArray[np.int64]] = {}
    test: dict[str, NDArray[np.int64]] = {}
    for column, values in train_groups.items():
        both = [values, test_groups[column]] if column in test_groups else [values]
        for part, length in zip(both, (train_rows, test_rows), strict=False):
            if part.shape != (length,):
                raise refuse(f"{name}: group column {column!r} has shape {list(part.shape)} for {length} rows")
        train[column], *others = _coded_group(name, column, both)
        if others:
            test[column] = others[0]
    return train, test


def _coded_group(name: str, column: str, parts: list[NDArray[Any]]) -> list[NDArray[np.int64]]:
    """Whole numbers as they are; texts by their place in the ordered texts of both sets."""
    if all(part.dtype.kind in "iub" for part in parts):
        return [part.astype(np.int64) for part in parts]
    what = f"group column {column!r}"
    if all(part.dtype.kind in "UO" for part in parts):
        known = ordered(np.concatenate([as_texts(name, what, part) for part in parts]))
        return [coded(name, what, part, known) for part in parts]
    odd = next((part for part in parts if part.dtype.kind not in "iubUO"), None)
    if odd is None:
        raise refuse(f"{name}: {what} holds texts in one split and numbers in the other; make them alike")
    raise refuse(f"{name}: {what} must hold whole numbers or texts, but its values {held_as(odd)}")
