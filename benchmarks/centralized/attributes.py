"""What ADR promises: half of the texts, chosen by their labels, beside half of them at random; pass or fail.

    FEDLT_DATA=... python -m benchmarks.centralized.attributes tune goemotions reuters --out runs/centralized/attributes

GoEmotions (28 labels, 43,410 texts for training) and Reuters R90 (90 labels; the files are those of `multilabel.py`)
as `COMPONENTS` singular components of the TF-IDF of words and pairs of words (latent semantic analysis), under one
linear layer. All methods of a set see equally many texts in all; `tune` chooses each one's learning rate of those in
`RATES` by mAP on the validation split (seed 0). mAP in %, by ranks of the labels: half are head, 30 % medium, 20 %
tail. `gini` says in % how unevenly the texts that are used are spread over the labels.
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
from benchmarks.centralized.multilabel import split_rows
from benchmarks.centralized.settings import command
from benchmarks.centralized.table import spread
from benchmarks.rows import read_rows, write_rows
from fedlt.blocks.entities import Entities, calibrated, gini, medians, pairs

HERE = Path(__file__).parent
RATES = (0.001, 0.003, 0.01)
WORDS, COMPONENTS = 20_000, 200
FOLDERS = {"goemotions": "goemotions", "reuters": "r90"}
PASSES = {"goemotions": 8, "reuters": 24}  # over half of the texts
FIGURES = {"total": "map", "head": "map_many", "medium": "map_medium", "tail": "map_few"}
METHODS: dict[str, dict[str, Any]] = {
    "all texts, half as often": {},
    "random half": {"passes": 0},
    "adr, labels": {"entities": ["label"]},
    "adr, labels and pairs": {"entities": ["label", "pair"]},
    "adr, labels, a quarter of it new": {"entities": ["label"], "share": 0.375, "synthetic": 0.125},
}
"""Changes of ADR's keys."""


def prepared(setting: str, out: Path, tested: str) -> Path:
    """The file of components and labels, made once.

    Args:
        setting: of `FOLDERS`.
        out: where it is.
        tested: the split that stands for the test set, `test` or `val`.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    path = (out / f"{setting}_{tested}.npz").resolve()
    if path.is_file():
        return path
    rows = split_rows(Path(os.environ["FEDLT_DATA"]).expanduser() / FOLDERS[setting])
    train, test = rows["train"], rows[tested]
    classes = sorted({label for row in train for label in row["labels"]})
    y, y_test = (
        np.array([[label in row["labels"] for label in classes] for row in part], np.int8) for part in (train, test)
    )

    words = TfidfVectorizer(ngram_range=(1, 2), min_df=3, max_features=WORDS, sublinear_tf=True)
    components = TruncatedSVD(COMPONENTS, random_state=0)
    x = components.fit_transform(words.fit_transform([row["text"] for row in train])).astype(np.float32)
    x_test = components.transform(words.transform([row["text"] for row in test])).astype(np.float32)
    out.mkdir(parents=True, exist_ok=True)
    np.savez(path, x_train=x, y_train=y, x_test=x_test, y_test=y_test, class_names=np.array(classes))
    return path


def made(setting: str, method: str, rate: float, seed: int, out: Path, tested: str = "test") -> dict[str, float]:
    """Figures of a run, which is read where it is finished; texts in thousands and seconds are those of training."""
    keys, whole = METHODS[method], not METHODS[method]
    scenario = {
        "data": {"name": str(prepared(setting, out, tested)), "targets": "multilabel"},
        "federation": {"clients": 1, "participation": 1.0, "partition": "iid"}
        | {"rounds": PASSES[setting] // (1 + whole)},
        "local": {"epochs": 1, "batch_size": 64, "optimizer": "adam", "lr": rate},
        "model": {"name": "mlp", "depth": 0},
        "strategy": "centralized",
        "learner": {"name": "cross_entropy"} if whole else {"name": "adr", **keys},
        "evaluation": {"every": PASSES[setting], "groups": "rank"},
        "resources": {"backend": "inline", "device": "cpu"},
        "seed": seed,
    }

    run = fedlt.run(scenario, out=out)
    values = {name: 100 * run.final[f"generic/{key}"] for name, key in FIGURES.items()}
    return {**values, "texts": run.rounds.samples.sum() / 1000, "seconds": float(run.rounds.seconds.sum())}


def unevenness(setting: str, method: str, seed: int, out: Path) -> float:
    """Gini coefficient, in %, of the labels' counts among the texts that a method uses, but for new ones."""
    with np.load(prepared(setting, out, "test")) as file:
        owner, label = np.nonzero(file["y_train"])
        number, classes = file["y_train"].shape
    labels, keys = Entities.of(owner, label), METHODS[method]
    if not keys:
        return 100 * gini(labels.counts)
    counted = [labels, pairs(labels, classes)] if "pair" in keys.get("entities", ()) else [labels]
    chosen = keys.get("passes", 1), number, keys.get("share", 0.5), np.random.default_rng(seed)
    kept, _ = calibrated(counted, medians(counted), *chosen)
    return 100 * gini(labels.among(kept).counts)


def tune(setting: str, out: Path) -> None:
    """Choose the rates that are not chosen yet, and write attributes_tuned.csv."""
    path = HERE / "attributes_tuned.csv"
    told: list[dict[str, str]] = read_rows(path)
    for method in METHODS:
        if any((row["setting"], row["method"]) == (setting, method) for row in told):
            continue

        tried = {rate: made(setting, method, rate, 0, out, "val")["total"] for rate in RATES}
        best = max(tried, key=lambda rate: tried[rate])
        for rate, value in tried.items():
            chosen = "yes" if rate == best else ""
            row = {"setting": setting, "method": method, "lr": f"{rate:g}", "map": f"{value:.2f}", "chosen": chosen}
            told.append(row)

        print(
            f"{setting}, {method}: " + ", ".join(f"{rate:g} {value:.1f}" for rate, value in tried.items()), flush=True
        )
        write_rows(path, told)


def measured(setting: str, seeds: Sequence[int], out: Path) -> dict[str, dict[str, NDArray[np.float64]]]:
    """[seeds] of each figure, by method, at the rates that were chosen."""
    table = pd.read_csv(HERE / "attributes_tuned.csv")
    chosen = table[(table.chosen == "yes") & (table.setting == setting)].set_index("method")["lr"]
    found = {}
    for method in METHODS:
        rate = float(chosen[method])
        rows = [
            made(setting, method, rate, seed, out) | {"gini": unevenness(setting, method, seed, out)} for seed in seeds
        ]
        found[method] = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        told = ", ".join(f"{name} {spread(found[method][name])}" for name in (*FIGURES, "gini", "texts", "seconds"))
        print(f"      {method}: {told}", flush=True)
    return found


def checks(found: dict[str, dict[str, NDArray[np.float64]]]) -> Iterable[Check]:
    """Row 13: half of the rows, chosen by their labels, beside half of them at random."""

    def over(method: str, name: str) -> float:
        return float((found[method][name] - found["random half"][name]).mean())

    for method in list(METHODS)[2:]:
        yield at_least(f"{method}, over a random half, tail", over(method, "tail"), 3.0)
        yield at_least(f"{method}, over a random half, total", over(method, "total"), 0.0)
        fallen = -over(method, "gini")
        yield Check(f"{method}: the Gini coefficient of the labels falls by {fallen:.1f} points", fallen > 0)


def main() -> int:
    """See the head of this file. The exit status is 1 where a check fails."""
    return command(__doc__, HERE / "attributes.csv", list(FOLDERS), tune, measured, checks)


if __name__ == "__main__":
    raise SystemExit(main())
