"""What tensors are called inside a model, and in the module of the user's own that it was made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedlt.nn.net import Net


def outside_names(net: Net, names: Iterable[str]) -> dict[str, str]:
    """By name in the model, the name in the module that was taken apart for it (`fedlt.nn.wrapped`).

    `backbone.conv.weight` is there `conv.weight`, and `head.weight` is `fc.weight`. All others keep theirs: those of
    models that were never taken apart, and of what strategies and learners have added.
    """
    if not net.head_name and not net.no_head:
        return {name: name for name in names}
    return {name: _outside(name, net.head_name) for name in names}


def _outside(name: str, head: str) -> str:
    first, _, rest = name.partition(".")
    if first == "backbone":
        return rest
    return f"{head}.{rest}" if first == "head" and head else name
