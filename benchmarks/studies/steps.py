"""The study's steps and nothing else: `python -m benchmarks.studies.steps FOLDER COUNT`.

COUNT steps of plain SGD on the study's network, shared by the cores, each a process of one thread: no method, no test,
no message, no data but one batch. A study that makes each step by itself, in PyTorch, takes no less.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.multiprocessing as mp
from torch import nn
from torch.nn import functional as F

from benchmarks.studies.net import DIM, encoder
from benchmarks.studies.setting import BATCH, CLASSES, IMAGE, RATE


def main(folder: Path, count: int) -> None:
    """Make the steps, this process being one of those that share them."""
    with np.load(folder / "fluke.npz") as content:
        x, y = torch.from_numpy(content["x"][:BATCH]), torch.from_numpy(content["y"][:BATCH])
    cores = len(os.sched_getaffinity(0))
    shares = [count // cores + (rank < count % cores) for rank in range(cores)]

    # Forks have what is imported, as the workers of FedLT do.
    others = [mp.get_context("fork").Process(target=_make, args=(x, y, share)) for share in shares[1:]]
    for other in others:
        other.start()
    _make(x, y, shares[0])
    for other in others:
        other.join()
        if other.exitcode:
            raise SystemExit(f"a process ended with {other.exitcode}")


def _make(x: torch.Tensor, y: torch.Tensor, count: int) -> None:
    """Make `count` steps in the memory order that FedLT takes, with the optimiser's update as one call."""
    torch.set_num_threads(1)
    model = nn.Sequential(encoder(*IMAGE), nn.Linear(DIM, CLASSES))
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = x.contiguous(memory_format=torch.channels_last)
    parameters = list(model.parameters())

    for _ in range(count):
        gradients = torch.autograd.grad(F.cross_entropy(model(x), y), parameters)
        with torch.no_grad():
            torch._foreach_add_(parameters, gradients, alpha=-RATE)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
