"""FedNPC: after FedAvg, the head alone is re-trained on Gaussian noise with uniform labels, which evens out its rows.

Jintong Gao, He Zhao, Yibo Yang, Dandan Guo: FedNPC: Stochastic Noise-driven Post-hoc Classifier Calibration Method for
Federated Long-tailed Learning. CVPR Findings 2026. No data and no communication is needed. Noise with uniform labels
has nothing to tell, so the descent ends where all rows are equal, and its momentum carries the head beyond that to the
opposite side. The official code keeps the step that is best on the test set; here the last step counts at which the
head still resembles the trained one, for which no data are needed either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from fedlt.blocks.priors import correction
from fedlt.nn.softmax import extend, gradient, head_of, logits
from fedlt.strategy import Server
from strategies.fedavg_la import global_counts
from strategies.fedavg_posthoc import FedAvgPosthoc


@dataclass(frozen=True)
class FedNPC(FedAvgPosthoc):
    """Generic: the re-trained head is the headline; beside it, all that FedAvgPosthoc reports."""

    noise: Annotated[int, ">= 1"] = 10_000  # Gaussian features drawn anew in each epoch, one step on all of them
    epochs: Annotated[int, ">= 1"] = 27  # as many steps as the official code takes
    noise_lr: Annotated[float, "> 0"] = 0.1
    noise_momentum: Annotated[float, ">= 0", "< 1"] = 0.9
    likeness: Annotated[float, ">= -1", "<= 1"] = 0.95  # smallest cosine with the trained head; -1: all steps are taken

    def generic(self, server: Server, x: Tensor) -> dict[str, Tensor]:
        """The prototype head beside the trained one, plain and adjusted for the class prior."""
        if "npc" not in server.state:  # once for each evaluation: workers see a server without state
            server.state["npc"] = self.retrain(server)
        npc = logits(server.model.encode(x), server.state["npc"])
        adjusted = npc - self.tau * correction(global_counts(server.task, npc))
        return {"npc": npc, "npc_adjusted": adjusted, **super().generic(server, x)}

    def retrain(self, server: Server) -> Tensor:
        """[C, D + 1] the head after steps of softmax regression on noise, the last one before it loses its likeness."""
        trained = head = head_of(server.model)
        classes, dim = len(head), head.shape[1] - 1
        generator = torch.Generator(head.device).manual_seed(int(server.rng.integers(2**62)))
        velocity = torch.zeros_like(head)
        for _ in range(self.epochs):
            noise = torch.randn(self.noise, dim, generator=generator, device=head.device)
            labels = torch.randint(classes, (self.noise,), generator=generator, device=head.device)
            velocity = self.noise_momentum * velocity + gradient(extend(noise), labels, head)
            stepped = head - self.noise_lr * velocity

            if likeness(stepped, trained) < self.likeness:
                break
            head = stepped

        return head


def likeness(head: Tensor, other: Tensor) -> float:
    """Cosine of two heads [C, D + 1], biases aside, each about its mean row, which no softmax depends on."""
    first, second = (h[:, :-1] - h[:, :-1].mean(0) for h in (head, other))
    return float(cosine_similarity(first.flatten(), second.flatten(), dim=0))
