"""FedAMP: every client keeps a model of its own, which is drawn to a mixture of the models that are like it.

Yutao Huang, Lingyang Chu, Zirui Zhou, Lanjun Wang, Jiangchuan Liu, Jian Pei, Yong Zhang: Personalized Cross-Silo
Federated Learning on Non-IID Data. AAAI 2021. The server writes to each client of a cohort: a mixture of the cohort's
models, in which one that is near the client's own weighs more. Differences from the code that is in use (PFLlib): there
sigma and alpha are 1, and models of real networks are so far apart that none weighs anything in another's mixture; here
both follow the distances unless they are set. The pull is squared, as in the paper, where the code's is not
(`pull=distance`). A client's own share is never below 0. A client that is not sampled keeps the mixture that it has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from fedlt.data.site import Batch
from fedlt.process.threads import one_thread
from fedlt.strategy import Client, Server, Strategy, Update

NEAR = 10.0  # a sigma so small that networks are, as a rule, too far apart for it after one round
LITTLE = 0.01  # weight of all others, at most, from which on a run says so
TINY = 1e-12  # least sigma, for models that are all equal


@dataclass(frozen=True)
class FedAMP(Strategy):
    """CE + lam/2 |w - u_k|^2; u_k mixes models w_j by alpha / sigma exp(-|w_k - w_j|^2 / sigma), the rest being w_k."""

    scope: ClassVar[str] = "personal"
    foldable: ClassVar[bool] = False  # each client's own model is looked at

    lam: Annotated[float, ">= 0"] = 0.1  # pull to the mixture, the paper's lambda / alpha; 0 trains as `local` does
    sigma: Annotated[float, "> 0"] | None = None  # squared distance; null: mean of those between the cohort's models
    alpha: Annotated[float, "> 0"] | None = None  # null: sigma / cohort, so that equal models weigh alike
    pull: Literal["squared", "distance"] = "squared"  # distance: the norm, not squared, as in the common code

    def remarks(self, cohort: int) -> Iterable[str]:
        """Say where the attention to other clients is so weak that all but train alone."""
        if self.sigma is None:
            return

        # The largest weight that all others can have together, when their models are equal.
        most = (cohort - 1) / cohort if self.alpha is None else (cohort - 1) * self.alpha / self.sigma
        if most < LITTLE:
            yield (
                f"strategy.sigma={self.sigma:g}: the models of others weigh {most:.1g} together, at most, so clients "
                "all but train alone; set strategy.alpha near sigma / cohort, or leave both out"
            )
        elif self.sigma <= NEAR:
            yield (
                f"strategy.sigma={self.sigma:g}: a model at a squared distance of {7 * self.sigma:g} weighs a "
                "thousandth of an equal one, and networks are often farther apart, so clients may all but train alone; "
                "leave sigma out to follow their distances"
            )

    def begin(self, client: Client) -> None:
        client.state["own"] = client.vector.clone()

    def fit(self, client: Client) -> None:
        client.vector = client.state["own"]
        client.train(self.loss)
        client.state["own"] = client.vector.clone()

    def loss(self, client: Client, batch: Batch) -> Tensor:
        """A client without a message yet is drawn nowhere."""
        loss = super().loss(client, batch)
        if not self.lam or "mixture" not in client.received:
            return loss
        away = client.weights() - client.received["mixture"]
        return loss + self.lam / 2 * (away.square().sum() if self.pull == "squared" else away.norm())

    def adapt(self, client: Client) -> None:
        client.vector = client.state["own"]

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """Write to each client of the cohort. The model that the server sends stays the initial one."""
        cohort = list(updates)
        with one_thread():
            models = torch.stack([update.mean[server.trainable] for update in cohort])
            away = torch.stack([(models - model).square().sum(1) for model in models])
            mixtures = self.attention(away) @ models
        for update, mixture in zip(cohort, mixtures, strict=True):
            server.letters[update.clients[0]] = {"mixture": mixture.clone()}

    def attention(self, away: Tensor) -> Tensor:
        """[n, n] each model's shares in the mixture of each client, which sum to 1.

        Args:
            away: [n, n] squared distances.
        """
        n = len(away)
        sigma = max(TINY, float(away.sum()) / max(1, n * (n - 1))) if self.sigma is None else self.sigma
        largest = 1 / n if self.alpha is None else self.alpha / sigma
        others = (largest * (-away / sigma).exp()).fill_diagonal_(0)
        others /= others.sum(1, keepdim=True).clamp(min=1)
        return others + torch.diag(1 - others.sum(1))
