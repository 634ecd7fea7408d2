"""The contract of metrics: a figure of one's own, beside those that every run has.

A metric is one frozen dataclass in a file, and its fields are its keys:

    evaluation.metrics=[./mine.py:TopK]
    evaluation.metrics=[{name: ./mine.py:TopK, k: 3}]

It says what is summed over the tested samples, and what follows from the sums. Sums are taken of the generic model over
the global test set and of each client's personal model over its own, unmasked and masked, for every variant, and on
validation data where there are some. Their figures stand beside the others: `generic/top_3`, `personal_masked/top_3`
(the mean over clients), `generic[psi]/top_3`, `validation/generic/top_3`.

Batches are the same on every backend and are added up in one order, so that a figure has equal bits wherever it is
computed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedlt.data.task import Task

if TYPE_CHECKING:
    from fedlt.measures.figure import Figure

Sums = Mapping[str, NDArray[np.float64]]
"""Arrays by name, float64, of equal shapes for every batch."""


class Metric(ABC):
    """A figure, or several."""

    @abstractmethod
    def sums(self, logits: Tensor, y: Tensor, task: Task) -> dict[str, Tensor]:
        """What is added up over batches, by name: numbers or tensors whose shape no batch changes.

        logits: [B, C]; a class that a masked model must not predict has -inf. y: [B] classes. task: see `fedlt.Task`.
        """

    @abstractmethod
    def figures(self, sums: Sums) -> dict[str, float]:
        """Figures by name, of the sums over all samples of one model. NaN where one is not defined."""

    def describe(self) -> Sequence[Figure]:
        """What tables, pictures and `fedlt explain` tell of the figures, under the names that `figures` gives them.

        A figure without a record is called by its name, and is shown in per cent where all its values allow it.
        """
        return ()
