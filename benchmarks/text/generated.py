"""Generated texts for classes of few: whether they help a classifier, and whether it is the filter that does.

    FEDLT_DATA=/your/data python -m benchmarks.text.generated --table benchmarks/text/generated.csv

TREC's questions by six kinds, 20 or 50 of each at one site, drawn anew with each seed. Five times as many are written
(`local.generated`): by `swap_drop`, by `markov` without its filter, and with it. All rows take equally many steps.
Besides the 500 test questions, of which a quarter ask what something is, the training questions that were not drawn
are asked. Keys are the defaults, so that nothing is chosen on either.

The written texts are also held against the test questions, which no training knows: one that has eight tokens in a row
of a test question, which no training question has, would be a copy, and fails the benchmark.

Acceptance after Bayer and others (`fedlt.tokenizers.nearest`): with the filter two points above none, and not behind
swapped words; without it below the filtered ones.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fedlt
from benchmarks.rows import write_rows
from benchmarks.text.few_labels import Question, questions, written
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.data.generated import generated_texts, own_texts
from fedlt.data.inputs.on_disk import opened
from fedlt.data.site import Rows
from fedlt.process import seeding

SIZES = (20, 50)  # questions of each kind
EVERY = 10**6  # so that only `times` limits how many are written
ARMS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "swap_drop": {"name": "swap_drop", "up_to": EVERY},
    "markov, all": {"name": "markov", "up_to": EVERY, "keep": 1.0},
    "markov, nearest": {"name": "markov", "up_to": EVERY},
}
MODELS: dict[str, tuple[dict[str, Any], float]] = {
    "hash_bag": ({"name": "hash_bag", "width": 32, "depth": 0}, 0.03),
    "text_cnn": ({"name": "text_cnn", "width": 32}, 0.003),
}
"""Keys of the model, and the rate of Adam."""

GRAM = 8  # tokens in a row by which a copy is known


def split(found: Mapping[str, list[Question]], size: int, seed: int) -> tuple[list[Question], list[Question]]:
    """So many training questions of each kind, and all others."""
    rng = np.random.default_rng(seed)
    kinds = np.array([row["label"] for row in found["train"]])
    drawn = {int(row) for kind in np.unique(kinds) for row in rng.permutation(np.flatnonzero(kinds == kind))[:size]}
    rows = found["train"]
    return [rows[row] for row in sorted(drawn)], [row for place, row in enumerate(rows) if place not in drawn]


def scenario(data: Path, model: str, arm: str, seed: int) -> dict[str, Any]:
    """One site, forty rounds of an epoch."""
    keys, rate = MODELS[model]
    return {
        "data": {"name": str(data), "tokenizer": {"name": "hashing", "buckets": 8192, "length": 48}},
        "federation": {"clients": 1, "participation": 1.0, "rounds": 40, "partition": "iid"},
        "local": {"epochs": 1, "batch_size": 16, "optimizer": "adam", "lr": rate, "generated": ARMS[arm]},
        "model": keys,
        "strategy": "centralized",
        "evaluation": {"every": 40},
        "resources": {"backend": "inline", "checkpoint": 0},
        "seed": seed,
    }


def copies(texts: Collection[NDArray[Any]], training: Collection[NDArray[Any]], test: Collection[NDArray[Any]]) -> int:
    """How many of the texts have `GRAM` tokens in a row of a test text which no training text has."""
    foreign = {gram for text in test for gram in grams(text)} - {gram for text in training for gram in grams(text)}
    return sum(not foreign.isdisjoint(grams(text)) for text in texts)


def grams(text: NDArray[Any]) -> Iterator[bytes]:
    """Every `GRAM` token ids in a row of a text, as bytes."""
    return (text[place : place + GRAM].tobytes() for place in range(len(text) - GRAM + 1))


def texts_of(made: dict[str, Any]) -> tuple[list[NDArray[Any]], ...]:
    """The token ids of what a site gets written, of its own texts, and of the test set's."""
    read = load_scenario(made)
    found = federate(read)
    assert read.local.generated is not None
    targets = found.train_targets.take(device="cpu")
    import torch

    data = Rows(opened(found.inputs, found.x_train, "cpu"), targets, torch.from_numpy(found.union()))
    rng = seeding.generator(read.seed, "generated", 0)
    ids, _ = generated_texts(data, read.local.generated.create(), found.inputs, rng)
    own = [text for texts in own_texts(data).values() for text in texts]
    return tuple(
        [np.asarray(row[row >= 0], np.int64) for row in rows] for rows in (ids.numpy(), own, np.asarray(found.x_test))
    )


