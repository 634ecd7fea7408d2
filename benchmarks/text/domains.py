"""One model for ten domains, beside a model for each: CLINC150's intents, whose domains are clients.

    FEDLT_DATA=/your/data python -m benchmarks.text.domains --table benchmarks/text/domains.csv

Features of a frozen encoder, so that what is compared are the classifiers. *Unmasked* predictions are over all 150
intents, *masked* ones over the 15 of the sample's domain, which the model is told. PASS where one model with the mask
is within half a point of ten models, and more than a point above itself without it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean, stdev

import fedlt
from benchmarks.rows import write_rows

SETTING = (
    "data.tokenizer=null",
    "data.encoder={name: minilm, length: 32}",
    "data.parents=domain",
    "federation.participation=1",
    "model={name: mlp, width: 200, depth: 1}",
    "local={epochs: 2, batch_size: 32, lr: 0.1, momentum: 0.5, optimizer: sgd}",
    "federation.rounds=20",
    "evaluation.every=20",
    "resources.backend=inline",
)
ROWS = {
    "one model": ("strategy=centralized",),
    "one model, trained with the mask": ("strategy=centralized", "learner=sibling_softmax"),
    "ten models": ("strategy=local",),
    "FedAvg": ("strategy=fedavg",),
    "FedAvg, trained with the mask": ("strategy=fedavg", "learner=sibling_softmax"),
}
FIGURES = {"unmasked": "personal/accuracy", "masked": "personal_masked/accuracy"}
TRAINING = {"balanced": "data.longtail=none", "imbalance 20": "data.longtail.imbalance_factor=20"}


def main() -> None:
    """Measure what the command line asks for, print it, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="a CSV file for the rows")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/domains"))
    given = parser.parse_args()

    lines = [
        line(training, row, given.seeds, given.out, tail, *keys)
        for training, tail in TRAINING.items()
        for row, keys in ROWS.items()
    ]
    write_rows(given.table, lines)

    means = {(found["training"], found["row"]): found for found in lines}
    for training in TRAINING:
        one, ten = (float(means[training, row]["masked mean"]) for row in ("one model", "ten models"))
        bare = float(means[training, "one model"]["unmasked mean"])
        verdict = "PASS" if one >= ten - 0.5 and one > bare + 1 else "FAIL"
        print(f"{verdict} {training}: one model {one} masked and {bare} unmasked, ten models {ten}")


def line(training: str, row: str, seeds: int, out: Path, *keys: str) -> dict[str, str]:
    """The row's figures in percent."""
    runs = [fedlt.run("clinc150_domains", *SETTING, *keys, f"seed={seed}", out=out) for seed in range(seeds)]
    found = {"training": training, "row": row, "seeds": str(seeds)}
    for name, figure in FIGURES.items():
        values = [100 * run.final[figure] for run in runs]
        found |= {f"{name} mean": f"{mean(values):.1f}", f"{name} std": f"{stdev(values):.1f}"}
    print(found, flush=True)
    return found


if __name__ == "__main__":
    main()
