"""What a federated round on features of texts costs beside a bare loop over the very same steps.

    FEDLT_DATA=/your/data python -m benchmarks.text.round_cost --csv benchmarks/results/text-rounds.csv

FedAvg on `trec50_lt_pretrained`, all ten clients in each round, inline on one thread. After each round of FedLT's the
bare loop takes its turn in the same process: a plain PyTorch loop for this one task, on features that were
standardised in advance, with PyTorch's SGD, on the same batches. Its weights must be FedLT's at the end, to rounding.
Times are processor time, medians over the rounds of a repeat; a repeat begins anew. PASS where the median ratio of the
repeats is at most 1.2.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import fedlt
from benchmarks import report
from clients.worker import Worker
from fedlt.config.scenario import Scenario, load_scenario
from fedlt.data.federation import Federation, federate
from fedlt.process import seeding

SCENARIO = "trec50_lt_pretrained"
ALL = ("federation.participation=1", "evaluation.clients=1")
LIMIT = 1.2
WARMUP = 2
"""Rounds left out: the first ones allocate."""


class Bare:
    """The bare loop: one model, reset in place for client after client."""

    def __init__(self, scenario: Scenario, federation: Federation) -> None:
        context = Worker(scenario, federation).context
        self.model, self.local, self.seed = context.model, scenario.local, scenario.seed
        self.weights = list(self.model.parameters())
        self.clients = [torch.from_numpy(np.asarray(rows)) for rows in federation.clients]
        inputs = federation.inputs.open(federation.x_train, torch.device("cpu"))
        self.x: Tensor = inputs.take(torch.arange(len(federation.x_train)))
        self.y = torch.from_numpy(federation.y_train)
        self.optimizer = torch.optim.SGD(self.weights, self.local.lr, self.local.momentum, foreach=True)
        self.generic = [weight.detach().clone() for weight in self.weights]

    def round(self, number: int) -> None:
        """Train all clients, and take the mean of their weights by their numbers of samples."""
        sums = [torch.zeros_like(weight) for weight in self.generic]
        total = float(sum(len(rows) for rows in self.clients))
        self.model.train()
        for client, rows in enumerate(self.clients):
            self._train(number, client, rows)
            with torch.no_grad():
                torch._foreach_add_(sums, self.weights, alpha=len(rows) / total)
        self.generic = sums

    def _train(self, number: int, client: int, rows: Tensor) -> None:
        with torch.no_grad():
            torch._foreach_copy_(self.weights, self.generic)
        self.optimizer.state.clear()
        rng = seeding.generator(self.seed, "train", number, client + 1)
        rng.integers(2**62)  # FedLT draws the seed of its augmentation first; the batches are then the same
        for _ in range(self.local.epochs):
            for batch in rows[torch.from_numpy(rng.permutation(len(rows)))].split(self.local.batch_size):
                loss = F.cross_entropy(self.model(self.x[batch]), self.y[batch])
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()


class Turns(fedlt.Callback):
    """Lets the bare loop take its turn after each round. fedlt, bare: processor seconds of each."""

    def __init__(self, bare: Bare) -> None:
        self.bare = bare
        self.taken: dict[str, list[float]] = {"fedlt": [], "bare": []}
        self.began = 0.0

    def on_start(self, run: fedlt.RunState) -> None:
        self.began = time.process_time()

    def on_round(self, run: fedlt.RunState) -> None:
        ended = time.process_time()
        self.bare.round(run.round)
        after = time.process_time()
        self.taken["fedlt"].append(ended - self.began)
        self.taken["bare"].append(after - ended)
        self.began = time.process_time()


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write the file."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--csv", type=Path, help="a CSV file for the repeats, with comment lines on top")
    parser.add_argument("changes", nargs="*", help="overrides of the scenario")
    given = parser.parse_args(arguments)

    torch.set_num_threads(1)
    rows = []
    for repeat in range(given.repeats):
        rows.append(measured(repeat, given.rounds, given.changes))
        print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
        report.write(rows, None, given.csv)

    ratio = statistics.median(row["ratio"] for row in rows)
    print(f"{'PASS' if ratio <= LIMIT else 'FAIL'}: {ratio:.2f} times the bare loop")
    if ratio > LIMIT:
        sys.exit(1)


def measured(repeat: int, rounds: int, changes: list[str]) -> dict[str, Any]:
    """One repeat: milliseconds of a round of each, their ratio, and by how much the final weights differ."""
    words = [*ALL, *changes, f"federation.rounds={rounds}", f"evaluation.every={rounds}"]
    scenario = load_scenario(SCENARIO, words)
    bare = Bare(scenario, federate(scenario))
    turns = Turns(bare)
    with tempfile.TemporaryDirectory(prefix="fedlt-rounds-") as folder:
        run = fedlt.run(SCENARIO, *words, out=folder, backend="inline", callbacks=[turns])
        model, steps = run.model().net, int(run.rounds["steps"].iloc[-1])

    own, other = (statistics.median(turns.taken[name][WARMUP:]) for name in ("fedlt", "bare"))
    apart = max(float((a.detach() - b).abs().max()) for a, b in zip(model.parameters(), bare.generic, strict=True))
    return {
        "repeat": repeat,
        "rounds": rounds - WARMUP,
        "steps a round": steps,
        "fedlt ms": round(1000 * own, 1),
        "bare ms": round(1000 * other, 1),
        "ratio": round(own / other, 3),
        "weights apart": f"{apart:.1e}",
    }


if __name__ == "__main__":
    main()
