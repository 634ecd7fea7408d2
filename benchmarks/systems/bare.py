"""The limit: a plain PyTorch loop, as an engineer would write it for this one task.

Model and optimiser are made once and reset in place; batches are gathered by index from uint8 images; the weighted
sum of the clients' weights is added up while they train. With several processes the cohort is split longest first,
and the sums meet in shared memory.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable

import torch
import torch.multiprocessing as mp
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from benchmarks.job import Job, Outcome
from benchmarks.workloads import Arrays, Workload, build_model, cohort, planned, read
from fedlt.process import seeding

CPU = torch.device("cpu")


def run(job: Job, processes: int, threads: int) -> Outcome:
    """Train; this process is one of the `processes`, of `threads` intra-op threads each."""
    arrays, workload = read(job.workload, job.data), job.workload
    torch.set_num_threads(threads)
    model = build_model(workload)
    names = [name for name, value in model.state_dict().items() if value.is_floating_point()]
    generic = [model.state_dict()[name].clone().share_memory_() for name in names]
    sums = [[torch.zeros_like(value).share_memory_() for value in generic] for _ in range(processes)]
    context = mp.get_context("fork")  # the images are shared as they are
    barrier = context.Barrier(processes)
    others = []

    for rank in range(1, processes):
        arguments = (workload, arrays, job.rounds, generic, sums, rank, threads, barrier.wait)
        others.append(context.Process(target=_work, args=arguments, daemon=True))
        others[-1].start()

    finished = _work(workload, arrays, job.rounds, generic, sums, 0, threads, barrier.wait)
    for other in others:
        other.join()
    weights = {name: value.numpy().copy() for name, value in zip(names, generic, strict=True)}

    return Outcome(finished, *planned(workload, arrays, job.rounds), weights)


def _work(
    workload: Workload,
    arrays: Arrays,
    rounds: int,
    generic: list[Tensor],
    sums: list[list[Tensor]],
    rank: int,
    threads: int,
    meet: Callable[[], object],
) -> list[float]:
    """One process's part of all rounds; the times at which they were over."""
    torch.set_num_threads(threads)
    trainer = Trainer(workload, arrays)
    sizes = arrays.clients.sizes
    finished = []

    for round in range(1, rounds + 1):
        everyone = cohort(workload, round)
        mine = _shares(everyone, sizes, len(sums))[rank]
        torch._foreach_zero_(sums[rank])
        for client in mine:
            trainer.train(round, client, generic)
            torch._foreach_add_(sums[rank], trainer.tensors, alpha=float(sizes[client]))
        meet()  # all sums are there
        if rank == 0:
            for part in sums[1:]:
                torch._foreach_add_(sums[0], part)
            torch._foreach_mul_(sums[0], 1 / float(sizes[everyone].sum()))
            torch._foreach_copy_(generic, sums[0])
            finished.append(time.time())
        meet()  # the mean is there

    return finished


class Trainer:
    """One model, on which client after client is trained.

    device: of the model and of all data. precision: "bfloat16" of the forward pass, or anything else for float32.
    channels_last: memory order of images and of 4-d weights.
    """

    def __init__(
        self,
        workload: Workload,
        arrays: Arrays,
        device: torch.device = CPU,
        precision: str = "float32",
        channels_last: bool = False,
    ) -> None:
        self.workload, self.clients, self.device, self.precision = workload, arrays.clients, device, precision
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.model = build_model(workload).train().to(device).to(memory_format=self.format)  # type: ignore[call-overload]
        self.tensors = [value for value in self.model.state_dict().values() if value.is_floating_point()]
        settings = {"lr": workload.lr, "momentum": workload.momentum}
        self.optimizer = torch.optim.SGD(self.model.parameters(), **settings, foreach=True)
        parts = arrays.pixels, arrays.labels, arrays.scale, arrays.shift
        self.pixels, self.labels, self.scale, self.shift = (torch.from_numpy(part).to(device) for part in parts)

    def train(self, round: int, client: int, start: list[Tensor]) -> None:
        """Leave the client's weights in `tensors`."""
        with torch.no_grad():
            torch._foreach_copy_(self.tensors, start)
        self.optimizer.state.clear()
        held = torch.from_numpy(self.clients[client])
        rng = seeding.generator(self.workload.seed, "train", round, client + 1)
        rng.integers(2**62)  # FedLT draws the seed of its augmentation first; the batches are then the same
        for _ in range(self.workload.epochs):
            order = held[torch.from_numpy(rng.permutation(len(held)))].to(self.device, non_blocking=True)
            for batch in order.split(self.workload.batch_size):
                x = self.pixels[batch].to(torch.float32, memory_format=self.format).mul_(self.scale).add_(self.shift)
                loss = self.loss(x, self.labels[batch])
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Of a batch."""
        if self.precision != "bfloat16":
            return F.cross_entropy(self.model(x), y)
        with torch.autocast(self.device.type, torch.bfloat16):
            return F.cross_entropy(self.model(x), y)


def _shares(clients: list[int], sizes: NDArray, parts: int) -> list[list[int]]:
    """The clients in lists of about equal work: the largest first, each to the least loaded list."""
    shares: list[list[int]] = [[] for _ in range(parts)]
    loads = [(0, part) for part in range(parts)]
    for client in sorted(clients, key=lambda client: -int(sizes[client])):
        load, part = heapq.heappop(loads)
        shares[part].append(client)
        heapq.heappush(loads, (load + int(sizes[client]), part))
    return shares
