"""Evidence: logits as a Dirichlet distribution over class probabilities, and the fusion of several such opinions.

Evidence exp(z_c), alpha_c = exp(z_c) + 1, S = sum of alpha, belief b_c = exp(z_c) / S, uncertainty u = C / S, so that
the beliefs and u sum to one. Han, Zhang, Fu, Zhou: Trusted Multi-View Classification, ICLR 2021; Li and others, CVPR
2022 (TLC). In float32 at least: evidence reaches exp(30).
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedlt.learner import Prediction

LEAST = 1e-6  # of 1 - conflict, so that contradicting experts do not divide by zero


def beliefs(logits: Tensor) -> tuple[Tensor, Tensor]:
    """[..., C] beliefs and [...] uncertainties."""
    amounts = logits.float().exp()
    total = amounts.sum(-1) + logits.shape[-1]
    return amounts / total[..., None], logits.shape[-1] / total


def joint_uncertainty(each: Tensor) -> Tensor:
    """[M + 1, B] the uncertainty that is left before each expert, and after the last.

    It is 1 before the first; then w <- w u_i / (1 - K), K being the conflict of expert i's beliefs with those of the
    expert before it, sum over c != c' of b_c b'_c'.

    Args:
        each: [M, B, C] logits.
    """
    belief, uncertainty = beliefs(each)
    left = [torch.ones_like(uncertainty[0])]
    for index in range(len(each)):
        conflict = torch.zeros_like(left[0])
        if index:
            before, now = belief[index - 1], belief[index]
            conflict = before.sum(1) * now.sum(1) - (before * now).sum(1)
        left.append(left[-1] * uncertainty[index] / (1 - conflict).clamp(min=LEAST))
    return torch.stack(left)


def fuse(each: Tensor, eta: float) -> Prediction:
    """Logits weighted by the softmax over experts of w_i / eta, w_i being the uncertainty left before expert i.

    Args:
        each: [M, B, C] logits of the experts, in the order in which they were asked.
        eta: temperature; small: the first expert decides.

    Returns:
        Logits [B, C], and the uncertainty [B] that is left after the last expert.
    """
    left = joint_uncertainty(each)
    weights = torch.softmax(left[:-1] / eta, 0)
    return Prediction((weights[..., None] * each.float()).sum(0), left[-1])


def against_none(logits: Tensor, y: Tensor) -> Tensor:
    """[B] KL(Dir(alpha~) || Dir(1)) with alpha~ = alpha except 1 at the true class: evidence for wrong classes.

    Sensoy, Kaplan, Kandemir: Evidential Deep Learning to Quantify Classification Uncertainty. NeurIPS 2018, eq. 5.
    """
    wrong = y[:, None] != torch.arange(logits.shape[1], device=y.device)  # one_hot looks at values, which vmap refuses
    alpha = 1 + wrong * logits.double().exp()  # in float32 the terms of exp(30) cancel to noise of any size
    total, classes = alpha.sum(1), alpha.new_full((), logits.shape[1])
    const = torch.lgamma(total) - torch.lgamma(classes) - torch.lgamma(alpha).sum(1)
    spread = ((alpha - 1) * (torch.digamma(alpha) - torch.digamma(total)[:, None])).sum(1)
    return (const + spread).float()
