"""Every head and Loki on finished runs: accuracy of head, medium and tail classes before and after.

    FEDLT_DATA=/your/data python -m benchmarks.heads.before_after --out runs/heads

It trains FedAvg, FedLoGe and a centralized run: CIFAR-100-LT on frozen features with the chosen settings of
benchmarks/strategies, and digits_lt as its file has it; what is there is not trained again. Heads are fitted at their
defaults, so nothing is chosen; 20 global validation rows a class are set apart for Loki's temperature. The rows of
FedLoGe's clients are means over clients 0 to 9, each with its own model and its own rows. presto has no row: neither
data set's classes have an order. CIFAR-100's tree are its twenty superclasses.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from benchmarks.strategies.study import STUDY
from fedlt.heads.fitted import HEADS, ORDERED, head_table
from fedlt.heads.loki import decoded_table
from fedlt.results.runs import Run
from fedlt.sweeps.grid import Job, plan
from fedlt.sweeps.sweep import run_jobs
from fedlt.sweeps.view import view

HERE = Path(__file__).parent
METHODS = ("fedavg", "fedloge", "centralized")
CLIENTS = range(10)
VALIDATION = "data.validation={share: 0, per_class: 20}"
PARENTS = (
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7,
    6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10,
    16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16,
    12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
)  # fmt: skip
"""The superclass of each class of CIFAR-100, in the order of its official files."""
FIGURES = ("accuracy", "balanced", "head", "medium", "tail")
DISTANCES = ("squared", "head", "medium", "tail", "accuracy")


def jobs(setting: str, seeds: Sequence[int]) -> dict[str, list[Job]]:
    """The runs of each method."""
    if setting == "digits_lt":
        planned = {name: plan(setting, [f"strategy={name}", VALIDATION], seeds) for name in METHODS}
        return {name: [replace(job, label=name) for job in each] for name, each in planned.items()}
    tree = f"data.parents=[{', '.join(f'group{number}' for number in PARENTS)}]"
    return {
        name: STUDY.jobs(STUDY.settings[setting], name, [STUDY.chosen(setting, name)], seeds, VALIDATION, tree)
        for name in METHODS
    }


SETTINGS = ("cifar100_lt_pretrained", "digits_lt")


def heads(setting: str, runs: dict[str, list[Run]]) -> Iterator[dict[str, object]]:
    """A line for each method, model and head; mean and standard deviation over the runs."""
    names = [name for name in HEADS if name not in ORDERED]
    for method, mine in runs.items():
        seeds = [_told(head_table(run, names), method, run) for run in mine]
        yield from _lines(setting, method, "generic", "model", seeds, FIGURES)
        if method == "fedloge":
            seeds = [_mean([head_table(run, names, client=client) for client in CLIENTS], "model") for run in mine]
            yield from _lines(setting, method, "clients", "model", seeds, FIGURES)


def decoders(setting: str, runs: dict[str, list[Run]]) -> Iterator[dict[str, object]]:
    """The same of Loki on the tree: squared distances, and accuracy."""
    for method, mine in runs.items():
        seeds = [decoded_table(run, "tree") for run in mine]
        yield from _lines(setting, method, "generic", "decoder", seeds, DISTANCES)
        if method == "fedloge":
            seeds = [_mean([decoded_table(run, "tree", client) for client in CLIENTS], "decoder") for run in mine]
            yield from _lines(setting, method, "clients", "decoder", seeds, DISTANCES)


def _told(table: pd.DataFrame, method: str, run: Run) -> pd.DataFrame:
    print(f"{method}, seed {run.summary['seed']}\n{table.round(3).to_string(index=False)}", flush=True)
    return table


def _mean(tables: Sequence[pd.DataFrame], key: str) -> pd.DataFrame:
    """Means over clients of the figures that each of them has."""
    return pd.concat(tables).groupby(key, sort=False).mean(numeric_only=True).reset_index()


def _lines(
    setting: str, method: str, whose: str, key: str, seeds: Sequence[pd.DataFrame], figures: Sequence[str]
) -> Iterator[dict[str, object]]:
    for name, rows in pd.concat(seeds).groupby(key, sort=False):
        line = {"setting": setting, "method": method, "of": whose, "by": name, "seeds": len(rows)}
        for figure in figures:
            line |= {figure: f"{rows[figure].mean():.4f}", f"{figure}_std": f"{rows[figure].std():.4f}"}
        yield line


def main() -> None:
    """Train, fit, and write both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", default=",".join(SETTINGS), help="by commas; all unless given")
    parser.add_argument("--seeds", default="0-2", help="first-last")
    parser.add_argument("--out", type=Path, default=Path("runs/heads"))
    given = parser.parse_args()

    first, _, last = given.seeds.partition("-")
    for setting in given.settings.split(","):
        planned = jobs(setting, range(int(first), int(last or first) + 1))
        work = [job for each in planned.values() for job in each]
        found = {run.folder.name: run for run in run_jobs(work, given.out, 1, False, view()).runs}
        runs = {name: [found[job.scenario.run_name] for job in each] for name, each in planned.items()}
        _write(HERE / "before_after.csv", setting, pd.DataFrame(heads(setting, runs)))
        if setting != "digits_lt":
            _write(HERE / "loki.csv", setting, pd.DataFrame(decoders(setting, runs)))


def _write(path: Path, setting: str, lines: pd.DataFrame) -> None:
    """The setting's lines in the place of older ones."""
    old = pd.read_csv(path, dtype=str) if path.exists() else lines.head(0)
    pd.concat([old[old["setting"] != setting], lines]).to_csv(path, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
