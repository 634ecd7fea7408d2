"""bfloat16 by autocast: which convolutions stay in float32 on a CPU, and that their gradients are right."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.config.sections import Local
from fedlt.data.site import Batch, Site
from fedlt.nn.net import Net
from fedlt.training.bfloat16 import in_bfloat16
from fedlt.training.vectorized import train_together

CPU = torch.device("cpu")

NARROW = {  # in one dimension or more, less wide than the last stride, or less deep than the kernel
    "1d": (nn.Conv1d(16, 16, 3, stride=2, padding=1), (1,)),
    "2d": (nn.Conv2d(32, 64, 3, stride=2, padding=1), (1, 1)),
    "wide strides": (nn.Conv2d(16, 32, 3, stride=4, padding=1), (3, 3)),
    "one stride": (nn.Conv2d(16, 32, 3, stride=(1, 2), padding=1), (4, 1)),
    "groups": (nn.Conv2d(32, 32, 3, stride=2, padding=1, groups=2), (1, 1)),
    "3d": (nn.Conv3d(16, 16, 3, stride=2, padding=1), (3, 1, 1)),
    "shallow": (nn.Conv3d(16, 16, 3, padding=1), (2, 4, 4)),
    "transposed": (nn.ConvTranspose2d(16, 16, 3, stride=2, padding=1), (1, 1)),
}
OTHERS = {
    "no stride": (nn.Conv2d(16, 16, 3, padding=1), (1, 1)),
    "wide": (nn.Conv2d(16, 16, 3, stride=2, padding=1), (1, 2)),
    "deep": (nn.Conv3d(16, 16, 3, padding=1), (3, 4, 4)),
    "transposed": (nn.ConvTranspose2d(16, 16, 4, stride=2, padding=1), (1, 1)),
    "linear": (nn.Linear(16, 16), (16,)),
}


def gradients(module: Any, x: Tensor) -> list[Tensor]:
    """Of the sum of squares of what the module makes of x."""
    return list(torch.autograd.grad(module(x).square().sum(), list(module.parameters())))


@pytest.mark.parametrize("kind", list(NARROW))
def test_small_convolutions_have_the_gradients_of_float32(kind: str) -> None:
    module, size = NARROW[kind]
    x = torch.randn(4, module.in_channels, *size, generator=torch.Generator().manual_seed(0))
    expected = gradients(module, x)

    with in_bfloat16(CPU):
        assert module(x).dtype == torch.float32
        found = gradients(module, x)
        assert all(map(torch.equal, found, expected))  # on some processors without it, what memory held: NaN, 1e29
        assert module(x.bfloat16()).dtype == torch.float32  # as a layer before would give it


@pytest.mark.parametrize("kind", list(OTHERS))
def test_all_else_is_computed_in_bfloat16(kind: str) -> None:
    module, size = OTHERS[kind]
    with in_bfloat16(CPU):
        assert module(torch.randn(2, 16, *size)).dtype == torch.bfloat16


def test_functional_calls_are_treated_as_modules_are() -> None:
    x, weight = torch.randn(2, 16, 1, 1), torch.randn(16, 16, 3, 3)
    with in_bfloat16(CPU):
        assert F.conv2d(x, weight=weight, stride=2, padding=1).dtype == torch.float32
        assert F.conv2d(x, weight.bfloat16(), None, 2, 1).dtype == torch.bfloat16  # as the model says itself


class Convolves(nn.Module):
    """Features [N, 3] seen as one pixel; the kinds of what the convolution gives are noted."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.kinds: list[torch.dtype] = []

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(x[:, :, None, None])
        self.kinds.append(result.dtype)
        return result.flatten(1)


@pytest.mark.parametrize("together", [False, True])
def test_clients_are_trained_so(make_client: Any, together: bool) -> None:
    backbone, heads = Convolves(), []
    net = Net(backbone, nn.Linear(4, 2), 4)
    client = make_client(net, torch.randn(4, 3), [0, 1, 0, 1], Local(batch_size=4), precision="bfloat16")

    def loss(site: Site, batch: Batch) -> Tensor:
        logits = site.model(batch.x)
        heads.append(logits.dtype)
        return F.cross_entropy(logits, batch.y)

    if together:
        train_together(client.trainer, [client, client], loss, client.flat.shared)
    else:
        client.train(loss)
    assert set(backbone.kinds) == {torch.float32}
    assert set(heads) == {torch.bfloat16}
