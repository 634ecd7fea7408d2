"""Linear classifiers with other row norms: what realignment after training does to them, always on copies.

Under a long tail the rows of head classes grow longer than those of tail classes; the directions suffer less.
"""

from __future__ import annotations

from torch import Tensor


def scaled_rows(weight: Tensor, norms: Tensor | float, tau: float = 1.0) -> Tensor:
    """[C, d]: row c of `weight` divided by its norm to the power tau, times `norms` (one for all, or [C]).

    tau-normalisation (Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020,
    section 4.2) where `norms` is 1. A row of zeros stays as it is.
    """
    lengths = weight.norm(dim=1, keepdim=True).clamp(min=1e-12)
    factor = norms.reshape(-1, 1) if isinstance(norms, Tensor) else norms
    return weight / lengths**tau * factor
