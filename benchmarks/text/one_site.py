"""Small models of token ids at one site: what the benchmarks of long and short texts share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import fedlt

BUCKETS = 8192  # different ids of hashed words
BATCH = 32
LAYERED: dict[str, Any] = {"name": "hash_bag", "width": 32, "depth": 1, "hidden": 64}
NARROW: dict[str, Any] = {"width": 32, "depth": 1, "positions": "sinusoidal"}


@dataclass(frozen=True)
class Reader:
    """A model with its rate of Adam and its passes over the training texts.

    Rates are the best of three by accuracy on a fifth of the training notes of seed 100, of 128 tokens each (`python -m
    benchmarks.text.catalogue --rates`).
    """

    name: str
    model: Mapping[str, Any]
    rate: float
    passes: int


BAG = Reader("linear bag", {"name": "hash_bag", "width": 32, "depth": 0}, rate=0.03, passes=10)
PERCEPTRON = Reader("perceptron", LAYERED, rate=0.03, passes=10)
ATTENTION = Reader("transformer", {"name": "transformer", **NARROW}, rate=0.003, passes=4)


@dataclass
class Cell:
    """One line of a table. name: its row and setting. figures: [seeds] of each."""

    name: Mapping[str, str]
    figures: dict[str, list[float]] = field(default_factory=dict)

    def add(self, figures: Mapping[str, float]) -> None:
        """Those of another seed, in percent."""
        for figure, value in figures.items():
            self.figures.setdefault(figure, []).append(100 * value)

    def mean(self, figure: str = "accuracy") -> float:
        return mean(self.figures[figure])

    def written(self) -> dict[str, str]:
        """As the table has it."""
        row = {**self.name, "seeds": str(len(next(iter(self.figures.values()))))}
        for figure, values in self.figures.items():
            spread = f"{stdev(values):.1f}" if len(values) > 1 else ""
            row |= {f"{figure} mean": f"{mean(values):.1f}", f"{figure} std": spread}
        return row


def scored(
    place: Path, reader: Reader, tokenizer: Mapping[str, Any], seed: int, *keys: str, split: str = "generic"
) -> dict[str, float]:
    """Accuracy and macro-F1 of a model that has read a folder's training texts.

    tokenizer: keys of the hashing one. keys: further ones of the scenario. split: `validation/generic` for the samples
    that keys set apart.
    """
    content: dict[str, Any] = {
        "data": {"name": str(place), "tokenizer": {"name": "hashing", "buckets": BUCKETS, **tokenizer}},
        "federation": {"clients": 1, "participation": 1.0, "rounds": reader.passes, "partition": "iid"},
        "local": {"epochs": 1, "batch_size": BATCH, "batches": "bucketed", "optimizer": "adam", "lr": reader.rate},
        "model": dict(reader.model),
        "strategy": "centralized",
        "evaluation": {"every": reader.passes},
        "resources": {"backend": "inline", "checkpoint": 0},
        "seed": seed,
    }

    final = fedlt.run(content, *keys, out=place.parent / "runs", quiet=True, force=True).final
    return {figure: final[f"{split}/{figure}"] for figure in ("accuracy", "macro_f1")}


def verdicts(claims: Sequence[tuple[str, bool]]) -> None:
    """Print what a table is to bear out, and whether it does."""
    for text, holds in claims:
        print("PASS" if holds else "FAIL", text)
