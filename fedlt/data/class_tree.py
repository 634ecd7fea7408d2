"""The tree of classes: which parent each class has, by a group column of the data or by a list (`data.parents`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.targets import Targets
from fedlt.errors import Problem, ScenarioError

if TYPE_CHECKING:
    from fedlt.config.sections import Data

KEY = "data.parents"


def parents_of(config: Data, train: Targets) -> NDArray[np.int64] | None:
    """[C] the parent of each class, numbered 0..P-1; None where the scenario names no tree.

    Args:
        train: the true labels of the whole training source, with its group columns.

    Raises:
        ScenarioError: where a row may have several classes, where column or list do not fit the classes, and where all
            classes have the same parent or each one of its own: then there is no tree.
    """
    given = config.parents
    if given is None:
        return None
    if not train.kind.one_label:
        raise _problem(f"a tree is over one class a sample, and the data set's targets are {train.kind.name}")

    parents = _of_column(given, train) if isinstance(given, str) else _of_list(given, train.num_classes)
    found = len(np.unique(parents))
    if found in (1, len(parents)):
        has = "the same parent for all classes" if found == 1 else "a parent of its own for each class"
        raise _problem(f"{has} is no tree; name a column of parents, or null")
    return parents


def _of_column(column: str, train: Targets) -> NDArray[np.int64]:
    """The parent of each class, by a group column in which all samples of a class agree."""
    if column not in train.groups:
        columns = [*train.groups, column]
        raise _problem(f"{column!r} is no group column; say data.group_columns=[{', '.join(columns)}]")

    values = _numbered(train.groups[column])
    rows = train.by_class()
    parents = values[rows.values[rows.offsets[:-1]]]
    astray = np.flatnonzero(parents[train.lead] != values)
    if len(astray):
        row = int(astray[0])
        what = f"class {int(train.lead[row])} has rows of two parents (row {row} of the training set is one)"
        raise _problem(f"{what}; each class needs one value of {column}")
    return parents


def _of_list(names: Sequence[str], classes: int) -> NDArray[np.int64]:
    if len(names) != classes:
        raise _problem(f"expected a parent for each of the {classes} classes, in their order, got {len(names)}")
    return _numbered(np.array(names))


def _numbered(values: NDArray[Any]) -> NDArray[np.int64]:
    """[N] values as numbers from 0, in their order."""
    return np.unique(values, return_inverse=True)[1].reshape(-1)


def expect_tree(parents: NDArray[np.int64] | None, name: str, needs: tuple[str, ...]) -> None:
    """Refuse a method that needs a tree of classes where there is none.

    Args:
        parents: int64 [C] of each class; None: no tree.
        name: of the method, for the message.
        needs: the method's words, of which `class_tree` is asked for.

    Raises:
        ScenarioError: under `data.parents`.
    """
    if "class_tree" in needs and parents is None:
        raise _problem(f"{name} needs a tree of classes; name the group column of parent classes, or list them")


def expect_parents(by: str, parents: NDArray[np.int64] | None) -> None:
    """Refuse a learner that goes by parents of classes where there are none.

    Args:
        by: the learner's key: `class` or `parent`.
        parents: int64 [C] of each class; None: no tree.

    Raises:
        ScenarioError: under `data.parents`.
    """
    if by == "parent" and parents is None:
        raise _problem("by: parent needs a tree of classes; name the group column of parent classes, or list them")


def _problem(message: str) -> ScenarioError:
    return ScenarioError(Problem(KEY, message))
