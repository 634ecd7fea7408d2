"""Text sets with natural long tails, on their official splits, as files that a scenario reads.

A folder holds them as their authors or NLTK give them: `text_extra/qc.zip` (TREC questions, Li and Roth 2002, with 50
classes), `reuters21578.parquet` (ModApte; columns split, title, body and r52), `ohsumed23.parquet` (columns split,
label and text), `text_extra/movie_reviews.zip` (Pang and Lee 2004), and `mtsamples.parquet` (medical transcriptions;
columns label, transcription and keep_dedup, which tells the doubles).
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

Row = tuple[str, str, str]
"""Of which split, the label, and the text."""

R8 = ("acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade")


def trec50(folder: Path) -> Iterator[Row]:
    """Questions by what is asked for: 5,452 and 500."""
    with zipfile.ZipFile(folder / "text_extra" / "qc.zip") as found:
        for split in ("train", "test"):
            for line in found.read(f"qc/{split}.txt").decode("latin-1").splitlines():
                if line.strip():
                    label, text = line.split(" ", 1)
                    yield split, label, text


def r52(folder: Path) -> Iterator[Row]:
    """News of one topic: 6,532 and 2,568."""
    found = pd.read_parquet(folder / "reuters21578.parquet")
    found = found[found.r52.notna()].fillna("")
    for split, label, title, body in zip(found.split, found.r52, found.title, found.body, strict=True):
        yield split, label, f"{title} {body}"


def r8(folder: Path) -> Iterator[Row]:
    """The eight topics of those that have most news: 5,485 and 2,189."""
    return (row for row in r52(folder) if row[1] in R8)


def ohsumed(folder: Path) -> Iterator[Row]:
    """Abstracts by disease: 3,357 and 4,043."""
    found = pd.read_parquet(folder / "ohsumed23.parquet")
    yield from zip(found.split, found.label, found.text, strict=True)


def grain(folder: Path) -> Iterator[Row]:
    """R8 as an alarm: whether it is about grain."""
    return ((split, "positive" if label == "grain" else "negative", text) for split, label, text in r8(folder))


def movie_reviews(folder: Path) -> Iterator[Row]:
    """Whether a review is negative, the alarm: the first 800 of each kind for training, 200 for the test."""
    with zipfile.ZipFile(folder / "text_extra" / "movie_reviews.zip") as found:
        for name in sorted(found.namelist()):
            if name.endswith(".txt") and "/cv" in name:
                kind, file = name.split("/")[-2:]
                split = "train" if int(file[2:5]) < 800 else "test"
                yield split, "positive" if kind == "neg" else "negative", found.read(name).decode("latin-1")


def notes(folder: Path, seed: int) -> Iterator[Row]:
    """Medical notes by the 37 specialties that have five or more: 1,879 and 470, the seed drawing a fifth of each."""
    found = pd.read_parquet(folder / "mtsamples.parquet")
    found = found[found.keep_dedup]
    found = found[found.groupby("label").label.transform("size") >= 5]
    rng = np.random.default_rng(seed)
    for label, each in found.groupby("label"):
        texts = each.transcription.to_numpy()[rng.permutation(len(each))]
        held_out = round(len(texts) / 5)
        for place, text in enumerate(texts):
            yield "test" if place < held_out else "train", str(label), str(text)


CORPORA: dict[str, Callable[[Path], Iterator[Row]]] = {
    "trec50": trec50,
    "r8": r8,
    "r52": r52,
    "ohsumed": ohsumed,
    "grain": grain,
    "movie_reviews": movie_reviews,
}


def write(name: str, data: Path, folder: Path) -> Path:
    """`train.jsonl` and `test.jsonl` of a set, in a folder of their own. data: where the sets are."""
    return write_splits(CORPORA[name](data), folder / name)


def write_splits(rows: Iterable[Row], place: Path) -> Path:
    """The same of any rows, in the folder `place`."""
    place.mkdir(parents=True, exist_ok=True)
    held = list(rows)
    for split in ("train", "test"):
        lines = (json.dumps({"text": text, "label": label}) for which, label, text in held if which == split)
        (place / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place
