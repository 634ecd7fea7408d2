"""The floor of the study of eight methods makes as many steps as it is asked for, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.studies import steps
from benchmarks.studies.setting import BATCH, CLASSES, IMAGE


@pytest.mark.parametrize(("cores", "expected"), [(1, 5), (2, 3)])  # of two cores this process has the larger share
def test_so_many_steps_are_shared_by_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, expected: int
) -> None:
    made, started = [], []
    add = torch._foreach_add_

    class Process:
        exitcode = 0

        def __init__(self, target: object, args: tuple[object, ...]) -> None:
            started.append(args[-1])

        def start(self) -> None:
            """Nothing: the share is noted."""

        join = start

    def noted(*arguments: object, **keys: object) -> None:
        made.append(1)
        add(*arguments, **keys)

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    monkeypatch.setattr(torch, "_foreach_add_", noted)
    monkeypatch.setattr(steps.mp, "get_context", lambda kind: type("Context", (), {"Process": Process}))
    rng = np.random.default_rng(0)
    images = rng.normal(size=(BATCH, *IMAGE)).astype(np.float32)
    np.savez(tmp_path / "fluke.npz", x=images, y=np.arange(BATCH) % CLASSES)

    steps.main(tmp_path, 5)
    assert (len(made), started) == (expected, [2] * (cores - 1))
