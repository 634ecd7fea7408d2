"""One generator for each (seed, purpose) and each (seed, purpose, round, client); never the global ones.

A result may then depend on neither the order in which clients are visited nor the process that visits them.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def generator(seed: int, purpose: str, *path: int) -> np.random.Generator:
    """A NumPy generator that is a function of its arguments alone.

    Args:
        seed: the scenario's seed, >= 0.
        purpose: what the numbers are for, such as `"cohort"`.
        path: further coordinates, such as the round and the client (each >= 0).
    """
    return np.random.Generator(np.random.PCG64(_sequence(seed, purpose, path)))


def integer(seed: int, purpose: str, *path: int) -> int:
    """A 63-bit seed for generators of other libraries, derived in the same way."""
    return int(_sequence(seed, purpose, path).generate_state(1, np.uint64)[0] >> np.uint64(1))


def torch_generators(device: torch.device, seed: int, purpose: str, *path: int) -> None:
    """Seed PyTorch's global generators, of the CPU and of the device, for code that knows no other (dropout)."""
    import torch  # late: the command line draws seeds without it

    number = integer(seed, purpose, *path)
    torch.default_generator.manual_seed(number)  # torch.manual_seed() records a traceback at each call: 2 ms
    if device.type == "cuda":
        torch.cuda.manual_seed(number)


def _sequence(seed: int, purpose: str, path: tuple[int, ...]) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, _key(purpose), *path])


@cache
def _key(purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")
