"""Devices as a scenario lists them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedlt.cohorts.clock import Clock, Devices


@dataclass(frozen=True)
class Listed(Clock):
    """Speeds and links of a list, a number for each client; or one number for all of them."""

    samples: list[float] | float = 100.0  # passed forward and backward in a second
    down: list[float] | float = 1e6  # bytes in a second from the server
    up: list[float] | float = 2.5e5  # bytes in a second to the server

    def obstacle(self, clients: int) -> str | None:
        """Whether the lists fit the clients, and all numbers are above 0."""
        for name in ("samples", "down", "up"):
            value = getattr(self, name)
            if isinstance(value, list) and len(value) != clients:
                return f"{name} lists {len(value)} numbers, and there are {clients} clients; give one for each"
            if np.min(value) <= 0:
                return f"{name} has {np.min(value):g}; give numbers above 0"
        return None

    def devices(self, sizes: NDArray[np.int64], seed: int) -> Devices:
        numbers = (np.asarray(value, np.float64) for value in (self.samples, self.down, self.up))
        return Devices(*(np.broadcast_to(each, len(sizes)) for each in numbers))
