"""A data set as plain arrays, checked once so that nothing downstream has to ask again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlt.errors import Problem, ScenarioError

_DIGITS = re.compile(r"([0-9]+)")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")

Groups = dict[str, NDArray[np.int64]]
Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class RawLabels:
    """A data set without its inputs.

    y_train, y_test: int64 [N]; every class 0..C-1 occurs in y_train. train_groups, test_groups: named columns,
    int64 [N] each. class_names: C names. in_source_order: row i is row i of the source; false for labels that were
    made from public class counts alone.
    """

    name: str
    y_train: NDArray[np.int64]
    y_test: NDArray[np.int64]
    train_groups: Groups
    test_groups: Groups
    class_names: tuple[str, ...]
    in_source_order: bool = True


@dataclass(frozen=True, eq=False)
class RawData:
    """A data set: `RawLabels`, and the inputs as uint8 [N, H, W, C] images or float32 [N, F] feature rows.

    mean, std: float32, per channel [C] of x_train / 255 for images, per feature [F] for feature rows, over all of
    x_train; a constant channel or feature has std 1. digests: those of the files that it was read from, by their names.
    """

    name: str
    x_train: NDArray[Any]
    y_train: NDArray[np.int64]
    x_test: NDArray[Any]
    y_test: NDArray[np.int64]
    train_groups: Groups
    test_groups: Groups
    class_names: tuple[str, ...]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    digests: Mapping[str, str] = field(default_factory=dict)

    def labels(self) -> RawLabels:
        """The same without the inputs."""
        return RawLabels(self.name, self.y_train, self.y_test, self.train_groups, self.test_groups, self.class_names)


def refuse(message: str, key: str = "data.name") -> ScenarioError:
    """The error of a data set that cannot be used."""
    return ScenarioError(Problem(key, message))


def checked_labels(
    name: str,
    y_train: NDArray[Any],
    y_test: NDArray[Any],
    train_groups: Columns,
    test_groups: Columns,
    class_names: Sequence[str] = (),
) -> RawLabels:
    """Labels and group columns as int64, texts coded in the order of `ordered`. Raises `ScenarioError`."""
    for split, y in (("training", y_train), ("test", y_test)):
        if y.ndim != 1:
            raise refuse(f"{name}: {split} labels must be one number per row, got shape {list(y.shape)}")
        if not len(y):
            raise refuse(f"{name}: the {split} set is empty")

    if y_train.dtype.kind in "UO" or y_test.dtype.kind in "UO":
        class_names = ordered(_texts(name, "the labels", y_train))
        y_train, y_test = _code(name, "the labels", y_train, class_names), _code(name, "labels", y_test, class_names)

    if y_train.dtype.kind not in "iu" or y_test.dtype.kind not in "iu":
        split, y = ("training", y_train) if y_train.dtype.kind not in "iu" else ("test", y_test)
        raise refuse(f"{name}: labels must be whole numbers or texts, but those of the {split} set {_hold(y)}")

    y_train, y_test = y_train.astype(np.int64), y_test.astype(np.int64)
    if not len(class_names) and y_train.max() >= len(y_train):
        sizes = f"the label {y_train.max()} among {len(y_train)} training samples"
        raise refuse(f"{name}: {sizes} leaves classes without any; renumber the classes to 0..C-1 without gaps")

    classes = len(class_names) or int(y_train.max()) + 1
    for split, y in (("training", y_train), ("test", y_test)):
        if y.min() < 0 or y.max() >= classes:
            bounds = f"{y.min()}..{y.max()}"
            raise refuse(f"{name}: {split} labels must lie in 0..{classes - 1}, got {bounds}; renumber the classes")

    missing = np.flatnonzero(np.bincount(y_train, minlength=classes) == 0)
    if len(missing):
        what = f"{len(missing)} of {classes} classes (class {missing[0]} first)"
        raise refuse(f"{name}: {what} have no training sample; renumber the classes to 0..C-1 without gaps")

    train: Groups = {}
    test: Groups = {}
    for column, values in train_groups.items():
        both = [values, test_groups[column]] if column in test_groups else [values]
        for part, length in zip(both, (len(y_train), len(y_test)), strict=False):
            if part.shape != (length,):
                raise refuse(f"{name}: group column {column!r} has shape {list(part.shape)} for {length} rows")
        train[column], *others = _coded_group(name, column, both)
        if others:
            test[column] = others[0]

    names = tuple(map(str, class_names)) or tuple(map(str, range(classes)))
    return RawLabels(name, y_train, y_test, train, test, names)


def checked(labels: RawLabels, x_train: NDArray[Any], x_test: NDArray[Any]) -> RawData:
    """The labels with their inputs, brought to one of the two forms. Raises `ScenarioError`."""
    name = labels.name
    for split, x, y in (("training", x_train, labels.y_train), ("test", x_test, labels.y_test)):
        if not x.size:
            raise refuse(f"{name}: the {split} inputs are empty, of shape {list(x.shape)}")
        if x.shape[:1] != y.shape:
            raise refuse(f"{name}: {split} inputs of shape {list(x.shape)} for {len(y)} labels")
    if x_train.shape[1:] != x_test.shape[1:]:
        shapes = f"{list(x_train.shape[1:])} (training) and {list(x_test.shape[1:])} (test)"
        raise refuse(f"{name}: all inputs must have one shape, got {shapes}")
    x_train, x_test = _inputs(name, x_train), _inputs(name, x_test)
    mean, std = _moments(x_train)
    groups = (labels.train_groups, labels.test_groups)
    return RawData(name, x_train, labels.y_train, x_test, labels.y_test, *groups, labels.class_names, mean, std)


def _inputs(name: str, x: NDArray[Any]) -> NDArray[Any]:
    if x.ndim == 2 and x.dtype.kind == "f":
        with np.errstate(over="ignore"):
            rows = x.astype(np.float32)
        if not np.isfinite(rows).all():
            column = int(np.flatnonzero(~np.isfinite(rows).all(axis=0))[0])
            raise refuse(f"{name}: feature {column} has missing, infinite or huge values; mend them first")
        return rows

    if x.ndim not in (3, 4) or x.dtype != np.uint8:
        expected = "uint8 [N, H, W] or [N, H, W, C] images (0..255), or float [N, F] feature rows"
        raise refuse(f"{name}: expected inputs as {expected}, got {x.dtype} {list(x.shape)}")

    if x.ndim == 3:
        return x[..., None]
    if x.shape[1] in (1, 3, 4) and x.shape[3] not in (1, 3, 4):
        raise refuse(f"{name}: images must have their channels last, got {list(x.shape)}; use x.transpose(0, 2, 3, 1)")

    return x


def _moments(x: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if x.dtype == np.uint8:  # exact: from how often each of the 256 values occurs
        values = np.arange(256) / 255
        histograms = np.zeros((x.shape[3], 256), np.int64)
        for start in range(0, len(x), 1024):
            for channel, histogram in enumerate(histograms):
                histogram += np.bincount(x[start : start + 1024, :, :, channel].ravel(), minlength=256)
        total = histograms[0].sum()
        mean = histograms @ values / total
        variance = (histograms * (values - mean[:, None]) ** 2).sum(axis=1) / total
    else:
        mean = x.mean(axis=0, dtype=np.float64)
        variance = x.var(axis=0, dtype=np.float64)
    std = np.sqrt(variance)
    return mean.astype(np.float32), np.where(std > 0, std, 1.0).astype(np.float32)


def _coded_group(name: str, column: str, parts: list[NDArray[Any]]) -> list[NDArray[np.int64]]:
    """Whole numbers as they are; texts by their place in the ordered texts of both sets."""
    if all(part.dtype.kind in "iub" for part in parts):
        return [part.astype(np.int64) for part in parts]
    what = f"group column {column!r}"
    if all(part.dtype.kind in "UO" for part in parts):
        known = ordered(np.concatenate([_texts(name, what, part) for part in parts]))
        return [_code(name, what, part, known) for part in parts]
    odd = next((part for part in parts if part.dtype.kind not in "iubUO"), None)
    if odd is None:
        raise refuse(f"{name}: {what} holds texts in one split and numbers in the other; make them alike")
    raise refuse(f"{name}: {what} must hold whole numbers or texts, but its values {_hold(odd)}")


def ordered(texts: NDArray[np.str_]) -> list[str]:
    """The different texts in alphabetical order, where numbers in them count as numbers: a2 before a10, -1 before 0.5.

    texts: [N].
    """
    distinct = [str(text) for text in np.unique(texts)]
    if all(_NUMBER.fullmatch(text) for text in distinct):
        return sorted(distinct, key=lambda text: (float(text), text))

    # Texts and numbers take turns in what `split` returns, so that equal places hold equal types.
    def parts(text: str) -> list[Any]:
        return [int(part) if place % 2 else part for place, part in enumerate(_DIGITS.split(text))]

    return sorted(distinct, key=lambda text: (parts(text), text))


def _hold(values: NDArray[Any]) -> str:
    """What values that are no whole numbers are, as a verb and its object, with the remedy."""
    if values.dtype.kind == "f":
        missing = int(np.isnan(values).sum())
        if missing:
            return f"have {missing} missing ones; fill them in first"
        odd = values[values != np.floor(values)]
        if len(odd):
            return f"are decimal numbers such as {odd[0]:g}; give each its own text or whole number"
        return f"are stored as decimal numbers ({values[0]:.1f}); store them as whole numbers"
    names = {
        "b": "are true or false; write 0 and 1",
        "M": "are dates; write them as texts",
        "S": "are bytes; decode them",
    }
    return names.get(values.dtype.kind, f"are of type {values.dtype}; write them as texts")


def _texts(name: str, what: str, values: NDArray[Any]) -> NDArray[np.str_]:
    if not all(isinstance(value, str) for value in values):
        missing = sum(value is None or (isinstance(value, float) and np.isnan(value)) for value in values)
        problem = f"have {missing} missing values" if missing else "mix texts with other values"
        raise refuse(f"{name}: {what} {problem}; fill them in first")
    return values.astype(np.str_)


def _code(name: str, what: str, values: NDArray[Any], known: Sequence[str]) -> NDArray[np.int64]:
    texts = _texts(name, what, values)
    codes = {text: code for code, text in enumerate(known)}
    distinct, inverse = np.unique(texts, return_inverse=True)
    unknown = [str(text) for text in distinct if str(text) not in codes]
    if unknown:
        raise refuse(f"{name}: {what} of the test set hold {unknown[0]!r}, which the training set lacks")
    return np.array([codes[str(text)] for text in distinct], np.int64)[inverse]
