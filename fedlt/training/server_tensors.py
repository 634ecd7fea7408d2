"""What a server keeps and sends, as tensors by name: how checkpoints hold it.

`state/NAME`, `outbox/NAME` and `letter/CLIENT/NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fedlt.strategy import Server


def held_tensors(server: Server) -> dict[str, Tensor]:
    """All that stands in the server's boxes, without the model."""
    named = {f"state/{name}": value for name, value in server.state.items()}
    named |= {f"outbox/{name}": value for name, value in server.outbox.items()}
    for client, letter in server.letters.items():
        named |= {f"letter/{client}/{name}": value for name, value in letter.items()}
    return named


def hold_tensors(server: Server, named: Mapping[str, Tensor]) -> None:
    """Fill the boxes with what `held_tensors` gave, and empty them of all else."""
    server.state, server.outbox, server.letters = {}, {}, {}
    for key, value in named.items():
        box, _, name = key.partition("/")
        if box == "letter":
            client, _, name = name.partition("/")
            server.letters.setdefault(int(client), {})[name] = value
        else:
            {"state": server.state, "outbox": server.outbox}[box][name] = value
