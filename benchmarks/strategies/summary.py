"""Puts the headline figures of the tables into README.md: `python -m benchmarks.strategies.summary`."""

from __future__ import annotations

import csv
import math
from itertools import combinations
from pathlib import Path

from scipy.stats import spearmanr

from benchmarks.quoted.lists import needs
from benchmarks.strategies.study import STUDY
from benchmarks.tables import fill

HERE = Path(__file__).parent
ABLATED = {"0.0": "fedloge, dense simplex", "psi": "fedloge, no simplex"}
COLUMNS = (
    ("generic", "generic/accuracy", 100.0, ".1f"),
    ("balanced", "generic/balanced_accuracy", 100.0, ".1f"),
    ("medium", "generic/medium", 100.0, ".1f"),
    ("tail", "generic/few", 100.0, ".1f"),
    ("personal", "personal/accuracy", 100.0, ".1f"),
    ("masked", "personal_masked/accuracy", 100.0, ".1f"),
    ("MB up", "cost/mb_up", 1.0, ".2f"),
    ("s/round", "cost/seconds", 1.0, ".2f"),
)
RANKED = ("generic/balanced_accuracy", "personal_masked/accuracy")
FEWEST = 8
"""Methods that two tables must share for a correlation of their ranks."""
Lines = dict[str, dict[str, str]]
"""metric -> its line of a table."""


def main() -> None:
    """Fill the page."""
    fill(HERE / "README.md", lambda name: ranks() if name == "ranks" else table(name))


def table(setting: str) -> str:
    """Mean and standard deviation of every strategy's headline models, the best on all classes alike first."""
    found = read(setting)
    if not found:
        return "Not run yet."
    studied = setting in STUDY.settings
    columns = [column for column in COLUMNS if any(column[1] in lines for lines in found.values())]
    head = ["strategy", "n", *(["lr", "own", "needs"] if studied else []), *(title for title, *_ in columns)]
    rule = ["---", "--:", *(["--:", "---", "---"] if studied else []), *["--:"] * len(columns)]
    body = []

    for name in sorted(found, key=lambda name: -_generic(found[name])):
        cells = [_cell(found[name].get(metric), factor, form) for _, metric, factor, form in columns]
        given = [*chosen(setting, name), needs(name)] if studied else []
        body.append([f"`{name}`", found[name]["cost/mb_up"]["n"], *given, *cells])

    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *body))


def ranks() -> str:
    """Spearman's rank correlation between every two tables, over the methods that both have, for each model."""
    tables = {setting: read(setting) for setting in STUDY.settings}
    lines = ["| tables | generic, balanced | methods | masked personal | methods |", "| --- | --: | --: | --: | --: |"]

    for one, two in combinations([setting for setting, found in tables.items() if found], 2):
        cells = [f"{one}, {two}"]
        for metric in RANKED:
            pairs = [
                (_mean(tables[one][name], metric), _mean(tables[two][name], metric))
                for name in tables[one].keys() & tables[two].keys()
            ]
            known = [pair for pair in pairs if not any(map(math.isnan, pair))]
            cells += [f"{spearmanr(*zip(*known, strict=True)).statistic:.2f}" if len(known) >= FEWEST else ""]
            cells += [str(len(known))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else "Not run yet."


def read(setting: str) -> dict[str, Lines]:
    """Name of a row -> its lines about the last evaluation of headline models; empty where there is no table."""
    path = HERE / f"{setting}.csv"
    found: dict[str, Lines] = {}
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                if line["evaluation"] == "last" and line["variant"] in ("", "-"):
                    found.setdefault(_name(line), {})[line["metric"]] = line
    return found


def chosen(setting: str, name: str) -> list[str]:
    """The rate and the own key of the trial that the method was given, as they are typed."""
    rate, value = STUDY.chosen(setting, name)
    return [f"{rate:g}", "" if value is None else f"{STUDY.methods[name].own} {value}"]


def _generic(lines: Lines) -> float:
    """The generic model's accuracy on all classes alike; older tables, whose test sets are balanced, lack that name."""
    return _mean(lines, "generic/balanced_accuracy", _mean(lines, "generic/accuracy", -1.0))


def _mean(lines: Lines, metric: str, missing: float = math.nan) -> float:
    return float(lines[metric]["mean"]) if metric in lines and lines[metric]["mean"] else missing


def _name(line: dict[str, str]) -> str:
    if "learner" in line:
        return f"{line['strategy']}, {line['learner']}"
    ablated = [line.get("strategy.backbone_from", ""), line.get("strategy.sparsity", "")]
    return next((ABLATED[value] for value in ablated if value in ABLATED), line["strategy"])


def _cell(line: dict[str, str] | None, factor: float, form: str) -> str:
    if line is None or not line["mean"]:
        return ""
    mean = format(factor * float(line["mean"]), form)
    return mean if factor == 1.0 or not line["std"] else f"{mean} ± {factor * float(line['std']):{form}}"


if __name__ == "__main__":
    main()
