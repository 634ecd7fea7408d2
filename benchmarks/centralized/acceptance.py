"""What each method promises, at the size of a CPU core: pass or fail, with the figures.

    FEDLT_DATA=... python -m benchmarks.centralized.acceptance baselines batchformer tlc --seeds 0-2 --out runs

Finished runs in OUT are read, the others are made first (`lt_small`, a minute each on a free core). Figures are of the
last round, in %, by the groups of `table.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import fedlt
from benchmarks.arguments import one_of, seeds_of
from benchmarks.centralized.early_exit import early_exit
from benchmarks.centralized.table import SHOWN, costs, figures, spread
from fedlt.results.runs import Run

CONTROLS = Path(__file__).with_name("controls.py")

REFERENCE = {
    "ce": (38.3, 0.9, 3.7, 0.6),
    "posthoc la": (47.6, 1.1, 37.3, 2.9),
    "la": (47.5, 0.3, 40.7, 0.8),
    "ldam-drw": (47.2, 0.6, 40.0, 5.7),
    "la + batchformer": (48.8, 0.8, 45.8, 4.1),
    "tlc": (45.9, 0.9, 35.3, 3.5),
}
"""Independent three-seed figures of the same recipe: all, its standard deviation, few, its standard deviation."""


@dataclass(frozen=True)
class Runs:
    """Runs by method. seeds: those that every method has. out: where run folders are. told: figures for a table."""

    seeds: tuple[int, ...]
    out: Path
    done: dict[tuple[str, int], Run] = field(default_factory=dict)
    told: list[dict[str, Any]] = field(default_factory=list)

    def of(self, learner: str) -> list[Run]:
        """One run for each seed. learner: its name, and changes of the scenario's keys behind it."""
        for seed in self.seeds:
            if (learner, seed) not in self.done:
                named, *keys = learner.split()
                changes = ("strategy=centralized", f"learner={named}", f"seed={seed}", "resources.workers=1", *keys)
                self.done[learner, seed] = fedlt.run("lt_small", *changes, out=self.out)
        return [self.done[learner, seed] for seed in self.seeds]

    def figures(self, learner: str, variant: str = "") -> dict[str, np.ndarray]:
        """[seeds] of each figure and cost; variant: of the model, the headline unless given."""
        model = f"generic[{variant}]" if variant else "generic"
        rows = [figures(run, model) | costs(run) for run in self.of(learner)]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def tell(self, setting: str, found: dict[str, dict[str, np.ndarray]]) -> None:
        """Keep the figures [seeds] of each method; print the spread of all and few, or of what there is."""
        for method, row in found.items():
            shown = [key for key in ("all", "few") if key in row] or list(row)
            print(f"      {method}: " + ", ".join(f"{key} {spread(row[key])}" for key in shown), flush=True)
            for place, seed in enumerate(self.seeds):
                values = {key: value[place] for key, value in row.items()}
                self.told.append({"setting": setting, "method": method, "seed": seed, **values})


@dataclass(frozen=True)
class Check:
    """claim: what is promised, with the figures. holds: whether it was seen."""

    claim: str
    holds: bool

    def __str__(self) -> str:
        return f"{'pass' if self.holds else 'FAIL'}  {self.claim}"


def at_least(claim: str, found: float, least: float) -> Check:
    """found >= least."""
    return Check(f"{claim}: {found:+.1f}, at least {least:+.1f} expected", bool(found >= least))


def methods(runs: Runs) -> dict[str, dict[str, np.ndarray]]:
    """The core of the table."""
    return {
        "ce": runs.figures("posthoc_logit_adjustment", "plain"),
        "posthoc la": runs.figures("posthoc_logit_adjustment"),
        "la": runs.figures("logit_adjustment"),
        "ldam-drw": runs.figures("ldam"),
    }


def baselines(runs: Runs) -> Iterable[Check]:
    """Cross-entropy, logit adjustment and LDAM-DRW land where the reference has them."""
    for name, found in methods(runs).items():
        yield from beside_reference(name, found)


