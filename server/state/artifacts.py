"""What a run leaves of its models: tensors by name, and one hash over all of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from fedlt.exchange import UNION
from fedlt.learner import overrides
from fedlt.strategy import Strategy
from server.rounds.progress import Progress
from server.state.states import StateStore

BOXES = {"outbox": "outbox", "letter": "letters"}
"""What clients receive beside the model, as checkpoints name it, and the file of it."""


def save_models(progress: Progress, folder: Path) -> None:
    """`model.safetensors` (the generic model), `clients.safetensors` (what clients keep, if anything),
    `outbox.safetensors` (what every client receives beside the model) and `letters.safetensors` (each for itself).
    """
    save_file(generic_tensors(progress), folder / "model.safetensors")
    if _clients(progress.states):
        _save_states(progress.states, folder / "clients.safetensors")
    for box in ("outbox", "letter"):
        sent = _sent(progress, box)
        if sent:
            save_file(sent, folder / f"{BOXES[box]}.safetensors")


def generic_tensors(progress: Progress) -> dict[str, torch.Tensor]:
    """The generic model's tensors by name, in PyTorch's usual memory order."""
    flat = progress.server.flat
    flat.settle()
    named = {name: tensor.detach().cpu().contiguous() for name, tensor in flat.tensors.items()}
    return {name: t.to(torch.complex64) if t.is_complex() else t for name, t in named.items()}  # what safetensors knows


def client_tensors(states: StateStore) -> Iterator[tuple[str, torch.Tensor]]:
    """What clients keep, by `client/name`, in the order of these names; one client is in memory at a time."""
    for client in sorted(_clients(states), key=lambda client: f"{client}/"):
        state = states.read([client])[client]
        for name in sorted(state):
            yield f"{client}/{name}", state[name]


def model_hash(progress: Progress, strategy: Strategy) -> str:
    """SHA-256 over names, shapes and bytes of all that decides a prediction: the generic model, everything that clients
    keep and, where the strategy predicts in a way of its own, what clients receive beside the model.
    """
    digest = hashlib.sha256()

    def add(name: str, tensor: torch.Tensor) -> None:
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())

    for name, tensor in sorted(generic_tensors(progress).items()):
        add(name, tensor)
    for name, tensor in client_tensors(progress.states):
        add(name, tensor)
    if any(overrides(strategy, hook) for hook in (Strategy.generic, Strategy.personal, Strategy.adapt)):
        for box in BOXES:
            for name, tensor in sorted(_sent(progress, box).items()):
                add(f"{box}/{name}", tensor)
    return digest.hexdigest()


def _sent(progress: Progress, box: str) -> dict[str, torch.Tensor]:
    """What clients receive beside the model: all of them alike ("outbox"), or each for itself ("letter")."""
    held = {name: value for name, value in progress.tensors().items() if name.startswith(f"{box}/")}
    return {name.removeprefix(f"{box}/"): value for name, value in held.items()}


def _clients(states: StateStore) -> list[int]:
    """Clients that keep something; the site of centralized training is none of them."""
    return [client for client in states.clients() if client != UNION]


def _save_states(states: StateStore, path: Path) -> None:
    """All clients' tensors as one safetensors file, whose parts are copied from the clients' records one by one.

    The file is its header's length (8 bytes), the header (JSON), and the tensors' bytes; wider types come first, so
    that every tensor is aligned.
    """
    entries: dict[str, Any] = {}
    widths: set[int] = set()
    for client in _clients(states):
        for name, entry, _ in _tensors(states.record(client)):
            entries[f"{client}/{name}"] = entry
            widths.add(_width(entry))

    end = 0
    placed: dict[str, Any] = {}
    for width in sorted(widths, reverse=True):
        for name, entry in entries.items():
            if _width(entry) == width:
                start, end = end, end + entry["data_offsets"][1] - entry["data_offsets"][0]
                placed[name] = {**entry, "data_offsets": [start, end]}

    header = json.dumps(placed).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for width in sorted(widths, reverse=True):
            for client in _clients(states):
                for _, entry, content in _tensors(states.record(client)):
                    if _width(entry) == width:
                        file.write(content)


def _tensors(record: bytes) -> Iterator[tuple[str, dict[str, Any], memoryview]]:
    """Name, header entry and bytes of each tensor of a safetensors record."""
    start = 8 + int.from_bytes(record[:8], "little")
    for name, entry in json.loads(record[8:start]).items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            yield name, entry, memoryview(record)[start + first : start + last]


def _width(entry: dict[str, Any]) -> int:
    """Bytes of one number: the digits of a type's name (F32, I64, BF16), bits; one byte for BOOL and the like."""
    digits = "".join(filter(str.isdigit, entry["dtype"].partition("_")[0]))
    return int(digits) // 8 if digits else 1
