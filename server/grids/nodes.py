"""The nodes of a grid."""

from __future__ import annotations

import time

from flwr.serverapp import Grid

from fedlt.errors import FedLTError
from server.grids.local import LocalGrid


def wait_for_nodes(grid: Grid, seconds: float = 120.0) -> list[int]:
    """The ids of a grid's nodes, ascending.

    Flower's own runtime takes a moment to connect them: there, twice in a row the same ones must be found.

    Args:
        seconds: to wait at most.

    Raises:
        FedLTError: where there is none by then.
    """
    deadline = time.monotonic() + seconds
    before: list[int] = []

    while time.monotonic() < deadline:
        nodes = sorted(grid.get_node_ids())
        if nodes and (nodes == before or isinstance(grid, LocalGrid)):
            return nodes
        before = nodes
        time.sleep(0.5)

    raise FedLTError(f"no worker node connected within {seconds:.0f} s")
