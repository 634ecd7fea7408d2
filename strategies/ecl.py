"""ECL: after FedAvg each client trains experts, heads for groups of its classes that are about equally frequent.

Lv, Shang, Zhou, Zhang, Li, Lu: Personalized Federated Learning on Heterogeneous and Long-Tailed Data via Expert
Collaborative Learning. 2024 (arXiv 2408.02019). On the global backbone a client balances the global head by its own
class counts, and beside it trains experts; a class that is rare in the whole is not so in its group. Read of the paper
are its abstract and public summaries: a client's classes, sorted by their numbers of samples, are divided in order
among the experts, and logits are a weighted sum. Derived here: the weights, equal numbers of classes in a group, heads
that start at the global one, cross-entropy within a group, and that a class's expert logit is its own expert's. There
is no public code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from fedlt.nn.softmax import head_of, logits, regress
from fedlt.strategy import Client, Strategy


@dataclass(frozen=True)
class ECL(Strategy):
    """FedAvg; personal logits: (1 - mix) of the balanced global head + mix of the experts. Nothing more is sent."""

    needs: ClassVar[tuple[str, ...]] = ("linear_head", "single_label")
    learner_parts: ClassVar[tuple[str, ...]] = ("loss", "stages")

    experts: Annotated[int, ">= 1"] = 3  # groups of a client's classes, as far as it has as many
    mix: Annotated[float, ">= 0", "<= 1"] = 0.5  # weight of the experts' logits
    head_epochs: Annotated[int, ">= 0"] = 10  # of training the heads, at each evaluation
    head_lr: Annotated[float, "> 0"] = 0.03
    head_batch: Annotated[int, ">= 1"] = 32

    def adapt(self, client: Client) -> None:
        """Heads are trained on the generic backbone's features of the client's samples, which are passed once."""
        features, y, counts = client.features(), client.data.y, client.class_counts
        start = head_of(client.model)

        present = counts.nonzero().flatten()
        common = counts[present].argsort(descending=True, stable=True)
        experts = start
        for group in present[common].tensor_split(min(self.experts, len(present))):
            experts = self.trained(features, y, experts, group, torch.zeros_like(counts[group]), client)
        balanced = self.trained(features, y, start, present, counts[present].log(), client)
        client.state["head"] = (1 - self.mix) * balanced + self.mix * experts

    def trained(
        self, features: Tensor, y: Tensor, head: Tensor, classes: Tensor, prior: Tensor, client: Client
    ) -> Tensor:
        """[C, D + 1] the head after softmax regression among some classes [K], on the samples of these.

        Rows of other classes stay.

        Args:
            prior: [K] added to the logits in training.
        """
        rows = torch.isin(y, classes)
        place = torch.zeros_like(client.class_counts).index_put((classes,), torch.arange(len(classes), device=y.device))

        part = head[classes]
        part[:, -1] += prior
        settings = self.head_epochs, self.head_lr, self.head_batch
        part = regress(features[rows], place[y[rows]], part, client.rng, *settings)
        part[:, -1] -= prior

        return head.index_put((classes,), part)

    def personal(self, client: Client, x: Tensor) -> dict[str, Tensor]:
        """A weighted sum of linear heads is a linear head; the generic model's figures stand beside its own."""
        features = client.model.encode(x)
        return {"experts": logits(features, client.state["head"]), "global": client.model.head(features)}
