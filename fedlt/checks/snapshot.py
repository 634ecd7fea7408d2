"""A server at one moment of a check: put back, compared, and looked at for what its step does by itself."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedlt.strategy import Server, Update
from fedlt.training.server_tensors import held_tensors, hold_tensors

TINY = 1e-12  # a length to divide by


@dataclass
class Snapshot:
    """A server at one moment, and what is random then. The tensors of its boxes share memory where the server's do."""

    storage: Tensor
    held: dict[str, Tensor]
    rng: tuple[np.random.Generator, Tensor, dict[str, Any], tuple[Any, ...]]

    @classmethod
    def of(cls, server: Server) -> Snapshot:
        rng = copy.deepcopy(server.rng), torch.get_rng_state(), np.random.get_state(legacy=False), random.getstate()
        return cls(server.flat.storage.clone(), copy.deepcopy(held_tensors(server)), rng)

    def restore(self, server: Server) -> None:
        """Put the server back, with all generators."""
        server.flat.load(self.storage)
        hold_tensors(server, self.held)
        server.rng = self.rng[0]
        torch.set_rng_state(self.rng[1])
        np.random.set_state(self.rng[2])
        random.setstate(self.rng[3])


def alike(one: Snapshot, other: Snapshot) -> bool:
    """Equal up to rounding."""
    if one.held.keys() != other.held.keys():
        return False
    pairs = [(one.storage, other.storage), *((value, other.held[name]) for name, value in one.held.items())]
    return all(a.shape == b.shape and torch.allclose(a.double(), b.double(), 1e-3, 1e-4) for a, b in pairs)


def drift_of(server: Server, updates: list[Update], aggregate: Callable[[Server, Any], None]) -> float:
    """How far a step moves the model where every client sends back what it was given, over the model's length.

    Args:
        server: as it is before the step, and again afterwards.
        updates: of clients that have trained; of these, what they send beside the model stays.
        aggregate: the step.
    """
    before, start = Snapshot.of(server), server.weights.clone()
    aggregate(server, [replace(update, total=update.weight * start) for update in copy.deepcopy(updates)])
    drift = float((server.weights - start).norm()) / max(float(start.norm()), TINY)  # nothing may be shared
    before.restore(server)
    return math.inf if math.isnan(drift) else drift


def equal(one: Any, other: Any) -> bool:
    """Whether two nested dictionaries hold equal tensors."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(value, other[name]) for name, value in one.items())
    return torch.equal(one, other)
