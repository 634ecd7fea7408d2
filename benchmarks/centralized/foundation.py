"""What a sum over models of several pre-trainings is worth, and what it mends: pass or fail, with the figures.

    FEDLT_DATA=... python -m benchmarks.centralized.foundation tune centralized fedavg --seeds 0-2 --out runs

Half of CIFAR-10's training images, at 16 x 16 pixels, are for pre-training: three long tails of them, in orders whose
rarest three classes differ. The other half is the task, under a long tail whose order each seed draws. All three
models of an ensemble begin from pre-trainings of their own, or from three trainings of one pre-training's images, the
control: any ensemble helps. `tune` chooses the rate by the single models on images of the task's half that no one
holds. Four minutes of a free core for all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fedlt
from benchmarks.centralized.acceptance import Check, at_least
from benchmarks.centralized.settings import command
from benchmarks.centralized.table import costs, spread
from benchmarks.rows import read_rows, write_rows
from fedlt.analyses.pretraining import histories
from fedlt.plots.measured import recalls, split_of
from fedlt.results.runs import Run

HERE = Path(__file__).parent
CLASSES, ORIGINS, RARE = 10, 3, 3
IMBALANCE = 100
LARGEST = {"before": 1000, "now": 500}  # images of the most frequent class
EPOCHS = {"before": 60, "now": 8}
RATES = (0.03, 0.1)
TUNED_ON = 100  # a seed that no figure is of
DECADES = np.log10(IMBALANCE)  # from the rarest to the most frequent class

BASE: dict[str, Any] = {
    "federation": {"clients": 1, "participation": 1.0, "partition": "iid"},
    "local": {
        "epochs": 1, "batch_size": 64, "lr": 0.05, "schedule": "cosine", "momentum": 0.9, "weight_decay": 0.0005,
        "augment": "shift_flip",
    },
    "model": {"name": "cnn", "width": 16, "hidden": 64},
    "evaluation": {"every": 100, "clients": 1},
    "strategy": "centralized",
    "resources": {"backend": "inline", "device": "cpu"},
}  # fmt: skip


def prepared(out: Path) -> dict[str, Path]:
    """Files of the two halves at 16 x 16 pixels, `before` and `now`; `val` is `now` tested on images of that half."""
    paths = {name: (out / f"cifar16_{name}.npz").resolve() for name in ("before", "now", "val")}
    if all(path.is_file() for path in paths.values()):
        return paths
    with np.load(Path(os.environ["FEDLT_DATA"]).expanduser() / "cifar10.npz") as held:
        given = {name: held[name] for name in held.files}
    for part in ("x_train", "x_test"):
        x = given[part].reshape(-1, 16, 2, 16, 2, 3)
        given[part] = x.mean((2, 4)).round().astype(np.uint8)

    order = np.random.default_rng(0).permutation(len(given["y_train"]))
    half = len(order) // 2
    test = given["x_test"], given["y_test"]
    own = order[half : 2 * half - 5000]  # the last 5,000 are for validation
    held_out = given["x_train"][order[-5000:]], given["y_train"][order[-5000:]]
    out.mkdir(parents=True, exist_ok=True)
    for name, rows, (x_test, y_test) in (("before", order[:half], test), ("now", own, test), ("val", own, held_out)):
        x, y = given["x_train"][rows], given["y_train"][rows]
        np.savez(paths[name], x_train=x, y_train=y, x_test=x_test, y_test=y_test, class_names=given["class_names"])
    return paths


def tail(order: NDArray[np.int64], largest: int) -> dict[str, Any]:
    """`data.longtail` whose classes fall from the largest in this order."""
    counts = np.empty(CLASSES, np.int64)
    counts[order] = (largest * IMBALANCE ** (-np.arange(CLASSES) / (CLASSES - 1))).astype(int)
    return {"profile": "counts", "counts": counts.tolist()}


def origin(number: int) -> NDArray[np.int64]:
    """Classes from frequent to rare in one of the pre-trainings; the rarest three of one are not those of another."""
    return np.roll(np.random.default_rng(0).permutation(CLASSES), RARE * number)


def pretrained(number: int, seed: int, out: Path) -> Run:
    """One pre-training: which long tail, and which seed."""
    scenario = {
        **BASE,
        "data": {"name": str(prepared(out)["before"]), "longtail": tail(origin(number), LARGEST["before"])},
        "federation": {**BASE["federation"], "rounds": EPOCHS["before"]},
        "seed": seed,
    }
    return fedlt.run(scenario, out=out)


def tuned(
    setting: str, begun: list[Run], seed: int, rate: float, out: Path, tau: float = 1.0, data: str = "now"
) -> Run:
    """The models side by side, each begun by a pre-training, tuned on the task of a seed."""
    federation = {**BASE["federation"], "rounds": EPOCHS["now"]}
    if setting == "fedavg":
        partition = {"name": "dirichlet_per_class", "alpha": 0.5}
        federation |= {"clients": 10, "partition": partition, "empty": "redraw"}

    order = np.random.default_rng(1000 + seed).permutation(CLASSES)
    scenario = {
        **BASE,
        "data": {"name": str(prepared(out)[data]), "longtail": tail(order, LARGEST["now"])},
        "federation": federation,
        "local": {**BASE["local"], "lr": rate},
        "strategy": setting,
        "learner": {"name": "foundation_bias", "models": len(begun), "tau": tau},
        "init_from": {"name": [str(run.folder) for run in begun]},
        "seed": seed,
    }
    return fedlt.run(scenario, out=out)


def tune(out: Path) -> float:
    """The rate of the best single models on validation images; written to foundation_tuned.csv unless it is there."""
    path = HERE / "foundation_tuned.csv"
    rows: list[dict[str, str]] = read_rows(path)
    if not rows:
        begun = [pretrained(number, 0, out) for number in range(ORIGINS)]
        for rate in RATES:
            run = tuned("centralized", begun, TUNED_ON, rate, out, data="val")
            value = np.mean([recalls(run, f"generic[model{number}]").mean() for number in range(ORIGINS)])
            rows.append({"lr": f"{rate:g}", "accuracy": f"{100 * value:.2f}"})
            print(f"      {rate:g}: {100 * value:.1f}", flush=True)
        write_rows(path, rows)
    return float(max(rows, key=lambda row: float(row["accuracy"]))["lr"])


def on_rare(run: Run, model: str, numbers: Iterable[int]) -> float:
    """Mean accuracy in % on the rarest classes of these pre-trainings."""
    found = recalls(run, model)
    return 100 * float(np.mean([found[origin(number)[-RARE:]].mean() for number in numbers]))


def gaps(run: Run, model: str, number: int) -> tuple[float, float]:
    """By how much the most frequent class is ahead of the rarest, in pre-training and now, each at equal other."""
    before = np.array(tail(origin(number), LARGEST["before"])["counts"], float)
    found = histories(before, split_of(run).train.sum(axis=0), recalls(run, model))
    return found.before * DECADES, found.own * DECADES


def figures(setting: str, seeds: Sequence[int], out: Path) -> dict[str, dict[str, NDArray[np.float64]]]:
    """[seeds] of each figure by method: accuracy on all classes, and on those that were rare in pre-training.

    `rare` of a model or an ensemble of one pre-training is that on its own rare classes, `any_rare` that on the rare
    classes of all three. Of single models and ensembles of one pre-training the three are averaged; `best` ones are
    those with the highest `any_rare`.
    """
    rate, found = tune(out), list[dict[str, dict[str, float]]]()
    every, generic = range(ORIGINS), "generic"
    for seed in seeds:
        begun = {(number, each): pretrained(number, each, out) for number in every for each in range(3)}
        several = tuned(setting, [begun[number, seed % 3] for number in every], seed, rate, out)
        plain = tuned(setting, [begun[number, seed % 3] for number in every], seed, rate, out, tau=0.0)
        one = [tuned(setting, [begun[number, each] for each in range(3)], seed, rate, out) for number in every]
        row: dict[str, dict[str, float]] = {}

        for name, run in (("single, cross-entropy", plain), ("single", several)):
            each = [f"generic[model{number}]" for number in every]
            split = np.array([gaps(run, model, number) for number, model in enumerate(each)])
            row[name] = {
                "all": 100 * float(np.mean([recalls(run, model).mean() for model in each])),
                "rare": float(np.mean([on_rare(run, model, [number]) for number, model in enumerate(each)])),
                "any_rare": float(np.mean([on_rare(run, model, every) for model in each])),
                "best_any_rare": max(on_rare(run, model, every) for model in each),
                "gap_before": split[:, 0].mean(), "least_gap_before": split[:, 0].min(), "gap_now": split[:, 1].mean(),
                **{key: value / ORIGINS for key, value in costs(run).items()},
            }  # fmt: skip
        row["three of one pre-training"] = {
            "all": 100 * float(np.mean([recalls(run, generic).mean() for run in one])),
            "rare": float(np.mean([on_rare(run, generic, [number]) for number, run in enumerate(one)])),
            "any_rare": float(np.mean([on_rare(run, generic, every) for run in one])),
            "best_any_rare": max(on_rare(run, generic, every) for run in one),
            **costs(one[0]),
        }
        for name, run in (("three pre-trainings, cross-entropy", plain), ("three pre-trainings", several)):
            rare = on_rare(run, generic, every)
            accuracy = 100 * float(recalls(run, generic).mean())
            row[name] = {"all": accuracy, "rare": rare, "any_rare": rare, "best_any_rare": rare, **costs(run)}
        found.append(row)

    shown = ("all", "rare", "any_rare", "gap_before", "gap_now")
    told = {}
    for method in found[0]:
        keys = found[0][method]
        told[method] = {key: np.array([row[method][key] for row in found]) for key in keys}
        print(f"      {method}: " + ", ".join(f"{key} {spread(told[method][key])}" for key in shown if key in keys))
    return told


def checks(found: dict[str, dict[str, NDArray[np.float64]]]) -> Iterable[Check]:
    """Row 6: parameters remember what was rare before, logit adjustment mends the other gap, and the sum mends both."""
    single, plain = found["single"], found["single, cross-entropy"]
    together, same = found["three pre-trainings"], found["three of one pre-training"]
    told = ", ".join(f"{value:+.1f}" for value in single["least_gap_before"])
    claim = f"every single model is behind on classes that were rare before, at equal samples now; least gaps {told}"
    yield Check(claim, bool((single["least_gap_before"] > 0).all()))

    yield at_least(
        "logit adjustment closes the gap of rare classes now", (plain["gap_now"] - single["gap_now"]).mean(), 10
    )
    moved = abs(float((plain["gap_before"] - single["gap_before"]).mean()))
    yield Check(f"and leaves that of rare classes before: moved by {moved:.1f}, below 3 expected", moved < 3)

    for name, other, key in (
        ("the best single model, rare in any", single, "best_any_rare"),
        ("three of one pre-training, its rare classes", same, "rare"),
        ("the best three of one pre-training, rare in any", same, "best_any_rare"),
    ):
        yield at_least(f"three pre-trainings over {name}", (together["any_rare"] - other[key]).mean(), 1.0)


def main() -> int:
    """See the head of this file. The exit status is 1 where a check fails."""
    settings = ["centralized", "fedavg"]
    return command(__doc__, HERE / "foundation.csv", settings, lambda setting, out: tune(out), figures, checks)


if __name__ == "__main__":
    raise SystemExit(main())
