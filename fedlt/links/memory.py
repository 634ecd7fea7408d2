"""The form in which a checkpoint holds what links keep at the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fedlt.links.link import Held, Memory
from fedlt.strategy import Update

Head = list[list[Any]]
"""For each link, the updates that it holds: the round in which each is due, its clients and its weight."""


def pack(memories: Sequence[Memory]) -> tuple[Head, dict[str, Tensor]]:
    """What the links keep as JSON, and its tensors by name."""
    head: Head = []
    tensors: dict[str, Tensor] = {}
    for place, memory in enumerate(memories):
        head.append([[held.due, list(held.update.clients), held.update.weight] for held in memory.held])
        for kind, box in (("state", memory.state), ("outbox", memory.outbox)):
            tensors |= {f"{place}/{kind}/{name}": value for name, value in box.items()}
        for number, held in enumerate(memory.held):
            prefix = f"{place}/held/{number}"
            tensors[f"{prefix}/total"] = held.update.total
            tensors |= {f"{prefix}/sums/{name}": value for name, value in held.update.sums.items()}
            tensors |= {f"{prefix}/values/{name}": value for name, value in held.update.values.items()}
    return head, tensors


def unpack(head: Head, tensors: dict[str, Tensor]) -> list[Memory]:
    """What `pack` packed."""
    memories = []
    for place, described in enumerate(head):
        mine = _beneath(f"{place}/", tensors)
        memory = Memory(_beneath("state/", mine), _beneath("outbox/", mine))
        for number, (due, clients, weight) in enumerate(described):
            parts = _beneath(f"held/{number}/", mine)
            sums, values = _beneath("sums/", parts), _beneath("values/", parts)
            memory.held.append(Held(due, Update(tuple(clients), weight, parts["total"], sums, values)))
        memories.append(memory)
    return memories


def _beneath(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
