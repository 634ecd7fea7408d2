"""What augmented conditioning promises where tail images are made: pass or fail, with the figures.

    FEDLT_DATA=... python -m benchmarks.centralized.synthetic --seeds 0-2 --out runs/centralized/synthetic

MNIST under a long tail (500 images of the first class, 5 of the last, 1,236 in all) at 14 x 14 pixels, a small CNN,
Adam at 0.002 with a cosine, 100 passes of 64 a step, whatever the method: with `augmented_conditioning` 20 train the
classifier, 50 the generator, 30 the classifier again; beside it, what 50 passes of the classifier alone do. `fedavg` is
the same among five clients. Figures of the last round on 10,000 test images, in %; few are the last three classes.
Precision, recall and spread of the images made for these classes are taken among images of the class that nobody trains
on; spread is the mean distance between two images of a class as a share of the real ones'. Runs of which synthetic.csv
has no row are made: half a minute each on a free core.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import fedlt
from benchmarks.arguments import one_of, seeds_of
from benchmarks.centralized.acceptance import Check, at_least
from benchmarks.centralized.made_images import Components, covered
from benchmarks.centralized.table import costs, figures, spread
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate

HERE = Path(__file__).parent
TABLE = HERE / "synthetic.csv"
KEPT = str(HERE / "made_images.py") + ":Kept"
BASE: dict[str, Any] = {
    "data": {
        "name": "mnist",
        "size": 14,
        "longtail": {"profile": "exponential", "imbalance_factor": 100, "largest": 500},
    },
    "federation": {"clients": 1, "participation": 1.0, "partition": "iid", "rounds": 100},
    "local": {"epochs": 1, "batch_size": 64, "optimizer": "adam", "lr": 0.002, "schedule": "cosine"},
    "model": {"name": "cnn", "width": 8, "hidden": 64},
    "strategy": "centralized",
    "evaluation": {"every": 100},
    "resources": {"backend": "inline", "device": "cpu"},
}
FEDAVG = {
    "strategy": "fedavg",
    "federation": {
        **BASE["federation"],
        "clients": 5,
        "partition": {"name": "dirichlet_per_class", "alpha": 0.5},
        "empty": "redraw",
    },
}
HALF = "no images made, half as long"
PLAIN = {"no images made": "cross_entropy", HALF: "cross_entropy", "drawn by class": "resampling"}
METHODS = (*PLAIN, "class", "mixup")
SETTINGS = ("centralized", "fedavg")
UNSEEN = 500  # images of a class with which made ones are compared


def run_of(setting: str, method: str, seed: int, out: Path) -> dict[str, Any]:
    """Figures and costs of a run, and of the images that it has made."""
    scenario = {**BASE, **(FEDAVG if setting == "fedavg" else {}), "seed": seed}
    if method in PLAIN:
        rounds = scenario["federation"]["rounds"] // (2 if method == HALF else 1)
        scenario["federation"] = {**scenario["federation"], "rounds": rounds}
        run = fedlt.run({**scenario, "learner": PLAIN[method]}, out=out)
        return {**figures(run, "generic"), **costs(run)}

    learner: dict[str, Any] = {"name": "augmented_conditioning", "condition": method}
    file = (out / "made" / f"{method} {seed}").resolve()
    if setting == "centralized":
        file.parent.mkdir(parents=True, exist_ok=True)
        learner |= {"name": KEPT, "told": str(file)}
    run = fedlt.run({**scenario, "learner": learner}, out=out)
    row = {**figures(run, "generic"), **costs(run)}
    return row | quality(scenario, Path(f"{file}.npz")) if setting == "centralized" else row


def quality(scenario: dict[str, Any], file: Path) -> dict[str, float]:
    """Precision, recall and spread of made images, over the rarest three classes.

    Args:
        scenario: of the run.
        file: of the images.
    """
    federation = federate(load_scenario(scenario))
    opened = federation.inputs.open(federation.x_train, torch.device("cpu"))
    unseen = np.setdiff1d(np.arange(len(federation.y_train)), federation.union())
    rare = np.argsort(federation.class_counts)[:3]
    with np.load(file) as kept:
        made, classes = kept["x"].reshape(len(kept["x"]), -1).astype(np.float64), kept["y"]

    def pixels(rows: np.ndarray) -> np.ndarray:
        return opened.take(torch.from_numpy(rows)).flatten(1).double().numpy()

    chosen = {c: unseen[federation.y_train[unseen] == c][:UNSEEN] for c in rare}
    place = Components.of(pixels(np.concatenate([*chosen.values()])))
    found = []
    for c, rows in chosen.items():
        real, new = place(pixels(rows)), place(made[classes == c])
        wide = [np.mean([np.linalg.norm(one - group, axis=1).mean() for one in group]) for group in (new, real)]
        found.append((covered(new, real), covered(real, new), wide[0] / wide[1]))
    return dict(zip(("precision", "recall", "spread"), 100 * np.mean(found, axis=0), strict=True))


def measure(setting: str, seeds: Sequence[int], out: Path) -> pd.DataFrame:
    """Rows of the setting, one a method and seed; new ones are added to the table."""
    table = pd.read_csv(TABLE) if TABLE.is_file() else pd.DataFrame({"setting": [], "method": [], "seed": []})
    order = [(name, method) for name in SETTINGS for method in METHODS]
    for method in METHODS:
        for seed in seeds:
            if ((table.setting == setting) & (table.method == method) & (table.seed == seed)).any():
                continue

            # Written at once, in the table's order: the next call goes on from here.
            row = {"setting": setting, "method": method, "seed": seed, **run_of(setting, method, seed, out)}
            table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
            place = [order.index(pair) for pair in zip(table.setting, table.method, strict=True)]
            table = table.assign(place=place).sort_values(["place", "seed"]).drop(columns="place")
            table = table.astype({"seed": int})
            table.to_csv(TABLE, index=False, float_format="%.2f", lineterminator="\n")

        part = table[(table.setting == setting) & (table.method == method)]
        shown = [name for name in ("all", "few", "precision", "recall", "spread") if part.get(name, pd.Series()).any()]
        print(f"      {method}: " + ", ".join(f"{n} {spread(part[n].to_numpy())}" for n in shown), flush=True)
    return table[(table.setting == setting) & table.seed.isin(seeds)]


def checks(setting: str, table: pd.DataFrame) -> Iterable[Check]:
    """What is promised of mixtures of two images, beside the class alone and no made images."""
    mean = table.groupby("method")[table.columns.drop(["setting", "method", "seed"]).tolist()].mean()
    few = mean["few"]
    yield at_least("told the class alone over no images made, few", few["class"] - few["no images made"], 0.0)
    yield at_least("mixup over no images made, few", few["mixup"] - few["no images made"], 2.0)
    yield at_least("mixup over drawing by class, few", few["mixup"] - few["drawn by class"], 2.0)
    yield at_least("mixup over the class alone, few", few["mixup"] - few["class"], 1.0)
    if setting == "centralized":
        gain = mean.loc["mixup"] - mean.loc["class"]
        yield at_least("mixup over the class alone, recall", gain["recall"], 0.0)
        yield at_least("at a precision that is no lower", gain["precision"], -2.0)


def main() -> int:
    """See the head of this file. The exit status is 1 where a check fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", type=one_of(SETTINGS), help=f"any of: {', '.join(SETTINGS)}")
    parser.add_argument("--seeds", type=seeds_of, default="0-2", help="0-2 or 0,3,7")
    parser.add_argument("--out", type=Path, default=Path("runs/centralized/synthetic"))
    options = parser.parse_args()
    failed = 0

    for setting in options.settings or SETTINGS:
        print(setting, flush=True)
        for check in checks(setting, measure(setting, options.seeds, options.out)):
            print(check, flush=True)
            failed += not check.holds
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
