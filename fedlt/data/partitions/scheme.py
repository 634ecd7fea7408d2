"""The contract of partitions: one method, `assign`, which says who holds each training sample.

Each scheme is a frozen dataclass: its fields are its keys in `federation.partition`. Reads labels and group columns,
never inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedlt.data.targets import Groups
from fedlt.errors import Problem, ScenarioError

KEY = "federation.partition"
NOBODY = -1


class UnluckyDraw(ScenarioError):
    """A draw that cannot be used, where another seed may give one that can. Its message ends with `; REMEDY`."""


@dataclass(frozen=True, eq=False)
class SourceRows:
    """Where the samples stand in the source, for schemes that know rows by number.

    Attributes:
        rows: int64 [N], the row of each sample in the source's training set, from 0.
        size: rows of that set: those that the long tail or `data.auxiliary` left out are among them.
    """

    rows: NDArray[np.int64]
    size: int


class Scheme(Protocol):
    """What a partition is.

    Two further declarations are read where a class has them, as class variables or properties. `own_clients = True`:
    it makes as many clients as it finds, and `federation.clients` may be null. `leaves_out = True`: it may give samples
    to nobody, with -1.
    """

    def assign(self, labels: NDArray[np.int64], groups: Groups, clients: int, seed: int) -> NDArray[np.int64]:
        """The client of each training sample, int64 [N], each in 0..clients-1.

        A method that also names `source` gets the `SourceRows`.

        Args:
            labels: int64 [N], the class that each sample follows (`Targets.lead`): its own, or the rarest of several.
            groups: group columns, int64 [N] each.
            clients: their number; None to schemes of `own_clients` where the scenario has null.
            seed: the scenario's, used where the scheme has none of its own.

        Raises:
            ScenarioError: under `federation.partition`.
        """


def legacy_generator(seed: int | None, scenario_seed: int) -> np.random.RandomState:
    """The generator of NumPy's legacy functions, from which the code of papers draws.

    Args:
        seed: the scheme's own; None: the scenario's.

    Raises:
        ScenarioError: beyond 2^32 - 1, which it cannot take.
    """
    chosen = scenario_seed if seed is None else seed
    if chosen > 2**32 - 1:
        raise ScenarioError(Problem(f"{KEY}.seed", f"must be below 2^32 for this partition, got {chosen}"))
    return np.random.RandomState(chosen)
