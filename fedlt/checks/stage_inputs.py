"""The digits in other forms, for rehearsals of methods that read words, items, classes of steps, or several classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.federation import Federation
from fedlt.data.inputs.histories import HistoryKind
from fedlt.data.inputs.tokens import PADDING, TokenKind
from fedlt.data.kinds.multilabel import MultiLabel
from fedlt.data.kinds.tags import Tags
from fedlt.data.targets import Targets

STEPS = 5
"""Words of a digit that have a class each."""


def in_words(federation: Federation) -> Federation:
    """The digits as sequences of words, which are the numbers of the pixels that are lit."""

    def words(images: NDArray[Any]) -> NDArray[np.int32]:
        lit = images.reshape(len(images), -1) > 127
        order = np.argsort(~lit, axis=1, kind="stable")
        return np.where(np.take_along_axis(lit, order, axis=1), order, PADDING).astype(np.int32)

    x_train, x_test = words(federation.x_train), words(federation.x_test)
    size = x_train.shape[1]
    return replace(federation, inputs=TokenKind(size, size, shorter=True), x_train=x_train, x_test=x_test)


def in_histories(federation: Federation, asked: bool) -> Federation:
    """The words of each digit as items that a user has taken, each with a row and a column as its categories.

    Args:
        asked: whether the first item is the one that is asked about.
    """
    read = in_words(federation)
    items = np.arange(read.inputs.vocabulary, dtype=np.int32)  # type: ignore[attr-defined]
    size = len(items)
    codes = np.stack([items, size + items // 8, size + size // 8 + 1 + items % 8], axis=1)
    fields, starts = ("item", "row", "column"), (0, 1, 2, 3)
    histories = HistoryKind(size, read.x_train.shape[1], True, fields, starts, codes.astype(np.int32), asked=asked)
    return replace(read, inputs=histories)


def in_sets(federation: Federation) -> Federation:
    """The digits with several classes each: their own, and every third row the one after it; one entry is unknown."""

    def several(targets: Targets) -> Targets:
        rows, classes = np.arange(len(targets)), targets.num_classes
        values = np.zeros((len(rows), classes), np.int8)
        values[rows, targets.values] = 1
        values[rows[::3], (targets.values[::3] + 1) % classes] = 1
        values[rows[::5], (targets.values[::5] + 2) % classes] = MultiLabel.unknown
        return Targets(values, classes, MultiLabel(), targets.groups)

    train, test = several(federation.train_targets), several(federation.test_targets)
    counts = train.counts(federation.clients.values)
    return replace(federation, train_targets=train, test_targets=test, class_counts=counts)


def in_steps(federation: Federation) -> Federation:
    """The first words of each digit, of which all but every seventh have the digit's class."""
    read = in_words(federation)

    def tagged(x: NDArray[np.int32], targets: Targets) -> Targets:
        known = (x != PADDING) & (x % 7 != 0)
        known[:, 0] = True
        values = np.where(known, targets.values[:, None], Tags.unknown)
        return Targets(values, targets.num_classes, Tags(), targets.groups)

    x_train, x_test = (np.ascontiguousarray(x[:, :STEPS]) for x in (read.x_train, read.x_test))
    train, test = tagged(x_train, read.train_targets), tagged(x_test, read.test_targets)
    return replace(
        read,
        inputs=TokenKind(read.inputs.vocabulary, STEPS, shorter=True),  # type: ignore[attr-defined]
        x_train=x_train,
        x_test=x_test,
        train_targets=train,
        test_targets=test,
        class_counts=train.counts(read.clients.values),
    )
