"""FedLoGe: a backbone trained through a fixed sparse simplex, with one shared and many personal heads realigned later.

Zikai Xiao, Zihan Chen, Liyinglan Liu, Yang Feng, Jian Wu, Wanlu Liu, Joey Tianyi Zhou, Howard Hao Yang, Zuozhu Liu:
FedLoGe: Joint Local and Generic Federated Learning under Long-tailed Data. ICLR 2024. The fixed classifier (its SSE-C)
spreads the classes' features evenly whatever their frequencies; a shared head psi and a head phi of each client's own
learn on the features without touching them. Head norms are then realigned (its GLA-FR): equal for the generic model,
those of phi for the personal ones.

Where code, README and paper differ, this file follows the code, and reports the other forms beside it. It differs on
purpose in five points, of which `heads=official`, with `bias=official`, takes three back: psi and phi read standardised
features, the simplex has no bias (the code's has a frozen random one), and its norm follows the scale of the features.
The mask of absent classes is the engine's (from training counts, for every method alike), and the realigned heads are
tested at every evaluation (the code's logs hold other variants). docs/strategies/fedloge.md
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.nn.etf import sparse_etf
from fedlt.nn.net import Net
from fedlt.nn.realign import scaled_rows
from fedlt.nn.standardised import StandardisedHead
from fedlt.process.threads import one_thread
from fedlt.strategy import Client, Server, Strategy

INITIAL_LOGITS = 8.0
"""Norm of the simplex's rows times the norm of the initial features; chosen on validation data (benchmarks/fedloge)."""


@dataclass(frozen=True)
class FedLoGe(Strategy):
    """Model: `backbone`, `simplex` (fixed, never sent), `head` (psi, shared), `local_head` (phi, never leaves)."""

    private: ClassVar[tuple[str, ...]] = ("local_head.*",)
    frozen: ClassVar[tuple[str, ...]] = ("simplex.*",)
    learner_parts: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[tuple[str, ...]] = ("linear_head", "single_label")

    sparsity: Annotated[float, ">= 0", "< 1"] = 0.6  # share of the simplex's entries that are 0; 0: a dense simplex
    norm: Annotated[float, "> 0"] | None = None  # of the simplex's rows; null: by the norm of the initial features
    heads: Literal["standardised", "official"] = "standardised"  # what psi and phi read; official: features as they are
    recipe: Literal["fast", "official"] = "fast"  # how the simplex is made; official: 10,000 steps
    bias: Literal["none", "official"] = "none"  # of the simplex; official: frozen random numbers up to 1 / sqrt(D)
    head_norm: Annotated[float, "> 0"] | None = 1.7  # of psi's rows, realigned, beside its bias; null: their mean norm
    backbone_from: Literal["simplex", "psi"] = "simplex"  # whose loss trains the backbone; psi: an ablation

    def build(self, model: Net, task: Task) -> None:
        """Adds the simplex, whose seed is drawn from the model's, and the personal head."""
        dim, classes = model.feature_dim, task.num_classes
        seed = int(torch.randint(2**31, ()))
        norm = self.norm or (norm_by_features(model, task) if self._standardised else norm_by_rounds(task.rounds))

        simplex = nn.Linear(dim, classes, bias=self.bias == "official")  # the bias: PyTorch's initial one
        simplex.weight.data.copy_(sparse_etf(classes, dim, self.sparsity, norm, seed, self.recipe))
        model.simplex = simplex

        model.local_head = nn.Linear(dim, classes)
        if self._standardised:
            model.head = StandardisedHead(model.part("head"))

    def begin(self, client: Client) -> None:
        """Every personal head starts from random numbers of its own."""
        client.model.part("local_head").reset_parameters()

    def loss(self, client: Client, batch: Batch) -> Tensor:
        """Three cross-entropies in one backward pass; that of the simplex alone reaches the backbone."""
        model, y = client.model, batch.y
        features = model.encode(batch.x)
        inputs = _inputs(model, features.detach())
        phi = cross_entropy(model.part("local_head")(inputs), y)
        if self.backbone_from == "psi":
            return cross_entropy(model.head(features), y) + phi
        psi = cross_entropy(linear(inputs, *_weight_and_bias(model.head)), y)
        return cross_entropy(model.part("simplex")(features), y) + psi + phi

    def personal(self, client: Client, x: Tensor) -> dict[str, Tensor]:
        """The code's realigned form is the headline: phi(z) + psi(z) with psi's rows times the norms of phi's."""
        model = client.model
        inputs = _inputs(model, model.encode(x))
        weight, bias = _weight_and_bias(model.head)
        head = model.part("local_head")
        shared, own = linear(inputs, weight, bias), head(inputs)

        rows = weight * head.weight.norm(dim=1, keepdim=True)
        realigned, readme = own + linear(inputs, rows, bias), linear(inputs, rows, head.bias) + shared
        return {"realigned": realigned, "phi": own, "psi": shared, "phi_psi": own + shared, "readme": readme}

    def generic(self, server: Server, x: Tensor) -> dict[str, Tensor]:
        """Psi with rows of equal norm is the headline; the two others are what the code's logs hold."""
        model = server.model
        features = model.encode(x)
        inputs = _inputs(model, features)
        weight, bias = _weight_and_bias(model.head)

        norm = weight.norm(dim=1).mean() if self.head_norm is None else self.head_norm
        realigned = linear(inputs, scaled_rows(weight, norm), bias)
        heads = {"realigned": realigned, "psi": linear(inputs, weight, bias)}
        if self.backbone_from == "simplex":
            heads["simplex"] = model.part("simplex")(features)
        return heads

    @property
    def _standardised(self) -> bool:
        """Not where psi trains the backbone, whose features then suit its step size as those of any other model do."""
        return self.heads == "standardised" and self.backbone_from == "simplex"


def norm_by_rounds(rounds: int) -> float:
    """Norm of the simplex's rows for `heads=official`: 0.4 up to 50 rounds, 0.2 at 100, 0.1 from 200 on.

    In the official sweep (CIFAR-100-LT, 5 local epochs) these are the norms whose simplex head is best at 50, 100, 200
    and 500 rounds.
    """
    return min(0.4, max(0.1, 20 / rounds))


def norm_by_features(model: Net, task: Task) -> float:
    """Norm of the simplex's rows such that it times the norm of the initial features is `INITIAL_LOGITS`.

    Features of a model grow until the logits can be as large as the loss asks for. If the norm is much smaller than
    this they have far to go, and the larger it is, the faster the backbone is thrown about by its step size. Features
    are those of standardised random inputs, batch statistics included; two digits are kept, so that rounding on another
    machine makes no other norm.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad(), one_thread():
        features = deepcopy(model).train().encode(task.inputs.example(16, generator))
        size = float(features.square().sum(1).mean().sqrt())
    return float(f"{INITIAL_LOGITS / max(size, 1e-3):.2g}")


def _inputs(model: Net, features: Tensor) -> Tensor:
    """[B, D] what psi and phi read of features [B, D]."""
    return model.head.standardise(features) if isinstance(model.head, StandardisedHead) else features


def _weight_and_bias(head: nn.Module) -> tuple[Tensor, Tensor]:
    """Psi's weight [C, D] and bias [C], for inputs that `_inputs` has made."""
    assert isinstance(head, nn.Linear | StandardisedHead)
    return head.weight, head.bias
