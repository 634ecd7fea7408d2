"""What tensors are called: in a model, without its adapter, and in the module of the user's own that it was made of.

An adapter that wraps a part of a model lengthens the names of that part's tensors. Weights fit with and without it, or
under another one, if they are told apart by the names that they have without any (`plain`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from torch import nn

from fedlt.nn.adapters.bottleneck import Around
from fedlt.nn.adapters.prompts import Entering, Leaving
from fedlt.nn.side_by_side import SideBySide, alone

if TYPE_CHECKING:
    from fedlt.nn.net import Net

BESIDE = "beside/"
"""Before names, in exported files, of what is no part of the user's own module."""

WRAPPED: dict[type[nn.Module], str] = {Around: "encoder", Entering: "layer", Leaving: "layer"}
"""What adapters call the part that was there before them; that of the peft library is `base_layer`."""


def plain(net: Net, name: str) -> str | None:
    """The name of a tensor in the model without its adapter; None where the adapter has brought it.

    `backbone.1.base_layer.weight` under `lora` and `backbone.encoder.1.weight` under `mlp` are `backbone.1.weight`.
    """
    module: nn.Module | None = net
    kept = []
    for word in name.split("."):
        inner = _wrapped(module)
        if not inner or word != inner:
            if inner:
                return None
            kept.append(word)
        module = module._modules.get(word) if module is not None else None
    return ".".join(kept)


def plain_in_file(names: Collection[str]) -> dict[str, str | None]:
    """The same by name for tensors of which nothing but the names is known; what adapters bring tells where they were.

    `lora_A` stands beside a `base_layer`, `down` and `up` beside an `encoder`, and `prompts` beside the first `layer`
    of a list, whose last one is wrapped as well.
    """
    longer: list[tuple[str, str]] = []  # beginnings, and what they are without the adapter
    brought = {name for name in names if ".lora_" in name}
    longer += [(f"{(at := name.partition('.lora_')[0])}.base_layer.", f"{at}.") for name in brought]

    ends = ("down.weight", "down.bias", "up.weight", "up.bias")
    for name in names:
        at = name.removesuffix("down.weight")
        if at != name and all(at + end in names for end in ends) and any(n.startswith(f"{at}encoder.") for n in names):
            brought |= {at + end for end in ends}
            longer.append((f"{at}encoder.", at))

    for name in names:
        at = name.removesuffix(".prompts")
        if at != name and any(n.startswith(f"{at}.layer.") for n in names):
            brought.add(name)
            longer += _around_prompts(at, names)

    longest_first = sorted(set(longer), key=lambda pair: -len(pair[0]))
    found: dict[str, str | None] = {}
    for name in names:
        begins, without = next((pair for pair in longest_first if name.startswith(pair[0])), ("", ""))
        found[name] = None if name in brought else without + name.removeprefix(begins)
    return found


def outside(net: Net, name: str) -> str:
    """The name in the module that was taken apart for the model (`fedlt.nn.wrapped`).

    `backbone.conv.weight` is there `conv.weight`, and `head.weight` is `fc.weight`. All others keep theirs: those of
    models that were never taken apart, and of what strategies and learners have added.
    """
    first, _, rest = name.partition(".")
    if not net.head_name and not net.no_head:
        return name
    if first == "backbone":
        return rest
    return f"{net.head_name}.{rest}" if first == "head" and net.head_name else name


def known_as(net: Net, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """By name in the model, all names under which weights may be given for it; the first is that without adapters.

    Of models side by side each also takes what is given for a model by itself.
    """
    found = {}
    for name in names:
        short = plain(net, name) or name
        each = [short, name]
        if isinstance(net.backbone, SideBySide):
            each += [alone(one) for one in each]
        found[name] = tuple(dict.fromkeys(called for one in each for called in (one, outside(net, one))))
    return found


def _wrapped(module: nn.Module | None) -> str:
    """What a module calls the part that it was put around; "" for one that is no adapter's."""
    if module is not None and "base_layer" in module._modules and type(module).__module__.startswith("peft."):
        return "base_layer"
    return WRAPPED.get(type(module), "") if module is not None else ""


def _around_prompts(at: str, names: Collection[str]) -> list[tuple[str, str]]:
    """Beginnings of names in a list whose first layer is `at`, with those without the adapter."""
    single = at.removesuffix(".layer")
    if single != at:  # the first layer is the last one, too
        return [(f"{at}.layer.", f"{single}.")]

    above = at.rpartition(".")[0]
    begins = {match[1] for n in names if (match := re.match(rf"({re.escape(above)}\.[^.]+)\.", n))} - {at}
    last = [
        other for other in begins if all(n.startswith(f"{other}.layer.") for n in names if n.startswith(f"{other}."))
    ]
    ends = [(f"{other}.layer.", f"{other}.") for other in last if len(last) == 1]
    return [(f"{at}.layer.", f"{at}."), *ends]
