"""Every strategy and every learner on texts: it trains otherwise than FedAvg does, or a sentence says why not.

    python -m benchmarks.text.every_method --table benchmarks/text/every_method.csv

All that `fedlt ls strategies` and `fedlt ls learners` list, Flower's strategies included, on the embedded requests with
a model of a few numbers a word: two rounds of two clients each, some ten seconds together. FAIL where a method crashes,
or leaves FedAvg's figures and model, as one would that does nothing of its own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import fedlt
from benchmarks.rows import write_rows
from fedlt.config import catalog
from fedlt.errors import ScenarioError

FEW = (
    "data.tokenizer={name: hashing, buckets: 256, length: 16}",
    "data.longtail={profile: exponential, imbalance_factor: 10, largest: 12}",
    "federation={clients: 2, participation: 1.0, rounds: 2, partition: {name: iid}}",
    "local={epochs: 1, batch_size: 12, optimizer: sgd, lr: 0.1}",
    "model={name: hash_bag, width: 8, hidden: 16, depth: 1}",
    "evaluation.every=2",
)
"""Two clients with some thirty of the embedded requests each."""

CONTEXT = "model={name: transformer, width: 8, heads: 2, depth: 1}"
TREE = "data.parents=[a, a, a, b, b, b, c, c, c, d, d, d]"
FURTHER = {
    "counting": ("strategy=exact_sum", "model=ss3"),
    "crt": ("learner.classifier_share=0.5",),
    "exact_sum": ("learner=counting", "model=ss3"),
    "fedbn": (CONTEXT,),
    "fedrela": ("strategy.start=0.5",),
    "h2t": ("learner.classifier_share=0.5",),
    "joined_clauses": ("learner=tsetlin", "model=clauses"),
    "lws": ("learner.scale_share=0.5",),
    "pseudo_labels": ("data.unlabelled.hidden=0.5",),
    "self_pretraining": (CONTEXT,),
    "tsetlin": ("strategy=joined_clauses", "model=clauses"),
    "word_pretraining": (CONTEXT,),
    "flower:Bulyan": ("federation.clients=3",),
    "flower:DifferentialPrivacyServerSideAdaptiveClipping": ("strategy.noise_multiplier=0.1",),
    "flower:DifferentialPrivacyServerSideFixedClipping": (
        "strategy.noise_multiplier=0.1",
        "strategy.clipping_norm=1",
    ),
    **dict.fromkeys(("fedhoo", "fedwolf"), ("data.validation.per_class=2",)),
    **dict.fromkeys(("fedic", "ratio_loss"), ("data.auxiliary=2",)),
    **dict.fromkeys(("label_tree", "sibling_softmax"), (TREE,)),
}
"""What a method needs beside that: data of its own, a model of a certain kind, a second stage within two rounds."""

ALIKE = {"fedavg", "cross_entropy", "flower:FedAvg", "flower:FedAvgM"}
"""FedAvg by its names; Flower's FedAvgM has no momentum unless told."""

METHODS = [
    *(("strategy", name) for name in (*catalog.names("strategy"), *catalog.flower_names())),
    *(("learner", name) for name in catalog.names("learner")),
]


def results(out: Path, *changes: str) -> dict[str, str]:
    """Figures as texts, since those not defined equal nothing, and a hash of the model: of a run on few texts."""
    run = fedlt.run("text_lt", *FEW, *changes, out=out, backend="inline")
    return {**{name: repr(value) for name, value in run.final.items()}, "model": run.summary["model_hash"]}


def outcome(out: Path, kind: str, name: str, plain: dict[str, str]) -> str:
    """`trains`, `refused: ` and the sentence, or `FAIL: ` and what went wrong. plain: FedAvg's results."""
    try:
        found = results(out, f"{kind}={name}", *FURTHER.get(name, ()))
    except ScenarioError as error:
        return f"refused: {error.problems[0]}"
    except Exception as error:
        return f"FAIL: {type(error).__name__}: {error}"
    return "trains" if name in ALIKE or found != plain else "FAIL: as FedAvg"


def main(arguments: Sequence[str] | None = None) -> None:
    """Try all methods, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="a CSV file for the rows")
    given = parser.parse_args(arguments)

    with tempfile.TemporaryDirectory(prefix="fedlt-every-") as folder:
        plain = results(Path(folder))
        rows = [
            {"kind": kind, "name": name, "outcome": outcome(Path(folder), kind, name, plain)} for kind, name in METHODS
        ]
    write_rows(given.table, rows)

    for row in rows:
        print(f"{row['kind']:9} {row['name']:24} {row['outcome']}")
    failed = [row["name"] for row in rows if row["outcome"].startswith("FAIL")]
    print(f"FAIL: {', '.join(failed)}" if failed else f"PASS: {len(rows)} methods")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
