"""Measures one case in this process, and counts where it waits for the GPU."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.cases import Case
from benchmarks.gpu.waits import per_step
from benchmarks.systems.bare import Trainer
from benchmarks.systems.fedlt_run import scenario
from benchmarks.workloads import Arrays, Workload, cohort, planned, prepare, read
from clients import host

TF32 = {
    "float32": {"NVIDIA_TF32_OVERRIDE": "0"},
    "tf32": {"TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"},
    "bfloat16": {"TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"},
}
"""Variables for workers, which are other processes. PyTorch alone would compute convolutions of float32 in TF32."""


def measure(case: Case, folder: Path, seconds: float, rounds: int | None, dry: bool) -> dict[str, Any]:
    """Figures of one case; raises whatever went wrong.

    folder: where data sets lie, by name, and stay. seconds: that the bare loop runs in its steady state. rounds: of
    FedLT, the same for all cases of a workload, so that their models can be compared; None: the workload's. dry:
    minute sizes on the CPU.
    """
    device = torch.device("cpu" if dry else "cuda")
    task = case.task(dry)
    data = folder / f"{case.workload}-{'equal' if task.alpha is None else 'dirichlet'}.npz"
    if not data.exists():
        prepare(task, data)
    with _arithmetic(case):
        if case.system == "bare":
            return _bare(case, task, read(task, data), device, seconds, task.rounds if dry else None)
        return _fedlt(case, task, data, device, rounds or task.rounds)


def _bare(
    case: Case, task: Workload, arrays: Arrays, device: torch.device, seconds: float, rounds: int | None
) -> dict[str, Any]:
    finished = federate(task, arrays, device, case.precision, seconds, rounds)

    def again(rounds: int, epochs: int) -> int:
        longer = replace(task, epochs=epochs)
        federate(longer, arrays, device, case.precision, 0.0, rounds)
        return sum(planned(longer, arrays, rounds)[1])

    return _figures(task.warmup, finished, planned(task, arrays, len(finished))[0]) | per_step(again)


def federate(
    task: Workload, arrays: Arrays, device: torch.device, precision: str, seconds: float, rounds: int | None = None
) -> list[float]:
    """The plain loop: FedAvg of clients one after the other, all of it on the device. Times at which rounds were over.

    It ends after so many rounds, or after so many seconds of its steady state where `rounds` is None.
    """
    trainer = Trainer(task, arrays, device, precision, channels_last=True)
    generic = [value.clone() for value in trainer.tensors]
    sizes, finished = arrays.clients.sizes, list[float]()
    while len(finished) < rounds if rounds is not None else not _enough(finished, task.warmup, seconds):
        everyone = cohort(task, len(finished) + 1)
        total = [torch.zeros_like(value) for value in generic]
        for client in everyone:
            trainer.train(len(finished) + 1, client, generic)
            torch._foreach_add_(total, trainer.tensors, alpha=float(sizes[client]))
        torch._foreach_mul_(total, 1 / float(sizes[everyone].sum()))
        generic = total
        if device.type == "cuda":
            torch.cuda.synchronize()  # the time at which a round is over
        finished.append(time.time())
    return finished


def _enough(finished: list[float], warmup: int, seconds: float) -> bool:
    return len(finished) > warmup + 1 and finished[-1] - finished[warmup - 1] >= seconds


def _fedlt(case: Case, task: Workload, data: Path, device: torch.device, rounds: int) -> dict[str, Any]:
    import fedlt

    os.environ["FEDLT_CACHE"] = str(data.parent / "cache")

    def run(rounds: int, epochs: int) -> Any:
        content = scenario(replace(task, epochs=epochs), data, rounds, rounds + 1)
        content["local"]["together"] = case.together
        content["resources"] = {
            "backend": case.system.removeprefix("fedlt-"),
            "workers": case.workers,
            "device": device.type,
            "precision": "bfloat16" if case.precision == "bfloat16" else "float32",
        }
        with tempfile.TemporaryDirectory(dir=data.parent) as out:
            done = fedlt.run(content, out=out, force=True)
            return done.rounds, done.summary["model_hash"]

    table, model_hash = run(rounds, task.epochs)
    found = _figures(task.warmup, table["ended"].tolist(), table["samples"].tolist()) | {"hash": model_hash}
    if case.profiled:
        found |= per_step(lambda rounds, epochs: int(run(rounds, epochs)[0]["steps"].sum()))
    return found


def _figures(warmup: int, finished: list[float], images: list[int]) -> dict[str, Any]:
    """Of the steady state: from the end of the warm-up to that of the last round."""
    seconds = finished[-1] - finished[warmup - 1]
    rounds = len(finished) - warmup
    speed = sum(images[warmup:]) / seconds
    return {"images_per_second": speed, "seconds_per_round": seconds / rounds, "rounds": len(finished)}


@contextmanager
def _arithmetic(case: Case) -> Iterator[None]:
    """What float32 is computed in, and the GPU's memory as free afterwards as before.

    Variables are for other processes alone: in this one a library might read them once and for all cases.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before, environment = (matmul.allow_tf32, cudnn.allow_tf32), dict(os.environ)
    matmul.allow_tf32 = cudnn.allow_tf32 = case.precision != "float32"
    if case.system == "fedlt-ray":
        os.environ.update(TF32[case.precision])
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
        os.environ.clear()
        os.environ.update(environment)
        host._workers.clear()  # the last run's worker, which this process would keep for a next run of the same
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
