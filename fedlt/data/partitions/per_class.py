"""Each class is spread over the clients by its own Dirichlet draw: the very draws of the FedLoGe code.

Xiao et al.: FedLoGe: Joint Local and Generic Federated Learning under Long-tailed Data. ICLR 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fedlt.data.counting import occurrences
from fedlt.data.partitions.scheme import legacy_generator
from fedlt.data.targets import Groups


@dataclass(frozen=True)
class DirichletPerClass:
    """Class by class; the sizes follow from the class counts alone."""

    alpha: Annotated[float, "> 0"] = 0.5  # smaller: each class sits with fewer clients
    seed: Annotated[int, ">= 0", "<= 4294967295"] | None = None  # null: the scenario's; 3407 in the FedLoGe code

    def assign(self, labels: NDArray[np.int64], groups: Groups, clients: int, seed: int) -> NDArray[np.int64]:
        """See `Scheme.assign`. Sizes follow from the class counts alone; sample rows are dealt in storage order."""
        draws = legacy_generator(self.seed, seed)
        sizes = occurrences(labels, int(labels.max()) + 1)
        draws.binomial(1, 1, size=(clients, len(sizes)))  # all ones, but the official code draws them: state moves
        owner = np.empty(len(labels), np.int64)
        for label, size in enumerate(sizes):
            shares = draws.dirichlet(self.alpha * np.ones(clients))

            # Where all gamma draws underflow, NumPy divides 0 by 0. The limit for small alpha is one client.
            if not np.isfinite(shares).all() or abs(shares.sum() - 1) > 1e-8:
                shares = np.eye(clients)[draws.randint(clients)]

            owner[labels == label] = draws.choice(clients, size, p=shares)
        return owner
