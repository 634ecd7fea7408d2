"""Every model is a backbone and a head, so that long-tail heads and losses need only the features [B, D]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fedlt.nn.norm import BatchNorm


class Net(nn.Module):
    """`head(backbone(x))`. feature_dim: D. Strategies and learners may add further modules."""

    def __init__(self, backbone: nn.Module, head: nn.Module, feature_dim: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.feature_dim = feature_dim
        self.backbone_loads = 0  # counts whole-vector loads, which bypass the tensors' own version counters

    def encode(self, x: Tensor | CachedInputs | KnownFeatures) -> Tensor:
        """[B, D] features. Use this instead of `backbone(x)`: features may be at hand already."""
        if isinstance(x, CachedInputs | KnownFeatures):
            return x.encode(self)
        return self.backbone(x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """[B, C] logits."""
        return self.head(self.encode(x))  # type: ignore[no-any-return]

    def backbone_version(self) -> tuple[int, int]:
        """Changes whenever a tensor of the backbone does."""
        return self.backbone_loads, edits(self.backbone)


class LossModule(nn.Module):
    """A loss as a module, so that `functional_call` can put other weights into the model beneath it."""

    def __init__(self, model: nn.Module, loss: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, *arguments: Any) -> Tensor:
        return self.loss(*arguments)


class Switch:
    """Puts a module into training or evaluation mode: `nn.Module.train` for a module whose parts stay the same.

    PyTorch walks through all parts and their `__setattr__` each time, a twentieth of the time of a small client.
    """

    def __init__(self, module: nn.Module) -> None:
        parts = list(module.modules())
        self._plain = [part.__dict__ for part in parts if type(part).train is nn.Module.train]
        self._module = module if len(self._plain) < len(parts) else None  # some part has a way of its own

    def __call__(self, training: bool) -> None:
        if self._module is not None:
            self._module.train(training)
            return
        for attributes in self._plain:
            attributes["training"] = training


def edits(module: nn.Module) -> int:
    """Changes whenever a tensor of the module is edited in place, or a buffer replaced; running statistics included."""
    versions = sum(p._version for p in module.parameters()) + sum(b._version + id(b) for b in module.buffers())
    return versions + sum(part.updates for part in module.modules() if isinstance(part, BatchNorm))


class FeatureCache:
    """Features of a test set under one state of the backbone, computed in fixed chunks when first needed.

    inputs(rows) gives [n, ...] model inputs. Fixed chunks keep the bits equal whoever asks for which rows.
    """

    def __init__(self, model: Net, inputs: Callable[[Tensor], Tensor], size: int, chunk: int) -> None:
        self.model, self.inputs, self.size, self.chunk = model, inputs, size, chunk
        self.version = model.backbone_version()
        self._features: Tensor | None = None
        self._done: set[int] = set()

    def revalidate(self) -> None:
        """Say that the backbone is again what it was when the cache was made."""
        self.version = self.model.backbone_version()

    def gather(self, rows: Tensor) -> Tensor:
        """[n, D] features of the test rows."""
        for index in torch.unique(rows // self.chunk).tolist():
            if index not in self._done:
                start, stop = index * self.chunk, min((index + 1) * self.chunk, self.size)
                part = self.model.backbone(self.inputs(torch.arange(start, stop, device=rows.device)))
                if self._features is None:
                    self._features = part.new_empty(self.size, *part.shape[1:])
                self._features[start:stop] = part
                self._done.add(index)
        assert self._features is not None
        return self._features[rows]


class KnownFeatures:
    """Stands for inputs whose features are known and stay valid, because the backbone is not trained."""

    def __init__(self, features: Tensor) -> None:
        self.features = features

    def __len__(self) -> int:
        return len(self.features)

    def encode(self, model: Net) -> Tensor:
        """[n, D] the features."""
        return self.features


class CachedInputs:
    """Stands for the inputs of some test rows: their features if the backbone is unchanged, else the inputs."""

    def __init__(self, cache: FeatureCache, rows: Tensor) -> None:
        self.cache, self.rows = cache, rows

    def __len__(self) -> int:
        return len(self.rows)

    def encode(self, model: Net) -> Tensor:
        """[n, D] features under the model's present backbone."""
        if model is self.cache.model and model.backbone_version() == self.cache.version:
            return self.cache.gather(self.rows)
        return model.backbone(self.inputs())  # type: ignore[no-any-return]

    def inputs(self) -> Tensor:
        """[n, ...] the inputs themselves."""
        return self.cache.inputs(self.rows)
