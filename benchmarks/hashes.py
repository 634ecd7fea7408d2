"""Model hashes of every built-in strategy and learner, to hold a change of the source against.

    python -m benchmarks.hashes            # compare with benchmarks/results/hashes.json; exits with 1 where one differs
    python -m benchmarks.hashes --write    # record them anew, where a change is meant

Three rounds each on handwritten digits, under a perceptron and a network with batch normalisation; learners at one site
and inside FedAvg. A minute of a core. What does not fit together is recorded with the reason. The last bits of float32
sums differ between processors, so a record is of the machine that wrote it: write one before the change.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fedlt
from fedlt.config import catalog
from fedlt.errors import FedLTError

TABLE = Path(__file__).parent / "results" / "hashes.json"
SCENARIO: dict[str, Any] = {
    "data": {"name": "digits", "longtail": {"profile": "exponential", "imbalance_factor": 10, "largest": 60}},
    "federation": {
        "clients": 6,
        "participation": 0.5,
        "rounds": 3,
        "partition": {"name": "dirichlet_per_class", "alpha": 0.5},
        "empty": "redraw",
    },
    "local": {"epochs": 1, "batch_size": 16, "lr": 0.05, "momentum": 0.5},
    "evaluation": {"every": 3},
}
MODELS = ("{name: mlp, width: 16, depth: 2}", "{name: resnet8, stem_stride: 4}")
NEEDS = {
    "creff": ["strategy.features=2"],
    "fedhoo": ["data.validation.per_class=2"],
    "fedic": ["data.auxiliary=2"],
    "fedwolf": ["data.validation.per_class=2"],
    "pseudo_labels": ["data.unlabelled.hidden=0.5"],
    "sibling_softmax": ["data.parents=[a, a, b, b, c, c, d, d, e, e]"],
    "label_tree": ["data.parents=[a, a, b, b, c, c, d, d, e, e]"],
    "ratio_loss": ["data.auxiliary=2"],
}
"""Further overrides: the first saves time, the others are what the method asks for."""


def combinations() -> Iterator[list[str]]:
    """Overrides of each run."""
    for model in MODELS:
        for strategy in catalog.names("strategy"):
            yield [f"model={model}", f"strategy={strategy}", *NEEDS.get(strategy, [])]
        for learner in catalog.names("learner"):
            for host in ("centralized", "fedavg"):
                yield [f"model={model}", f"strategy={host}", f"learner={learner}", *NEEDS.get(learner, [])]


def model_hash(overrides: list[str], out: str) -> str:
    """Of the run's final models, or why there are none."""
    try:
        return str(fedlt.run(SCENARIO, *overrides, out=out, backend="inline").summary["model_hash"])
    except FedLTError as error:
        return f"refused: {str(error).splitlines()[-1].strip()}"


def main() -> None:
    """Measure what the command line asks for, print it, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record the hashes in place of comparing them")
    given = parser.parse_args()

    with TemporaryDirectory() as out:
        found = {" ".join(overrides): model_hash(overrides, out) for overrides in combinations()}

    if given.write:
        TABLE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"{len(found)} hashes in {TABLE}")
        return

    held = json.loads(TABLE.read_text(encoding="utf-8"))
    differing = [name for name in found.keys() | held.keys() if found.get(name) != held.get(name)]
    for name in sorted(differing):
        print(f"{name}: {held.get(name)} is now {found.get(name)}")
    print(f"{len(found) - len(differing)} of {len(found)} are as they were")
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
