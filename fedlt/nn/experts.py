"""Several experts on one stem: M copies of a backbone beyond its stem, each with a head of its own.

Features of the experts lie side by side, [B, M * D], so that caches and heads of strategies see one backbone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.data.inputs.features import Features
from fedlt.learner import Prediction
from fedlt.nn.net import Net, passed
from fedlt.nn.resnet import ResNetBackbone
from fedlt.nn.text.encoder import TokenEncoder

TOP_LOGITS, REDUCED = 30, 16  # what a router sees of the logits, and of a feature
ONE_LAYER = (
    "branches need a model with at least two layers before its head, between which it can be cut; take a deeper one, "
    "such as model.depth=1, or a built-in one"
)


class Experts(nn.Module):
    """[B, ...] inputs to [B, M * D] features: a shared stem, which reads their mask too, then M branches."""

    def __init__(self, stem: nn.Module, branches: list[nn.Module]) -> None:
        super().__init__()
        self.stem = stem
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        shared = passed(self.stem, x, mask)
        return torch.cat([branch(shared) for branch in self.branches], dim=1)


class ExpertHeads(nn.Module):
    """One head per expert. As a head of the model it gives the experts' mean logits."""

    def __init__(self, heads: list[nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def each(self, features: Tensor) -> Tensor:
        """[M, B, C] logits of each expert, given the [B, M * D] features of all."""
        parts = features.chunk(len(self.heads), dim=1)
        return torch.stack([head(part) for head, part in zip(self.heads, parts, strict=True)])

    def forward(self, features: Tensor) -> Tensor:
        return self.each(features).mean(0)


def experts_of(model: Net) -> ExpertHeads:
    """The heads of a model that `add_experts` has turned into experts."""
    assert isinstance(model.head, ExpertHeads)
    return model.head


class Router(nn.Module):
    """Says after each expert but the last whether the next one should be asked, as a logit.

    It sees the direction of the expert's feature in a few dimensions, and the largest of the mean logits so far.
    """

    def __init__(self, dim: int, classes: int, experts: int) -> None:
        super().__init__()
        self.top = min(classes, TOP_LOGITS)
        self.reduce = nn.ModuleList(nn.Linear(dim, REDUCED) for _ in range(experts - 1))
        self.decide = nn.ModuleList(nn.Linear(REDUCED + self.top, 1) for _ in range(experts - 1))

    def forward(self, index: int, features: Tensor, logits: Tensor) -> Tensor:
        """[B] logits, after expert `index`.

        Args:
            features: [B, D] of that expert.
            logits: [B, C] the mean so far.
        """
        seen = self.reduce[index](F.normalize(features)).relu()
        return self.decide[index](torch.cat([seen, logits.topk(self.top).values], 1))[:, 0]  # type: ignore[no-any-return]


def cascade(
    model: Net,
    x: Tensor | Features,
    fuse: Callable[[Tensor], Prediction],
    more: Callable[[int, Tensor, Prediction], Tensor],
) -> Prediction:
    """Experts one after the other, each on the samples for which another one was wanted.

    Args:
        model: whose backbone is `Experts`.
        x: inputs [B, ...], or what stands for them.
        fuse: [M', B, C] logits of the experts asked so far to their joint prediction.
        more: (index of the last expert asked, its features [B, D], the joint prediction) to [B] bool.
    """
    assert isinstance(model.backbone, Experts)
    inputs = x.inputs() if isinstance(x, Features) else x
    shared, each = model.through(model.backbone.stem, inputs), list[Tensor]()
    asked = torch.arange(len(inputs), device=inputs.device)
    used = torch.zeros(len(inputs), device=inputs.device)
    result = Prediction(torch.empty(0))

    for index, (branch, head) in enumerate(zip(model.backbone.branches, experts_of(model).heads, strict=True)):
        features = branch(shared[asked])
        each.append(head(features))
        found = fuse(torch.stack(each))
        if not index:
            result = found
        else:
            result.logits[asked] = found.logits
            if result.uncertainty is not None and found.uncertainty is not None:
                result.uncertainty[asked] = found.uncertainty
        used[asked] += 1
        if index + 1 < len(model.backbone.branches):
            wanted = more(index, features, found)
            asked, each = asked[wanted], [logits[wanted] for logits in each]

    return Prediction(result.logits, result.uncertainty, {"experts": used})


def add_experts(model: Net, count: int, make_head: Callable[[int], nn.Module]) -> None:
    """Turn a model into `count` experts that share its stem, each initialised anew.

    Args:
        make_head: D -> a head.
    """
    dim = model.feature_dim
    add_branches(model, count)
    model.head = ExpertHeads([make_head(dim) for _ in range(count)])


def add_branches(model: Net, count: int, late: bool = False) -> None:
    """Turn the backbone into `count` branches on its stem, each initialised anew, and leave the head to the caller.

    Features are those of all branches, side by side.

    Args:
        late: see `split`.
    """
    stem, trunk = split(model.backbone, late)
    branches = [trunk, *(copy.deepcopy(trunk) for _ in range(count - 1))]
    for branch in branches[1:]:
        for module in branch.modules():
            reset = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()
    model.backbone = Experts(stem, branches)
    model.feature_dim *= count


def split(backbone: nn.Module, late: bool = False) -> tuple[nn.Module, nn.Module]:
    """Stem and the rest.

    The stem is the first layer with parameters and what follows it;

    Args:
        late: all before the last such layer that does more than normalise, and in a residual network all but its last
            block. It holds the first layer in any case, and nothing but the embeddings of an encoder of token ids.

    Raises:
        ValueError: where the model cannot be split.
    """
    if isinstance(backbone, ResNetBackbone):
        return backbone.split(late)
    if isinstance(backbone, TokenEncoder):
        stem, trunk = backbone.split()
        if not any(True for _ in trunk.parameters()):
            raise ValueError(ONE_LAYER)
        return stem, trunk
    layers = list(backbone) if isinstance(backbone, nn.Sequential) else []
    weighted = [index for index, layer in enumerate(layers) if any(True for _ in layer.parameters())]
    if len(weighted) < 2:
        raise ValueError(ONE_LAYER)

    place = weighted[1]
    if late:
        place = max([place, *(index for index in weighted if "Norm" not in type(layers[index]).__name__)])
    return nn.Sequential(*layers[:place]), nn.Sequential(*layers[place:])
