"""Which kind of targets a data set has: as the scenario says, else as its file does, else as its labels look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.config import catalog
from fedlt.config.schema import suggest
from fedlt.data.coding import as_lists, refuse
from fedlt.data.kinds.single import Single
from fedlt.data.kinds.tags import PADDING
from fedlt.errors import Problem, ScenarioError
from fedlt.target import Target

if TYPE_CHECKING:
    from fedlt.config.sections import Data

KEY = "data.targets"


def chosen(config: Data) -> Target | None:
    """The kind that the scenario names; None where it leaves that to the data. Raises `ScenarioError`."""
    given: Any = config.targets
    if not hasattr(given, "create"):
        return given  # type: ignore[no-any-return]
    try:
        return given.create()  # type: ignore[no-any-return]
    except ScenarioError as error:
        raise ScenarioError([Problem(KEY, problem.message) for problem in error.problems]) from error


def built_in(name: str) -> Target:
    """The kind of that name. Raises `ScenarioError`: a data set must not name a file whose code would be executed."""
    known = catalog.names("target")
    if name not in known:
        raise refuse(f"the data set's targets are of an unknown kind {name!r}{suggest(name, known)}", KEY)
    return catalog.find("target", name).create({})  # type: ignore[no-any-return]


def suggested(name: str, labels: NDArray[Any], class_names: Sequence[str] = ()) -> Target:
    """The kind that training labels look like. Raises `ScenarioError` where they may be of two kinds.

    One entry a row is one class. A matrix with -100 in it is one of tags; one of 0 and 1 (and of -1 or NaN, for what is
    unknown) has a column for each class.

    Args:
        name: what messages call the data set.
        labels: [N, ...] as the source has them.
        class_names: as the source names them; empty where it does not.
    """
    if as_lists(labels) is not None:
        what = f"{name}: the labels are a list of classes for each row: those of one sample, or one for each token?"
        raise refuse(f"{what} Set data.targets=multilabel or data.targets=tags", KEY)
    if labels.ndim != 2 or labels.shape[1] == 1 or labels.dtype.kind not in "biuf":
        return Single()
    if (labels == PADDING).any():
        return built_in("tags")

    binary = np.isin(labels, (-1, 0, 1)) | (labels != labels)  # NaN is unequal to itself
    if not binary.all() or len(class_names) not in (0, labels.shape[1]):
        what = f"{name}: labels of shape {list(labels.shape)} are no matrix of 0 and 1 with a column for each class"
        raise refuse(
            f"{what}; set data.targets=tags if they are a class for each token, or give one label per row", KEY
        )
    if ((labels == 1).sum(axis=1) == 1).all() and ((labels == 0) | (labels == 1)).all():
        what = f"{name}: every row of the labels has exactly one 1: one class a sample, or any number of them?"
        raise refuse(f"{what} Set data.targets=single or data.targets=multilabel", KEY)
    return built_in("multilabel")
