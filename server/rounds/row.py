"""A row of the table of rounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedlt.errors import FedLTError
from fedlt.exchange import Report
from fedlt.strategy import Update


def round_row(
    round: int, reports: Sequence[Report], updates: Sequence[Update], workers: int, measured: dict[str, float]
) -> dict[str, Any]:
    """A row of the round table; all but what is `measured` follows from the reports and the updates.

    Args:
        round: its number.
        reports: of the workers.
        updates: those that were aggregated.
        workers: their number.
        measured: further columns, which follow from neither.
    """

    def total(name: str) -> float:
        return sum(report.metrics.get(name, 0.0) for report in reports)

    clients = [client for update in updates for client in update.clients]
    samples = total("samples")
    return {
        "round": round,
        **measured,
        "workers": workers,
        "train_seconds": total("train_seconds"),  # this one and the next two are summed over the workers
        "evaluate_seconds": total("evaluate_seconds"),
        "move_seconds": total("move_seconds"),
        "train_loss": total("loss_sum") / samples if samples else float("nan"),
        "clients": len(clients),
        "samples": int(samples),
        "steps": int(total("steps")),
        "backward_samples": int(total("backward_samples")),
        "forward_samples": int(total("forward_samples")),
        "bytes_down": int(total("bytes_down")),
        "bytes_up": int(total("bytes_up")),
    }


def with_columns(row: dict[str, Any], own: Mapping[str, Any], added: Iterable[Mapping[str, float]]) -> dict[str, Any]:
    """The row with what else belongs to its round.

    Args:
        own: columns that links give.
        added: what other exchanges of the round add to columns that the row has.

    Raises:
        FedLTError: where a link gives a column that the row has.
    """
    if taken := sorted(row.keys() & own.keys()):
        names = ", ".join(taken)
        raise FedLTError(f"a link gives the column {names}, which the round table has; call it something else")
    for columns in added:
        row |= {name: type(row[name])(row[name] + value) for name, value in columns.items()}
    return row | dict(own)
