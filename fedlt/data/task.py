"""What a model is asked to do: everything that models, strategies and learners may know of the data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedlt.config.horizon import Horizon, OfTheRun
from fedlt.data.inputs import InputKind, shaped
from fedlt.data.kinds.single import Single
from fedlt.errors import FedLTError
from fedlt.target import Target

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Task:
    """A prediction task.

    Attributes:
        kind: what the labels are, such as `single` (one class a sample).
        num_classes: C.
        input_shape: one sample's, as the model gets it: (channels, height, width), (features,), (tokens,) or (steps,
            features).
        known_counts: [C] training samples over all clients; None for a strategy that does not declare the need of them.
        rounds: the run's budget of rounds.
        target: the kind itself, which has the loss that is usual for it.
        horizon: whether anything has asked for the budget of rounds.
        inputs: all else that a model has to know of samples, such as the vocabulary of tokens; where not given, what
            the shape suggests.
        class_vectors: [C, D] those of `model.class_vectors`, with D the feature dimension; None where the scenario
            names none, and for methods that do not declare the need of them.
        parents: int64 [C], the parent of each class in the tree of `data.parents`; None where the scenario names none.
        group_columns: names of the data set's group columns.
    """

    kind: str
    num_classes: int
    input_shape: tuple[int, ...]
    known_counts: NDArray[np.int64] | None = None
    rounds: OfTheRun[int] = OfTheRun(1)
    target: Target = field(default_factory=Single)
    horizon: Horizon = field(default_factory=Horizon, compare=False, repr=False)
    inputs: InputKind = field(default=None, compare=False, repr=False)  # type: ignore[assignment]
    class_vectors: Tensor | None = field(default=None, compare=False, repr=False)
    parents: NDArray[np.int64] | None = field(default=None, compare=False, repr=False)
    group_columns: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.inputs is None:
            object.__setattr__(self, "inputs", shaped(self.input_shape))

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """[C] training samples over all clients.

        Raises:
            FedLTError: where the strategy did not declare the need.
        """
        if self.known_counts is None:
            raise FedLTError("task.class_counts is for strategies that declare it: needs = ('class_prior',)")
        return self.known_counts
