"""What analyses of runs promise, with figures: pass or fail, three seeds each.

    python -m benchmarks.heads.acceptance clients

clients          digits_lt with 20 clients, trained again without each: points by head and tail samples, on the others'
                 samples, and the time of a run's 20 trainings
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import fedlt
from benchmarks.centralized.acceptance import Check
from benchmarks.heads.samples import spread
from fedlt.analyses.left_out import left_out


def clients() -> Iterator[Check]:
    """Which samples a federation has right only because of the client that holds them."""
    points: dict[str, list[float]] = {"head": [], "medium": [], "tail": []}
    own, others, seconds = [], [], []
    with TemporaryDirectory() as folder:
        for seed in range(3):
            run = fedlt.run("digits_lt", seed=seed, out=Path(folder))
            begun = time.monotonic()
            table = left_out(run).table().set_index("of")
            seconds.append(time.monotonic() - begun)
            for shot, values in points.items():
                values.append(float(table.loc[shot, "memorization"]))
            own.append(float(table.loc["all", "memorization"]))
            others.append(float(table["others"].mean()))

    told = ", ".join(f"{shot} {spread(values)}" for shot, values in points.items())
    yield Check(f"right only with their client: {told} (tail >= 3 times head)",
                np.mean(points["tail"]) >= 3 * np.mean(points["head"]))  # fmt: skip
    told = f"of their own samples {spread(own)}, of the others' {spread(others)} (at most a third)"
    yield Check(f"a client is worth, {told}", abs(np.mean(others)) <= np.mean(own) / 3)
    took = ", ".join(f"{each:.0f}" for each in seconds)
    yield Check(f"20 trainings without a client each take {took} s (< 300)", max(seconds) < 300)


CHECKS: dict[str, Callable[[], Iterator[Check]]] = {"clients": clients}
