"""Batches of texts of like lengths against batches as they are drawn: padding, and texts a second.

python -m benchmarks.bucketing NOTES --table benchmarks/results/bucketing.csv

NOTES: a Parquet file with columns transcription and label (MTSamples: 2,357 notes of 40 specialties without their
doubles, which `keep_dedup` tells). Words are hashed; texts are cut at 512 tokens, or left as they are (at most 4,096).
Ten clients hold equal parts, two of them train for one epoch a round, inline and with one thread, in batches of 8. The
two kinds of batches take turns as often as `--repeats` says; times are of the processor, medians over runs and rounds.
Padding is the share of all places of the training's batches that hold no token.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import pandas as pd
import torch
from torch import Tensor

import fedlt
from benchmarks.rows import write_rows
from fedlt.data.inputs.tokens import TokenKind

CASES = ((512, "text_cnn"), (4096, "hash_bag"), (4096, "small hash_bag"), (4096, "text_cnn"))
"""Tokens that are kept of a text, and the model."""

MODELS: dict[str, dict[str, Any]] = {
    "text_cnn": {"name": "text_cnn"},
    "hash_bag": {"name": "hash_bag"},
    "small hash_bag": {"name": "hash_bag", "buckets": 2048},  # a sixteenth of the table, which every step goes through
}

BATCH, BATCHES = 8, ("drawn", "bucketed")


def scenario(notes: Path, length: int, model: str) -> dict[str, Any]:
    """Two rounds, in each of which two of ten clients train; the second one tests what the first has left, too."""
    return {
        "data": {
            "name": str(notes),
            "input_column": "transcription",
            "target_column": "label",
            "tokenizer": {"name": "hashing", "length": length},
            "test_share": 0.2,
        },
        "federation": {"clients": 10, "participation": 0.2, "rounds": 2, "partition": {"name": "iid"}},
        "local": {"epochs": 1, "batch_size": BATCH, "lr": 0.03},
        "model": MODELS[model],
        "evaluation": {"every": 1},
    }


@contextmanager
def watched() -> Iterator[list[int]]:
    """Counts real tokens, and all places, of the batches that are trained on."""
    counts, split = [0, 0], TokenKind.split

    def counting(kind: TokenKind, x: Tensor) -> tuple[Tensor, Tensor]:
        ids, mask = split(kind, x)
        if torch.is_grad_enabled() and len(x) <= BATCH:  # lengths are read of more at a time
            counts[0] += int(mask.sum())
            counts[1] += mask.numel()
        return ids, mask

    TokenKind.split = counting  # type: ignore[method-assign]
    try:
        yield counts
    finally:
        TokenKind.split = split  # type: ignore[method-assign]


def measure(notes: Path, length: int, model: str, repeats: int, to: Path) -> list[dict[str, Any]]:
    """A row of each of `BATCHES`."""
    content = scenario(notes, length, model)
    seconds: dict[str, list[float]] = {kind: [] for kind in BATCHES}
    tests: dict[str, list[float]] = {kind: [] for kind in BATCHES}
    padding, texts = {}, 0
    for repeat in range(repeats):
        for kind in BATCHES:
            # The run's clock is that of the processor, since others may use it meanwhile.
            with watched() as counts, patch.object(time, "perf_counter", time.process_time):
                out = to / f"{length}-{model}-{kind}-{repeat}"
                run = fedlt.run(content, f"local.batches={kind}", out=out, backend="inline")
            seconds[kind] += run.rounds["train_seconds"].tolist()
            tests[kind].append(float(run.rounds["evaluate_seconds"].iloc[1]))
            padding[kind], texts = 1 - counts[0] / counts[1], int(run.rounds["backward_samples"].iloc[0])

    rates = {kind: texts / median(found) for kind, found in seconds.items()}
    return [
        {
            "tokens": length,
            "model": model,
            "batches": kind,
            "padding": f"{padding[kind]:.3f}",
            "texts_per_second": f"{rates[kind]:.1f}",
            "faster": f"{rates[kind] / rates['drawn']:.2f}",
            "tests_faster": f"{median(tests['drawn']) / median(tests[kind]):.2f}",
        }
        for kind in BATCHES
    ]


def main() -> None:
    """Measure what the command line asks for, print it, and write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("notes", type=Path, help="Parquet file of MTSamples")
    parser.add_argument("--models", nargs="+", help="only these")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each kind of batches")
    parser.add_argument("--table", type=Path, help="CSV file to write")
    given = parser.parse_args()

    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        table = pd.read_parquet(given.notes)
        kept = table.loc[table["keep_dedup"], ["transcription", "label"]].dropna()
        kept.to_parquet(Path(folder) / "notes.parquet")
        for length, model in CASES:
            if given.models and model not in given.models:
                continue
            found = measure(Path(folder) / "notes.parquet", length, model, given.repeats, Path(folder))
            rows += found
            for row in found:
                print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)

    write_rows(given.table, rows)


if __name__ == "__main__":
    main()
