"""Devices drawn at random, their speeds and links log-normal: most near the median, a few many times slower.

The medians are keys, and no measurements: set those of the devices that are meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fedlt.cohorts.clock import Clock, Devices
from fedlt.process import seeding


@dataclass(frozen=True)
class LogNormal(Clock):
    """A speed and a link drawn once for each client, log-normal about their medians."""

    samples: Annotated[float, "> 0"] = 100.0  # median, passed forward and backward in a second
    down: Annotated[float, "> 0"] = 1e6  # median, bytes in a second from the server
    up: Annotated[float, "> 0"] = 2.5e5  # median, bytes in a second to the server
    spread: Annotated[float, ">= 0"] = 1.0  # of the speed's logarithm; 1: a sixth are below 0.37 of the median
    link_spread: Annotated[float, ">= 0"] = 1.0  # of the link's logarithm, up and down together
    seed: Annotated[int, ">= 0"] | None = None  # null: the scenario's

    def devices(self, sizes: NDArray[np.int64], seed: int) -> Devices:
        rng = seeding.generator(seed if self.seed is None else self.seed, "devices")
        drawn = rng.normal(size=(len(sizes), 2))  # client by client, so that further clients leave these as they are
        speed, link = np.exp(self.spread * drawn[:, 0]), np.exp(self.link_spread * drawn[:, 1])
        return Devices(self.samples * speed, self.down * link, self.up * link)