def rows_of(data: Path, seeds: Sequence[int], models: Sequence[str], place: Path) -> list[dict[str, str]]:
    """The table's lines. place: an empty folder."""
    found = questions(data)
    lines = []

    for size in SIZES:
        # One split for each seed, which all models and arms share.
        parts = {seed: split(found, size, seed) for seed in seeds}
        folders = {
            seed: written({"train": own, "test": found["test"]}, place / f"{size}-{seed}")
            for seed, (own, _) in parts.items()
        }

        for model in models:
            for arm, keys in ARMS.items():
                tests, others, texts, copied = [], [], [], 0
                for seed, (own, rest) in parts.items():
                    made = scenario(folders[seed], model, arm, seed)
                    run = fedlt.run(made, out=place / "runs")
                    tests.append(100 * run.final["generic/accuracy"])
                    told = run.model().predict([row["text"] for row in rest])
                    others.append(100 * float((told == np.array([row["label"] for row in rest])).mean()))
                    if keys is not None:
                        ids = texts_of(made)
                        texts.append(len(ids[0]) / len(own))
                        copied += copies(*ids)

                lines.append(line(model, size, arm, tests, others, texts, copied))
    return lines


def line(
    model: str,
    size: int,
    arm: str,
    tests: Sequence[float],
    others: Sequence[float],
    texts: Sequence[float],
    copied: int,
) -> dict[str, str]:
    """A line of the table."""
    found = {"model": model, "of each kind": str(size), "generated": arm}

    for name, values in (("test", tests), ("others", others)):
        found |= {f"{name} mean": f"{mean(values):.1f}", f"{name} std": f"{stdev(values):.1f}"}
    found |= {"texts for each own": f"{mean(texts):.1f}" if texts else "", "copies of test texts": str(copied)}

    print(found, flush=True)
    return found


def claims(lines: Sequence[Mapping[str, str]]) -> list[tuple[str, bool]]:
    """What the table is to bear out, with its figures, and whether it does: by means over the sizes."""
    said = []

    for model in dict.fromkeys(row["model"] for row in lines):
        for asked in ("test", "others"):
            mine = [row for row in lines if row["model"] == model]
            arms = {
                arm: round(mean(float(row[f"{asked} mean"]) for row in mine if row["generated"] == arm), 2)
                for arm in ARMS
            }

            none, swapped, plain, near = arms.values()
            said += [
                (f"{model}, {asked}: filtered {near} is at least none {none} + 2", near >= none + 2),
                (f"{model}, {asked}: filtered {near} is at least swapped {swapped}", near >= swapped),
                (f"{model}, {asked}: unfiltered {plain} is below filtered {near}", plain < near),
            ]

    copied = sum(int(row["copies of test texts"]) for row in lines)
    return [*said, (f"{copied} generated texts have {GRAM} tokens in a row of a test question", not copied)]


def main() -> None:
    """Measure what the command line asks for, print it, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with trec/train.jsonl and test.jsonl; $FEDLT_DATA")
    parser.add_argument("--table", type=Path, help="a CSV file for the rows")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[*MODELS])
    given = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="fedlt-generated-") as made:
        data = given.data or Path(os.environ["FEDLT_DATA"])
        lines = rows_of(data, range(given.seeds), given.models, Path(made))
    write_rows(given.table, lines)
    for text, holds in claims(lines):
        print("PASS" if holds else "FAIL", text)


if __name__ == "__main__":
    main()
