r"""Count models on natural long tails: SS3 and naive Bayes, at one site, over ten clients, and at each client alone.

    python -m benchmarks.text.counts --data /your/data \
        --table benchmarks/text/counts.csv --early benchmarks/text/early.csv

`--data` has the files that `benchmarks.text.corpora` names. All are split into words and signs in lower case, hashed to
32,768 numbers, and read to their 512th. Rows `chosen` have the keys that are best by macro-F1 on a fifth of each
class's training samples, which the table then trains on as well. Clients are drawn by Dirichlet(0.5), anew with each
seed; what is personal is a mean over clients, then mean and standard deviation over seeds. The second table is of early
decisions. Ends with the claims that the tables are to bear out, and whether they do.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import Tensor

import fedlt
from benchmarks.rows import write_rows
from benchmarks.text.corpora import write
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.measures.early import erde, first_alarm
from fedlt.nn.text.naive_bayes import NaiveBayes
from fedlt.nn.text.ss3 import SS3
from fedlt.nn.text.word_counts import CountModel, WordCounts

CORPORA = ("trec50", "r8", "r52", "ohsumed")
ALARMS = ("grain", "movie_reviews")
SEEDS = (0, 1, 2)
RULES: dict[str, CountModel] = {
    "ss3": SS3(),
    "ss3 .32/1.24/1.1": SS3(smoothness=0.32, significance=1.24, sanction=1.1),
    "ss3 undivided": SS3(formula="undivided"),
    "ss3 of the paper": SS3(formula="paper"),
    "multinomial": NaiveBayes(),
    "complement": NaiveBayes(kind="complement"),
}
GRIDS: dict[str, list[CountModel]] = {
    "ss3 chosen": [SS3(*keys) for keys in product((0.32, 0.45, 0.6), (0.5, 1.24, 2.0), (0.5, 1.0, 2.0))],
    "multinomial chosen": [NaiveBayes(smoothing=a) for a in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)],
    "complement chosen": [NaiveBayes("complement", a) for a in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)],
}
FIGURES = {"accuracy": "accuracy", "macro_f1": "macro_f1", "head": "many", "medium": "medium", "tail": "few"}


@dataclass(frozen=True)
class Split:
    """Token ids [N, L], below 0 where a text has ended, and classes [N], of training and test set."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    vocabulary: int

    def counted(self, rule: CountModel) -> WordCounts:
        """All training samples under a rule."""
        found = WordCounts(rule, self.vocabulary, int(self.y.max()) + 1)
        found.add(self.x, self.y)
        return found

    def held_out(self) -> Split:
        """A fifth of each class's training samples in place of the test set; a class of four or less stays whole."""
        rng, taken = np.random.default_rng(0), np.zeros(len(self.y), bool)
        for label in self.y.unique():
            rows = np.flatnonzero((self.y == label).numpy())
            taken[rng.permutation(rows)[: len(rows) // 5]] = True
        rows = torch.from_numpy(taken)
        return Split(self.x[~rows], self.y[~rows], self.x[rows], self.y[rows], self.vocabulary)


def scenario(folder: Path) -> dict[str, Any]:
    """One round of ten clients, which are drawn anew with each seed. A tail class has at most 20 training samples."""
    return {
        "data": {"name": str(folder), "tokenizer": {"name": "hashing", "length": 512}},
        "federation": {
            "clients": 10,
            "participation": 1.0,
            "rounds": 1,
            "partition": {"name": "dirichlet_per_class", "alpha": 0.5},
            "empty": "redraw",
        },
        # Counts of words add up exactly, so one round is enough.
        "model": "ss3",
        "learner": "counting",
        "strategy": "exact_sum",
        "evaluation": {"groups": {"many": 200, "few": 21}},
        "resources": {"backend": "inline"},
    }


def split_of(content: dict[str, Any]) -> Split:
    """The scenario's samples."""
    found = federate(load_scenario(content))
    parts = (found.x_train, found.y_train, found.x_test, found.y_test)
    tensors = [torch.from_numpy(np.array(part, np.int64)) for part in parts]
    return Split(*tensors, found.inputs.vocabulary)  # type: ignore[attr-defined]


def chosen(rules: list[CountModel], split: Split) -> CountModel:
    """The rule with the best macro-F1 on what is held out of the training samples; the first of equal ones."""
    part = split.held_out()
    table = part.counted(rules[0])

    def score(rule: CountModel) -> float:
        table.rule = rule
        predicted = torch.cat([table(x, x >= 0).argmax(1) for x in part.x_test.split(512)])
        return float(f1_score(part.y_test, predicted, average="macro", zero_division=0))

    return max(rules, key=score)


def keys_of(rule: CountModel) -> dict[str, Any]:
    """The rule as a scenario has it."""
    if isinstance(rule, SS3):
        names: tuple[str, ...] = ("smoothness", "significance", "sanction", "formula")
        return {"name": "ss3", **{name: getattr(rule, name) for name in names}}
    assert isinstance(rule, NaiveBayes)
    return {"name": "naive_bayes", "kind": rule.kind, "smoothing": rule.smoothing}


def rows_of(corpus: str, folder: Path) -> Iterator[dict[str, Any]]:
    """A row of the table for each model."""
    content = scenario(folder / corpus)
    split = split_of(content)
    rules = RULES | {name: chosen(grid, split) for name, grid in GRIDS.items()}

    for name, rule in rules.items():
        content["model"] = keys_of(rule)
        central = fedlt.run(content, "strategy=centralized", out=folder / "runs")
        runs = {
            strategy: [
                fedlt.run(content, f"strategy={strategy}", f"seed={seed}", out=folder / "runs") for seed in SEEDS
            ]
            for strategy in ("exact_sum", "local")
        }
        generic = [run.confusion[run.confusion.model == "generic"].reset_index(drop=True) for run in runs["exact_sum"]]
        whole = central.confusion[central.confusion.model == "generic"].reset_index(drop=True)
        keys = ", ".join(f"{key} {value}" for key, value in content["model"].items() if key != "name")
        row = {"corpus": corpus, "model": name, "keys": keys}
        row |= {title: f"{central.final[f'generic/{figure}']:.3f}" for title, figure in FIGURES.items()}
        for strategy, each in runs.items():
            found = [run.final["personal_masked/accuracy"] for run in each]
            row[f"personal_masked_{strategy}"] = f"{statistics.mean(found):.3f} ± {statistics.stdev(found):.3f}"
        row["federated_is_central"] = str(all(one.equals(whole) for one in generic)).lower()
        print("  ".join(str(value) for value in row.values()), flush=True)
        yield row


def early_rows(corpus: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Costs of deciding early, and of reading all, for each model."""
    split = split_of(scenario(folder / corpus))  # classes are sorted by name, and the second one is the alarm
    lengths, positive = (split.x_test >= 0).sum(1), split.y_test == 1
    price = float((split.y == 1).double().mean())
    for name, rule in RULES.items():
        table = split.counted(rule)
        parts = [table.running(x, x >= 0) for x in split.x_test.split(128)]
        called, read = first_alarm(torch.cat(parts), lengths)
        at_end = torch.cat([part[:, -1] for part in parts]).argmax(1) == 1
        row = {"corpus": corpus, "model": name, "false_alarm_cost": f"{price:.3f}"}
        for late in (5, 50):
            row[f"erde_{late}_early"] = f"{erde(called, positive, read, late, price):.3f}"
            row[f"erde_{late}_all"] = f"{erde(at_end, positive, lengths, late, price):.3f}"
        row |= {"f1_early": f"{f1_score(positive, called):.3f}", "f1_all": f"{f1_score(positive, at_end):.3f}"}
        row["words_read"] = f"{float(read.double().mean()):.0f} of {float(lengths.double().mean()):.0f}"
        print("  ".join(row.values()), flush=True)
        yield row


def claims(rows: list[dict[str, Any]], early: list[dict[str, Any]]) -> Iterator[tuple[str, bool]]:
    """What the tables are to bear out, and whether they do."""
    tails = {row["model"]: float(row["tail"]) for row in rows if row["corpus"] == "trec50"}
    if tails:
        found = f"SS3 {tails['ss3']:.3f}, multinomial {tails['multinomial']:.3f}"
        holds = tails["ss3"] >= 0.5 and tails["multinomial"] == 0
        yield (
            f"TREC-50: SS3 at its defaults has a tail of .5 or more where multinomial naive Bayes has 0 ({found})",
            holds,
        )

    same = [row["federated_is_central"] == "true" for row in rows]
    yield f"ten clients predict as one site does ({sum(same)} of {len(same)} rows, {len(SEEDS)} seeds each)", all(same)

    for row in (row for row in early if row["model"] == "ss3"):
        for late in (5, 50):
            pair = row[f"erde_{late}_early"], row[f"erde_{late}_all"]
            holds = float(pair[0]) < float(pair[1])
            yield (
                f"{row['corpus']}: SS3's ERDE_{late} is smaller early ({pair[0]}) than after all words ({pair[1]})",
                holds,
            )


def main() -> None:
    """Measure what the command line asks for, print it, and write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the text sets")
    parser.add_argument("--corpora", nargs="+", default=CORPORA, choices=CORPORA)
    parser.add_argument("--table", type=Path, help="CSV file to write")
    parser.add_argument("--early", type=Path, help="CSV file of early decisions to write")
    given = parser.parse_args()

    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    early: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="fedlt-counts-") as made:
        folder = Path(made)
        for corpus in given.corpora:
            write(corpus, given.data, folder)
            rows += rows_of(corpus, folder)
        for corpus in ALARMS:
            write(corpus, given.data, folder)
            early += early_rows(corpus, folder)
    write_rows(given.table, rows)
    write_rows(given.early, early)

    for text, holds in claims(rows, early):
        print("pass" if holds else "fail", text)


if __name__ == "__main__":
    main()
