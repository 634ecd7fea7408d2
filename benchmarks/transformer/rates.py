"""SGD, SGD with momentum and AdamW on a small transformer, at the rate of each that is best on validation data.

python -m benchmarks.transformer.rates run          # some eight minutes of one core; runs/transformer
python -m benchmarks.transformer.rates table        # of what ran: benchmarks/results/transformer.csv
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pandas as pd

import fedlt
from fedlt.results.runs import load_runs

HERE = Path(__file__).resolve().parent
RUNS = Path("runs/transformer")
RESULT = HERE.parent / "results" / "transformer.csv"
SEEDS = range(3)

SETTING = (
    f"model={HERE / 'net.py'}:Patches",
    "federation.rounds=40",
    "evaluation.every=10",
    "data.validation=0.2",
    "local.weight_decay=0.01",
)
GRID = {
    "SGD": ("local.optimizer=sgd", "local.momentum=0.0", "local.lr=0.03,0.1,0.3,1.0"),
    "SGD, momentum 0.9": ("local.optimizer=sgd", "local.momentum=0.9", "local.lr=0.01,0.03,0.1,0.3"),
    "AdamW": ("local.optimizer=adamw", "local.lr=0.001,0.003,0.01,0.03"),
}
CHOSEN_BY = "validation/generic/accuracy"
FIGURES = ("generic/accuracy", "generic/few", "personal/accuracy")


def run() -> None:
    """All rates of the grid, one after the other; what is finished is not run again."""
    for words in GRID.values():
        done = fedlt.sweep("digits_lt", *SETTING, *words, seeds=SEEDS, out=RUNS, parallel=1)
        for name, error in done.failures.items():
            print(f"{name}: {error}")


def table() -> pd.DataFrame:
    """A row for each optimiser and rate: mean and deviation over the seeds in %, the seeds that did not diverge, and
    whether it was chosen.
    """
    rows = []
    for found in load_runs(RUNS):
        local = found.scenario["local"]
        name = "AdamW" if "optimizer" in local else "SGD, momentum 0.9" if local["momentum"] else "SGD"
        figures = {figure: 100 * found.final.get(figure, math.nan) for figure in (CHOSEN_BY, *FIGURES)}
        rows.append({"optimizer": name, "lr": local["lr"], "seed": found.summary["seed"], **figures})

    by = pd.DataFrame(rows).groupby(["optimizer", "lr"])
    means, stds = by.mean().drop(columns="seed"), by.std().drop(columns="seed")
    result = means.join(stds.add_suffix(" std")).assign(seeds=by[CHOSEN_BY].count()).reset_index()
    result.loc[result.seeds < len(SEEDS), CHOSEN_BY] = math.nan  # one of them has diverged
    result["chosen"] = result[CHOSEN_BY].eq(result.groupby("optimizer")[CHOSEN_BY].transform("max"))
    figures = [name for name in result if "/" in name]
    return result.round(dict.fromkeys(figures, 1)).sort_values(["optimizer", "lr"])


if __name__ == "__main__":
    if sys.argv[1:] == ["run"]:
        run()
    elif sys.argv[1:] == ["table"]:
        made = table()
        made.to_csv(RESULT, index=False)
        print(made.to_string(index=False))
    else:
        sys.exit(__doc__)
