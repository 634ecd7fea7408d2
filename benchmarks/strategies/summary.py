"""Puts the headline figures of the tables into README.md: `python -m benchmarks.strategies.summary`."""

from __future__ import annotations

import csv
from pathlib import Path

from benchmarks.strategies.settings import chosen_rates
from benchmarks.tables import fill

HERE = Path(__file__).parent
ABLATED = {"0.0": "fedloge, dense simplex", "psi": "fedloge, no simplex"}
COLUMNS = (
    ("generic", "generic/accuracy", 100.0, ".1f"),
    ("medium", "generic/medium", 100.0, ".1f"),
    ("tail", "generic/few", 100.0, ".1f"),
    ("personal", "personal/accuracy", 100.0, ".1f"),
    ("masked", "personal_masked/accuracy", 100.0, ".1f"),
    ("MB up", "cost/mb_up", 1.0, ".2f"),
    ("s/round", "cost/seconds", 1.0, ".1f"),
)


def main() -> None:
    """Fill the page."""
    fill(HERE / "README.md", table)


def table(setting: str) -> str:
    """Mean and standard deviation of every strategy's headline models, the best generic model first."""
    path = HERE / f"{setting}.csv"
    if not path.exists():
        return "Not run yet."
    found: dict[str, dict[str, dict[str, str]]] = {}

    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            if line["evaluation"] == "last" and line["variant"] in ("", "-"):
                found.setdefault(_name(line), {})[line["metric"]] = line

    rates = chosen_rates(setting)
    head = ["strategy", "n", "lr", *(title for title, *_ in COLUMNS)]
    body = []

    for name in sorted(found, key=lambda name: -float(found[name].get("generic/accuracy", {}).get("mean") or 0)):
        cells = [_cell(found[name].get(metric), factor, form) for _, metric, factor, form in COLUMNS]
        count = found[name]["cost/mb_up"]["n"]
        rate = rates.get(name.partition(",")[0])
        body.append([f"`{name}`", count, "" if rate is None else f"{rate:g}", *cells])  # "": the scenario's

    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *body))


def _name(line: dict[str, str]) -> str:
    if "learner" in line:
        return f"{line['strategy']}, {line['learner']}"
    ablated = [line["strategy.backbone_from"], line["strategy.sparsity"]]
    return next((ABLATED[value] for value in ablated if value in ABLATED), line["strategy"])


def _cell(line: dict[str, str] | None, factor: float, form: str) -> str:
    if line is None or not line["mean"]:
        return ""
    mean = format(factor * float(line["mean"]), form)
    return mean if factor == 1.0 or not line["std"] else f"{mean} ± {factor * float(line['std']):{form}}"


if __name__ == "__main__":
    main()
