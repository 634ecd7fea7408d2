"""FedBABU: the head stays at its random start while the body is learned together; fine-tuning follows at test time.

Oh, Kim, Yun: FedBABU: Toward Enhanced Representation for Federated Image Classification. ICLR 2022, Algorithm 1. A
head that never moves keeps all clients' bodies aimed at the same class directions. The generic model is the averaged
body beneath that head. As in the paper the personal model is that model after some passes over the client's own data.
A body that has trained beneath a small fixed head has large features, so fine-tuning the head at the rate of training
diverges. The paper's rate has fallen to a hundredth by then; here it is a tenth of the scenario's unless given.
Clients count by their numbers of samples, as in the paper's algorithm; in the official code they count alike
(`equal=true`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from fedlt.strategy import Client, Strategy


@dataclass(frozen=True)
class FedBABU(Strategy):
    """FedAvg of all but the head, which is the initial one everywhere (declared private: it must not be sent)."""

    needs: ClassVar[tuple[str, ...]] = ("head",)
    private: ClassVar[tuple[str, ...]] = ("head.*",)
    learner_parts: ClassVar[tuple[str, ...]] = ("loss", "head", "prediction")  # head and backbone take turns already
    young: ClassVar[tuple[str, ...]] = ("equal",)

    tune: Literal["model", "head"] = "model"  # what is fine-tuned for the personal model
    tune_epochs: Annotated[int, ">= 0"] = 5  # passes over the client's data
    tune_lr: Annotated[float, "> 0"] | None = None  # null: a tenth of local.lr
    equal: bool = False  # clients count alike in the mean, as in the official code, instead of by their samples

    def fit(self, client: Client) -> None:
        client.train(self.loss, without=("head.*",))

    def weight(self, client: Client) -> float:
        return 1.0 if self.equal else super().weight(client)

    def adapt(self, client: Client) -> None:
        only = ("*",) if self.tune == "model" else ("head.*",)
        lr = client.trainer.local.lr / 10 if self.tune_lr is None else self.tune_lr
        client.train(self.loss, only=only, epochs=self.tune_epochs, lr=lr)
