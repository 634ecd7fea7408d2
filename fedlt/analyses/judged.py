"""What analyses of predictions are fitted on and measured on: logits and labels of a run's validation and test rows.

Whatever is fitted after the training (a temperature, the threshold of a set, when to abstain) is fitted on validation
rows, which nobody trained on, and never on test rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.groups import SHOTS, Grouping
from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.process.files import replace_file

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from fedlt.results.features import KeptFeatures, Split
    from fedlt.results.runs import Run

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
ALL = "all"


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows under a model.

    Attributes:
        logits: float64 [n, C].
        labels: int64 [n].
        clients: int64 [n], whose personal model gave the logits; -1: the generic one.
    """

    logits: Floats
    labels: Labels
    clients: Labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Judged:
    """Validation and test rows under one model, or those of all clients under a personal model each.

    Attributes:
        validation: rows that nothing was trained on; thresholds and temperatures are fitted on them.
        test: rows that the result is measured on, and nothing else.
        groups: int8 [C], 0, 1 and 2 for head, medium and tail classes.
        name: `generic`, `generic-psi`, `client-3` or `clients`, for names of files.
    """

    validation: Rows
    test: Rows
    groups: NDArray[np.int8]
    name: str

    @property
    def clients(self) -> list[int]:
        """Whose personal models they are; none of the generic one."""
        return [int(client) for client in np.unique(self.test.clients) if client >= 0]

    def parts(self) -> dict[str, NDArray[np.bool_]]:
        """Masks [n] of the test rows: `all`, those of head, medium and tail classes, and of each of several clients.

        What has no row is left out.
        """
        of = self.groups[self.test.labels]
        found = {ALL: np.ones(len(self.test), bool)} | {shot: of == group for group, shot in enumerate(SHOTS)}
        if len(self.clients) > 1:
            found |= {f"client {client}": self.test.clients == client for client in self.clients}
        return {name: mask for name, mask in found.items() if mask.any()}


def judged(run: Run, key: str, client: int | str | None = None, variant: str = "") -> Judged:
    """The rows of a finished run.

    Args:
        key: the option to be named where something is wrong.
        client: the number of one whose personal model it is, or `all`, which leaves out clients without a model of
            their own; the generic one unless given.
        variant: of the logits; the headline unless given.

    Raises:
        ScenarioError: for a run without validation rows, and for samples with several classes.
    """
    asked = run.scenario["data"].get("validation") or {}
    if not (asked.get("share") or asked.get("per_class")):
        remedy = "it takes samples that nobody trained on; run again with data.validation=0.2"
        raise ScenarioError(Problem(key, f"the run has no validation data: {remedy}"))

    # Features and logits of each model.
    found = []
    for number in _numbers(run, client):
        try:
            found.append(run.features(number, variant))
        except ScenarioError:
            raise
        except FedLTError:
            if client != ALL:
                raise  # else it was in no cohort

    if not found:
        raise ScenarioError(Problem(key, "no client of the run has a model of its own"))
    if found[0].train.labels.ndim > 1:
        raise ScenarioError(Problem(key, "is of samples with one class, and here they have several"))

    validation = _rows(key, found, [kept.validation for kept in found])
    test = _rows(key, found, [kept.test for kept in found])
    for name, rows in (("validation", validation), ("test", test)):
        if not len(rows):
            raise ScenarioError(
                Problem(key, f"there is no {name} row{' of this client' if client is not None else ''}")
            )
    groups = Grouping.of_run(run.scenario)(found[0].class_counts)
    return Judged(validation, test, groups, "clients" if client == ALL else found[0].folder.name)


def keep(run: Run, name: str, table: pd.DataFrame, figure: Figure) -> None:
    """Write a table and its picture into the run folder, in place of those of an earlier call.

    Args:
        run: whose folder it is.
        name: of both files, without an ending: `NAME.parquet` and `NAME.png`.
        table: rows without an index.
        figure: the picture.
    """
    from fedlt.plots.figure import save

    replace_file(run.folder / f"{name}.parquet", lambda draft: table.to_parquet(draft, index=False))
    save(figure, run.folder / f"{name}.png")


def _numbers(run: Run, client: int | str | None) -> list[int | None]:
    held = int(run.summary["clients"])
    if client == ALL:
        return [*range(held)]
    if client is None:
        return [None]
    text = str(client)
    if not text.isdecimal() or int(text) >= held:
        raise ScenarioError(Problem("--client", f"expected a number from 0 to {held - 1}, or all, got {client!r}"))
    return [int(text)]


def _rows(key: str, kept: Sequence[KeptFeatures], splits: Sequence[Split | None]) -> Rows:
    """The rows of all splits, and whose they are."""
    pairs = [(split, -1 if one.client is None else one.client) for one, split in zip(kept, splits, strict=True)
             if split is not None]  # fmt: skip
    logits = _joined([split.logits for split, _ in pairs], np.float64)
    if not np.isfinite(logits).all():
        raise ScenarioError(Problem(key, "some logits are not finite: the model diverged, or leaves classes out"))
    clients = np.repeat([client for _, client in pairs], [len(split) for split, _ in pairs])
    return Rows(logits, _joined([split.labels for split, _ in pairs], np.int64), clients.astype(np.int64))


def _joined(arrays: Sequence[Any], dtype: Any) -> Any:
    return np.concatenate([np.asarray(array, dtype) for array in arrays])
