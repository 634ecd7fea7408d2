"""Puts the figures of before_after.csv and loki.csv into README.md: `python -m benchmarks.heads.summary`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from benchmarks.heads.before_after import DISTANCES, FIGURES
from benchmarks.tables import fill

HERE = Path(__file__).parent
MODELS = {
    ("fedavg", "generic"): "FedAvg",
    ("fedloge", "generic"): "FedLoGe",
    ("centralized", "generic"): "centralized",
    ("fedloge", "clients"): "FedLoGe's clients",
}


def main() -> None:
    """Fill the page."""
    fill(HERE / "README.md", lambda name: table(*name.split()))


def table(file: str, setting: str) -> str:
    """A row for each model and head or decoder, mean ± standard deviation: accuracies in %, distances as they are."""
    path = HERE / f"{file}.csv"
    found = pd.read_csv(path) if path.exists() else pd.DataFrame({"setting": []})
    found = found[found["setting"] == setting]
    if found.empty:
        return "Not run yet."

    figures = FIGURES if file == "before_after" else DISTANCES
    lines = [f"| model | predicts by | {' | '.join(figures)} |", f"|---|---|{'--:|' * len(figures)}"]
    for (method, of), title in MODELS.items():
        rows = found[(found["method"] == method) & (found["of"] == of)]
        for number, row in enumerate(rows.to_dict("records")):
            cells = [_cell(row, figure, file) for figure in figures]
            name = row["by"] if row["seeds"] > 1 else f"{row['by']} (one seed)"
            lines.append(f"| {title if number == 0 else ''} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: Mapping[str, float], figure: str, file: str) -> str:
    scale, digits = (100.0, 1) if file == "before_after" or figure == "accuracy" else (1.0, 2)
    mean, std = scale * row[figure], scale * row[f"{figure}_std"]
    return f"{mean:.{digits}f}" + ("" if math.isnan(std) else f" ± {std:.{digits}f}")


if __name__ == "__main__":
    main()
