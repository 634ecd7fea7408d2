"""Flower's own server strategies (FedAdam, FedYogi, Krum, trimmed mean, ...) as the server half of a strategy.

    fedlt run digits_lt strategy=flower:FedAdam strategy.eta=0.03

The client half is FedAvg's. Flower's object is rebuilt from `server.state` in every round, so that nothing is
hidden in it: what it keeps between rounds is saved and resumed like any other state.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import flwr.serverapp.strategy as flower
import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from fedlt.errors import FedLTError
from fedlt.strategy import Server, Strategy, Update
from server.grids import InlineGrid

KEY = "weights"

logging.getLogger("flwr").setLevel(logging.WARNING)  # it would say two lines in each round


@dataclass(frozen=True)
class FlowerStrategy(Strategy):
    """strategy: class name in flwr.serverapp.strategy. options: its constructor's hyper-parameters."""

    foldable: ClassVar[bool] = False  # Krum and its like need every client's update by itself

    strategy: str = "FedAvg"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._create(clients=1)  # what Flower's constructor refuses is told before the run starts

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        parts = list(updates)
        inner = self._create(len(parts))
        for name, value in server.state.items():
            _restore(inner, name, value.numpy())
        before = ArrayRecord({KEY: Array(server.weights.cpu().numpy())})
        grid = _Cohort([update.clients[0] for update in parts])
        # Flower samples among the given nodes (all of them) and draws its noise from the global generators.
        random.seed(int(server.rng.integers(2**32)))
        np.random.seed(int(server.rng.integers(2**32)))
        list(inner.configure_train(server.round, before, ConfigRecord(), grid))
        after, _ = inner.aggregate_train(server.round, [_reply(update) for update in parts])
        if after is None:
            raise FedLTError(f"Flower's {self.strategy} returned no model for {len(parts)} updates")
        server.weights = torch.from_numpy(next(iter(after.values())).numpy().astype(np.float32))
        server.state = {name: torch.from_numpy(value) for name, value in _kept(inner).items()}

    def _create(self, clients: int) -> flower.Strategy:
        kind = getattr(flower, self.strategy)
        everyone = {"fraction_train": 1.0, "min_train_nodes": 1, "min_available_nodes": 1}
        if self.strategy.startswith("DifferentialPrivacy"):
            inner = flower.FedAvg(**everyone)  # type: ignore[arg-type]
            return kind(inner, num_sampled_clients=clients, **self.options)  # type: ignore[no-any-return]
        return kind(**everyone, **self.options)  # type: ignore[no-any-return]


class _Cohort(InlineGrid):
    """A grid that only knows which nodes there are: the clients whose updates came in."""

    def __init__(self, clients: list[int]) -> None:
        self._nodes = clients


def _reply(update: Update) -> Message:
    """What Flower expects of a node that trained."""
    records = {
        "arrays": ArrayRecord({KEY: Array(update.mean.cpu().numpy())}),
        "metrics": MetricRecord({"num-examples": update.weight}),
    }
    return Message(RecordDict(records), dst_node_id=update.clients[0], message_type="train")  # type: ignore[arg-type]


def _kept(inner: flower.Strategy) -> dict[str, np.ndarray[Any, Any]]:
    """What a Flower strategy keeps between rounds: numbers, arrays, and dictionaries and lists of arrays.

    Keys: `attribute`, `attribute/key` for dictionaries, `attribute#index` for lists. The current model is left out:
    Flower takes it anew in every round.
    """
    found: dict[str, Any] = {}
    for name, value in vars(inner).items():
        if name == "current_arrays":
            continue
        if isinstance(value, dict):
            found.update({f"{name}/{key}": item for key, item in value.items()})
        elif isinstance(value, list):
            found.update({f"{name}#{index}": item for index, item in enumerate(value)})
        else:
            found[name] = value
    return {name: np.asarray(value) for name, value in found.items() if isinstance(value, np.ndarray | float)}


def _restore(inner: flower.Strategy, name: str, value: np.ndarray[Any, Any]) -> None:
    if "/" in name:
        attribute, _, key = name.partition("/")
        setattr(inner, attribute, {**(getattr(inner, attribute) or {}), key: value})
    elif "#" in name:
        attribute = name.partition("#")[0]
        setattr(inner, attribute, [*(getattr(inner, attribute) or []), value])
    else:
        setattr(inner, name, value if value.ndim else float(value))
