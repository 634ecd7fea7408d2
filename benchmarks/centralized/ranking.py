"""What AW-MoE promises users of short histories: pass or fail, with the figures.

    python -m benchmarks.centralized.ranking tune movielens.csv --out runs/centralized/ranking
    python -m benchmarks.centralized.ranking ratings movielens.csv --out runs/centralized/ranking
    python -m benchmarks.centralized.ranking fedavg --out runs/centralized/ranking

The file is that of `benchmarks.centralized.recommendation`. A rating of 4 or more is "liked"; what is told is whether a
user likes a film, by the last ten that he liked before. Half of the users, drawn by the seed, have just come: of them
there are the first 15 ratings, of the others the latest 40 at most. Each user's last five are the test set; histories
of five films or fewer are short. `tune` chooses the rates of `mlp` and `experts` on the five ratings before, where the
test set's are unknown. `fedavg` makes the embedded scenario with the contrast and without it. Areas under the ROC curve
are in %, samples in thousands.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

import fedlt
from benchmarks.centralized.acceptance import Check, at_least
from benchmarks.centralized.recommendation import FEATURES, Found, described, federated, keep, measured, told
from benchmarks.centralized.trained import passed, trained
from benchmarks.rows import read_rows, write_rows
from fedlt.results.runs import Run

HERE = Path(__file__).parent
TUNED = HERE / "ranking_tuned.csv"
RATES, HISTORY = (0.001, 0.003), 10
JUST_COME, LATEST, TESTED, TUNED_ON = 15, 40, 5, 0
FIGURES = {"auc": "auc", "short": "auc_short"}
MLP, EXPERTS = {"name": "behaviour_experts", "experts": 1, "hidden": 128}, {"name": "behaviour_experts", "experts": 4}
METHODS: dict[str, tuple[Any, Any]] = {
    "mlp": (MLP, "cross_entropy"),
    "experts": (EXPERTS, {"name": "aw_moe", "weight": 0.0}),
    "aw_moe": (EXPERTS, {"name": "aw_moe"}),
}
"""Models and learners. `aw_moe` has the rate of `experts`, which is itself without the contrast of the gate."""
BASE: dict[str, Any] = {
    "federation": {"clients": 1, "participation": 1.0, "partition": "iid", "rounds": 5},
    "local": {"epochs": 1, "batch_size": 256, "optimizer": "adam"},
    "strategy": "centralized",
    "evaluation": {"every": 5},
    "resources": {"backend": "inline", "device": "cpu"},
}


def prepared(ratings: Path, out: Path, tested: str, seed: int) -> Path:
    """The table of ratings, made once.

    Args:
        tested: what the last ratings of each user are: `test`, or `val`.
        seed: of the draw of users.
    """
    path = (out / f"{ratings.stem}_{tested}_{seed}.csv").resolve()
    if path.is_file():
        return path
    rows = described(pd.read_csv(ratings).sort_values(["userId", "timestamp"], kind="stable").reset_index(drop=True))
    users = np.sort(rows.userId.unique())
    come = np.random.default_rng(seed).permutation(users)[: len(users) // 2]
    place, left = rows.groupby("userId").cumcount(), rows.groupby("userId").cumcount(ascending=False)
    rows = rows[np.where(rows.userId.isin(come), place < JUST_COME, left < LATEST)]
    if tested == "val":
        rows = rows[rows.groupby("userId").cumcount(ascending=False) >= TESTED]
    out.mkdir(parents=True, exist_ok=True)
    rows[["userId", "movieId", "timestamp", "rating", *FEATURES]].to_csv(path, index=False)
    return path


def made(method: str, rate: float, seed: int, data: Path, out: Path) -> Run:
    """A run of a method."""
    interactions = {"user": "userId", "item": "movieId", "time": "timestamp", "rating": "rating", "scale": [0.5, 5.0],
                    "least": 4.0, "rows": "liked", "features": FEATURES, "tested": TESTED,
                    "history": HISTORY}  # fmt: skip
    model, learner = METHODS[method]
    targets = {"name": "liked", "short": 5}
    scenario = {**BASE, "data": {"name": str(data), "interactions": interactions, "targets": targets}, "model": model}
    return fedlt.run({**scenario, "learner": learner, "seed": seed, "local": {**BASE["local"], "lr": rate}}, out=out)


def tune(ratings: Path, out: Path) -> None:
    """Choose by the area under the curve on the ratings before the last ones, and write ranking_tuned.csv."""
    rows: list[dict[str, str]] = read_rows(TUNED)
    data = prepared(ratings, out, "val", TUNED_ON)

    for method in ("mlp", "experts"):
        found = [100 * made(method, rate, TUNED_ON, data, out).final["generic/auc"] for rate in RATES]
        rows = [row for row in rows if row["method"] != method]
        for place, rate in enumerate(RATES):
            chosen = "yes" if place == int(np.argmax(found)) else ""
            rows.append({"method": method, "lr": f"{rate:g}", "auc": f"{found[place]:.2f}", "chosen": chosen})
            print(rows[-1], flush=True)
        write_rows(TUNED, rows)


@torch.no_grad()
def gates(run: Run) -> dict[str, float]:
    """Of the test rows: cosine distance between the gates of whole histories and of halved ones, and the entropy of
    their shares, over log K.
    """
    worker = trained(run)
    model, inputs, count = worker.context.model, worker.testing.sets.inputs, len(worker.context.federation.y_test)
    generator = torch.Generator().manual_seed(0)

    def of(x: torch.Tensor) -> torch.Tensor:
        assert model.inputs is not None
        ids, mask = model.inputs.split(x)
        assert mask is not None
        tower, vectors, there = model.backbone, model.backbone.embedded(ids, mask), mask[:, 1:]
        drawn = torch.rand(there.shape, generator=generator).masked_fill(~there, -1.0)
        left = there & ((drawn >= 0.5) | (drawn == drawn.amax(1, keepdim=True)))
        whole, part = (tower.gate(vectors[:, 0], vectors[:, 1:], seen)[0] for seen in (there, left))
        shares = whole.softmax(1)
        entropy = -(shares * shares.log()).sum(1) / np.log(shares.shape[1])
        return torch.stack([1 - F.cosine_similarity(whole, part), entropy], 1)

    distance, entropy = passed(of, inputs, torch.arange(count)).mean(0).tolist()
    return {"distance": distance, "entropy": entropy}


def figures(ratings: Path, seeds: Sequence[int], out: Path) -> Found:
    """[seeds] of each figure, and what it cost, by method."""
    table = pd.read_csv(TUNED)
    chosen = table[table.chosen == "yes"].set_index("method")
    found = {}
    for method in METHODS:
        rows = []
        for seed in seeds:
            rate = float(chosen.lr["mlp" if method == "mlp" else "experts"])
            run = made(method, rate, seed, prepared(ratings, out, "test", seed), out)
            gate = gates(run) if method != "mlp" else {"distance": np.nan, "entropy": np.nan}
            rows.append({**measured(run, FIGURES), **gate})
        found[method] = told(method, rows)
    return found


def checks(found: Found) -> Iterable[Check]:
    """What is promised."""
    over = {other: float((found["aw_moe"]["short"] - found[other]["short"]).mean()) for other in ("mlp", "experts")}
    yield at_least("aw_moe over the mlp, short histories", over["mlp"], 0.5)
    gain = f"{over['experts']:+.2f} over the experts alone"
    yield Check(f"without the contrast of the gate the gain is lost: {gain}, above 0 expected", over["experts"] > 0)
    near, far = (found[method]["distance"].mean() for method in ("aw_moe", "experts"))
    yield Check(f"gates of whole and halved histories lie {near:.3f} apart, without the contrast {far:.3f}", near < far)
    entropy = found["aw_moe"]["entropy"].mean()
    yield Check(f"entropy of the gate's shares {entropy:.2f} log K, 0.3 expected", entropy > 0.3)


def main() -> int:
    """See the head of this file. The exit status is 1 where a check fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tune", "ratings", "fedavg"])
    parser.add_argument("ratings", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/centralized/ranking"))
    options = parser.parse_args()
    seeds, path = range(options.seeds), HERE / "ranking.csv"
    if options.what == "fedavg":
        keep(path, "fedavg", federated("book_ratings", "learner.weight", 0.05, FIGURES, seeds, options.out))
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
