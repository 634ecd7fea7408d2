"""FedAvg with fine-tuning: before it is tested, each client trains the received model on its own data.

The baseline that every personalised method has to beat: Wang, Mathews, Kiddon, Eichner, Beaufays, Ramage: Federated
Evaluation of On-device Personalization. 2019 (arXiv 1910.10252); Collins, Hassani, Mokhtari, Shakkottai: FedAvg with
Fine Tuning. NeurIPS 2022. The generic model is FedAvg's; fine-tuned models are neither sent nor kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from fedlt.data.task import Task
from fedlt.nn.net import Net
from fedlt.strategy import Client, Strategy


@dataclass(frozen=True)
class FedAvgFT(Strategy):
    """FedAvg; personal models are fine-tuned from the generic one at every evaluation."""

    tune: Literal["model", "head"] = "model"  # what is fine-tuned
    tune_epochs: Annotated[int, ">= 0"] = 1  # passes over the client's data
    tune_lr: Annotated[float, "> 0"] | None = None  # null: the scenario's local.lr

    def obstacle(self, model: Net, task: Task) -> str | None:
        return f"{model.no_head}; take tune=model" if self.tune == "head" and model.no_head else None

    def adapt(self, client: Client) -> None:
        only = ("*",) if self.tune == "model" else ("head.*",)
        client.train(self.loss, only=only, epochs=self.tune_epochs, lr=self.tune_lr)
