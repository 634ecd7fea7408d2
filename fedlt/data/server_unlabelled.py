"""Samples without labels at the server (`data.server_unlabelled`), for strategies that distil or fine-tune there.

Unless a scenario says otherwise these are the training samples that nobody else has: what a long tail leaves out. Test
data they never are, and of their labels nothing is kept.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.inputs import Given, InputKind
from fedlt.data.npz import opened
from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.process.seeding import generator

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.config.sections import ServerUnlabelled
    from fedlt.data.targets import Targets

KEY = "data.server_unlabelled"


def share_of(targets: Targets, rows: NDArray[np.int64], config: ServerUnlabelled, seed: int) -> NDArray[np.int64]:
    """The share that is set apart, ascending; none where the scenario sets no share.

    Every class gives the same share, rounded down.

    Args:
        targets: true ones of the training set.
        rows: those that may be taken.
        seed: the scenario's, used where the configuration has none.
    """
    if config.share is None:
        return np.zeros(0, np.int64)
    taken = [
        generator(_seed(config, seed), "server-unlabelled", label).permutation(members)[
            : int(config.share * len(members))
        ]
        for label, members in enumerate(targets.by_class(rows))
    ]
    return np.sort(np.concatenate(taken))


def at_server(
    share: NDArray[np.int64], free: NDArray[np.int64], config: ServerUnlabelled, seed: int
) -> NDArray[np.int64]:
    """The rows that the server may hold without labels, ascending; none where it has a file of its own.

    Args:
        share: what `share_of` gave.
        free: rows that nobody holds, for whatever purpose.
        config: the section `data.server_unlabelled`.
        seed: the scenario's, used where the section has none.
    """
    if config.file is not None:
        return np.zeros(0, np.int64)
    rows = free if config.share is None else share
    return rows[_at_most(config, len(rows), seed)]


def expect_some(scenario: Scenario, rows: NDArray[np.int64], needs: Collection[str]) -> None:
    """Raise `ScenarioError` where the strategy needs samples, and there are none.

    Args:
        rows: of `at_server`.
    """
    if "server_unlabelled" in needs and scenario.data.server_unlabelled.file is None and not len(rows):
        message = f"{scenario.strategy.name} needs samples without labels at the server, and no training sample is left"
        raise ScenarioError(Problem(KEY, f"{message}; set share=0.1, or a file"))


def of_file(config: ServerUnlabelled, kind: InputKind, seed: int) -> NDArray[Any]:
    """The samples of the file, in the form in which the kind stores its own.

    Args:
        config: the section `data.server_unlabelled`, whose `file` is set.
        kind: of the data set's inputs.
        seed: the scenario's, of the draw where the file has more than `most`.

    Returns:
        [n, ...].

    Raises:
        ScenarioError: for a file that is not there, or whose samples are not of the data set's kind.
    """
    file, _, name = str(config.file).partition(".npz:")
    path = Path(f"{file}.npz").expanduser()
    if not name or not path.is_file():
        raise _problem(f"expected FILE.npz:NAME of a file that is there, got {config.file!r}")

    with opened(path, _problem, [name]) as content:
        if name not in content.files:
            raise _problem(f"{path.name} has no array {name!r}; it has: {', '.join(content.files)}")
        x = content[name]
    if not len(x):
        raise _problem(f"{config.file} holds no sample")

    try:
        return kind.stored(Given(x[_at_most(config, len(x), seed)]))
    except FedLTError as error:
        raise _problem(f"{config.file} does not hold samples like those of the data set: {error}") from error


def _at_most(config: ServerUnlabelled, count: int, seed: int) -> NDArray[np.int64] | slice:
    """What picks the samples that are kept out of so many, in their order."""
    if config.most is None or config.most >= count:
        return slice(None)
    drawn = generator(_seed(config, seed), "server-unlabelled-most").choice(count, config.most, replace=False)
    return np.sort(drawn)


def _seed(config: ServerUnlabelled, seed: int) -> int:
    return seed if config.seed is None else config.seed


def _problem(message: str) -> ScenarioError:
    return ScenarioError(Problem(f"{KEY}.file", message))
