"""The contract of clocks: how quick the clients' devices are, from which the simulated seconds of every round follow.

    federation.clock=log_normal
    federation.clock={name: log_normal, deadline: 60, over: 0.3}

A clock is one frozen dataclass in a file, and its fields are its keys. It tells once how quick each device is; what
clients do is measured as they train, so that a method which passes samples twice takes as long, and one that compresses
what it sends is sooner done.

    @dataclass(frozen=True)
    class Equal(Clock):
        def devices(self, sizes, seed):
            return Devices.alike(len(sizes), samples=100.0, down=1e6, up=2e5)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

FORWARD = 1 / 3
"""What it takes to pass a sample forward only, as a share of passing it forward and backward."""


@dataclass(frozen=True)
class Spent:
    """What a client has done.

    Attributes:
        down, up: bytes.
        backward, forward: samples, as in the table of rounds.
    """

    down: float = 0.0
    backward: float = 0.0
    forward: float = 0.0
    up: float = 0.0


@dataclass(frozen=True, eq=False)
class Devices:
    """The clients' devices, [K] numbers above 0 each.

    Attributes:
        samples: that pass forward and backward in a second.
        down, up: bytes in a second, from the server and to it.
    """

    samples: NDArray[np.float64]
    down: NDArray[np.float64]
    up: NDArray[np.float64]

    @classmethod
    def alike(cls, clients: int, samples: float, down: float, up: float) -> Devices:
        """So many equal ones.

        Args:
            clients: their number.
            samples: that each trains on in a second.
            down, up: bytes that each receives and sends in a second.
        """
        return cls(*(np.full(clients, value, np.float64) for value in (samples, down, up)))

    def seconds(self, client: int, spent: Spent) -> float:
        """What a client's work takes: first it receives, then it computes, then it sends."""
        passes = spent.backward + FORWARD * spent.forward
        return float(spent.down / self.down[client] + passes / self.samples[client] + spent.up / self.up[client])


@dataclass(frozen=True)
class Clock(ABC):
    """Base of every clock."""

    deadline: Annotated[float, "> 0"] | None = None  # seconds of training after which a round closes; null: none
    over: Annotated[float, ">= 0"] = 0.0  # share of further clients that are asked; a round closes without the slowest

    def obstacle(self, clients: int) -> str | None:
        """Why it has no meaning for so many clients, as a sentence; None where it has."""
        return None

    @abstractmethod
    def devices(self, sizes: NDArray[np.int64], seed: int) -> Devices:
        """The devices of all clients.

        Args:
            sizes: int64 [K], their training samples.
            seed: the scenario's.
        """

    @property
    def closes(self) -> bool:
        """Whether a round may end without some who are still at work."""
        return self.deadline is not None or self.over > 0


@dataclass(frozen=True)
class Closing:
    """How a round ends.

    Attributes:
        seconds: from asking the cohort on.
        late: clients whose answers came too late, or too many.
    """

    seconds: float
    late: frozenset[int]


def closing(clock: Clock, answers: Mapping[int, float], asked: int, wanted: int) -> Closing:
    """When a round closes: with the answer of the last client that is wanted, or at the deadline.

    Without a deadline nobody waits for those that never answer.

    Args:
        answers: seconds of each client that answers at all.
        asked: how many were asked.
        wanted: how many answers are enough.
    """
    limit = np.inf if clock.deadline is None else clock.deadline
    order = sorted(answers, key=lambda client: (answers[client], client))
    used = [client for client in order if answers[client] <= limit][:wanted]
    late = frozenset(answers) - frozenset(used)
    if len(used) < min(wanted, asked) and clock.deadline is not None:
        return Closing(clock.deadline, late)
    return Closing(max((answers[client] for client in used), default=0.0), late)
