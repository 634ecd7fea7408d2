"""FedALA: before it trains, a client mixes the received head with its own, by weights learnt on its data.

Zhang, Hua, Wang, Song, Xue, Ma, Guan: FedALA: Adaptive Local Aggregation for Personalized Federated Learning. AAAI
2023, Algorithm 1. What is below the upper tensors is taken over as received; of those each number goes from the
client's to the received one by a weight between 0 and 1, which stays with the client. As in the official code two
tensors are upper ones, the head's weight and bias, and weights start at 1. The model that is so mixed, before it
trains, is the personal one. Differences from the code: a client that is first sampled late has nothing to mix yet,
where there it has its initial model; the passes of its first mixing end at 100; and running statistics are the received
ones, in evaluation mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from fedlt.strategy import Client, Strategy

SETTLED, RECENT = 0.1, 10
"""The first mixing ends once the losses of so many passes deviate by less, as in the official code."""

MOST = 100  # passes of the first mixing


@dataclass(frozen=True)
class FedALA(Strategy):
    """W <- clip(W - eta g(theta) (received - own), 0, 1); theta = own + W (received - own) in the upper tensors."""

    learner_parts: ClassVar[tuple[str, ...]] = ("loss", "head", "prediction")  # all parameters are trained together

    layers: Annotated[int, ">= 1"] = 2  # parameter tensors that are mixed, from the top
    eta: Annotated[float, ">= 0"] = 1.0  # rate of the weights; 0 is FedAvg
    share: Annotated[float, "> 0", "<= 1"] = 0.8  # of the client's samples that a pass of the weights sees

    def fit(self, client: Client) -> None:
        self.mix(client)
        client.train(self.loss)
        client.state["own"] = client.weights().detach()

    def adapt(self, client: Client) -> None:
        self.mix(client)

    def mix(self, client: Client) -> None:
        """Put the mixture in place of the received model, and its weights into the state."""
        if "own" not in client.state or torch.equal(client.state["own"], client.start):
            return

        upper = list(client.shared_parameters())[-self.layers :]
        received, own = (client.named(v) for v in (client.start, client.state["own"]))
        goal, mine = (torch.cat([view[name].flatten() for name in upper]) for view in (received, own))
        first = "weights" not in client.state
        weights = client.state.get("weights", torch.ones_like(goal)).clone()

        shapes = {name: received[name].shape for name in upper}
        if self.eta:
            self.learn(client, weights, mine, goal, shapes, first)
        client.state["weights"] = weights
        with torch.no_grad():
            mixture = cut(torch.lerp(mine, goal, weights), shapes)
            for name, tensor in mixture.items():
                client.shared_parameters()[name].copy_(tensor)

    def learn(
        self, client: Client, weights: Tensor, mine: Tensor, goal: Tensor, shapes: dict[str, torch.Size], first: bool
    ) -> None:
        """Passes over a window of the client's samples that move the weights [P] in place: one, or at first many.

        Args:
            weights: [P] of each parameter's change, in [0, 1].
            mine: [P] the client's own parameters.
            goal: [P] the received ones.
            shapes: of the parameters, by name.
            first: whether the client does so for the first time.
        """
        count = max(1, int(self.share * client.num_samples))
        start = int(client.rng.integers(client.num_samples - count + 1))
        rows = torch.arange(start, start + count, device=goal.device).split(client.trainer.local.batch_size)
        site = client.encoded() if all(name.startswith("head.") for name in shapes) else client
        losses: list[float] = []

        for _ in range(MOST if first else 1):
            for part in rows:
                with torch.enable_grad():
                    mixture = torch.lerp(mine, goal, weights).requires_grad_()
                    loss = client.loss_at(cut(mixture, shapes), self.loss, site.data.batch(part))
                    (gradient,) = torch.autograd.grad(loss, mixture)
                weights.sub_(self.eta * gradient * (goal - mine)).clamp_(0, 1)
            client.trainer.work.forward_samples += count
            losses.append(loss.item())
            if len(losses) > RECENT and np.std(losses[-RECENT:]) < SETTLED:
                break


def cut(vector: Tensor, shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """[P] as tensors by name, in their order."""
    pieces = vector.split([shape.numel() for shape in shapes.values()])
    return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), pieces, strict=True)}
