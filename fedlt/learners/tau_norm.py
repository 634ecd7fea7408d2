"""Tau-normalisation: plain training, and the head's rows are brought to more equal norms when predicting.

Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis: Decoupling Representation and Classifier for Long-Tailed
Recognition. ICLR 2020, equation 6: w_c / ||w_c||^tau, without bias. The paper chooses tau on validation data; here it
is a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor
from torch.nn import functional as F

from fedlt.learners.cross_entropy import CrossEntropy
from fedlt.nn.net import Net
from fedlt.strategy import Strategy


@dataclass(frozen=True)
class TauNorm(CrossEntropy):
    """Predicts with rows w_c / ||w_c||^tau; the variant `plain` is without."""

    needs: ClassVar[tuple[str, ...]] = ("linear_head",)

    tau: Annotated[float, ">= 0", "<= 1"] = 1.0  # 0 keeps the norms, 1 makes them all one

    def obstacle(self, strategy: Strategy) -> str | None:
        return (
            None if "head" in strategy.learner_parts else "it normalises the linear head, which the strategy replaces"
        )

    def predict(self, model: Net, x: Tensor) -> dict[str, Tensor]:
        features, weight = model.encode(x), model.part("head.weight")
        rows = weight / weight.norm(dim=1, keepdim=True).clamp(min=1e-12) ** self.tau
        return {"normalised": F.linear(features, rows), "plain": model.head(features)}
