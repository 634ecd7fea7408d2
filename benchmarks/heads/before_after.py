"""Every head and Loki on finished runs: accuracy of head, medium and tail classes before and after.

    FEDLT_DATA=/your/data python -m benchmarks.heads.before_after --out runs/heads

It trains FedAvg, FedLoGe and a centralized run: CIFAR-100-LT on frozen features with the chosen settings of
benchmarks/strategies, and digits_lt as its file has it. What is trained or fitted already is not made again. Heads are
fitted at their defaults; on CIFAR-100 two of them end earlier and are of seed 0 alone, which saves minutes (`ENDS`).
20 global validation rows a class are set apart, for Loki's temperature and for the one thing that is chosen: the order
of a second singular_kernel. The rows of FedLoGe's clients are means over clients 0 to 4, each with its own model and
its own rows. presto has no row: neither data set's classes have an order. CIFAR-100's tree are its twenty superclasses.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.arguments import seeds_of
from benchmarks.strategies.study import STUDY
from fedlt.heads.fitted import HEADS, ORDERED, head_table
from fedlt.heads.loki import decoded_table
from fedlt.heads.singular_kernel import SingularKernel
from fedlt.results.runs import Run
from fedlt.sweeps.grid import Job, plan
from fedlt.sweeps.sweep import run_jobs
from fedlt.sweeps.view import view

HERE = Path(__file__).parent
METHODS = ("fedavg", "fedloge", "centralized")
CLIENTS = range(5)
VALIDATION = "data.validation={share: 0, per_class: 20}"
PARENTS = (
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7,
    6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10,
    16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16,
    12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
)  # fmt: skip
"""The superclass of each class of CIFAR-100, in the order of its official files."""
ENDS = {
    "cifar100_lt_pretrained": {
        "normalised_gd": ["normalised_gd.max_iter=100"],
        "t_process": ["t_process.max_samples=1000", "t_process.max_iter=5"],
    }
}
"""Keys of heads that would take minutes a run; they are fitted to the runs of seed 0 alone."""
ORDERS = (2.0, 4.0, 8.0, 16.0)
CHOSEN = "singular_kernel, order chosen"
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
    for method, mine in runs.items():
        seeds = [all_heads(setting, run) for run in mine]
        yield from _lines(setting, method, "generic", "model", seeds, FIGURES)
        if method == "fedloge":
            seeds = [_mean([all_heads(setting, run, client) for client in CLIENTS], "model") for run in mine]
            yield from _lines(setting, method, "clients", "model", seeds, FIGURES)


def all_heads(setting: str, run: Run, client: int | None = None) -> pd.DataFrame:
    """The run's own prediction and every head, under one model."""
    late = ENDS.get(setting, {}) if run.summary["seed"] else {}
    names = [name for name in HEADS if name not in ORDERED and name not in late]
    names += [CHOSEN] if client is None else []
    tables = [one_head(setting, run, name, client) for name in names]
    return pd.concat([tables[0].head(1), *(table.tail(1) for table in tables)], ignore_index=True)


def one_head(setting: str, run: Run, name: str, client: int | None = None) -> pd.DataFrame:
    """The run's own prediction and one head, kept beside the features."""

    def fit() -> pd.DataFrame:
        fitted, words = name, ENDS.get(setting, {}).get(name, [])
        if name == CHOSEN:
            fitted, words = "singular_kernel", [f"singular_kernel.order={chosen_order(run)}"]
        return head_table(run, [fitted], words, client).replace({"model": {fitted: name}})

    return _kept(run, name, client, fit)


def chosen_order(run: Run) -> float:
    """The order under which most of the global validation rows are right, equally many of each class."""
    kept = run.features()
    rows = kept.validation
    assert rows is not None
    heads = [SingularKernel(order).fit(kept.train.features, kept.train.labels) for order in ORDERS]
    return ORDERS[int(np.argmax([head.score(rows.features, rows.labels) for head in heads]))]


def decoder(run: Run, client: int | None = None) -> pd.DataFrame:
    """Both decoders on the tree, kept likewise."""
    return _kept(run, "loki", client, lambda: decoded_table(run, "tree", client))


def decoders(setting: str, runs: dict[str, list[Run]]) -> Iterator[dict[str, object]]:
    """The same of Loki on the tree: squared distances, and accuracy."""
    for method, mine in runs.items():
        seeds = [decoder(run) for run in mine]
        yield from _lines(setting, method, "generic", "decoder", seeds, DISTANCES)
        if method == "fedloge":
            seeds = [_mean([decoder(run, client) for client in CLIENTS], "decoder") for run in mine]
            yield from _lines(setting, method, "clients", "decoder", seeds, DISTANCES)


def _kept(run: Run, name: str, client: int | None, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """A table that is made once, and lies beside the features."""
    path = run.folder / "features" / f"{name}-{'generic' if client is None else f'client-{client}'}.csv"
    if not path.is_file():
        table = make()
        table.to_csv(path, index=False)
    return pd.read_csv(path)


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
    parser.add_argument("--seeds", type=seeds_of, default="0-2", help="0-2 or 0,3,7")
    parser.add_argument("--out", type=Path, default=Path("runs/heads"))
    given = parser.parse_args()

    for setting in given.settings.split(","):
        planned = jobs(setting, given.seeds)
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
