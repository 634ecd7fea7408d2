"""How often a run waits for the GPU, counted by PyTorch's profiler.

A wait is a call that returns only when the GPU has done what it was asked for. Where there is no GPU, reading a number
out of a tensor stands for it (under `.item()`, `float(tensor)` and `if tensor`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

ITEM = "aten::_local_scalar_dense"


def no_gpu() -> bool:
    """Whether there is none for PyTorch."""
    return not torch.cuda.is_available()


KINDS: dict[str, Callable[[str], bool]] = {
    "syncs": lambda name: name == ITEM if no_gpu() else name.startswith(("cuda", "hip")) and "Synchronize" in name,
    "copies_back": lambda name: name.startswith("Memcpy DtoH"),
    "copies_there": lambda name: name.startswith("Memcpy HtoD"),
}

Run = Callable[[int, int], int]
"""(rounds, epochs) -> steps of all clients together."""


def count(work: Callable[[], int]) -> tuple[Counter[str], int]:
    """How often each kind of `KINDS` occurs while `work` runs, and the steps that it says it has made."""
    on = [ProfilerActivity.CPU, *([] if no_gpu() else [ProfilerActivity.CUDA])]
    with profile(activities=on) as found:
        steps = work()
        if not no_gpu():
            torch.cuda.synchronize()
    counts: Counter[str] = Counter()
    for event in found.key_averages():
        for kind, matches in KINDS.items():
            counts[kind] += event.count * matches(event.key)
    return counts, steps


def per_step(run: Run) -> dict[str, float]:
    """Counts by step of a run in its steady state (`syncs_per_step`, ...), and by each further step of the training
    loop alone (`syncs_in_loop`, ...).

    The first come from two further rounds, the second from two further epochs of the same clients: what happens once in
    a run, or once for a client, drops out.
    """
    run(1, 1)  # what is made at first use
    least, rounds, epochs = (count(lambda args=args: run(*args)) for args in ((1, 1), (3, 1), (1, 3)))  # type: ignore[misc]
    found = {}
    for name, (counts, steps) in (("per_step", rounds), ("in_loop", epochs)):
        for kind in KINDS:
            found[f"{kind}_{name}"] = (counts[kind] - least[0][kind]) / (steps - least[1])
    return found
