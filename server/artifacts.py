"""What a run leaves of its models: tensors by name, and one hash over all of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from server.messages import UNION
from server.rounds import Progress


def save_models(progress: Progress, folder: Path) -> None:
    """`model.safetensors` (the generic model), `clients.safetensors` (what clients keep, if anything) and
    `outbox.safetensors` (what every client receives beside the model, if anything)."""
    from safetensors.torch import save_file

    save_file(generic_tensors(progress), folder / "model.safetensors")
    kept = client_tensors(progress)
    if kept:
        save_file(kept, folder / "clients.safetensors")
    outbox = progress.server.outbox
    if outbox:
        save_file({name: t.detach().cpu().contiguous() for name, t in outbox.items()}, folder / "outbox.safetensors")


def generic_tensors(progress: Progress) -> dict[str, torch.Tensor]:
    """The generic model's tensors by name, in PyTorch's usual memory order."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in progress.server.flat.tensors.items()}


def client_tensors(progress: Progress) -> dict[str, torch.Tensor]:
    """What clients keep, by `client/name`, in ascending order; the site of centralized training is none of them."""
    states = sorted((client, state) for client, state in progress.states.items() if client != UNION)
    return {f"{client}/{name}": state[name].cpu().contiguous() for client, state in states for name in sorted(state)}


def model_hash(progress: Progress) -> str:
    """SHA-256 over names, shapes and bytes of the generic model and of everything that clients keep."""
    digest = hashlib.sha256()
    for part in (generic_tensors(progress), client_tensors(progress)):
        for name in sorted(part):
            tensor = part[name]
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
