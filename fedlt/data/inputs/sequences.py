"""Sequences of measurements: float32 [N, L, F], standardised per feature over the real steps; NaN where one has ended.

An encoder reads [B, L, F] without NaN, cut to the longest sequence of the batch, and the mask [B, L] (True: real).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import refuse
from fedlt.data.inputs.kind import Given, InputKind, StoredInputs, spread, tensor_of
from fedlt.data.inputs.masked import checked_mask, fitted, longest, resized, used_length
from fedlt.errors import FedLTError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class SequenceKind(InputKind):
    """Sequences of measurements.

    Attributes:
        length: of the longest sequence, L.
        mean, std: float32 [F].
        shorter: whether there are shorter sequences.
    """

    name: ClassVar[str] = "sequences"
    title: ClassVar[str] = "sequences of measurements"
    remedy: ClassVar[str] = "bring a model whose encoder reads sequences and a mask, as in model=./net.py:Net"

    length: int
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    shorter: bool = False

    @classmethod
    def fits(cls, given: Given) -> bool:
        return given.x.ndim == 3 and given.x.dtype.kind == "f" and given.mask is not None

    @classmethod
    def read(cls, name: str, train: Given, test: Given) -> tuple[SequenceKind, NDArray[Any], NDArray[Any]]:
        """Sequences with equally many measurements a step, and the moments of the real steps."""
        if train.x.shape[2] != test.x.shape[2]:
            shapes = f"{train.x.shape[2]} (training) and {test.x.shape[2]} (test)"
            raise refuse(f"{name}: all steps must have equally many measurements, got {shapes}")
        splits = {"training": train, "test": test}
        masks = [checked_mask(name, split, given) for split, given in splits.items()]
        for (split, given), mask in zip(splits.items(), masks, strict=True):
            if not np.isfinite(given.x[mask].astype(np.float32)).all():
                raise refuse(f"{name}: real steps of the {split} set have missing, infinite or huge values; mend them")

        real = train.x[masks[0]].astype(np.float64)
        length = used_length(*masks)
        x_train, x_test = (
            resized(np.where(mask[..., None], given.x, np.nan).astype(np.float32), length, np.nan)
            for given, mask in zip((train, test), masks, strict=True)
        )
        shorter = bool(np.isnan(x_train[..., 0]).any() or np.isnan(x_test[..., 0]).any())
        return cls(length, real.mean(axis=0).astype(np.float32), spread(real.var(axis=0)), shorter), x_train, x_test

    def meta(self) -> dict[str, Any]:
        return {"length": self.length, "shorter": self.shorter}

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"mean": self.mean, "std": self.std}

    def stored(self, given: Given) -> NDArray[Any]:
        """Sequences as float32 [N, L, F], NaN after their end."""
        expected = f"expected sequences float [N, {self.length}, {len(self.mean)}]"
        if given.x.ndim != 3 or given.x.shape[2] != len(self.mean) or given.x.dtype.kind not in "iuf":
            raise FedLTError(f"{expected}, got {given.x.dtype} {list(given.x.shape)}")
        mask = checked_mask("the new samples", "given", given)
        x = np.where(mask[..., None], given.x, np.nan).astype(np.float32)
        if not np.isfinite(x[mask]).all():
            raise FedLTError("real steps of the samples have missing, infinite or huge values; mend them")
        return fitted(x, mask, self.length, self.shorter, np.nan)

    @property
    def shape(self) -> tuple[int, int]:
        return self.length, len(self.mean)

    @property
    def serves(self) -> tuple[str, ...]:
        return () if self.shorter else ("numbers", "parts")

    def open(self, array: NDArray[Any], device: Any) -> StoredInputs:
        return Sequences(self, tensor_of(array, device))

    def example(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """The first sample is as long as any; the others have one step where sequences differ in length."""
        import torch

        shape = (count, *self.shape)
        if generator is not None:
            return torch.randn(shape, generator=generator)
        x = torch.zeros(shape)
        if self.shorter:
            x[1:, 1:] = torch.nan
        return x

    def stored_example(self, count: int) -> Tensor:
        import torch

        return torch.zeros(count, *self.shape)

    @property
    def padded(self) -> bool:
        return self.shorter

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The steps without NaN, and which are real; no longer than the longest of the batch."""
        mask = ~x[..., 0].isnan()
        if not self.shorter:
            return x, mask
        length = longest(mask)
        return x[:, :length].nan_to_num(0.0), mask[:, :length]


class Sequences:
    """float32 [N, L, F], NaN where a sequence has ended."""

    def __init__(self, kind: SequenceKind, values: Tensor) -> None:
        self.values, self._kind = values, kind
        self.mean, self.std = (tensor_of(moment.copy(), values.device) for moment in (kind.mean, kind.std))

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Tensor, augment: str = "none", generator: torch.Generator | None = None) -> Tensor:
        if reason := self._kind.obstacle(augment):
            raise ValueError(f"local.augment={reason}")
        return self.ready(self.values[rows])

    def ready(self, stored: Tensor) -> Tensor:
        return (stored - self.mean) / self.std
