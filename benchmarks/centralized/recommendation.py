"""What self-supervised item recommendation promises where few likes are known: pass or fail, with the figures.

    python -m benchmarks.centralized.recommendation tune movielens.csv --out runs/centralized/recommendation
    python -m benchmarks.centralized.recommendation likes movielens.csv --out runs/centralized/recommendation
    python -m benchmarks.centralized.recommendation fedavg --out runs/centralized/recommendation

The file has a row a rating, with columns `userId`, `movieId`, `rating`, `timestamp`, `title`, `year` and `genres`, as
MovieLens's small set (100,004 ratings of 2016; docs/howto/recommendation.md). A film counts as liked from a rating of 4
on. Each user's last two likes are the test set; of the likes before, 20 % are known, drawn by the seed. `tune` chooses
by the two likes before the last two, of which the test set's are then unknown: first the rate of the main loss, then
the weight of the contrast. `fedavg` makes the embedded scenario with the contrast and without it. Figures are
in %, recall and NDCG at 100 (of the embedded scenario at 20); tail films have at most three known likes. Samples are in
thousands.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import fedlt
from benchmarks.centralized.acceptance import Check, at_least
from benchmarks.centralized.table import spread
from benchmarks.rows import read_rows, write_rows
from fedlt.results.runs import Run

HERE = Path(__file__).parent
TUNED = HERE / "recommendation_tuned.csv"
RATES, WEIGHTS = (0.001, 0.003), (0.03, 0.1, 0.3)
FEATURES = ["year", "decade", "genres", "kind", "words"]
"""What is known of a film, beside its number: the decade follows from the year, and the kind is the first genre."""
Found = dict[str, dict[str, np.ndarray]]
"""[seeds] of each figure, by method."""
SHARE, TESTED, TUNED_ON, HISTORY = 0.2, 2, 0, 10
FIGURES = {"all": "recall", "head": "recall_many", "medium": "recall_medium", "tail": "recall_few",
           "short": "recall_short", "ndcg": "ndcg"}  # fmt: skip
METHODS: dict[str, dict[str, Any]] = {
    "main": {"name": "item_ssl", "alpha": 0.0},
    "cfm": {"name": "item_ssl"},
    "rfm": {"name": "item_ssl", "mask": "random"},
    "cfm, stream": {"name": "item_ssl", "items": "stream"},
    "main, uncorrected": {"name": "item_ssl", "alpha": 0.0, "correction": False},
}
"""Learners. All have the rate of `main`, and those with a contrast the weight of `cfm`."""
CONTRASTED = ("cfm", "rfm", "cfm, stream")
BASE: dict[str, Any] = {
    "federation": {"clients": 1, "participation": 1.0, "partition": "iid", "rounds": 10},
    "local": {"epochs": 1, "batch_size": 256, "optimizer": "adam"},
    "model": "two_towers",
    "strategy": "centralized",
    "evaluation": {"every": 20, "groups": {"many": 20, "few": 4}},
    "resources": {"backend": "inline", "device": "cpu"},
}


def described(rows: pd.DataFrame) -> pd.DataFrame:
    """With the decade, the first genre, and the words of the title."""
    words = ["|".join(re.findall(r"[a-z]{3,}", str(title).lower())) for title in rows.title.fillna("")]
    return rows.assign(decade=10 * (rows.year // 10), kind=rows.genres.str.partition("|")[0], words=words)


def prepared(ratings: Path, out: Path, tested: str, seed: int) -> Path:
    """The table of likes, made once; the column `known` says which of them count.

    Args:
        tested: what the last known likes of each user are: `test`, or `val`.
        seed: of the draw.
    """
    path = (out / f"{ratings.stem}_{tested}_{seed}.csv").resolve()
    if path.is_file():
        return path
    likes = pd.read_csv(ratings)
    likes = likes[likes.rating >= 4].sort_values(["userId", "timestamp"], kind="stable").reset_index(drop=True)
    likes = described(likes)
    last = likes.groupby("userId").cumcount(ascending=False)  # 0 is a user's last like
    drawn = np.random.default_rng(seed).random(len(likes)) < SHARE
    first = 0 if tested == "test" else TESTED
    likes["known"] = ((drawn & (last >= first + TESTED)) | last.between(first, first + TESTED - 1)).astype(int)
    out.mkdir(parents=True, exist_ok=True)
    likes[["userId", "movieId", "timestamp", "known", *FEATURES]].to_csv(path, index=False)
    return path


def made(method: str, rate: float, alpha: float | None, seed: int, data: Path, out: Path) -> Run:
    """A run of a method."""
    interactions = {"user": "userId", "item": "movieId", "time": "timestamp", "rating": "known", "least": 1.0,
                    "features": FEATURES, "tested": TESTED, "history": HISTORY}  # fmt: skip
    learner = METHODS[method] | ({} if alpha is None else {"alpha": alpha})
    scenario = {
        **BASE,
        "data": {"name": str(data), "interactions": interactions, "targets": {"name": "items", "at": 100}},
    }
    scenario |= {"learner": learner, "seed": seed, "local": {**BASE["local"], "lr": rate}}
    return fedlt.run(scenario, out=out)


def tune(ratings: Path, out: Path) -> None:
    """Choose by the recall on the likes before the last ones, and write recommendation_tuned.csv."""
    rows: list[dict[str, str]] = read_rows(TUNED)
    data = prepared(ratings, out, "val", TUNED_ON)

    def choose(method: str, tried: list[tuple[float, float | None]]) -> float:
        found = [100 * made(method, *each, TUNED_ON, data, out).final["generic/recall"] for each in tried]
        rows[:] = [row for row in rows if row["method"] != method]
        best = int(np.argmax(found))  # of equal ones the first, which has the smallest weight
        for place, (rate, alpha) in enumerate(tried):
            named = {"method": method, "lr": f"{rate:g}", "alpha": "" if alpha is None else f"{alpha:g}"}
            rows.append({**named, "recall": f"{found[place]:.2f}", "chosen": "yes" if place == best else ""})
            print(rows[-1], flush=True)
        write_rows(TUNED, rows)
        return tried[best][0]

    rate = choose("main", [(rate, None) for rate in RATES])
    choose("cfm", [(rate, weight) for weight in WEIGHTS])


def figures(ratings: Path, seeds: Sequence[int], out: Path) -> Found:
    """[seeds] of each figure, and what it cost, by method."""
    table = pd.read_csv(TUNED)
    chosen = table[table.chosen == "yes"].set_index("method")
    found = {}
    for method in METHODS:
        rows = []
        for seed in seeds:
            alpha = float(chosen.alpha["cfm"]) if method in CONTRASTED else None
            data = prepared(ratings, out, "test", seed)
            run = made(method, float(chosen.lr["main"]), alpha, seed, data, out)
            rows.append(measured(run, FIGURES))
        found[method] = told(method, rows)
    return found


def measured(run: Run, names: dict[str, str]) -> dict[str, float]:
    """Figures of a run in %, thousands of samples that passed forward and backward, and seconds of training."""
    values = {name: 100 * run.final[f"generic/{key}"] for name, key in names.items()}
    passed = run.rounds.backward_samples.sum() / 1000
    return {**values, "samples": float(passed), "seconds": float(run.rounds.train_seconds.sum())}


def told(method: str, rows: list[dict[str, float]]) -> dict[str, np.ndarray]:
    """[seeds] of each figure, which are printed."""
    found = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    print(f"      {method}: " + ", ".join(f"{name} {spread(value)}" for name, value in found.items()), flush=True)
    return found


def federated(scenario: str, key: str, weight: float, names: dict[str, str], seeds: Sequence[int], out: Path) -> Found:
    """An embedded scenario as it is and without its contrast, under FedAvg, by `with` and `without`.

    Args:
        key: of the contrast's weight.
        weight: that the scenario has.
        names: of the figures.
    """
    found = {}
    for method, value in (("without", 0.0), ("with", weight)):
        runs = [
            fedlt.run(scenario, f"{key}={value}", f"seed={seed}", "resources.backend=inline", out=out) for seed in seeds
        ]
        found[f"{scenario}, {method}"] = told(f"{scenario}, {method}", [measured(run, names) for run in runs])
    return found


def keep(path: Path, setting: str, found: Found) -> None:
    """Write the figures of a setting to a table, beside those of other settings."""
    rows = pd.read_csv(path).to_dict("records") if path.is_file() else []
    rows = [row for row in rows if row["setting"] != setting]
    for method, values in found.items():
        for seed in range(len(values["seconds"])):
            rows.append({"setting": setting, "method": method, "seed": seed, **{k: v[seed] for k, v in values.items()}})
    pd.DataFrame(rows).to_csv(path, index=False, float_format="%.4g", lineterminator="\n")


def checks(found: Found) -> Iterable[Check]:
    """What is promised."""

    def over(method: str, other: str, name: str = "all") -> float:
        return float((found[method][name] - found[other][name]).mean())

    yield at_least("cfm over main, recall at 100", over("cfm", "main"), 0.3)
    yield at_least("cfm over rfm", over("cfm", "rfm"), 0.0)
    yield at_least("items of the catalogue over those of the stream", over("cfm", "cfm, stream"), 0.0)


def main() -> int:
    """See the head of this file. The exit status is 1 where a check fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tune", "likes", "fedavg"])
    parser.add_argument("ratings", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/centralized/recommendation"))
    options = parser.parse_args()
    seeds, path = range(options.seeds), HERE / "recommendation.csv"
    if options.what == "fedavg":
        keep(path, "fedavg", federated("book_loans", "learner.alpha", 0.1, FIGURES, seeds, options.out))
        return 0
    if options.ratings is None:
        parser.error("name the file of ratings")
    if options.what == "tune":
        tune(options.ratings, options.out)
        return 0

    found = figures(options.ratings, seeds, options.out)
    keep(path, "movielens", found)
    results = list(checks(found))
    for check in results:
        print(check)
    return int(not all(check.holds for check in results))


if __name__ == "__main__":
    raise SystemExit(main())