def beside_reference(name: str, found: dict[str, np.ndarray]) -> Iterable[Check]:
    """Means within two standard deviations (the reference's and ours, added as squares) of the reference."""
    print(f"      {name}: " + ", ".join(f"{key} {spread(found[key])}" for key in SHOWN))
    expected = REFERENCE[name]
    for key, mean, deviation in (("all", *expected[:2]), ("few", *expected[2:])):
        own = found[key].std(ddof=1) if len(found[key]) > 1 else 0.0
        near = abs(found[key].mean() - mean) <= 2 * float(np.hypot(own, deviation))
        yield Check(f"{name}, {key}: {spread(found[key])} beside {mean} ± {deviation}", bool(near))


def batchformer(runs: Runs) -> Iterable[Check]:
    """Row 8: better than logit adjustment alone, on the tail above all; shuffled rows lose it."""
    plain, with_layer = runs.figures("logit_adjustment"), runs.figures("batchformer")
    shuffled = runs.figures(f"{CONTROLS}:ShuffledBatchFormer")
    yield from beside_reference("la + batchformer", with_layer)
    yield at_least("la + batchformer over la, all", (with_layer["all"] - plain["all"]).mean(), 0.5)
    yield at_least("la + batchformer over la, few", (with_layer["few"] - plain["few"]).mean(), 2.0)
    gain = (with_layer["all"] - shuffled["all"]).mean()
    yield at_least(f"control, rows shuffled ({spread(shuffled['all'])}): what is lost, all", gain, 0.5)


def tlc(runs: Runs) -> Iterable[Check]:
    """Row 1: better than cross-entropy, on the tail above all; calibrated better than LDAM-DRW; early exit is cheap."""
    found = methods(runs) | {"tlc": runs.figures("tlc")}
    yield from beside_reference("tlc", found["tlc"])
    yield at_least("tlc over ce, all", (found["tlc"]["all"] - found["ce"]["all"]).mean(), 5.0)
    yield at_least("tlc over ce, few", (found["tlc"]["few"] - found["ce"]["few"]).mean(), 20.0)
    ratio = float((found["tlc"]["ece"] / found["ldam-drw"]["ece"]).mean())
    yield Check(f"ece of tlc over ldam-drw's: {ratio:.2f}, at most 0.85 expected", ratio <= 0.85)
    exits = [early_exit(run) for run in runs.of("tlc")]
    wrong, right = (np.mean([getattr(result, name) for result in exits]) for name in ("wrong", "right"))
    yield Check(f"uncertainty of wrong predictions {wrong:.3g}, of right ones {right:.3g}", bool(wrong > right))
    saved, lost = (100 * np.mean([getattr(result, name) for result in exits]) for name in ("saved", "lost"))
    yield Check(f"early exit saves {saved:.1f} % of the calls for {lost:.2f} points", bool(saved >= 20 and lost <= 0.5))


ROWS: dict[str, Callable[[Runs], Iterable[Check]]] = {"baselines": baselines, "batchformer": batchformer, "tlc": tlc}


def main(rows: dict[str, Callable[[Runs], Iterable[Check]]]) -> int:
    """Print every check of the rows; the exit status is 1 where one fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", nargs="*", type=one_of(rows), help=f"any of: {', '.join(rows)}")
    parser.add_argument("--seeds", type=seeds_of, default="0-2", help="0-2 or 0,3,7")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--csv", type=Path, help="write the figures of every seed that the rows tell to this file")
    options = parser.parse_args()
    runs = Runs(tuple(options.seeds), options.out)
    failed = 0

    for row in options.rows or rows:
        print(f"{row}: {' '.join((rows[row].__doc__ or '').split())}")
        for check in rows[row](runs):
            print(check, flush=True)
            failed += not check.holds
        if options.csv is not None and runs.told:
            pd.DataFrame(runs.told).to_csv(options.csv, index=False, float_format="%.2f", lineterminator="\n")

    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main(ROWS))
