"""Runs every strategy on one setting and writes the comparison; what is finished is not run again.

    python -m benchmarks.strategies.sweep digits --seeds 0-4 --out runs/strategies

All have the scenario's rate; study.py gives each method trials of its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.arguments import seeds_of
from benchmarks.strategies.settings import SETTINGS, jobs, name_of
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
    parser.add_argument("--seeds", type=seeds_of, default="0-2", help="0-2 or 0,3,7")
    parser.add_argument("--out", type=Path, default=Path("runs/strategies"))
    parser.add_argument("--parallel", default="auto", help="runs side by side")
    parser.add_argument("--table", type=Path, help="CSV file for the figures")

    given = parser.parse_args()
    setting = SETTINGS[given.setting]
    wanted = given.only.split(",") if given.only else [name_of(row) for row in setting.rows()]
    rows = [row for row in setting.rows() if name_of(row) in wanted]
    work = jobs(setting, rows, given.seeds)
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
