"""Vectors of a worker that are used again: to get large memory from the system costs more than to fill it."""

from __future__ import annotations

import torch
from torch import Tensor

from server.records import with_room


class Vectors:
    """Vectors of `length` float32 numbers on a device; on the CPU they can be packed in place."""

    def __init__(self, length: int, device: torch.device) -> None:
        self.length, self.device = length, device
        self._free: list[Tensor] = []
        self._taken: list[Tensor] = []

    def take(self) -> Tensor:
        """[length] of any content, which nobody else has."""
        if self._free:
            vector = self._free.pop()
        elif self.device.type == "cpu":
            vector = with_room(self.length)
        else:
            vector = torch.empty(self.length, device=self.device)
        self._taken.append(vector)
        return vector

    def give(self, vector: Tensor) -> None:
        """Give back a vector that was taken and is no longer needed."""
        self._taken = [taken for taken in self._taken if taken is not vector]
        self._free.append(vector)

    def recycle(self) -> None:
        """Take back all that were taken: whatever they were taken for has been moved."""
        self._free += self._taken
        self._taken = []
