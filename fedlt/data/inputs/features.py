"""Features in place of inputs: what a frozen encoder has made of samples, so that it is passed once.

There is one spelling of it. `Encoded` holds the features of a set of samples, known beforehand (a site whose encoder is
not trained) or computed in fixed chunks when first needed (a test set under one state of the model). Its batches are
`Features`, which go wherever a batch of inputs goes: `model(x)`, `model.encode(x)`, losses, predictions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, Self

import torch
from torch import Tensor

if TYPE_CHECKING:
    from fedlt.data.inputs.kind import Inputs


class Encoder(Protocol):
    """What has features: a model."""

    def encode(self, x: Tensor) -> Tensor:
        """[n, D] features of inputs [n, ...]."""

    def backbone_version(self) -> tuple[int, int]:
        """Changes whenever what makes the features does."""


class Features:
    """Stands for the inputs of some rows of an `Encoded` set."""

    def __init__(self, source: Encoded, rows: Tensor) -> None:
        self.source, self.rows = source, rows

    def __len__(self) -> int:
        return len(self.rows)

    def under(self, model: Encoder) -> Tensor:
        """[n, D] features under the model's present encoder: those at hand where they hold, else computed anew."""
        return self.source.gather(self.rows) if self.source.holds_for(model) else model.encode(self.inputs())

    def inputs(self) -> Tensor:
        """[n, ...] the inputs themselves."""
        return self.source.inputs_at(self.rows)


class Encoded:
    """Features of a set of samples in place of its inputs: an `Inputs` whose batches are `Features`.

    Attributes:
        model: the one whose features are meant; None where they are known, and hold for any model.
        chunk: samples that are encoded at a time: fixed chunks keep the bits equal whoever asks for which rows.
        encode: makes features [n, D] of the inputs of a chunk; the model's own unless given.
        version: the state of the model's backbone for which the features hold.
    """

    def __init__(
        self,
        inputs: Inputs | None,
        model: Encoder | None,
        size: int,
        chunk: int,
        encode: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.model, self._inputs, self.size, self.chunk = model, inputs, size, chunk
        self._encode = model.encode if encode is None and model is not None else encode
        self.version = None if model is None else model.backbone_version()
        self._features: Tensor | None = None
        self._done: set[int] = set()

    @classmethod
    def known(cls, features: Tensor) -> Self:
        """The set of samples whose features [n, D] these are."""
        found = cls(None, None, len(features), max(1, len(features)))
        found._features, found._done = features, {0}
        return found

    @classmethod
    def of(cls, inputs: Inputs, model: Encoder, chunk: int, encode: Callable[[Tensor], Tensor] | None = None) -> Self:
        """The features of all inputs under the model as it is now; they are computed when they are asked for."""
        return cls(inputs, model, len(inputs), chunk, encode)

    def __len__(self) -> int:
        return self.size

    def take(self, rows: Tensor, augment: str = "none", generator: torch.Generator | None = None) -> Features:
        """The features at `rows` [B]; there is nothing left to augment."""
        return Features(self, rows)

    def holds_for(self, model: Encoder) -> bool:
        """Whether the features are what the model's encoder would make of the inputs now."""
        return self.model is None or (model is self.model and model.backbone_version() == self.version)

    def revalidate(self) -> None:
        """Say that the encoder is again what it was when the set was made."""
        assert self.model is not None
        self.version = self.model.backbone_version()

    def inputs_at(self, rows: Tensor) -> Tensor:
        """[n, ...] the inputs at `rows`.

        Raises:
            ValueError: where features are all there is.
        """
        if self._inputs is None:
            raise ValueError("of these samples the features are known, and the inputs are not at hand")
        return self._inputs.take(rows)  # type: ignore[no-any-return]

    def gather(self, rows: Tensor) -> Tensor:
        """[n, D] features of the rows."""
        if self.model is None:
            assert self._features is not None
            return self._features[rows]

        assert self._encode is not None
        for index in torch.unique(rows // self.chunk).tolist():
            if index not in self._done:
                start, stop = index * self.chunk, min((index + 1) * self.chunk, self.size)
                part = self._encode(self.inputs_at(torch.arange(start, stop, device=rows.device)))
                if self._features is None:
                    self._features = part.new_empty(self.size, *part.shape[1:])
                self._features[start:stop] = part
                self._done.add(index)
        assert self._features is not None
        return self._features[rows]
