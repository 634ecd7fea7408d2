"""What a model is asked to do: everything that models, strategies and learners may know of the data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Task:
    """A prediction task.

    kind: `single` (one class a sample). num_classes: C. input_shape: one sample's, (channels, height, width) or
    (features,). class_counts: [C] training samples over all clients. rounds: the run's budget of rounds.
    """

    kind: str
    num_classes: int
    input_shape: tuple[int, ...]
    class_counts: NDArray[np.int64]
    rounds: int = 1
