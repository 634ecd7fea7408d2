"""FedAvg whose trained head is corrected afterwards: post-hoc logit adjustment and tau-normalisation.

Menon, Jayasumana, Rawat, Jain, Veit, Kumar: Long-tail learning via logit adjustment. ICLR 2021, equation 9.
Kang et al.: Decoupling Representation and Classifier for Long-Tailed Recognition. ICLR 2020, section 4.2.
Training is FedAvg's, bit for bit; each evaluation reports the plain head and every correction of it. The global class
counts are all that is needed beside the model, and tau-normalisation does not even need them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor
from torch.nn.functional import linear

from fedlt.blocks.priors import correction
from fedlt.nn.realign import scaled_rows
from fedlt.strategy import Client, Server
from strategies.fedavg import FedAvg
from strategies.fedavg_la import global_counts


@dataclass(frozen=True)
class FedAvgPosthoc(FedAvg):
    """Generic: logits - tau log prior is the headline. Personal: the plain model is; `own_prior` swaps the priors."""

    needs: ClassVar[tuple[str, ...]] = ("class_prior", "linear_head", "single_label")
    learner_parts: ClassVar[tuple[str, ...]] = ("loss", "stages")

    tau: Annotated[float, "> 0"] = 1.0  # strength of the adjustment
    tau_norm: Annotated[float, ">= 0", "<= 1"] = 1.0  # 1: rows of equal norm; 0: as they are, without the bias

    def generic(self, server: Server, x: Tensor) -> dict[str, Tensor]:
        """The plain head and its post-hoc corrections, for the class prior and for the norms of the classes."""
        features, head = server.model.encode(x), server.model.head
        weight = server.model.part("head.weight")
        plain = head(features)
        adjustment = self.tau * correction(global_counts(server.task, plain))
        even = scaled_rows(weight, weight.norm(dim=1).mean(), self.tau_norm)
        normed = linear(features, even)  # as in the paper, without bias; at the mean norm, to go with the prior
        return {
            "adjusted": plain - adjustment,
            "plain": plain,
            "tau_norm": normed,
            "tau_norm_adjusted": normed - adjustment,
        }

    def personal(self, client: Client, x: Tensor) -> dict[str, Tensor]:
        plain = client.model(x)
        own = (client.class_counts / client.num_samples).log()
        return {"plain": plain, "own_prior": plain - correction(global_counts(client.task, plain)) + own}
