"""What M3I promises: labels and images together in one stage, beside either alone; pass or fail, with the figures.

    FEDLT_DATA=... python -m benchmarks.centralized.joint_pretraining tune test --out runs/centralized/joint_pretraining

CIFAR-10-LT (imbalance 100, 500 images in the largest class, 1,240 in all), ResNet-8 with a stem of stride 2, 20 epochs
under strong augmentation, as many images forward and backward for every method. Then a linear probe: a logistic
regression on the features of 200 further training images of each class, the same for all. `tune` chooses the share of
an image that shows another one, of those in `MIXES`, by the probe's accuracy on 2,000 other training images (seed 0).
All, many and few are accuracies on the test set, in %, over all classes, the first three and the last three. `rank` and
`embedding_rank` are the effective ranks (the exponential of the entropy of the shares of the singular values) of
features and of unit embeddings of the probe's images.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

import fedlt
from benchmarks.arguments import seeds_of
from benchmarks.centralized.acceptance import Check, at_least
from benchmarks.centralized.table import costs, spread
from benchmarks.centralized.trained import passed, trained
from benchmarks.rows import read_rows, write_rows
from fedlt.blocks.contrast import projected

HERE = Path(__file__).parent
MIXES = (0.0, 0.25)
EACH, ROUNDS = 200, 20
METHODS: dict[str, dict[str, float]] = {
    "labels": {"image": 0.0, "pixels": 0.0},
    "images": {"label": 0.0, "pixels": 0.0},
    "joint": {"pixels": 0.0},
    "joint, and pixels": {"mix": 0.25},
    "images, no entropy": {"label": 0.0, "pixels": 0.0, "entropy": 0.0},
}
"""Changes of M3I's keys. What is without entropy mixes as its counterpart does."""
COUNTERPART = {"images, no entropy": "images"}


def scenario(method: str, mix: float, seed: int) -> dict[str, Any]:
    """The training of one model. The head is trained in the last round alone, and no figure is its own."""
    return {
        "data": {"name": "cifar10", "longtail": {"profile": "exponential", "imbalance_factor": 100, "largest": 500}},
        "federation": {"clients": 1, "participation": 1.0, "partition": "iid", "rounds": ROUNDS + 1},
        "local": {"epochs": 1, "batch_size": 64, "lr": 0.1, "schedule": "cosine", "warmup": 0.05, "nesterov": True}
        | {"weight_decay": 0.0005, "augment": "shift_flip"},
        "model": {"name": "resnet8", "stem_stride": 2},
        "strategy": "centralized",
        "learner": {"name": "m3i", "mix": mix, "classifier_share": 1 / (ROUNDS + 1), **METHODS[method]},
        "evaluation": {"every": ROUNDS + 1},
        "resources": {"backend": "inline", "device": "cpu"},
        "seed": seed,
    }


def made(method: str, mix: float, seed: int, out: Path) -> dict[str, float]:
    """Figures of the probe on validation images and on the test set, in %, and what the training took."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    run = fedlt.run(scenario(method, mix, seed), out=out)
    worker = trained(run)
    model, inputs, held = worker.context.model, worker.context.train_inputs, worker.context.federation
    probe, validation = (torch.from_numpy(rows) for rows in spare(held.union(), held.y_train))

    def features(rows: Tensor) -> NDArray[np.float32]:
        return passed(model.encode, inputs, rows).numpy()

    x = features(probe)
    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(x, held.y_train[probe])
    kind = worker.context.parts.task.inputs
    tests = kind.open(held.x_test, torch.device("cpu"))
    told = fitted.predict(passed(model.encode, tests, torch.arange(len(held.x_test))).numpy())
    recall = 100 * np.array([(told == held.y_test)[held.y_test == label].mean() for label in range(10)])
    chosen = 100 * fitted.score(features(validation), held.y_train[validation])

    cost = costs(run)
    figures = {"all": recall.mean(), "many": recall[:3].mean(), "few": recall[-3:].mean(), "validation": chosen}
    z = passed(lambda images: projected(model, images), inputs, probe).numpy()
    ranks = {"rank": effective_rank(x), "embedding_rank": effective_rank(z)}
    return {**figures, **ranks, **{name: cost[name] for name in ("images", "forward_images", "seconds")}}


def spare(held: NDArray[np.int64], y: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Training rows that nobody holds, `EACH` of each class: for the probe, and for validation."""
    free = np.setdiff1d(np.random.default_rng(0).permutation(len(y))[:20_000], held)
    found = [free[y[free] == label][: 2 * EACH] for label in range(10)]
    return np.concatenate([rows[:EACH] for rows in found]), np.concatenate([rows[EACH:] for rows in found])


