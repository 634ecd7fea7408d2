"""Few labels: one small open encoder by its labels' descriptions, frozen, and tuned by LoRA, also over ten clients.

    pip install -e '.[adapters,texts]'
    FEDLT_DATA=/your/data python -m benchmarks.text.few_labels --table benchmarks/text/few_labels.csv

TREC's questions by six kinds, MiniLM-L6 (22.7 million parameters). `zero-shot` takes the kind whose description lies
nearest; `frozen` is logistic regression on its features, its strength by cross-validation on the labels at hand; `lora`
trains changes of rank 8 of queries and values, and a head. Labels are drawn anew with each seed, one of each kind at
least, and the smaller budgets are parts of the larger ones. `federated lora` deals 600 labels to ten clients by
Dirichlet's 0.5: what travels are the changes and the head. One rate and numbers of passes that were set before any
result was seen: nothing is chosen on the test set of 500 questions.

Setting and thresholds after Carammia, Iacus, Porro: Rethinking Scale: The Efficacy of Fine-Tuned Open-Source LLMs in
Large-Scale Reproducible Social Science Research. arXiv 2411.00890: a small model that is tuned on a few hundred labels
is ahead of larger ones that are only asked.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fedlt
from benchmarks.rows import write_rows
from fedlt.data.encoding import features_of
from fedlt.data.inputs.texts import tokens_of
from fedlt.encoders.minilm import MiniLM
from fedlt.results.label_vote import Described
from fedlt.tokenizers.pretrained import Pretrained

BUDGETS = {30: 20, 120: 10, 600: 5}  # labels, and LoRA's passes over them
CLIENTS, ROUNDS = 10, 6  # of the federated rows, each a pass over a client's labels
LENGTH = 48  # tokens of a question; none is longer
RATE = 2e-3  # of AdamW, at one site
FEDERATED_RATE = 1e-2  # the best of those that benchmarks.adapters tries, on other texts

DESCRIPTIONS = {
    "ABBR": "abbreviation: an abbreviation, or the expression that is abbreviated",
    "DESC": "description of an abstract concept: the definition of something, the manner of an action, a reason",
    "ENTY": "entity: an animal, a product, a food, a plant, a disease, a sport, an invention, a creative work, a term",
    "HUM": "human being: an individual, a group or an organization of persons, the title of a person",
    "LOC": "location: a city, a country, a mountain, a state, a place",
    "NUM": "numeric value: a count, a date, a distance, a price, a period of time, a percentage, a size, a weight",
}
"""After the taxonomy of Li, Roth: Learning Question Classifiers. COLING 2002."""

Question = dict[str, str]


def questions(folder: Path) -> dict[str, list[Question]]:
    """Text and label of TREC's two splits."""
    found = {}
    for split in ("train", "test"):
        rows = map(json.loads, (folder / "trec" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines())
        found[split] = [{"text": row["text"], "label": row["coarse_label"]} for row in rows]
    return found


def drawn(rows: Sequence[Question], seed: int) -> list[int]:
    """As many rows as the largest budget, one of each kind first."""
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    first = {}
    for row in order:
        first.setdefault(rows[row]["label"], row)
    begin = list(first.values())
    return (begin + [row for row in order if row not in set(begin)])[: max(BUDGETS)]


def encoded(texts: Sequence[str]) -> NDArray[Any]:
    """[N, 384] features of MiniLM, each of length 1."""
    ids, mask, *_ = tokens_of(Pretrained(entry=str(folder_of_minilm()), length=LENGTH), texts)
    return features_of("minilm", {"length": LENGTH}, np.where(mask, ids, -1)).astype(np.float32)


def folder_of_minilm() -> Path:
    """Where the installed weights of MiniLM lie."""
    return MiniLM().weights()[0].parent


def scenario(data: Path, clients: int, rounds: int, seed: int, rate: float, **adapter: Any) -> dict[str, Any]:
    """LoRA on the labels of a folder: at one site, or over clients."""
    encoder = f"transformers:{folder_of_minilm()}"
    return {
        "data": {"name": str(data), "tokenizer": {"name": encoder, "length": LENGTH}},
        # One client holds all labels; more of them share them out by a Dirichlet draw for each class.
        "federation": {
            "clients": clients,
            "participation": 1.0,
            "rounds": rounds,
            "empty": "redraw",
            "partition": {"name": "dirichlet_per_class", "alpha": 0.5},
        },
        "local": {
            "epochs": 1,
            "batch_size": 16,
            "batches": "bucketed",
            "optimizer": "adamw",
            "lr": rate,
            "schedule": "cosine",
        },
        # LoRA on the pretrained encoder.
        "model": {
            "name": encoder,
            "weights": "DEFAULT",
            "adapter": {"name": "lora", "rank": 8, "alpha": 16, "layers": ["*query", "*value"], **adapter},
        },
        "strategy": "centralized" if clients == 1 else "fedavg",
        "evaluation": {"every": rounds},
        "resources": {"backend": "inline"},
        "seed": seed,
    }


def written(rows: Mapping[str, Sequence[Question]], place: Path) -> Path:
    """A folder of the two splits."""
    place.mkdir(parents=True)
    for split, held in rows.items():
        lines = "\n".join(json.dumps(row) for row in held)
        (place / f"{split}.jsonl").write_text(lines + "\n", encoding="utf-8")
    return place


def frozen(x: NDArray[Any], y: NDArray[Any], x_test: NDArray[Any], y_test: NDArray[Any]) -> float:
    """Accuracy of logistic regression.

    Its strength is the best of three by cross-validation; 10 where a kind has one label, which no fold could hold out.
    """
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

    folds = min(5, np.unique(y, return_counts=True)[1].min())
    made = (
        LogisticRegressionCV(
            Cs=[1, 10, 100],
            cv=int(folds),
            scoring="accuracy",
            max_iter=2000,
            l1_ratios=(0,),
            use_legacy_attributes=False,
        )
        if folds > 1
        else LogisticRegression(C=10, max_iter=2000)
    )
    return float(made.fit(x, y).score(x_test, y_test))


def rows_of(data: Path, seeds: Sequence[int], place: Path) -> list[dict[str, str]]:
    """The table's lines. place: an empty folder for label budgets and runs."""
    found = questions(data)
    kinds = sorted(DESCRIPTIONS)
    y, y_test = (np.array([kinds.index(row["label"]) for row in found[split]]) for split in ("train", "test"))
    chosen = {seed: drawn(found["train"], seed) for seed in seeds}
    x_test = encoded([row["text"] for row in found["test"]])

    told = np.array(Described(DESCRIPTIONS)([row["text"] for row in found["test"]]))
    lines = [line("zero-shot", 0, [float((told == np.array(kinds)[y_test]).mean())])]

    features = {seed: encoded([found["train"][row]["text"] for row in rows]) for seed, rows in chosen.items()}
    for budget in BUDGETS:
        scores = [frozen(features[seed][:budget], y[chosen[seed][:budget]], x_test, y_test) for seed in seeds]
        lines.append(line("frozen", budget, scores))

    folders = {
        (budget, seed): written(found | {"train": [found["train"][row] for row in chosen[seed][:budget]]}, part)
        for budget in BUDGETS
        for seed in seeds
        for part in [place / f"{budget}-{seed}"]
    }
    for budget, passes in BUDGETS.items():
        runs = [ran(scenario(folders[budget, seed], 1, passes, seed, RATE), place / "runs") for seed in seeds]
        lines.append(line("lora", budget, [run.final["generic/accuracy"] for run in runs]))

    for name, keys in {"federated lora": {}, "federated lora, freeze_a": {"freeze_a": True}}.items():
        budget = max(BUDGETS)
        each = [scenario(folders[budget, seed], CLIENTS, ROUNDS, seed, FEDERATED_RATE, **keys) for seed in seeds]
        runs = [ran(made, place / "runs") for made in each]
        sent = mean(float(run.rounds["bytes_up"].mean()) for run in runs) / CLIENTS / 1e6
        lines.append(line(name, budget, [run.final["generic/accuracy"] for run in runs], sent))
    return lines


def ran(made: dict[str, Any], out: Path) -> fedlt.Run:
    """The run of a scenario, finished."""
    return fedlt.run(made, out=out)


def line(name: str, labels: int, scores: Sequence[float], sent: float | None = None) -> dict[str, str]:
    """A line of the table. scores: test accuracies, one a seed. sent: megabytes that a client sends in a round."""
    found = {"method": name, "labels": str(labels), "accuracy mean": f"{100 * mean(scores):.1f}"}
    found["accuracy std"] = f"{100 * stdev(scores):.1f}" if len(scores) > 1 else ""
    found["MB a client and round"] = "" if sent is None else f"{sent:.2f}"
    print(found, flush=True)
    return found


def claims(lines: Sequence[Mapping[str, str]]) -> list[tuple[str, bool]]:
    """What the table is to bear out, with its figures, and whether it does."""
    found = {(row["method"], int(row["labels"])): float(row["accuracy mean"]) for row in lines}
    most = max(BUDGETS)
    zero, lora, rest = found["zero-shot", 0], found["lora", most], found["frozen", most]
    return [
        (f"zero-shot {zero} is at most 55", zero <= 55),
        (f"LoRA with {most} labels {lora} is at least 90", lora >= 90),
        (f"LoRA with {most} labels {lora} is at least 5 points above the frozen encoder {rest}", lora >= rest + 5),
    ]


def main() -> None:
    """Measure what the command line asks for, print it, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with trec/train.jsonl and test.jsonl; $FEDLT_DATA")
    parser.add_argument("--table", type=Path, help="a CSV file for the rows")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="fedlt-few-labels-") as made:
        lines = rows_of(given.data or Path(os.environ["FEDLT_DATA"]), range(given.seeds), Path(made))
    write_rows(given.table, lines)
    for text, holds in claims(lines):
        print("PASS" if holds else "FAIL", text)


if __name__ == "__main__":
    main()
