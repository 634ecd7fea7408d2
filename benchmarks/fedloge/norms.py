"""FedLoGe's norms and forms of heads on validation data; what is finished is not run again.

    FEDLT_DATA=/your/data python -m benchmarks.fedloge.norms norms --settings digits,features --seeds 0-1
    FEDLT_DATA=/your/data python -m benchmarks.fedloge.norms forms --settings digits --seeds 0-3

Writes a row for each run into norms.csv or heads.csv, in per cent; rows of other settings stay. All figures are of
`data.validation=0.2`; the test set is not looked at.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.arguments import seeds_of
from benchmarks.fedloge.forms import FORMS
from fedlt.results.runs import Run
from fedlt.sweeps.grid import Job, plan
from fedlt.sweeps.sweep import run_jobs
from fedlt.sweeps.view import view

HERE = Path(__file__).parent
CPU = "fedloge_cifar{}_if100_a05_k40_cpu"
MNIST = ("data.longtail.imbalance_factor=100", "federation.empty=redraw")

SETTINGS: dict[str, tuple[str, tuple[str, ...], tuple[float, ...]]] = {
    "digits": ("digits_lt", (), (0.5, 1, 2, 4, 6.6, 8, 12)),
    "mnist": ("mnist_writers", MNIST, (0.5, 1, 2, 8)),
    "features": ("cifar100_lt_pretrained", (), (1.8, 8)),
    "features_60": ("cifar100_lt_pretrained", ("federation.rounds=60",), (0.5, 1, 3.6, 8)),
    "cifar10_30": (CPU.format(10), ("federation.rounds=30",), (0.15, 0.3, 0.6, 2.5)),
    "cifar100_30": (CPU.format(100), ("federation.rounds=30",), (0.15, 0.3, 0.6, 2.5)),
    "cifar10_300": (CPU.format(10), ("federation.rounds=300",), (0.6, 2.5)),
    "cifar100_300": (CPU.format(100), ("federation.rounds=300",), (0.6, 2.5)),
}
"""Name: scenario, what differs from it, and the fixed norms that the rule is compared with. The rule itself gives 6.6
on digits, 4.1 on mnist, 3.7 on features, 1.3 and 1.1 on cifar10 and cifar100."""

FIGURES = {
    "generic": "generic",
    "generic[psi]": "generic[psi]",
    "generic[simplex]": "generic[simplex]",
    "personal": "personal",
    "masked": "personal_masked",
    "masked[phi]": "personal_masked[phi]",
    "masked[psi]": "personal_masked[psi]",
    "masked[phi_psi]": "personal_masked[phi_psi]",
    "masked[readme]": "personal_masked[readme]",
}
"""Column: what the accuracy is of. The tail is that of the two realignments' headline."""


def rows(table: str, norms: tuple[float, ...]) -> list[tuple[str, str, str]]:
    """(form, norm, what `strategy=` takes) of a table."""
    found = [("fedavg", "", "fedavg"), ("standardised", "rule", "fedloge")]
    official = [("official", f"{norm:g}", f"{{name: fedloge, heads: official, norm: {norm:g}}}") for norm in norms]
    if table == "norms":
        fixed = [("standardised", f"{norm:g}", f"{{name: fedloge, norm: {norm:g}}}") for norm in norms]
        return [*found, *fixed]
    path = HERE / "forms.py"
    others = [(form, "rule", f"{{name: '{path}:Forms', form: {form}}}") for form in FORMS]
    plain = [("official", "rule", "{name: fedloge, heads: official}"), *official]
    return [*found, *others, *plain, ("no simplex", "", "{name: fedloge, backbone_from: psi}")]


def jobs(setting: str, strategy: str, seeds: Sequence[int]) -> list[Job]:
    """The runs of one row; figures are taken at the end alone."""
    scenario, changes, _ = SETTINGS[setting]
    words = [*changes, f"strategy={strategy}", "data.validation=0.2", "resources.backend=inline"]
    found = plan(scenario, words, list(seeds))
    found = plan(scenario, [*words, f"evaluation.every={found[0].scenario.federation.rounds}"], list(seeds))
    return [replace(job, label=strategy) for job in found]


def figures(run: Run) -> dict[str, str]:
    """The run's validation figures in per cent; empty where it has none."""
    final = run.final
    named = {column: final.get(f"validation/{model}/accuracy", math.nan) for column, model in FIGURES.items()}
    named["tail"] = final.get("validation/generic/few", math.nan)
    return {column: "" if math.isnan(value) else f"{100 * value:.2f}" for column, value in named.items()}


def main() -> None:
    """Measure what the command line asks for, print it, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["norms", "forms"])
    parser.add_argument("--settings", default=",".join(SETTINGS), help="by commas; all unless given")
    parser.add_argument("--seeds", type=seeds_of, default="0-1", help="0-2 or 0,3,7")
    parser.add_argument("--out", type=Path, default=Path("runs/norms"))
    parser.add_argument("--parallel", default="auto", help="runs side by side")
    given = parser.parse_args()
    seeds = given.seeds
    path = HERE / {"norms": "norms.csv", "forms": "heads.csv"}[given.table]

    for setting in given.settings.split(","):
        wanted = [
            (form, norm, job)
            for form, norm, strategy in rows(given.table, SETTINGS[setting][2])
            for job in jobs(setting, strategy, seeds)
        ]
        parallel = given.parallel if given.parallel == "auto" else int(given.parallel)
        done = run_jobs([job for _, _, job in wanted], given.out, parallel, False, view())
        finished = {run.folder.name: run for run in done.runs}
        lines = []
        for form, norm, job in wanted:
            if (run := finished.get(job.scenario.run_name)) is not None:
                rounds = job.scenario.federation.rounds
                lines.append({"setting": setting, "rounds": rounds, "form": form, "norm": norm, "seed": job.seed})
                lines[-1] |= figures(run)
        write(path, setting, lines)


def write(path: Path, setting: str, lines: list[dict[str, object]]) -> None:
    """Puts the setting's lines in the place of those that the table had."""
    kept: list[dict[str, object]] = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            kept = [dict(line) for line in csv.DictReader(file) if line["setting"] != setting]
    with path.open("w", encoding="utf-8", newline="") as file:
        names = ["setting", "rounds", "form", "norm", "seed", "generic", "tail", *list(FIGURES)[1:]]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*kept, *lines])


if __name__ == "__main__":
    main()
