"""Inputs that stay on the disk: of an array larger than a process should hold, each batch is read from its file.

Reading through a mapping would do the same, but what it has touched counts as resident until it is given back, and a
page that is touched may bring its neighbours, up to 2 MiB at once. What is read from the file is the batch alone.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.inputs.kind import InputKind, Inputs
from fedlt.data.stored import file_of, release

if TYPE_CHECKING:
    import torch
    from torch import Tensor

RESIDENT = 2**28
"""Bytes of a mapped array up to which it is used in its mapping, all of which may become resident."""


class OnDisk:
    """Inputs of a stored split whose rows are read when they are taken, with the same values and the same draws.

    Attributes:
        array: as mapped for reading from the one `.npy` file that it is.
        device: the CPU.
    """

    def __init__(self, kind: InputKind, array: np.memmap[Any, Any], device: Any) -> None:
        self.kind, self.device = kind, device
        self.shape, self.dtype, self.start = array.shape, array.dtype, array.offset
        self._file = os.open(str(array.filename), os.O_RDONLY)  # stays readable where the file is deleted meanwhile
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, rows: Tensor, augment: str = "none", generator: torch.Generator | None = None) -> Any:
        """[B, ...] the inputs at `rows` [B], as the kind gives them for a split of these rows alone."""
        import torch

        held = self.kind.open(self._read(rows.tolist()), self.device)
        return held.take(torch.arange(len(rows)), augment, generator)

    def _read(self, rows: list[int]) -> NDArray[Any]:
        """Some rows, as stored.

        Raises:
            OSError: for a file that has become shorter.
        """
        part = np.empty((len(rows), *self.shape[1:]), self.dtype)
        size = part.nbytes // max(1, len(rows))
        content = part.reshape(-1).view(np.uint8)
        for place, row in enumerate(rows):
            found = os.preadv(self._file, [content[place * size : (place + 1) * size].data], self.start + row * size)
            if found != size:
                raise OSError(f"row {row} of a stored data set has {found} of {size} bytes; delete the cache's entry")
        return part


def opened(kind: InputKind, array: NDArray[Any], device: Any) -> Inputs:
    """The inputs of a stored split (`InputKind.open`).

    Args:
        kind: of the inputs.
        array: [N, ...] of the split; on the CPU a large one that is mapped from a file stays on the disk.
        device: where batches are wanted; to one that is not the CPU all is copied.
    """
    on_cpu = str(device).partition(":")[0] == "cpu"
    large = on_cpu and array.nbytes > RESIDENT and hasattr(os, "preadv")
    if large and isinstance(array, np.memmap) and file_of(array) is not None:
        return OnDisk(kind, array, device)
    inputs = kind.open(array, device)
    if not on_cpu:
        release(array)  # all of it was copied to the device
    return inputs
