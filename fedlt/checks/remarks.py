"""What breaks no contract and mostly is a mistake: a field that does nothing, a model that moves by itself.

Both look like a method that does not work. A field may do nothing because its term is always zero; a model moves though
no client has moved where weights that do not add up to one are put on the clients' models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fedlt.config.schema import Field, alternatives

STILL = 1e-3
"""What the model may move where every client sends back what it got, over its length: sums of float32 are not exact."""

MOVES = (
    "aggregate() moves the model by {:.1%} of its length where every client sends back what it was given; "
    "if the server does not train, look for weights on the clients' models that do not sum to 1"
)
IDLE = (
    "{} end the same on the check's small clients; unless the field acts only beyond their few rounds, it does nothing"
)


class ContractRemark(UserWarning):
    """A part keeps its contract, and something about it is worth a look."""


def idle_fields(
    fields: Sequence[Field], options: Mapping[str, Any], end: Callable[[dict[str, Any]], str]
) -> Iterator[str]:
    """A sentence for each field of which other values change nothing.

    Args:
        fields: of the part.
        options: their values; those that are no plain values are left out.
        end: how the rehearsal ends under these options; what it raises is a change, too.
    """
    tried = {f.name: alternatives(f.annotation, options[f.name]) for f in fields if f.name in options}
    usual = end(dict(options)) if any(tried.values()) else ""
    for name, others in tried.items():
        if others and not any(_changes(usual, {**options, name: value}, end) for value in others):
            yield IDLE.format(" and ".join(f"{name}={value}" for value in (options[name], *others)))


def _changes(usual: str, options: dict[str, Any], end: Callable[[dict[str, Any]], str]) -> bool:
    try:
        return end(options) != usual
    except Exception:  # whatever a value breaks, it is not without effect
        return True
