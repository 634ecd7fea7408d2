"""Why FedLoGe's personal models lose on TREC's test questions: many of them are of kinds that a client hardly knows.

    FEDLT_DATA=/your/data python -m benchmarks.text.study run trec50_lt_pretrained --seeds 0-4
    FEDLT_DATA=/your/data python -m benchmarks.text.local_mix runs/text --table benchmarks/text/local_mix.csv

Reads the runs of the study and trains nothing. *tested* is the masked personal accuracy on the clients' own test
questions, which hold at least one of each kind that the client has; *mix* the same with each kind's recall weighted by
its share of the client's training questions. Recalls are on all test questions of a kind, by how many training
questions of it the client has; so are the two shares, of training and of local test questions, and the norms of the
personal head's rows.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import write_rows
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import Federation, federate
from fedlt.results.runs import Run, load_runs

KNOWN = ((1, 2), (3, 9), (10, 29), (30, None))
"""Training questions of a kind at a client, from and to."""
VARIANTS = {"fedavg": ("",), "fedrod": ("",), "fedloge": ("", "phi", "psi", "phi_psi")}


def main() -> None:
    """Measure what the command line asks for, print it, and write the files."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="the folder of the study's runs")
    parser.add_argument("--scenario", default="trec50_lt_pretrained")
    parser.add_argument("--table", type=Path, help="a CSV file for the rows")
    given = parser.parse_args()

    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    federations: dict[int, Federation] = {}
    for run in load_runs(given.runs / f"{given.scenario}-*"):
        seed = run.summary["seed"]
        if run.summary["strategy"] not in VARIANTS or run.scenario["data"].get("validation"):
            continue
        if seed not in federations:
            federations[seed] = federate(load_scenario(run.scenario))
        for row, column, value in figures(run, federations[seed]):
            found[row][column].append(value)

    columns = ["tested", "mix", *(band(low, high) for low, high in KNOWN)]
    rows = [
        {"row": row, **{column: told(values.get(column, [])) for column in columns}} for row, values in found.items()
    ]
    write_rows(given.table, rows)
    for each in rows:
        print(" | ".join(each.values()))


def figures(run: Run, federation: Federation) -> Iterator[tuple[str, str, float]]:
    """Row of the table, column and value: those of one run. A share, an accuracy or a recall is in %."""
    counts = federation.train_targets.table(federation.clients)
    y = federation.test_targets.values
    tested = np.bincount(y, minlength=federation.num_classes) > 0
    places = [within(counts, low, high) & tested for low, high in KNOWN]
    local = np.stack([np.bincount(y[rows], minlength=len(tested)) for rows in federation.tests])

    if run.summary["strategy"] == "fedavg":
        for name, held in (("share of the training questions", counts * tested), ("share of the local tests", local)):
            for (low, high), place in zip(KNOWN, places, strict=True):
                yield name, band(low, high), 100 * float(np.mean((held * place).sum(1) / held.sum(1)))

    for variant in VARIANTS[run.summary["strategy"]]:
        row = f"{run.summary['strategy']}{f'[{variant}]' if variant else ''}"
        recalls, on_tests = zip(
            *(recall(run, federation, client, variant) for client in range(len(counts))), strict=True
        )
        weights = counts * tested
        yield row, "tested", 100 * mean(on_tests)
        yield row, "mix", 100 * float(np.mean((weights * np.stack(recalls)).sum(1) / weights.sum(1)))
        for (low, high), place in zip(KNOWN, places, strict=True):
            each = [values[here].mean() for values, here in zip(recalls, place, strict=True) if here.any()]
            yield row, band(low, high), 100 * float(np.mean(each))

    if run.summary["strategy"] == "fedloge":
        norms = np.stack([norms_of(run, client) for client in range(len(counts))])
        for (low, high), place in zip(KNOWN, places, strict=True):
            yield "norm of phi's rows", band(low, high), float(norms[place].mean())


def recall(run: Run, federation: Federation, client: int, variant: str) -> tuple[NDArray[np.float64], float]:
    """[C] recalls of a personal model, masked, on all test questions; and its accuracy on the client's own."""
    x = np.asarray(federation.x_test, np.float32)
    right = (
        np.asarray(run.client(client, variant=variant, masked=True).predict(x, names=False))
        == federation.test_targets.values
    )
    sums = np.bincount(federation.test_targets.values, weights=right, minlength=federation.num_classes)
    of_each = np.bincount(federation.test_targets.values, minlength=federation.num_classes)
    return sums / np.maximum(of_each, 1), float(right[federation.tests[client]].mean())


def norms_of(run: Run, client: int) -> NDArray[np.float64]:
    """[C] norms of the rows of a client's own head."""
    weight = run.client(client).net.part("local_head.weight").detach()
    return np.asarray(weight.norm(dim=1).double())


def within(counts: NDArray[np.int64], low: int, high: int | None) -> NDArray[np.bool_]:
    """[K, C] where a client has so many training questions of a kind."""
    return (counts >= low) & (counts <= (counts.max() if high is None else high))


def band(low: int, high: int | None) -> str:
    """A range of sample counts in words."""
    return f"{low} or more" if high is None else f"{low} to {high}"


def told(values: list[float]) -> str:
    """Mean ± standard deviation."""
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else "".join(f"{each:.1f}" for each in values)


if __name__ == "__main__":
    main()
