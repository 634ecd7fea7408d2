"""Clients of equal size, cut out of Dirichlet partitions of groups of ten: the CReFF family's "non-IID alpha".

CReFF (Shang et al., IJCAI 2022), FedIC (Shang et al., ICME 2022), CLIP2FL (Shi et al., AAAI 2024) and FedLF share this
code (read in those of FedIC, CLIP2FL and FedLF), so that alpha 0.5 in these papers is another set than 0.5 per class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fedlt.data.partitions.cuts import ATTEMPTS, dirichlet_cuts, no_draw, redrawn
from fedlt.data.partitions.scheme import legacy_generator
from fedlt.data.targets import Groups

TOGETHER = 10


@dataclass(frozen=True)
class DirichletEqual:
    """Clients of equal size, cut out of Dirichlet partitions of ten clients at a time: that of CReFF, FedIC, CLIP2FL.

    The shuffled samples are cut into groups for ten clients each. Inside a group, each class is cut at Dirichlet
    shares, and clients that hold a tenth of the group get no more; this is drawn again until the smallest has half of
    that. Then all samples, client by client, are cut anew into K equal parts: sizes differ by at most one, and
    clients that are neighbours share samples of what was one client's. Sizes follow from the order of the samples too,
    which is class after class.
    """

    alpha: Annotated[float, "> 0"] = 0.5  # smaller: each class sits with fewer clients
    seed: Annotated[int, ">= 0", "<= 4294967295"] | None = None  # null: the scenario's; 7 in the papers' code

    def assign(self, labels: NDArray[np.int64], groups: Groups, clients: int, seed: int) -> NDArray[np.int64]:
        """See `Scheme.assign`."""
        draws = legacy_generator(self.seed, seed)
        shuffled = np.arange(len(labels))
        draws.shuffle(shuffled)

        bundles = math.ceil(clients / TOGETHER)
        step = int(TOGETHER / clients * len(labels))
        in_turn = []
        for bundle in range(bundles):
            end = (bundle + 1) * step if bundle < bundles - 1 else len(labels)
            rows = shuffled[bundle * step : end]
            in_turn.append(rows[self._by_client(draws, labels[rows], min(TOGETHER, clients - bundle * TOGETHER))])

        owner = np.empty(len(labels), np.int64)
        for client, rows in enumerate(np.array_split(np.concatenate(in_turn), clients)):
            owner[rows] = client
        return owner

    def _by_client(self, draws: np.random.RandomState, labels: NDArray[np.int64], clients: int) -> NDArray[np.int64]:
        """Positions in a group, client by client, and class by class within each."""
        full = len(labels) / clients
        least = int(0.5 * full)
        owner = redrawn(lambda: dirichlet_cuts(draws, labels, clients, self.alpha, full, shuffle=False), clients, least)
        if owner is None:
            raise no_draw(ATTEMPTS, least, "use a larger alpha or fewer clients")
        return np.lexsort((np.arange(len(labels)), labels, owner))
