"""Updates that arrive rounds after they were computed (`federation.late`): held by the server until they are due.

A late client trains as any other, from the model of its round, and what it keeps is kept at once. Its change of the
trainable weights is added to the model of the round in which it arrives, as in asynchronous training (Nguyen, Malik,
Zhan, Yousefpour, Rabbat, Malek, Huba: Federated Learning with Buffered Asynchronous Aggregation. AISTATS 2022):

    w_k' = w(now) + (w_k - w(then)),  with the weight  n_k * federation.late.weight  in the mean

Buffers (running statistics) come as they were sent; what a strategy sums (`client.extras`) is multiplied by the same
factor, and what stays apart (`client.values`) is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fedlt.strategy import Update


@dataclass
class Held:
    """An update under way. due: the round in which it arrives. update: of one client, already with its late weight;
    the trainable part of `total` is the weighted change."""

    due: int
    update: Update

    def arrive(self, weights: Tensor, trainable: int) -> Update:
        """The update as if its client had begun from `weights` [S], the first `trainable` of which are trained."""
        update = self.update
        update.total[:trainable] += update.weight * weights[:trainable]
        return update


def hold(update: Update, weights: Tensor, trainable: int, due: int, factor: float) -> Held:
    """An update of one client that began from `weights` [S]; it arrives in round `due` with `factor` of its weight."""
    total = update.total.clone()
    total[:trainable] -= update.weight * weights[:trainable]
    sums = {name: value * factor for name, value in update.sums.items()}
    values = {name: value.clone() for name, value in update.values.items()}
    return Held(due, Update(update.clients, update.weight * factor, total * factor, sums, values))


def pack(held: Iterable[Held]) -> tuple[list[Any], dict[str, Tensor]]:
    """What is under way as JSON, and its tensors by name."""
    head: list[Any] = []
    tensors: dict[str, Tensor] = {}
    for index, item in enumerate(held):
        update = item.update
        head.append([item.due, list(update.clients), update.weight])
        tensors[f"{index}/total"] = update.total
        tensors |= {f"{index}/sums/{name}": value for name, value in update.sums.items()}
        tensors |= {f"{index}/values/{name}": value for name, value in update.values.items()}
    return head, tensors


def unpack(head: list[Any], tensors: dict[str, Tensor]) -> list[Held]:
    """What `pack` packed."""
    held = [
        Held(due, Update(tuple(clients), weight, tensors[f"{i}/total"]))
        for i, (due, clients, weight) in enumerate(head)
    ]
    for key, value in tensors.items():
        index, kind, *name = key.split("/", 2)
        if name:
            getattr(held[int(index)].update, kind)[name[0]] = value
    return held
