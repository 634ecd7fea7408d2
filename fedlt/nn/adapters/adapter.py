"""What an adapter is, and which of a model's parameters stay as they are.

With an adapter only its parameters and the head are trained, travel and are averaged; `model.freeze` says otherwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from fedlt.nn.net import Net


@dataclass(frozen=True)
class Adapter(ABC):
    """Base of the adapters; a frozen dataclass whose fields are its keys in `model.adapter`."""

    @abstractmethod
    def apply(self, net: Net) -> Iterable[str]:
        """Put the new parameters into `net.backbone`, and give the names there of all that are to be trained.

        New parameters are drawn from PyTorch's global generator.

        Raises:
            ValueError: where the model has no place for it.
        """

    def remarks(self) -> Iterator[str]:
        """Lines that `fedlt check`, and a run at its start, say of it."""
        yield from ()


def adapt(net: Net, freeze: bool | list[str] | None, adapter: Adapter | None) -> None:
    """Add the adapter, and freeze the backbone's parameters that are not to be trained.

    Args:
        freeze: True: all of the backbone; False: nothing; patterns: what they match (`layer1.*`); None: all of it where
            there is an adapter, else nothing. What the adapter trains stays trainable. Raises ValueError.
    """
    trained = set(adapter.apply(net)) if adapter is not None else set()
    parameters = dict(net.backbone.named_parameters())
    if unknown := sorted(trained - {*parameters}):
        names, known = ", ".join(unknown), ", ".join(list(parameters)[:8])
        raise ValueError(f"the adapter names no parameters of the backbone: {names}; there are: {known}, ...")
    whole = adapter is not None if freeze is None else freeze
    patterns = whole if isinstance(whole, list) else ["*"] * whole

    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in parameters):
            known = ", ".join(list(parameters)[:8])
            raise ValueError(f"model.freeze: {pattern!r} matches no parameter; there are: {known}, ...")
    kept = {name for name in parameters for pattern in patterns if fnmatchcase(name, pattern)} - trained
    if parameters and kept == {*parameters} and net.no_head:
        raise ValueError(f"model.freeze leaves nothing to train: {net.no_head}")

    for name in kept:
        parameters[name].requires_grad_(False)
    for name in trained:
        parameters[name].requires_grad_(True)
