"""What BRL promises, on halves of images and on the sensors of a phone: pass or fail, with the figures.

    FEDLT_DATA=... python -m benchmarks.centralized.parts tune wisdm "wisdm, persons" mnist --out runs/centralized/parts

`$FEDLT_DATA` holds `mnist.npz`, `cifar10.npz` and, for WISDM (Kwapisz and others, 2010), `wisdm_har.npz`: `x` [N, 43],
NaN where a value is missing, `y` [N] and `user` [N]. Each person is trained on, validated on or tested; in `wisdm,
persons` each is a client of FedAvg. `tune` chooses the share of samples that are mixed, of those in `MIXED`, by
balanced accuracy on validation data (seed 0), for every method that mixes. Images exchange their lower halves, WISDM's
rows what was measured along one axis of the sensor. All, many and few are mean recalls, in %, of all classes and of the
most frequent and the rarest third.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import fedlt
from benchmarks.centralized.acceptance import Check, at_least
from benchmarks.centralized.settings import command
from benchmarks.centralized.table import costs, spread
from benchmarks.rows import read_rows, write_rows
from fedlt.results.runs import Run

HERE = Path(__file__).parent
MIXED = (0.0625, 0.25, 1.0)
ASIDE = 5000  # training images for validation
PERSONS = (22, 7)  # of WISDM's 36, trained on and validated on; the others are tested
Z_AXIS = [*range(20, 30), 32, 35, 38, 41, 45]  # bins, mean, peak, two deviations, and whether the peak is missing

METHODS: dict[str, dict[str, Any]] = {
    "ce": {"mixed": 0.0, "defer": None},
    "ce + weights": {"mixed": 0.0},
    "symmetric mix + weights": {"ratio": None},
    "brl, no weights": {"defer": None},
    "brl": {},
}
"""Changes of BRL's keys."""

SETTINGS: dict[str, dict[str, Any]] = {
    "mnist": {
        "longtail": {"imbalance_factor": 100, "largest": 300},
        "rounds": 30,
        "local": {"augment": "none"},
        "model": {"name": "resnet8", "stem_stride": 2},
        "learner": {"parts": "height"},
    },
    "cifar10": {
        "longtail": {"imbalance_factor": 100, "largest": 1000},
        "rounds": 20,
        "local": {"augment": "shift_flip"},
        "model": {"name": "resnet8", "stem_stride": 2},
        "learner": {"parts": "height"},
    },
    "wisdm": {
        "longtail": {"imbalance_factor": 50, "largest": 1000},
        "rounds": 40,
        "local": {"lr": 0.02},
        "model": {"name": "mlp", "width": 128, "depth": 2},
        "learner": {"parts": "features", "columns": Z_AXIS},
    },
}
SETTINGS["wisdm, persons"] = SETTINGS["wisdm"] | {
    "rounds": 100,
    "strategy": "fedavg",
    "federation": {"clients": None, "participation": 0.5, "partition": {"name": "natural", "column": "user"}},
    "local": {"lr": 0.02, "schedule": "constant", "warmup": 0.0},
}
"""Each person a client, with the shares that were chosen for all of them together."""
LOCAL = {"epochs": 1, "batch_size": 64, "lr": 0.1, "schedule": "cosine", "warmup": 0.05, "momentum": 0.9} | {
    "nesterov": True,
    "weight_decay": 0.0005,
}


def rows(data: str) -> dict[str, tuple[NDArray[Any], ...]]:
    """Inputs, labels and persons of `train`, `val` and `test`; WISDM's classes by frequency, the largest first."""
    folder = Path(os.environ["FEDLT_DATA"]).expanduser()
    if data != "wisdm":
        with np.load(folder / f"{data}.npz") as file:
            x, y, test = file["x_train"], file["y_train"].astype(np.int64), (file["x_test"], file["y_test"])
        order = np.random.default_rng(0).permutation(len(x))
        val, train = order[:ASIDE], np.sort(order[ASIDE:])
        return {"train": (x[train], y[train]), "val": (x[val], y[val]), "test": test}

    with np.load(folder / "wisdm_har.npz") as file:
        x, y, user = file["x"], file["y"], file["user"]
    y = np.argsort(np.argsort(-np.bincount(y)))[y]
    persons = np.random.default_rng(0).permutation(np.unique(user))
    parts = np.split(persons, np.cumsum(PERSONS))
    return {
        split: (x[held], y[held], user[held].astype(np.int64))
        for split, part in zip(("train", "val", "test"), parts, strict=True)
        for held in [np.isin(user, part)]
    }


