"""The folder of a run: what writes it and follows the run while it goes on, and what reads it afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedlt.results.runs import Run, kept_run, load_runs, open_run

__all__ = ["Run", "kept_run", "load_runs", "open_run"]


def __getattr__(name: str) -> Any:
    """Readers are imported when first used, since writers need none of them."""
    if name not in __all__:
        hint = "; runs are read by load_runs" if name == "load" else ""
        raise AttributeError(f"module 'fedlt.results' has no attribute {name!r}{hint}")
    from fedlt.results import runs

    return getattr(runs, name)
