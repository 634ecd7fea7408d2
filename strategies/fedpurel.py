"""FedPuReL: local gradients lose what speaks against a zero-shot teacher, and a private branch learns beside them.

Hou, Shang, Yang, Yang, Shang, Gao, Zhang, Lu: Fine-Tuning Impairs the Balancedness of Foundation Models in Long-Tailed
Personalized Federated Learning. CVPR 2026. Local data pull a global branch away from what a pretrained model knows of
rare classes: the part of a gradient that runs against that of the distillation is taken out, tensor by tensor. A
private branch then adds what the client's own classes need. Without CLIP, the teacher is the initial model's encoder
and its class vectors (`fedlt.blocks.zero_shot`), and a branch is a whole model, or what its adapter trains. Differences
from the official code: the private branch is trained beside the branch that the client received, there beside the
round's new mean, which asks for a second exchange; it starts with a head of zeros, so that a client that was never
sampled has the global branch; teacher and received branch see the samples once, as they are; both stages take the
scenario's epochs and steps.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.blocks.zero_shot import VECTORS, add_teacher, begin_vectors, collect, cosines, taught
from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.learner import headline
from fedlt.nn.net import Net
from fedlt.strategy import Client, Server, Strategy, Update, combine

COLDEST, HOTTEST, HALVINGS = 0.05, 20.0, 20  # temperatures that are tried, as in the official code


@dataclass(frozen=True)
class FedPuReL(Strategy):
    """Model: `backbone` and `head` (the global branch), `residual` (a private whole model), `teacher` (frozen)."""

    needs: ClassVar[tuple[str, ...]] = ("class_vectors", "prototypes", "linear_head", "single_label")
    private: ClassVar[tuple[str, ...]] = ("residual.*",)
    frozen: ClassVar[tuple[str, ...]] = ("teacher.*",)
    learner_parts: ClassVar[tuple[str, ...]] = ()

    purify: Annotated[float, ">= 0"] = 1.0  # lambda, how much of what runs against the teacher goes; 0: FedAvg
    alpha: Annotated[float, ">= 0", "<= 1"] = 0.99  # weight of the private branch's own loss; the rest: of the sum's

    def build(self, model: Net, task: Task) -> None:
        """A residual model beside the shared one, whose head begins at zero, and the frozen teacher."""
        residual = copy.deepcopy(model)
        for parameter in residual.head.parameters():
            nn.init.zeros_(parameter)
        add_teacher(model)
        model.residual = residual

    def setup(self, server: Server) -> None:
        begin_vectors(server)

    def fit(self, client: Client) -> None:
        """Train the global branch by purified gradients, and the private branch beside it."""
        teacher, known = taught(client)
        received = torch.cat(client.scan(lambda batch: client.model(batch.x)))

        def purified_loss(client: Client, batch: Batch) -> Tensor:
            """Its gradient is the purified one, and its value the cross-entropy."""
            weights = list(client.shared_parameters().values())
            logits = client.model(batch.x).float()
            loss = F.cross_entropy(logits, batch.y)
            steps = slopes(loss, weights)
            if len(known):
                client.trainer.passed(len(batch))
                guides = slopes(divergence(teacher[batch.rows], logits[:, known]), weights)
                steps = [purified(step, guide, self.purify) for step, guide in zip(steps, guides, strict=True)]
            product = torch.stack([(w * step).sum() for w, step in zip(weights, steps, strict=True)]).sum()
            return loss.detach() + product - product.detach()

        def residual_loss(client: Client, batch: Batch) -> Tensor:
            own = client.model.part("residual")(batch.x)
            both = F.cross_entropy(own + received[batch.rows], batch.y)
            return self.alpha * F.cross_entropy(own, batch.y) + (1 - self.alpha) * both

        client.train(purified_loss, without=("residual.*",))
        client.train(residual_loss, only=("residual.*",))

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        whole = combine(updates)
        collect(server, whole.sums)
        server.weights = whole.mean

    def personal(self, client: Client, x: Tensor) -> dict[str, Tensor]:
        """The sum of both branches is the headline."""
        shared, own = headline(super().personal(client, x)), client.model.part("residual")(x)
        return {"sum": shared + own, "global": shared, "private": own}

    def generic(self, server: Server, x: Tensor) -> dict[str, Tensor]:
        """The teacher's own figures stand beside those of the global branch."""
        zero_shot = cosines(server.model.part("teacher").encode(x), server.outbox[VECTORS])
        return {"global": headline(super().generic(server, x)), "teacher": zero_shot}


def slopes(value: Tensor, weights: list[Tensor]) -> list[Tensor]:
    """The gradient of a value by tensor; zeros where it does not depend on one."""
    given = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(weights, given, strict=True)]


def purified(slope: Tensor, guide: Tensor, strength: float) -> Tensor:
    """A gradient without (so much of) its part along the guide, where it runs against the guide.

    Args:
        slope: the gradient of a tensor.
        guide: that of the distillation, of the same shape.
        strength: the part that is taken away, in [0, 1].
    """
    against = (slope * guide).sum().clamp(max=0)
    return slope - strength * against / guide.square().sum().clamp(min=torch.finfo(guide.dtype).tiny) * guide


def divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """Mean KL(teacher || student) over samples, of logits [B, K] at temperatures that give both the same entropy.

    For each sample that is the mean of their entropies at temperature one; temperatures are not differentiated.
    """
    with torch.no_grad():
        level = (entropy(teacher) + entropy(student)) / 2
        hot, cool = temperature(teacher, level), temperature(student, level)
    given, own = (teacher / hot[:, None]).log_softmax(1), (student / cool[:, None]).log_softmax(1)
    return (given.exp() * (given - own)).sum(1).mean()


def temperature(logits: Tensor, level: Tensor) -> Tensor:
    """[B] temperatures at which the softmax of logits [B, K] has the entropies [B], found by halving an interval."""
    low, high = torch.full_like(level, COLDEST), torch.full_like(level, HOTTEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = entropy(logits / middle[:, None]) > level
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2


def entropy(logits: Tensor) -> Tensor:
    """[B] of the softmax of logits [B, K]."""
    logs = logits.log_softmax(1)
    return -(logs.exp() * logs).sum(1)
