"""Tsetlin machines on clinical notes and on news: accuracy beside other models, and rules that say all of it.

    python -m benchmarks.text.tsetlin --data /your/data --table benchmarks/text/tsetlin.csv

`--data` is the folder that `benchmarks.text.corpora` names, with `text_extra/tm_clinical_ds.tar.gz` of
github.com/cair/TextUnderstandingTsetlinMachine: 431 notes as 38,876 bits, and whether there is an allergy. Notes: five
folds, drawn anew with each seed; bits of fewer than ten training notes are left out. R8: the official split, words;
training news are drawn by the square root of their classes' numbers. The settings of every model are those with the
best F1 on a fourth of the training samples; nothing is chosen on test samples. The control has `specificity=1`: clauses
are never rewarded for what a sample has, and only learn what to exclude. Ends with the claims that the table is to bear
out, and whether they do.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.naive_bayes import BernoulliNB
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

import fedlt
from benchmarks.rows import write_rows
from benchmarks.text.corpora import CORPORA
from fedlt.nn.rules import rules_of, votes
from fedlt.tokenizers.hashing import Hashing

SEEDS = (0, 1, 2)
LEAST = 10  # training notes that have a bit
NOTES = {"count": 400, "features": 1000, "epochs": 20, "power": 1.0}
NEWS = {"count": 600, "features": 2000, "epochs": 20, "power": 0.5}
NOTE_SETTINGS = [(5.0, 200), (27.0, 40), (10.0, 100), (5.0, 400)]
NEWS_SETTINGS = [(5.0, 200), (5.0, 400), (10.0, 400)]
"""Specificity and threshold."""

Split = tuple[NDArray[Any], NDArray[np.int64], NDArray[Any], NDArray[np.int64]]
"""Training samples and their classes, and those of the test."""

Scored = Callable[[NDArray[np.int64], NDArray[np.int64]], float]


def notes(data: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Bits [431, 38876] and classes [431]."""
    with tarfile.open(data / "text_extra" / "tm_clinical_ds.tar.gz") as outer:
        (inner,) = [outer.extractfile(member) for member in outer.getmembers() if member.isfile()]
        assert inner is not None
        with tarfile.open(fileobj=BytesIO(inner.read())) as archive:
            file = archive.extractfile(archive.getmembers()[0])
            assert file is not None
            table = np.array([line.split() for line in file.read().decode().splitlines()], np.uint8)
    return table[:, :-1], table[:, -1].astype(np.int64)


def news(data: Path) -> tuple[list[str], Split]:
    """Class names, and token ids [N, L] of R8's texts, padded with -1."""
    rows = list(CORPORA["r8"](data))
    names = sorted({label for _, label, _ in rows})
    tokenizer = Hashing(length=2048, buckets=16384)
    parts: list[Any] = []
    for split in ("train", "test"):
        ids = [np.unique(tokenizer.kept(text)[0]) for which, _, text in rows if which == split]
        x = np.full((len(ids), max(map(len, ids))), -1, np.int32)
        for row, one in zip(x, ids, strict=True):
            row[: len(one)] = one
        parts += [x, np.array([names.index(label) for which, label, _ in rows if which == split])]
    return names, tuple(parts)  # type: ignore[return-value]


def save(split: Split, path: Path) -> Path:
    """As a data set of FedLT: bits as rows of numbers, token ids with their mask."""
    arrays: dict[str, Any] = {}
    for part, x, y in (("train", *split[:2]), ("test", *split[2:])):
        arrays[f"y_{part}"] = y
        if x.dtype == np.int32:
            arrays |= {f"x_{part}": x.clip(0), f"mask_{part}": x >= 0, "vocabulary": np.int64(16384)}
        else:
            arrays[f"x_{part}"] = x.astype(np.float32)
    np.savez(path, **arrays)
    return path


def machine(path: Path, size: Mapping[str, float], setting: tuple[float, int], seed: int, out: Path) -> Any:
    """The run of a Tsetlin machine at one site."""
    specificity, threshold = setting
    content = {
        "data": {"name": str(path)},
        "federation": {"clients": 2, "participation": 1.0, "rounds": 1, "partition": "iid"},
        "local": {"epochs": size["epochs"]},
        "model": {"name": "clauses", "count": size["count"]},
        "learner": {
            "name": "tsetlin", "specificity": specificity, "threshold": threshold, "features": size["features"],
            "power": size["power"],
        },
        "strategy": "centralized",
        "resources": {"backend": "inline"},
        "seed": seed,
    }  # fmt: skip
    return fedlt.run(content, out=out)