def effective_rank(rows: NDArray[np.float32]) -> float:
    """1 for rows that are all alike, at most D: of rows [n, D]. Roy, Vetterli: The Effective Rank. EUSIPCO 2007."""
    values = np.linalg.svd(rows, compute_uv=False)
    shares = values / max(values.sum(), 1e-12)
    return float(np.exp(-(shares * np.log(np.maximum(shares, 1e-12))).sum()))


def tune(out: Path) -> None:
    """Choose the mixes that are not chosen yet, and write joint_pretraining_tuned.csv."""
    path = HERE / "joint_pretraining_tuned.csv"
    told: list[dict[str, str]] = read_rows(path)
    for method, keys in METHODS.items():
        if "mix" in keys or method in COUNTERPART or any(row["method"] == method for row in told):
            continue
        tried = {mix: made(method, mix, 0, out)["validation"] for mix in MIXES}
        best = max(tried, key=lambda mix: tried[mix])
        for mix, value in tried.items():
            chosen = "yes" if mix == best else ""
            told.append({"method": method, "mix": f"{mix:g}", "validation": f"{value:.2f}", "chosen": chosen})
        print(f"{method}: " + ", ".join(f"{mix:g} {value:.1f}" for mix, value in tried.items()), flush=True)
        write_rows(path, told)


def measured(seeds: Sequence[int], out: Path) -> dict[str, dict[str, NDArray[np.float64]]]:
    """[seeds] of each figure, by method, with the mixes that were chosen."""
    table = pd.read_csv(HERE / "joint_pretraining_tuned.csv")
    chosen = table[table.chosen == "yes"].set_index("method")["mix"]
    found = {}
    for method, keys in METHODS.items():
        mix = keys["mix"] if "mix" in keys else float(chosen[COUNTERPART.get(method, method)])
        rows = [made(method, mix, seed, out) for seed in seeds]
        found[method] = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        told = ("all", "many", "few", "rank", "embedding_rank", "images", "seconds")
        print(f"      {method}: " + ", ".join(f"{name} {spread(found[method][name])}" for name in told), flush=True)
    return found


def checks(found: dict[str, dict[str, NDArray[np.float64]]]) -> Iterable[Check]:
    """Row 4: the joint stage is as good as the better of its parts, and better than labels in few; entropy matters."""
    mean = {method: {name: float(values.mean()) for name, values in row.items()} for method, row in found.items()}
    best = max(mean["labels"]["all"], mean["images"]["all"])
    for method in ("joint", "joint, and pixels"):
        yield at_least(f"{method} over the better of labels and images, all", mean[method]["all"] - best, -0.5)
        yield at_least(f"{method} over labels, few", mean[method]["few"] - mean["labels"]["few"], 1.0)

    for method, other in COUNTERPART.items():
        for name in ("embedding_rank", "rank"):
            part = mean[method][name] / mean[other][name]
            yield Check(f"{method}: {part:.0%} of the {name} with it, below 20 % expected", part < 0.2)


def main() -> int:
    """See the head of this file. The exit status is 1 where a check fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+", choices=["tune", "test"])
    parser.add_argument("--seeds", type=seeds_of, default="0-2", help="0-2 or 0,3,7")
    parser.add_argument("--out", type=Path, default=Path("runs/centralized/joint_pretraining"))
    options = parser.parse_args()
    if "tune" in options.words:
        tune(options.out)
    if "test" not in options.words:
        return 0

    seeds = options.seeds
    found = measured(seeds, options.out)
    told = []
    for method, values in found.items():
        for place, seed in enumerate(seeds):
            told.append({"method": method, "seed": seed, **{name: float(each[place]) for name, each in values.items()}})
    table = pd.DataFrame(told)
    table.to_csv(HERE / "joint_pretraining.csv", index=False, float_format="%.2f", lineterminator="\n")

    failed = 0
    for check in checks(found):
        print(check, flush=True)
        failed += not check.holds
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
