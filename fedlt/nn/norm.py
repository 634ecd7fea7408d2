"""Normalisation layers of the convolutional backbones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

Norm = Literal["batch", "group"]

NORMALISATION = "<normalisation>"
"""Among patterns of tensor names it stands for all tensors of the normalisation layers, whatever they are called:
PyTorch's own layers, and others whose class has `Norm` in its name."""


def expanded(model: nn.Module, patterns: Sequence[str], tensors: Iterable[str]) -> tuple[str, ...]:
    """The patterns, with the names of those tensors that stand for `NORMALISATION`.

    Args:
        model: whose layers are looked at.
        patterns: of tensor names, `NORMALISATION` among them or not.
        tensors: names of all tensors of the model.

    Raises:
        ValueError: where the model has no such layer.
    """
    if NORMALISATION not in patterns:
        return tuple(patterns)
    layers = {name for name, part in model.named_modules() if "Norm" in type(part).__name__}
    names = [name for name in tensors if name.rpartition(".")[0] in layers]
    if not names:
        raise ValueError(
            "the model has no normalisation layer; take one that has, such as resnet8, or transformer for texts"
        )
    return (*(pattern for pattern in patterns if pattern != NORMALISATION), *names)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that falls back to its running statistics where a batch has one value per channel.

    PyTorch refuses such a batch; a client whose last batch holds one sample would fail on a 1 x 1 feature map.
    The counter of batches is left out: with a fixed momentum it does nothing, and it is no float to average.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.num_batches_tracked = None
        self.updates = 0  # of the running statistics, which PyTorch does not count as edits of the buffers

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: dict[str, Any], *others: Any, **named: Any
    ) -> None:
        """A plain dictionary tells no version; PyTorch would take it for an old one, and put the counter in."""
        super()._load_from_state_dict(state_dict, prefix, {**local_metadata, "version": 2}, *others, **named)

    def reset_running_stats(self) -> None:
        for statistic, value in ((self.running_mean, 0.0), (self.running_var, 1.0)):
            if statistic is not None:
                statistic.fill_(value)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        self.updates += self.training
        return super().forward(x)


def running_statistics(model: nn.Module) -> tuple[str, ...]:
    """Names of the buffers that batch normalisation moves in training."""
    layers = [name for name, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    names = {f"{layer}.{statistic}" for layer in layers for statistic in ("running_mean", "running_var")}
    return tuple(name for name, _ in model.named_buffers() if name in names)


@contextmanager
def still_statistics(model: nn.Module) -> Iterator[None]:
    """For a while batch normalisation does not move its running statistics."""
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def norm(kind: Norm, channels: int) -> nn.Module:
    """Batch normalisation, or group normalisation with 8 groups (no statistics that mix clients)."""
    return BatchNorm(channels) if kind == "batch" else nn.GroupNorm(8, channels)