def predicted(run: Any, split: Split) -> NDArray[np.int64]:
    """Classes [n] of the test samples."""
    x = split[2]
    inputs = {"x": x.clip(0), "mask": x >= 0} if x.dtype == np.int32 else {"x": x.astype(np.float32)}
    found: NDArray[np.int64] = run.model().predict(**inputs, names=False)
    return found


def reproduced(run: Any, split: Split) -> bool:
    """Whether the votes of the exported rules are the model's, for every class of up to 50 test samples."""
    x = split[2][:50]
    tokens = x.dtype == np.int32
    inputs = {"x": x.clip(0), "mask": x >= 0} if tokens else {"x": x.astype(np.float32)}
    logits = run.model().logits(**inputs)
    rules = rules_of(run.model().net.backbone)
    samples = [set(row[row >= 0].tolist()) if tokens else set(np.flatnonzero(row).tolist()) for row in x]
    return [votes(rules, one, logits.shape[1]) for one in samples] == logits.int().tolist()


def held_out(split: Split, seed: int) -> Split:
    """A fourth of the training samples in place of the test's."""
    rows, others = train_test_split(np.arange(len(split[1])), test_size=0.25, stratify=split[1], random_state=seed)
    return split[0][rows], split[1][rows], split[0][others], split[1][others]


def grids(features: int) -> dict[str, list[Any]]:
    """Other models of bits, on the features that chi-squared chooses, with the settings that are tried."""
    return {
        "naive Bayes": [make_pipeline(SelectKBest(chi2, k=features), BernoulliNB(alpha=a)) for a in (0.01, 0.1, 1.0)],
        "tree": [
            make_pipeline(SelectKBest(chi2, k=features), DecisionTreeClassifier(min_samples_leaf=leaf, random_state=0))
            for leaf in (1, 3, 10)
        ],
        "linear SVM": [make_pipeline(SelectKBest(chi2, k=features), LinearSVC(C=c)) for c in (0.003, 0.03, 0.3)],
    }


def note_scores(data: Path, folder: Path) -> Iterator[tuple[str, int, NDArray[np.int64], NDArray[np.int64], bool]]:
    """Model, seed, true and predicted classes of a fold, and whether its rules say all."""
    x, y = notes(data)
    for seed in SEEDS:
        folds = StratifiedKFold(5, shuffle=True, random_state=seed).split(x, y)
        for fold, (rows, others) in enumerate(folds):
            kept = x[rows].sum(0) >= LEAST
            split = x[rows][:, kept], y[rows], x[others][:, kept], y[others]
            inner = held_out(split, seed)

            def score(setting: tuple[float, int], inner: Split = inner, fold: int = fold, seed: int = seed) -> float:
                run = machine(save(inner, folder / f"inner{seed}{fold}.npz"), NOTES, setting, seed, folder)
                return float(f1_score(inner[3], predicted(run, inner)))

            best = max(NOTE_SETTINGS, key=score)
            path = save(split, folder / f"outer{seed}{fold}.npz")
            for name, setting in (("tsetlin", best), ("tsetlin, specificity 1", (1.0, best[1]))):
                run = machine(path, NOTES, setting, seed, folder)
                yield name, seed, split[3], predicted(run, split), reproduced(run, split)
            for name, grid in grids(NOTES["features"]).items():
                chosen = max(grid, key=lambda one: f1_score(inner[3], one.fit(*inner[:2]).predict(inner[2])))
                yield name, seed, split[3], chosen.fit(*split[:2]).predict(split[2]), True
            for file in folder.glob("*.npz"):
                file.unlink()


