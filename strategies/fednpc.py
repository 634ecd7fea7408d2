"""FedNPC: after FedAvg, the head alone is re-trained on Gaussian noise with uniform labels, which evens out its rows.

Jintong Gao, He Zhao, Yibo Yang, Dandan Guo: FedNPC: Stochastic Noise-driven Post-hoc Classifier Calibration Method for
Federated Long-tailed Learning. CVPR Findings 2026. No data and no communication is needed. The official code keeps the
step that is best on the test set; here the last one counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import linear, one_hot

from fedlt.strategy import Server
from strategies.fedavg_la import log_prior
from strategies.fedavg_posthoc import FedAvgPosthoc


@dataclass(frozen=True)
class FedNPC(FedAvgPosthoc):
    """Generic: the re-trained head is the headline; beside it, all that FedAvgPosthoc reports."""

    noise: Annotated[int, ">= 1"] = 10_000  # Gaussian features drawn anew in each epoch, one step on all of them
    epochs: Annotated[int, ">= 1"] = 27  # as many steps as the official code takes
    noise_lr: Annotated[float, "> 0"] = 0.1
    noise_momentum: Annotated[float, ">= 0", "< 1"] = 0.9

    def generic(self, server: Server, x: Tensor) -> dict[str, Tensor]:
        if "npc_weight" not in server.state:  # once for each evaluation: workers see a server without state
            server.state["npc_weight"], server.state["npc_bias"] = self.retrain(server)
        npc = linear(server.model.encode(x), server.state["npc_weight"], server.state["npc_bias"])
        adjusted = npc - self.tau * log_prior(server.task, npc)
        return {"npc": npc, "npc_adjusted": adjusted, **super().generic(server, x)}

    def retrain(self, server: Server) -> tuple[Tensor, Tensor]:
        """[C, D] and [C] of the head after softmax regression on noise, by its closed gradient."""
        weight, bias = (server.model.get_parameter(f"head.{name}").detach().clone() for name in ("weight", "bias"))
        classes, dim = weight.shape
        generator = torch.Generator(weight.device).manual_seed(int(server.rng.integers(2**62)))
        step, shift = torch.zeros_like(weight), torch.zeros_like(bias)
        for _ in range(self.epochs):
            z = torch.randn(self.noise, dim, generator=generator, device=weight.device)
            y = torch.randint(classes, (self.noise,), generator=generator, device=weight.device)
            error = (linear(z, weight, bias).softmax(1) - one_hot(y, classes)) / self.noise
            step = self.noise_momentum * step + error.T @ z
            shift = self.noise_momentum * shift + error.sum(0)
            weight, bias = weight - self.noise_lr * step, bias - self.noise_lr * shift
        return weight, bias
