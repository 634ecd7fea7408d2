"""FedLoGe: a backbone trained through a fixed sparse simplex, with one shared and many personal heads realigned later.

Zikai Xiao, Zihan Chen, Liyinglan Liu, Yang Feng, Jian Wu, Wanlu Liu, Joey Tianyi Zhou, Howard Hao Yang, Zuozhu Liu:
FedLoGe: Joint Local and Generic Federated Learning under Long-tailed Data. ICLR 2024. The fixed classifier (its SSE-C)
spreads the classes' features evenly whatever their frequencies; a shared head psi and a head phi of each client's own
learn on the features without touching them. Head norms are then realigned (its GLA-FR): equal for the generic model,
those of phi for the personal ones.

Where code, README and paper differ, this file follows the code, and reports the other forms beside it. It differs on
purpose in four points: the simplex has no bias unless asked for (the code's has a frozen random one), its norm follows
the number of rounds, the mask of absent classes is the engine's (from training counts, for every method alike), and
the realigned heads are tested at every evaluation (the code's logs hold other variants). docs/strategies/fedloge.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from fedlt.nn.etf import sparse_etf
from fedlt.nn.net import Net
from fedlt.nn.realign import scaled_rows
from fedlt.site import Batch
from fedlt.strategy import Client, Server, Strategy
from fedlt.task import Task


@dataclass(frozen=True)
class FedLoGe(Strategy):
    """Model: `backbone`, `simplex` (fixed, never sent), `head` (psi, shared), `local_head` (phi, never leaves)."""

    private: ClassVar[tuple[str, ...]] = ("local_head.*",)
    frozen: ClassVar[tuple[str, ...]] = ("simplex.*",)
    uses_learner: ClassVar[bool] = False

    sparsity: Annotated[float, ">= 0", "< 1"] = 0.6  # share of the simplex's entries that are 0; 0: a dense simplex
    norm: Annotated[float, "> 0"] | None = None  # of the simplex's rows; null: min(0.4, max(0.1, 20 / rounds))
    recipe: Literal["fast", "official"] = "fast"  # how the simplex is made; official: 10,000 steps
    bias: Literal["none", "official"] = "none"  # of the simplex; official: frozen random numbers up to 1 / sqrt(D)
    head_norm: Annotated[float, "> 0"] = 1.7  # of the generic head's rows after realignment; matters beside its bias
    backbone_from: Literal["simplex", "psi"] = "simplex"  # whose loss trains the backbone; psi: an ablation

    def build(self, model: Net, task: Task) -> None:
        """Adds the simplex, whose seed is drawn from the model's, and the personal head."""
        dim, classes = model.feature_dim, task.num_classes
        seed = int(torch.randint(2**31, ()))
        norm = norm_for(task.rounds) if self.norm is None else self.norm
        simplex = nn.Linear(dim, classes, bias=self.bias == "official")  # the bias: PyTorch's initial one
        simplex.weight.data.copy_(sparse_etf(classes, dim, self.sparsity, norm, seed, self.recipe))
        model.simplex = simplex
        model.local_head = nn.Linear(dim, classes)

    def begin(self, client: Client) -> None:
        """Every personal head starts from random numbers of its own."""
        _part(client.model, "local_head").reset_parameters()

    def loss(self, client: Client, batch: Batch) -> Tensor:
        """Three cross-entropies in one backward pass; that of the simplex alone reaches the backbone."""
        model, y = client.model, batch.y
        features = model.encode(batch.x)
        detached = features.detach()
        phi = cross_entropy(_part(model, "local_head")(detached), y)
        if self.backbone_from == "psi":
            return cross_entropy(model.head(features), y) + phi
        psi = cross_entropy(model.head(detached), y)
        return cross_entropy(_part(model, "simplex")(features), y) + psi + phi

    def personal(self, client: Client, x: Tensor) -> dict[str, Tensor]:
        """The code's realigned form is the headline: phi(h) + psi(h) with psi's rows times the norms of phi's."""
        features = client.model.encode(x)
        psi, phi = _part(client.model, "head"), _part(client.model, "local_head")
        shared, own = psi(features), phi(features)
        moved = linear(features, psi.weight * phi.weight.norm(dim=1, keepdim=True), psi.bias)
        return {"realigned": own + moved, "phi": own, "psi": shared, "phi_psi": own + shared, "readme": moved + shared}

    def generic(self, server: Server, x: Tensor) -> dict[str, Tensor]:
        """Psi with rows of equal norm is the headline; the two others are what the code's logs hold."""
        features = server.model.encode(x)
        psi = _part(server.model, "head")
        realigned = linear(features, scaled_rows(psi.weight, self.head_norm), psi.bias)
        heads = {"realigned": realigned, "psi": psi(features)}
        if self.backbone_from == "simplex":
            heads["simplex"] = _part(server.model, "simplex")(features)
        return heads


def norm_for(rounds: int) -> float:
    """Norm of the simplex's rows for a budget of rounds: 0.4 up to 50, 0.2 at 100, 0.1 from 200 on.

    The norm scales the backbone's gradient. In the official sweep (CIFAR-100-LT, 5 local epochs) these are the norms
    whose simplex head is best at 50, 100, 200 and 500 rounds.
    """
    return min(0.4, max(0.1, 20 / rounds))


def _part(model: Net, name: str) -> nn.Linear:
    part = model.get_submodule(name)
    assert isinstance(part, nn.Linear)
    return part
