"""Centralized runs as a table: mean and standard deviation over seeds, classes grouped by their rank.

    python -m benchmarks.centralized.table runs/centralized/lt_small benchmarks/centralized/lt_small.csv

Many, medium and few are the first three classes by count, the next four and the last three where there are ten:
CIFAR-10-LT has no agreed groups, and the library's, by number of samples, would be five, three and two classes of it.
With more classes they are the library's.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from fedlt.comparing.methods import group, row_name
from fedlt.data.groups import by_count
from fedlt.results.runs import Run

NAMES = ("many", "medium", "few")
SHOWN = ("all", "many", "medium", "few", "ece", "failure_auroc")


def figures(run: Run, model: str) -> dict[str, float]:
    """Accuracy over all classes and by group, calibration error and failure AUROC of the last round, in %."""
    table = run.classes
    last = table[(table.model == model) & (table["round"] == table["round"].max())].sort_values(
        "train_count", ascending=False
    )
    recall, counts = 100 * last.recall.to_numpy(), last.train_count.to_numpy()
    member = np.repeat([0, 1, 2], [3, 4, 3]) if len(recall) == 10 else by_count(counts)
    groups = {name: float(recall[member == number].mean()) for number, name in enumerate(NAMES)}
    trust = {name: 100 * run.final.get(f"{model}/{name}", np.nan) for name in ("ece", "failure_auroc")}
    return {"all": float(recall.mean()), **groups, **trust}


def costs(run: Run) -> dict[str, float]:
    """Images in thousands (passed forward and backward; forward only), seconds of training, parameters in thousands."""
    done = run.summary
    return {
        "images": done["backward_samples"] / 1000,
        "forward_images": done["forward_samples"] / 1000,
        "seconds": float(run.rounds.seconds.sum()),
        "parameters": done["parameters"] / 1000,
    }


def rows(*sources: str | Path) -> pd.DataFrame:
    """One row per learner, variant of its model and seed."""
    found = []
    grouped = group(*sources)
    told = [len(set(values)) > 1 for values in zip(*grouped.methods, strict=True)]  # a label all share tells nothing
    for labels, runs in grouped.methods.items():
        for run in runs:
            models = [name for name in run.classes.model.unique() if name.startswith("generic")]
            headline = run.classes[run.classes.model == models[0]].recall.to_numpy()
            for model in models:
                same = np.array_equal(run.classes[run.classes.model == model].recall.to_numpy(), headline)
                if model != models[0] and same and "plain" not in model:
                    continue  # the headline under its own name
                shown = tuple(label for label, tells in zip(labels, told, strict=True) if tells)
                name = row_name(shown, model.partition("[")[2].removesuffix("]"))
                found.append({"method": name, "seed": run.summary["seed"], **figures(run, model), **costs(run)})
    return pd.DataFrame(found)


def spread(values: np.ndarray) -> str:
    """Mean ± sample standard deviation."""
    return f"{values.mean():.1f} ± {values.std(ddof=1):.1f}" if len(values) > 1 else f"{values.mean():.1f}"


def markdown(table: pd.DataFrame) -> str:
    """Means ± sample standard deviations over the seeds."""
    lines = [f"| method | seeds | {' | '.join(SHOWN)} | images / 1000 | parameters / 1000 |"]
    lines.append("|---|---|" + "---|" * (len(SHOWN) + 2))
    for method, part in table.groupby("method", sort=False):
        cells = [spread(part[name].to_numpy()) for name in SHOWN]
        cost = [f"{part[name].iloc[0]:.0f}" for name in ("images", "parameters")]
        lines.append(f"| `{method}` | {len(part)} | {' | '.join(cells + cost)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table of the runs in a folder, and write the figures of every seed."""
    folder, path = sys.argv[1:]
    found = rows(folder)
    found.to_csv(path, index=False, float_format="%.2f", lineterminator="\n")
    print(markdown(found))


if __name__ == "__main__":
    main()
