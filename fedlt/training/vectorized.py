"""Trains several equal-shaped clients at once with torch.func: one batched step instead of many small ones.

Opt-in (`local.together`), for strategies that override nothing of a client's training but `loss`. The mathematics is
that of the trainer, the rounding is not: sums are grouped otherwise. It pays on a GPU that small clients leave idle.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from fedlt.data.site import Batch
from fedlt.learner import Learner, overrides
from fedlt.nn.flat import Flat
from fedlt.nn.net import LossModule, Net
from fedlt.strategy import Client, Strategy
from fedlt.training.bfloat16 import in_bfloat16
from fedlt.training.sgd import descend
from fedlt.training.trainer import Trainer, cut


def obstacle(strategy: Strategy, learner: Learner, model: Net, flat: Flat) -> str | None:
    """Why this scenario's clients cannot be trained at once; None where they can."""
    kind, how = type(strategy).__name__, type(learner).__name__

    hooks = Learner.begin, Learner.epoch, Learner.finish, Learner.gradient
    if not learner.vectorizable or any(overrides(learner, hook) for hook in hooks):
        return f"{how} works beyond a loss of one batch"
    if any(stage.encoded for stage in learner.stages()):
        return f"{how} has a stage on encoded samples"
    if any(stage.rates for stage in learner.stages()):
        return f"{how} has a stage with rates of its own"

    if overrides(strategy, Strategy.fit) or overrides(strategy, Strategy.begin):
        return f"{kind} has local work of its own (fit or begin)"
    if len(flat.private):
        return f"{kind} keeps private parameters"
    if strategy.scope == "centralized":
        return f"{kind} has one site only"
    if model.inputs is not None and model.inputs.padded:
        return "samples of different lengths are cut batch by batch"
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()):
        return "batch normalisation keeps running statistics; take model.norm=group, or cnn, or mlp"
    if alone := next((type(m).__name__ for m in model.modules() if not getattr(m, "vectorizable", True)), ""):
        return f"{alone} has no step for several clients; take hash_bag or text_cnn"
    return None


@dataclass
class _StandIn(Client):
    """What `loss` sees in place of a client while many are trained: the same, as far as a loss may look."""

    trained: Tensor = field(default_factory=lambda: torch.empty(0))  # [S]; the model's own memory is as at the start
    samples: int = 0

    @property  # type: ignore[misc]  # a loss only reads it
    def vector(self) -> Tensor:
        return self.trained

    @property
    def num_samples(self) -> int:
        return self.samples

    def weights(self) -> Tensor:
        return self.trained[: self.flat.num_trainable]


def train_together(
    trainer: Trainer, clients: list[Client], loss: Callable[[Any, Batch], Tensor], shared: Tensor
) -> Tensor:
    """Local epochs of several clients at once, each on its own samples and by draws of its own.

    Args:
        trainer: whose schedule, batches and counts are those of single clients.
        clients: M, with equally many samples.
        loss: the strategy's, of a client and a batch.
        shared: [S] from which all of them begin.

    Returns:
        [M, S], a vector for each client.
    """
    first, local, flat = clients[0], trainer.local, trainer.flat
    names = trainer.select(("*",), first.stage.only)
    done = 0
    parts = flat.segments(names)

    # The clients' vectors, one below the other.
    module = LossModule(first.model, loss)
    weights = shared.expand(len(clients), -1).clone()
    velocity: list[Tensor] | None = None
    counts = torch.stack([client.class_counts for client in clients])
    for client in clients:
        client.generator = trainer.generator(client)

    def one(vector: Tensor, x: Tensor, y: Tensor, rows: Tensor, class_counts: Tensor) -> Tensor:
        """The loss of one client, as a function of its weights alone."""
        swapped = {f"model.{name}": value for name, value in flat.trainable_views(vector).items()}
        known = {f.name: getattr(first, f.name) for f in fields(Client)}
        known |= {"class_counts": class_counts, "data": None}
        client = _StandIn(**known, trained=vector, samples=first.num_samples)
        with in_bfloat16(trainer.device) if trainer.precision == "bfloat16" else nullcontext():
            return functional_call(module, swapped, (client, Batch(x, y, rows)))

    step = vmap(grad_and_value(one), randomness="different")
    first.model.train()

    for part in flat.still:
        part.eval()

    for number in range(local.epochs):
        orders = torch.stack([torch.from_numpy(client.positions(client.epoch_size)) for client in clients])
        cuts = cut(orders.to(trainer.device, non_blocking=True), local.batch_size, local.last_batch)
        for index, positions in enumerate(cuts):
            lr = local.lr * trainer.pace(first, number * len(cuts) + index, local.epochs * len(cuts))
            batches = [trainer.batch(client, rows) for client, rows in zip(clients, positions, strict=True)]
            x, y = torch.stack([batch.x for batch in batches]), torch.stack([batch.y for batch in batches])

            # One step for all clients, each on its own batch.
            gradient, values = step(weights, x, y, positions, counts)
            held, slopes = [weights[:, part] for part in parts], [gradient[:, part] for part in parts]
            settings = lr, local.momentum, local.weight_decay, local.nesterov
            velocity = descend(held, slopes, velocity, *settings)

            done += 1
            trainer.work.count(values.sum(), len(clients), positions.shape[1])

    for client in clients:
        client.num_steps += done
    first.model.eval()
    return weights
