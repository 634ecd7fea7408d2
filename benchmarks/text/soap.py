"""Parts of clinical notes: what other departments cost, and what a model trained elsewhere is worth with few notes.

    python -m benchmarks.text.soap --data /your/data --table benchmarks/text/soap.csv

`--data` has `mtsamples.parquet`, or `mtsamples.csv` as `fedlt.data.note_sections` reads it. Labels are weak ones, from
headings that are taken out: figures are of how well they are found again. Source departments are those of medicine, the
target is Orthopedic and Neurology; a fourth of the source's notes and half of the target's are for tests, drawn anew
with each seed. `transfer` goes on from the source's model, `scratch` begins with random weights; both make as many
steps on the same target notes, and standardise by them. The control has no CRF: each sentence is told alone from the
same states (`cross_entropy`). Where `--data` has `text_extra/csa_train.jsonl` and `csa_test.jsonl` (CSAbstruct of
github.com/allenai/sequential_sentence_classification), the two are compared on people's labels as well. Keys are the
same for all, and nothing is chosen on test notes. Ends with the claims, and whether they hold.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import f1_score

import fedlt
from benchmarks.rows import write_rows
from fedlt.data.note_sections import ROLES, Note, arrays, save, usable
from fedlt.results.runs import Run

SEEDS = (0, 1, 2)
SIZES = (5, 10, 20, 60)
TARGET = ("Orthopedic", "Neurology")
SOURCE = (
    "General Medicine", "Cardiovascular / Pulmonary", "Gastroenterology", "Urology", "Pediatrics - Neonatal",
)  # fmt: skip
STEPS = {"source": 400, "target": 150, "abstracts": 1000}


def notes(data: Path) -> list[Note]:
    """All notes that have parts, each once."""
    if (data / "mtsamples.parquet").exists():
        table = pd.read_parquet(data / "mtsamples.parquet")
        table = table[table.keep_dedup]
        return list(usable(zip(table.transcription, table.label, strict=True)))
    table = pd.read_csv(data / "mtsamples.csv").dropna(subset=["transcription"]).drop_duplicates("transcription")
    return list(usable(zip(table.transcription, table.medical_specialty.str.strip(), strict=True)))


def abstracts(data: Path) -> tuple[list[str], list[Note], list[Note]]:
    """CSAbstruct: names of the parts, and abstracts for training and test. Empty lists where the files are missing."""
    if not (data / "text_extra" / "csa_train.jsonl").exists():
        return [], [], []
    read = []
    for split in ("train", "test"):
        lines = (data / "text_extra" / f"csa_{split}.jsonl").read_text(encoding="utf-8").splitlines()
        read.append([json.loads(line) for line in lines])
    names = sorted({label for row in read[0] for label in row["labels"]})
    parts: list[list[Note]] = [
        [([(s, names.index(y)) for s, y in zip(row["sentences"], row["labels"], strict=True)], "any") for row in rows]
        for rows in read
    ]
    return names, parts[0], parts[1]


def train(
    train: Sequence[Note],
    test: Sequence[Note],
    learner: str,
    seed: int,
    folder: Path,
    begun: Run | None = None,
    names: Sequence[str] = ROLES,
) -> Run:
    """The run of one site on these notes. begun: the run whose weights it begins with; None: random ones. names: of
    the parts.
    """
    path = folder / f"notes{len(list(folder.glob('notes*')))}.npz"
    save(path, train, test, names)
    kind = "abstracts" if names is not ROLES else "source" if len(train) > 100 else "target"
    steps = STEPS[kind]
    content: dict[str, Any] = {
        "data": {"name": str(path), "targets": "tags", "group_columns": ["department"]},
        "federation": {"clients": 2, "participation": 1.0, "rounds": 1, "partition": "iid"},
        "local": {
            "batch_size": 8, "optimizer": "adam", "lr": 0.003, "clip": 1.0,
            "epochs": max(1, round(steps / -(-len(train) // 8))),
        },
        "model": {"name": "bilstm_tagger", "hidden": 32},
        "learner": learner,
        "strategy": "centralized",
        "resources": {"backend": "inline"},
        "seed": seed,
    }  # fmt: skip
    if begun is not None:
        content["init_from"] = str(begun.folder)
    return fedlt.run(content, out=folder / "runs")


def scores(run: Run, test: Sequence[Note]) -> dict[str, float]:
    """Accuracy and macro-F1 over the sentences of other notes."""
    held = arrays(test, "test")
    mask = np.asarray(held["mask_test"])
    found = run.model().predict(held["x_test"], mask=mask, names=False)
    true, said = np.asarray(held["y_test"])[mask], found[:, : mask.shape[1]][mask]
    return {
        "accuracy": float((true == said).mean()),
        "macro_f1": float(f1_score(true, said, average="macro", labels=np.unique(true))),
    }


def measured(every: list[Note], seed: int, folder: Path) -> Iterator[tuple[str, str, int, dict[str, float]]]:
    """Learner, row, target notes and figures."""
    rng = np.random.default_rng(seed)
    source = [every[place] for place in rng.permutation(len(every)) if every[place][1] in SOURCE]
    target = [every[place] for place in rng.permutation(len(every)) if every[place][1] in TARGET]
    cut, half = len(source) // 4, len(target) // 2
    while len({part for found, _ in target[half : half + SIZES[0]] for _, part in found}) < len(ROLES):
        target[half:] = [target[place] for place in half + rng.permutation(len(target) - half)]
    for learner in ("crf", "cross_entropy"):
        longest = max(source + target, key=lambda note: len(note[0]))  # all runs have the length of one model
        pad = [(longest[0], longest[1])]
        begun = train(source[cut:], source[:cut] + pad, learner, seed, folder)
        yield learner, "source, same departments", 0, scores(begun, source[:cut])
        yield learner, "source, other departments", 0, scores(begun, target[:half])
        for size in SIZES:
            few = target[half : half + size]
            for row, start in (("transfer", begun), ("scratch", None)):
                run = train(few, target[:half] + pad, learner, seed, folder, start)
                yield learner, row, size, scores(run, target[:half])


def claims(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[str, bool]]:
    """What the table is to bear out, and whether it does."""
    found = {(row["learner"], row["row"], int(row["notes"])): 100 * float(row["accuracy"]) for row in rows}
    for learner in ("crf", "cross_entropy"):
        same, other = (found[learner, f"source, {where} departments", 0] for where in ("same", "other"))
        yield f"{learner}: other departments cost accuracy ({same:.1f}, {other:.1f})", other < same

    sizes = sorted({size for _, row, size in found if row == "transfer"})
    gains = {size: found["crf", "transfer", size] - found["crf", "scratch", size] for size in sizes}
    for size in (5, 10):
        yield f"crf: with {size} notes transfer gains 10 points or more ({gains[size]:.1f})", gains[size] >= 10
    told = ", ".join(f"{size}: {gain:.1f}" for size, gain in gains.items())
    yield f"crf: the gain closes with more notes ({told})", gains[sizes[-1]] < gains[5] / 2
    for row in ("source, same departments", "abstracts"):
        if ("crf", row, 0) in found:
            with_crf, without = (found[one, row, 0] for one in ("crf", "cross_entropy"))
            yield f"{row}: the CRF gains ({with_crf:.1f}, {without:.1f})", with_crf > without


def main() -> None:
    """Measure what the command line asks for, print it, and write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the notes")
    parser.add_argument("--table", type=Path, help="CSV file to write")
    given = parser.parse_args()

    torch.set_num_threads(1)
    start, every, labelled = time.process_time(), notes(given.data), abstracts(given.data)
    held: dict[tuple[str, str, int], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="fedlt-soap-") as made:
        for seed in SEEDS:
            for learner, row, size, found in measured(every, seed, Path(made)):
                held.setdefault((learner, row, size), []).append(found)
                print(seed, learner, row, size, found, flush=True)
            for learner in ("crf", "cross_entropy") if labelled[1] else ():
                run = train(labelled[1], labelled[2], learner, seed, Path(made), names=labelled[0])
                found = scores(run, labelled[2])
                held.setdefault((learner, "abstracts", 0), []).append(found)
                print(seed, learner, "abstracts", found, flush=True)

    rows: list[dict[str, Any]] = []
    for (learner, row, size), each in held.items():
        rows.append({"learner": learner, "row": row, "notes": size, "seeds": len(each)})
        for figure in ("accuracy", "macro_f1"):
            values = [one[figure] for one in each]
            rows[-1] |= {figure: f"{statistics.mean(values):.3f}", f"{figure}_std": f"{statistics.stdev(values):.3f}"}
    write_rows(given.table, rows)
    print(f"{time.process_time() - start:.0f} s of processor time")
    for text, holds in claims(rows):
        print("pass" if holds else "fail", text)


if __name__ == "__main__":
    main()
