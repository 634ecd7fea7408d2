"""What a strategy's clients send beside their weights, read from its source before anything runs."""

from __future__ import annotations

import ast
import inspect
import textwrap

from fedlt.strategy import Strategy
from fedlt.wrapping import layers

BOXES = ("extras", "values")


def sent_beyond(strategy: Strategy) -> list[str]:
    """`client.extras` and `client.values` where the strategy's methods name them, in the order of the words."""
    named: set[str] = set()
    owners = [owner for layer in layers(strategy) for owner in type(layer).__mro__]
    for owner in owners:
        if issubclass(owner, Strategy) and owner is not Strategy:
            try:
                tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
            except OSError:  # a class without a file
                continue
            named |= {
                node.attr
                for node in ast.walk(tree)
                if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "client"
            }
    return [f"client.{box}" for box in BOXES if box in named]