def news_scores(data: Path, folder: Path) -> Iterator[tuple[str, int, NDArray[np.int64], NDArray[np.int64], bool]]:
    """The same of R8, whose one split is the official one."""
    _, split = news(data)
    inner = held_out(split, 0)
    path = save(inner, folder / "inner.npz")

    def score(setting: tuple[float, int]) -> float:
        return float(f1_score(inner[3], predicted(machine(path, NEWS, setting, 0, folder), inner), average="macro"))

    best = max(NEWS_SETTINGS, key=score)
    print("R8: specificity and threshold", best, flush=True)
    path = save(split, folder / "outer.npz")
    for seed in SEEDS:
        run = machine(path, NEWS, best, seed, folder)
        yield "tsetlin", seed, split[3], predicted(run, split), reproduced(run, split)
    run = machine(path, NEWS, (1.0, best[1]), 0, folder)
    yield "tsetlin, specificity 1", 0, split[3], predicted(run, split), reproduced(run, split)

    rows = list(CORPORA["r8"](data))
    texts = [[text for which, _, text in rows if which == part] for part in ("train", "test")]
    svm = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LinearSVC())
    yield "linear SVM, TF-IDF", 0, split[3], svm.fit(texts[0], split[1]).predict(texts[1]), True


def table(
    name: str, scores: Iterator[tuple[str, int, NDArray[np.int64], NDArray[np.int64], bool]], average: str
) -> list[dict[str, Any]]:
    """A row for each model: F1 of all folds of a seed together, mean and standard deviation over seeds."""
    start = time.process_time()
    parts: dict[tuple[str, int], list[list[Any]]] = {}
    exact: dict[str, bool] = {}
    for model, seed, true, found, same in scores:
        held = parts.setdefault((model, seed), [[], []])
        held[0] += true.tolist()
        held[1] += found.tolist()
        exact[model] = exact.get(model, True) and same

    rows = []
    for model, same in exact.items():
        each = [pair for (one, _), pair in parts.items() if one == model]
        f1 = [float(f1_score(true, found, average=average)) for true, found in each]
        right = [float(np.mean(np.array(true) == np.array(found))) for true, found in each]
        told = "" if not model.startswith("tsetlin") else str(same).lower()
        spread = statistics.stdev(f1) if len(f1) > 1 else 0.0
        rows.append(
            {
                "set": name, "model": model, "seeds": len(f1), "f1": f"{statistics.mean(f1):.3f}",
                "f1_std": f"{spread:.3f}", "accuracy": f"{statistics.mean(right):.3f}", "rules_say_all": told,
            }
        )  # fmt: skip
        print("  ".join(str(value) for value in rows[-1].values()), flush=True)
    print(f"{name}: {time.process_time() - start:.0f} s of processor time", flush=True)
    return rows


def claims(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[str, bool]]:
    """What the table is to bear out, and whether it does."""
    found = {(row["set"], row["model"]): float(row["f1"]) for row in rows}
    for other in ("naive Bayes", "tree"):
        if ("notes", other) in found:
            pair = found["notes", "tsetlin"], found["notes", other]
            yield f"notes: F1 {pair[0]:.3f} is not below that of {other}, {pair[1]:.3f}", pair[0] >= pair[1]
    if ("r8", "tsetlin") in found:
        pair = found["r8", "tsetlin"], found["r8", "linear SVM, TF-IDF"]
        yield f"r8: macro-F1 {pair[0]:.3f} is within .04 of a linear SVM's, {pair[1]:.3f}", pair[0] >= pair[1] - 0.04
    for name in {row["set"] for row in rows}:
        pair = found[name, "tsetlin"], found[name, "tsetlin, specificity 1"]
        yield f"{name}: without rewards F1 is lower ({pair[0]:.3f}, {pair[1]:.3f})", pair[1] < pair[0]
    told = [row["rules_say_all"] for row in rows if row["rules_say_all"]]
    yield "exported rules reproduce all votes that were compared", set(told) == {"true"}


def main() -> None:
    """Measure what the command line asks for, print it, and write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the text sets")
    parser.add_argument("--sets", nargs="+", default=["notes", "r8"], choices=["notes", "r8"])
    parser.add_argument("--table", type=Path, help="CSV file to write")
    given = parser.parse_args()

    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="fedlt-tsetlin-") as made:
        folder = Path(made)
        os.environ["FEDLT_CACHE"] = str(folder / "cache")  # folds are kept nowhere else
        if "notes" in given.sets:
            rows += table("notes", note_scores(given.data, folder), "binary")
        if "r8" in given.sets:
            rows += table("r8", news_scores(given.data, folder), "macro")
    write_rows(given.table, rows)

    for text, holds in claims(rows):
        print("pass" if holds else "fail", text)


if __name__ == "__main__":
    main()
