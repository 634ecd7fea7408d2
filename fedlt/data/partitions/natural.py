"""One client for each value of a group column, such as the site or the writer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedlt.data.partitions.scheme import KEY
from fedlt.data.targets import Groups
from fedlt.errors import Problem, ScenarioError


@dataclass(frozen=True)
class Natural:
    """Clients as the data have them, in the order of the column's values."""

    own_clients: ClassVar[bool] = True

    column: str

    def assign(self, labels: NDArray[np.int64], groups: Groups, clients: int | None, seed: int) -> NDArray[np.int64]:
        """See `Scheme.assign`. Clients are in ascending order of the column's values."""
        return np.unique(self.values(groups), return_inverse=True)[1].astype(np.int64)

    def values(self, groups: Groups) -> NDArray[np.int64]:
        """The column, int64 [N]; raises `ScenarioError` where the data set has none of that name."""
        if self.column not in groups:
            known = ", ".join(sorted(groups)) or "none (name them in data.group_columns)"
            message = f"the training set has no group column {self.column!r}; it has: {known}"
            raise ScenarioError(Problem(f"{KEY}.column", message))
        return groups[self.column]
