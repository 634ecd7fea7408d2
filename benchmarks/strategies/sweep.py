"""Runs every strategy on one setting and writes the comparison; what is finished is not run again.

    FEDLT_DATA=/your/data python -m benchmarks.strategies.sweep cifar10 --seeds 0-2 --out runs/strategies

The learning rates are those of rates.csv, or the scenario's; see README.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.strategies.settings import SETTINGS, chosen_rates, jobs, name_of
from fedlt.comparing.compare import compare
from fedlt.comparing.table import render
from fedlt.measures.figures import COSTS
from fedlt.measures.headlines import ACCURACIES
from fedlt.sweeps.sweep import run_jobs
from fedlt.sweeps.view import view

ROWS = "strategy,strategy.backbone_from,strategy.sparsity"
METRICS = (*ACCURACIES, "personal_masked/worst_decile", *COSTS)


def main() -> None:
    """Measure what the command line asks for, print it, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("--only", default="", help="strategies, by commas; all unless given")
    parser.add_argument("--seeds", default="0-2", help="first-last")
    parser.add_argument("--out", type=Path, default=Path("runs/strategies"))
    parser.add_argument("--parallel", default="auto", help="runs side by side")
    parser.add_argument("--table", type=Path, help="CSV file for the figures")

    given = parser.parse_args()
    first, _, last = given.seeds.partition("-")
    setting, chosen = SETTINGS[given.setting], chosen_rates(given.setting)
    wanted = given.only.split(",") if given.only else [name_of(row) for row in setting.rows()]
    rows = [row for row in setting.rows() if name_of(row) in wanted]
    rates = {row: [chosen[name_of(row)]] if name_of(row) in chosen else [] for row in rows}
    work = jobs(setting, rates, range(int(first), int(last or first) + 1))
    parallel = given.parallel if given.parallel == "auto" else int(given.parallel)
    done = run_jobs(work, given.out, parallel, False, view())
    for job, reason in done.failures.items():
        print(f"failed: {job}: {reason.splitlines()[0]}")

    by, reference = ("strategy,learner", "fedavg cross_entropy") if setting.hosts else (ROWS, "fedavg")
    table = compare(*done.runs, by=by, reference=reference, metrics=METRICS, variants="*", title=given.setting)
    print(render([table], "text"))
    if given.table is not None:
        given.table.write_text(render([table], "csv") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