def prepared(data: str, out: Path, tested: str) -> Path:
    """The file of a data set, made once.

    Args:
        data: its name.
        out: its folder.
        tested: the split that stands for the test set, `test` or `val`.
    """
    path = (out / f"{data}_{tested}.npz").resolve()
    if not path.is_file():
        out.mkdir(parents=True, exist_ok=True)
        held = rows(data)
        train, test = (dict(zip(("x", "y", "user"), held[split], strict=False)) for split in ("train", tested))
        named = {
            f"{name}_{split}": part for split, of in (("train", train), ("test", test)) for name, part in of.items()
        }
        np.savez(path, **named)
    return path


def made(setting: str, method: str, mixed: float, seed: int, out: Path, tested: str = "test") -> dict[str, float]:
    """Figures of a run, which is read where it is finished."""
    given, data = SETTINGS[setting], setting.partition(",")[0]
    dealt = {"clients": 1, "participation": 1.0, "partition": "iid"}
    learner = {"name": "brl", "mixed": mixed, **given["learner"], **METHODS[method]}

    scenario = {
        "data": {
            "name": str(prepared(data, out, tested)),
            "group_columns": ["user"] if data == "wisdm" else [],
            "longtail": {"profile": "exponential", **given["longtail"]},
        },
        "federation": {**given.get("federation", dealt), "rounds": given["rounds"]},
        "local": LOCAL | given["local"],
        "model": given["model"],
        "strategy": given.get("strategy", "centralized"),
        "learner": learner,
        "evaluation": {"every": given["rounds"]},
        "resources": {"backend": "inline", "device": "cpu"},
        "seed": seed,
    }
    return figures(fedlt.run(scenario, out=out))


def figures(run: Run) -> dict[str, float]:
    """Mean recalls of all classes and of both outer thirds, in %; images in thousands, and seconds."""
    table = run.classes
    last = table[(table.model == "generic") & (table["round"] == table["round"].max())]
    recall = 100 * last.sort_values("train_count", ascending=False).recall.to_numpy()
    third, cost = len(recall) // 3, costs(run)
    means = {"all": recall.mean(), "many": recall[:third].mean(), "few": recall[-third:].mean()}
    return {**means, "images": cost["images"], "seconds": cost["seconds"]}


def tune(setting: str, out: Path) -> None:
    """Choose the shares that are not chosen yet, and write parts_tuned.csv; a federation has those of one site."""
    if "," in setting:
        return

    path = HERE / "parts_tuned.csv"
    told: list[dict[str, str]] = read_rows(path)
    for method, keys in METHODS.items():
        if "mixed" in keys or any((row["setting"], row["method"]) == (setting, method) for row in told):
            continue

        tried = {mixed: made(setting, method, mixed, 0, out, "val") for mixed in MIXED}
        best = max(tried, key=lambda mixed: tried[mixed]["all"])
        for mixed, found in tried.items():
            values = {key: f"{found[key]:.2f}" for key in ("all", "few")}
            chosen = "yes" if mixed == best else ""
            told.append({"setting": setting, "method": method, "mixed": f"{mixed:g}", **values, "chosen": chosen})

        print(
            f"{setting}, {method}: " + ", ".join(f"{m:g} {found['all']:.1f}" for m, found in tried.items()), flush=True
        )
        write_rows(path, told)


def measured(setting: str, seeds: Sequence[int], out: Path) -> dict[str, dict[str, NDArray[np.float64]]]:
    """[seeds] of each figure, by method, with the shares that were chosen."""
    table = pd.read_csv(HERE / "parts_tuned.csv")
    chosen = table[(table.chosen == "yes") & (table.setting == setting.partition(",")[0])].set_index("method")["mixed"]
    found = {}
    for method, keys in METHODS.items():
        mixed = 0.0 if "mixed" in keys else float(chosen[method])
        each = [made(setting, method, mixed, seed, out) for seed in seeds]
        found[method] = {name: np.array([row[name] for row in each]) for name in each[0]}
        told = ", ".join(f"{name} {spread(found[method][name])}" for name in ("all", "many", "few", "seconds"))
        print(f"      {method}: {told}", flush=True)
    return found


def checks(found: dict[str, dict[str, NDArray[np.float64]]]) -> Iterable[Check]:
    """Row 18: each part adds to few, and that the rarer class has the label matters."""

    def over(method: str, other: str) -> float:
        return float((found[method]["few"] - found[other]["few"]).mean())

    yield at_least("weights over ce, few", over("ce + weights", "ce"), 0.0)
    yield at_least("brl over weights alone, few", over("brl", "ce + weights"), 0.0)
    yield at_least("brl over the same with symmetric mixing, few", over("brl", "symmetric mix + weights"), 1.0)


def main() -> int:
    """See the head of this file. The exit status is 1 where a check fails."""
    return command(__doc__, HERE / "parts.csv", list(SETTINGS), tune, measured, checks)


if __name__ == "__main__":
    raise SystemExit(main())
