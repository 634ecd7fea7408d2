"""Fed-GraB: a sigmoid head whose positive gradients are weighted, class by class, by controllers at each client.

Xiao, Chen, Liu, Wang, Feng, Hao, Zhou, Wu, Yang, Liu: Fed-GraB: Federated Long-tailed Learning with Self-Adjusting
Gradient Balancer. NeurIPS 2023. A PID controller per class drives the accumulated positive and negative gradients of
its logit together; the classes that look like head classes by the norms of the received head are left alone. This is
the released code, on which the paper's figures rest: positive samples weigh map(u) and negative ones map(-u), and a
gate leaves a balanced class alone at random, the more often the more frequent it is. An earlier branch of the same
repository is `slope=0.05 negatives=false gate=null`. Differences from the official code: that hard-codes which classes
are balanced (all of CIFAR-10, classes 25 or 28 to 99 of CIFAR-100) where the paper estimates the prior; the norms'
order and a share of head classes stand for both here. The code's incremental controller is written in its equal
positional form, without limits, since the code's have no effect. The fields `gamma`, `mu` and `alpha` of its loss are
unused there and absent here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Batch
from fedlt.strategy import Client, Strategy


@dataclass(frozen=True)
class FedGraB(Strategy):
    """Binary cross-entropies, weighted by 10 / (1 + 9 exp(-slope u)), u being the control, -control for negatives."""

    learner_parts: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[tuple[str, ...]] = ("linear_head", "single_label")

    kp: Annotated[float, ">= 0"] = 10.0  # gain of the error: accumulated negative minus positive gradient
    ki: Annotated[float, ">= 0"] = 0.01  # gain of the error's sum over steps
    kd: Annotated[float, ">= 0"] = 0.1  # gain of the error's change
    slope: Annotated[float, "> 0"] = 0.5  # from control to weight
    negatives: bool = True  # whether negative samples are weighted too
    gate: Annotated[float, "> 0", "<= 1"] | None = 0.1  # how often the rarest class is left alone; null: no gate
    head: Annotated[float, ">= 0", "<= 1"] = 0.25  # share of the classes, of largest norm, that are always left alone

    def begin(self, client: Client) -> None:
        for name in ("error", "last_error", "error_sum"):
            client.state[name] = torch.zeros(client.task.num_classes, device=client.start.device)

    def fit(self, client: Client) -> None:
        norms = client.model.part("head.weight").detach().norm(dim=1)  # the prior that this client can see
        client.state["balanced"] = self.balanced(norms)
        super().fit(client)

    def balanced(self, norms: Tensor) -> Tensor:
        """[C] how often a class is balanced, given the norms [C] of the head's rows.

        The i-th of T balanced classes, from the largest norm on, is left alone in a share gate^(i / (T - 1)) of the
        steps: always at i = 0.
        """
        left = round(self.head * len(norms))
        place = norms.argsort(descending=True).argsort() - left
        if self.gate is None:
            return (place >= 0).float()
        alone = self.gate ** (place.clamp(min=0) / max(len(norms) - left - 1, 1))
        return torch.where(place >= 0, 1 - alone, 0.0)

    def loss(self, client: Client, batch: Batch) -> Tensor:
        """Binary cross-entropy of each class, whose weights a controller sets by the gradients' accumulated error."""
        logits = client.model(batch.x).float()
        target = F.one_hot(batch.y, logits.shape[1]).float()
        weight = torch.where(target > 0, *self.weights(client))
        with torch.no_grad():  # the gradient of a logit is sigmoid - target: what is left over pushes the error
            client.state["error"] = client.state["error"] - (weight * (target - logits.sigmoid())).mean(0)
        losses = F.binary_cross_entropy_with_logits(logits, target, weight, reduction="none")
        return losses.sum(1).mean()

    def weights(self, client: Client) -> tuple[Tensor, Tensor]:
        """[C] the controllers' next weights of positive and of negative samples; 1 for a class that is left alone."""
        state = client.state
        change = state["error"] - state["last_error"]
        state["last_error"] = state["error"]
        state["error_sum"] = state["error_sum"] + state["error"]
        control = self.kp * state["error"] + self.ki * state["error_sum"] + self.kd * change
        control = control * self.chosen(client)
        return weight_of(self.slope * control), weight_of(-self.slope * control * self.negatives)

    def chosen(self, client: Client) -> Tensor:
        """[C] 1 for the classes that this step balances, 0 for the others."""
        chance = client.state["balanced"]
        if self.gate is None:
            return chance
        draws = torch.from_numpy(client.rng.random(len(chance))).to(chance, non_blocking=True)
        return (draws < chance).float()


def weight_of(x: Tensor) -> Tensor:
    """1 at 0, towards 10 above and towards 0 below."""
    return 10 / (1 + 9 * torch.exp(-x))
