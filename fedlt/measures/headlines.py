"""Which figures stand for a run: what its table, comparisons, pictures and pages show unless they are told.

Chosen from the metrics that runs have and their records, so that runs without accuracy show what they have instead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from fedlt.measures.figure import Figure
from fedlt.measures.figures import METRICS

BALANCED = "generic/balanced_accuracy"
ACCURACY = "accuracy"


def headline(names: Iterable[str], own: Iterable[Figure] = ()) -> str:
    """The last part of the figure that stands for a model as a whole, among these metrics of a run.

    Accuracy, unless the run has none and another figure that may stand for it.

    Args:
        own: records of the run's own metrics.
    """
    found = {name.rpartition("/")[2] for name in names}
    able = (figure.last_part for figure in (*METRICS.values(), *own) if figure.headline)
    return next((name for name in able if name in found), ACCURACY)


def by_group(main: str) -> tuple[str, str, str]:
    """Last parts of the headline figure's names for head, medium and tail classes: `many`, or `map_many` of `map`."""
    before = "" if main == ACCURACY else f"{main}_"
    return f"{before}many", f"{before}medium", f"{before}few"


def compared(names: Collection[str], balanced: bool = True, own: Iterable[Figure] = ()) -> tuple[str, ...]:
    """What a comparison shows of runs that have these metrics, unless it is told.

    Args:
        balanced: whether their test sets are; the mean of class recalls stands beside the accuracy where not.
        own: records of the runs' own metrics.
    """
    main = headline(names, own)
    shown = (
        f"generic/{main}", *(() if balanced else (BALANCED,)), *(f"generic/{name}" for name in by_group(main)),
        f"personal/{main}", f"personal_masked/{main}", "personal/worst_decile",
    )  # fmt: skip
    return shown if main == ACCURACY else tuple(name for name in shown if name in names)


def followed(names: Collection[str], balanced: bool = True, own: Iterable[Figure] = ()) -> tuple[str, ...]:
    """What is drawn over the rounds of runs that have these metrics: the most telling of what is compared."""
    left_out = ("many", "medium", "worst_decile")
    return tuple(name for name in compared(names, balanced, own) if not name.endswith(left_out))


ACCURACIES = compared(())
"""What a comparison shows of runs with a balanced test set."""
