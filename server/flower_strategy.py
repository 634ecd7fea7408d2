"""Flower's own server strategies (FedAdam, FedYogi, Krum, trimmed mean, ...) as the server half of a strategy.

    fedlt run digits_lt strategy=flower:FedAdam strategy.eta=0.03

The client half is FedAvg's. Flower's strategies see the trainable weights alone: clipped, noised, compared and stepped
like them, running statistics would come out wrong, and an adaptive step makes a variance negative. Buffers take the
mean over the cohort, weighted by numbers of samples, whatever the strategy. Flower's object is rebuilt from
`server.state` in every round, so that nothing is hidden in it: what it keeps between rounds is saved and resumed like
any other state.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import flwr.serverapp.strategy as flower
import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.strategy import Server, Strategy, Update, combine
from server.grids.local import InlineGrid

KEY = "weights"
MANY = 1_000_000  # more clients than any cohort: adaptive clipping allows more noise the more clients there are

logging.getLogger("flwr").setLevel(logging.WARNING)  # it would say two lines in each round


@dataclass(frozen=True)
class FlowerStrategy(Strategy):
    """A strategy of Flower's, rebuilt in every round from the server's state.

    Attributes:
        strategy: class name in flwr.serverapp.strategy.
        options: its constructor's hyper-parameters.
    """

    foldable: ClassVar[bool] = False  # Krum and its like need every client's update by itself

    strategy: str = "FedAvg"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._create(clients=MANY)  # what Flower's constructor refuses is told before the run starts

    def remarks(self, cohort: int) -> list[str]:
        """What it leaves out of account, and which of its settings do nothing in a cohort of this size.

        Raises:
            ScenarioError: for settings that Flower refuses for so few clients.
        """
        name = f"flower:{self.strategy}"
        try:
            inner = self._create(cohort)
        except ValueError as error:
            message = f"{name} cannot serve {cohort} clients a round: {error}"
            raise ScenarioError(Problem("strategy", message)) from error

        lines = []
        if isinstance(inner, flower.FedMedian | flower.FedTrimmedAvg | flower.Krum | flower.Bulyan):
            lines.append(f"{name} leaves the clients' numbers of samples out of account: all count alike")
        if isinstance(inner, flower.FedTrimmedAvg) and int(inner.beta * cohort) == 0:
            least = f"; it takes {math.ceil(1 / inner.beta)} clients or more" if inner.beta else ""
            lines.append(f"{name} cuts nothing off: {inner.beta:g} of {cohort} clients is less than one{least}")

        if isinstance(inner, flower.MultiKrum):
            lines += _krum_remarks(name, inner, cohort)
        if isinstance(inner, flower.Bulyan) and cohort < 4 * inner.num_malicious_nodes + 3:
            lines.append(f"{name} needs {4 * inner.num_malicious_nodes + 3} clients a round, and there are {cohort}")
        if isinstance(inner, flower.Bulyan) and not inner.num_malicious_nodes:
            lines.append(f"{name} with num_malicious_nodes=0 leaves out nobody: it is the mean of all, without weights")
        if hasattr(inner, "eta_l"):
            lines.append(f"{name} makes no use of eta_l: the clients' learning rate is local.lr")
        if isinstance(inner, flower.FedAvgM) and not inner.server_opt:
            lines.append(f"{name} with server_momentum=0 and server_learning_rate=1 is FedAvg")

        if self.strategy.startswith("DifferentialPrivacy"):
            lines.append(
                f"{name} sets its noise for clients of equal size, while the mean counts numbers of samples; buffers "
                "are neither clipped nor noised"
            )

        return lines

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """Rebuild Flower's strategy from the server's state, let it aggregate, and keep what it is then."""
        parts = list(updates)
        mean, trainable = combine(parts).mean, server.trainable
        inner = self._create(len(parts))
        for name, value in server.state.items():
            _restore(inner, name, value.numpy())
        before = ArrayRecord({KEY: Array(server.weights[trainable].cpu().numpy())})
        grid = _Cohort([update.clients[0] for update in parts])
        # Flower samples among the given nodes (all of them) and draws its noise from the global generators.
        random.seed(int(server.rng.integers(2**32)))

        np.random.seed(int(server.rng.integers(2**32)))
        list(inner.configure_train(server.round, before, ConfigRecord(), grid))
        after, _ = inner.aggregate_train(server.round, [_reply(update, trainable) for update in parts])
        if after is None:
            raise FedLTError(f"Flower's {self.strategy} returned no model for {len(parts)} updates")
        mean[trainable] = torch.from_numpy(next(iter(after.values())).numpy().astype(np.float32)).to(mean)
        server.weights = mean
        server.state = {name: torch.from_numpy(value) for name, value in _kept(inner).items()}

    def _create(self, clients: int) -> flower.Strategy:
        """Flower's strategy, which takes all nodes that it is given.

        Args:
            clients: of the cohort.
        """
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


def _krum_remarks(name: str, inner: flower.MultiKrum, cohort: int) -> list[str]:
    """Lines about Krum's settings that make it another method for so few clients.

    Args:
        name: of the strategy.
        inner: Flower's object.
        cohort: clients of a round.
    """
    lines = []
    if inner.num_nodes_to_select == 1:
        lines.append(f"{name} takes over the weights of one client, the one nearest to the others")
    elif inner.num_nodes_to_select >= cohort:
        lines.append(f"{name} selects all {cohort} clients: it is FedAvg")
    if cohort - inner.num_malicious_nodes - 2 < 1:
        lines.append(f"{name} compares each of {cohort} clients with its nearest neighbour alone")
    return lines


def _reply(update: Update, trainable: slice) -> Message:
    """What Flower expects of a node that trained."""
    records = {
        "arrays": ArrayRecord({KEY: Array(update.mean[trainable].cpu().numpy())}),
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
    """Set what one of Flower's strategies keeps between rounds.

    Args:
        name: of the attribute; `NAME/KEY` is an entry of a dictionary, `NAME#NUMBER` one of a list.
        value: as `server.state` has kept it.
    """
    if "/" in name:
        attribute, _, key = name.partition("/")
        setattr(inner, attribute, {**(getattr(inner, attribute) or {}), key: value})
    elif "#" in name:
        attribute = name.partition("#")[0]
        setattr(inner, attribute, [*(getattr(inner, attribute) or []), value])
    else:
        setattr(inner, name, value if value.ndim else float(value))
