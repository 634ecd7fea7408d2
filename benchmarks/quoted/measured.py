"""Figures of the committed tables of comparisons (`fedlt compare --format csv`), as pages write them."""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
TABLES = {
    "digits": HERE / "strategies" / "digits.csv",
    "digits_learners": HERE / "strategies" / "digits_learners.csv",
    "cifar100_lt_pretrained": HERE / "fedloge" / "cifar100_lt_pretrained.csv",
    "cifar100_lt_pretrained_bounds": HERE / "fedloge" / "cifar100_lt_pretrained_bounds.csv",
    "ham10000_sites_pretrained": HERE / "fedloge" / "ham10000_sites_pretrained.csv",
    "cifar100_trials": HERE / "strategies" / "cifar100_lt_pretrained.csv",
    "cifar10_trials": HERE / "strategies" / "cifar10_lt.csv",
    "ham10000_trials": HERE / "strategies" / "ham10000_sites_pretrained.csv",
    "trec50_lt_pretrained": HERE / "text" / "trec50_lt_pretrained.csv",
}
USUAL = {"strategy.backbone_from": "simplex", "strategy.sparsity": "0.6", "strategy.heads": "standardised"}
"""Keys of FedLoGe that some tables vary, at their defaults: other rows are ablations."""

PERCENT = ("accuracy", "balanced_accuracy", "many", "medium", "few", "worst_decile", "std")

Row = dict[str, str]


@cache
def rows(table: str) -> dict[tuple[str, str], Row]:
    """Rows of the last evaluation by method and metric.

    A method is a strategy, `fedloge[psi]` with its variant; where the table also varies learners, `fedavg, ldam`.
    """
    found = {}
    with TABLES[table].open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            usual = all(row.get(key, "-") in ("-", "", value) for key, value in USUAL.items())
            if row["evaluation"] == "last" and usual:
                method = row["strategy"] + (f", {row['learner']}" if "learner" in row else "")
                variant = f"[{row['variant']}]" if row["variant"] not in ("", "-") else ""
                found[method + variant, row["metric"]] = row
    return found


def as_written(table: str, method: str, metric: str, text: str) -> str:
    """The figure in the form of `text`: `87.4`, `87.4 ± 3.1`; of a paired difference to the table's reference `+5.3`,
    `+5.3 (2.7 to 8.0)` or `+5.3, 2.7 to 8.0`.
    """
    row = rows(table).get((method, metric))
    if row is None:
        raise KeyError(f"{TABLES[table].name} has no {metric} of {method}")
    if "(" in text:
        return difference(row)
    if re.match(r"[+-]", text):
        points, _, interval = difference(row).partition(" (")
        return f"{points}, {interval.removesuffix(')')}" if "," in text else points
    return mean(row, spread="±" in text)


def mean(row: Row | None, spread: bool = True) -> str:
    """`87.4 ± 3.1`, accuracies in per cent; "" without a figure."""
    if row is None or not row["mean"]:
        return ""
    percent = row["metric"].rpartition("/")[2] in PERCENT
    factor, form = (100.0, ".1f") if percent else (1.0, ".2f")
    text = format(factor * float(row["mean"]), form)
    return f"{text} ± {factor * float(row['std']):{form}}" if spread and percent and row["std"] else text


def difference(row: Row | None) -> str:
    """`+5.3 (2.7 to 8.0)`: the paired difference to the table's reference with its interval."""
    if row is None or not row["difference"]:
        return ""
    low, high = (100 * float(row[end]) for end in ("low", "high"))
    return f"{100 * float(row['difference']):+.1f} ({low:.1f} to {high:.1f})"


def arrow(row: Row | None) -> str:
    """Where the interval of the difference excludes zero."""
    return {"1": " ↑", "-1": " ↓"}.get(row["mark"] if row else "", "")
