"""Chooses each strategy's learning rate on validation data, by one rule for all, and writes rates.csv.

    python -m benchmarks.fedloge.validation $FEDLT_DATA/cifar10.npz $FEDLT_DATA/cifar10_validation.npz
    FEDLT_DATA=/your/data python -m benchmarks.strategies.tune cifar10 --data $FEDLT_DATA/cifar10_validation.npz

The rule: one seed that no table uses, and the rate of `GRID` that is best by the generic model's accuracy, or by the
personal models' where there is no generic one. Repeat the command to go on after an interruption.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

from benchmarks.strategies.settings import RATES, SETTINGS, jobs, name_of, tuned
from fedlt.results.runs import Run
from fedlt.sweeps.sweep import run_jobs
from fedlt.sweeps.view import view

GRID = (0.03, 0.1)
SEED = 100


def judged(run: Run) -> float:
    """The accuracy by which a run counts; NaN where it has none."""
    generic = run.final.get("generic/accuracy", math.nan)
    return run.final.get("personal/accuracy", math.nan) if math.isnan(generic) else generic


def best(accuracies: dict[float, float]) -> float:
    """The rate of the highest accuracy, the smaller one of equals; runs that failed are not in there."""
    return max(sorted(accuracies), key=lambda rate: accuracies[rate])


def record(setting: str, found: dict[str, dict[float, float]]) -> None:
    """Writes the setting's lines of rates.csv anew; those of other settings stay."""
    names = ["setting", "strategy", "chosen", *(f"accuracy at {rate:g}" for rate in GRID)]
    kept = [line for line in tuned() if line["setting"] != setting]
    for strategy, accuracies in found.items():
        cells = {f"accuracy at {rate:g}": f"{value:.4f}" for rate, value in accuracies.items()}
        kept.append({"setting": setting, "strategy": strategy, "chosen": f"{best(accuracies):g}", **cells})
    with RATES.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(kept, key=lambda line: line["setting"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", choices=[name for name, setting in SETTINGS.items() if setting.tuning])
    parser.add_argument("--data", required=True, help="validation data, made by benchmarks.fedloge.validation")
    parser.add_argument("--out", type=Path, default=Path("runs/tuning"))
    parser.add_argument("--parallel", default="auto", help="runs side by side")
    given = parser.parse_args()
    setting = SETTINGS[given.setting]
    parallel = given.parallel if given.parallel == "auto" else int(given.parallel)
    changes = [f"data.name={given.data}", f"federation.rounds={setting.tuning}", f"evaluation.every={setting.tuning}"]
    rows = {name_of(row): row for row in reversed(setting.rows())}  # of FedLoGe, the method itself and not an ablation
    found: dict[str, dict[float, float]] = {name: {} for name in reversed(rows)}

    work = jobs(setting, {rows[name]: GRID for name in found}, [SEED], *changes)
    for run in run_jobs(work, given.out, parallel, False, view()).runs:
        accuracy, strategy = judged(run), run.scenario["strategy"]
        name = strategy if isinstance(strategy, str) else strategy["name"]
        if not math.isnan(accuracy):
            found[name][run.scenario["local"]["lr"]] = accuracy

    record(given.setting, {name: accuracies for name, accuracies in found.items() if accuracies})


if __name__ == "__main__":
    main()
