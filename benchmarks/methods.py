"""What a round of each method costs beside FedAvg's, and beside the arithmetic that it has to do.

    python -m benchmarks.methods --csv benchmarks/results/methods.csv
    python -m benchmarks.methods --only creff,fedrep --repeats 5
    python -m benchmarks.methods --scenario ham10000_sites --only fedrep,ditto,apfl model.stem_stride=4 local.epochs=1

Every method runs on the same scenario, inline on one thread, right after FedAvg, and is compared with that run of it.
`work` is the arithmetic that the engine counted: a sample forward and backward is 3, a sample forward alone 1. What a
server computes between the rounds is no part of it, and stands apart. What takes more than `LIMIT` times its work, or
a server that takes longer than a round of FedAvg, needs a reason: those known stand here, and go into the table.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

import fedlt
from benchmarks import report
from fedlt.commands.listing import listing
from fedlt.errors import FedLTError
from fedlt.strategy import Update
from server.rounds.aggregation import Aggregation

LIMIT = 1.3
FIELDS = ("ms a round", "x FedAvg", "work", "clients x work", "server ms", "server x FedAvg")
NOTE = (
    "Medians of processor time. x FedAvg: of the whole round. work: samples passed forward and backward, FedAvg 1.\n"
    "clients x work: the round without the server's step, over FedAvg's and over the work. server: its step; x\n"
    f"FedAvg: over FedAvg's whole round. Without a reason, more than {LIMIT} and 1 is marked."
)

NEEDS = {
    "fedbn": ("model=resnet8",),
    "fedhoo": ("data.validation.per_class=10",),
    "fedwolf": ("data.validation.per_class=10",),
    "fedic": ("data.auxiliary=5",),
    "pseudo_labels": ("data.unlabelled.hidden=0.5",),
    "sibling_softmax": ("data.parents=[a, a, b, b, c, c, d, d, e, e]",),
    "label_tree": ("data.parents=[a, a, b, b, c, c, d, d, e, e]",),
    "ratio_loss": ("data.auxiliary=5",),
}
"""Overrides for a method that does not fit the scenario, and for FedAvg beside it."""

EXPERTS = "three networks beyond the stem; the count has a sample's way through them as one"
SMALL = "further small calls in each step, which beside a step of a millisecond are much"
REASONS = {
    "adr": "a client's samples are sifted and new ones made before its steps, of which half are left",
    "augmented_conditioning": "each site trains a diffusion model and makes images by it, which the count leaves out",
    "balancefl": SMALL,
    "batchformer": "a transformer layer over the features, which the count leaves out",
    "bcl": "strong views, and a contrast of every pair of a batch, which the count leaves out",
    "clip2fl": "the server's step is that of CReFF",
    "creff": "the server matches synthetic features and re-trains a head on them, 9,600 steps a round, as published",
    "dirmixe": EXPERTS,
    "fedamp": SMALL,
    "feddecorr": SMALL,
    "feddf": "every client's model predicts the samples at the server, and the mean learns from that, as published",
    "feddyn": SMALL,
    "fedgrab": SMALL,
    "fedhoo": "the server tests every combination of the clients' models on its validation data",
    "fedic": "the server trains a model, a calibration and the mean on samples of its own, as published",
    "fedloge": SMALL,
    "fedntd": "the received model sees every batch, which the count leaves out",
    "fedprox": SMALL,
    "fedpurel": "a second gradient of each batch, and temperatures found by halving, in small calls",
    "feduv": SMALL,
    "fedwolf": "the server tests each client's model on its validation data",
    "focal_sam": "a third backward pass in each step, which the count leaves out",
    "foundation_bias": "several networks side by side; the count has a sample's way through them as one",
    "glmc": SMALL,
    "m3i": "a slow copy of the encoder, a second view and covered pixels, which the count leaves out",
    "mislas": SMALL,
    "moon": "the received model and the client's last one see every batch, which the count leaves out",
    "pfedfda": "class means and covariances of the features, and a two-fold test of shares at each client",
    "proco": "strong views, and Bessel functions in float64, which the count leaves out",
    "rcal": "strong views, and a draw from each sample's Gaussian, a product of D x D",
    "ride": EXPERTS,
    "rucr": "in the last rounds every client re-trains a head in hundreds of small steps, which the count leaves out",
    "sade": EXPERTS,
    "sbcl": "views, and a contrast of every pair of a batch, which the count leaves out",
    "scaffold": SMALL,
    "tlc": EXPERTS,
    "value_of_labels": SMALL,
}
"""By method: why it takes longer than its work, or its server longer than a round of FedAvg."""


class Clock(fedlt.Callback):
    """Processor seconds of this process at the end of each round."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_round(self, run: fedlt.RunState) -> None:
        self.ends.append(time.process_time())


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, write the files."""
    options = _options(arguments)
    named = [(kind, row["name"]) for kind in ("strategies", "learners") for row in listing(kind)]
    wanted = set(options.only.split(",")) if options.only else {name for _, name in named if ":" not in name}
    rows = []
    for kind, name in named:
        if name in wanted and name not in ("fedavg", "cross_entropy"):
            rows.append(_compared(kind.removesuffix("s").replace("strategie", "strategy"), name, options))
            print(f"{name}: {rows[-1].get('x FedAvg', rows[-1].get('cannot', ''))}", flush=True)
    Console(width=120).print(_table(rows))
    print(NOTE)
    report.write(rows, None, options.csv)


def _compared(kind: str, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """A row: medians over repeats of the method beside FedAvg."""
    try:
        needs = NEEDS.get(name, ())
        method = f"{kind}={name}"
        pairs = [(_measured(options, *needs), _measured(options, *needs, method)) for _ in range(options.repeats)]
    except FedLTError as error:
        return {"kind": kind, "name": name, "cannot": str(error).splitlines()[-1].strip()}

    work = pairs[0][1]["work"] / pairs[0][0]["work"]
    clients = [(own["round"] - own["server"]) / (base["round"] - base["server"]) / work for base, own in pairs]
    found = (
        1000 * statistics.median(own["round"] for _, own in pairs),
        statistics.median(own["round"] / base["round"] for base, own in pairs),
        work,
        statistics.median(clients),
        1000 * statistics.median(own["server"] for _, own in pairs),
        statistics.median(own["server"] / base["round"] for base, own in pairs),
    )
    row = {"kind": kind, "name": name, **{field: round(value, 3) for field, value in zip(FIELDS, found, strict=True)}}
    return row | {"reason": REASONS.get(name, "") if exceeds(row) else ""}


def exceeds(row: Mapping[str, Any]) -> bool:
    """Whether the row needs a reason."""
    return float(row["clients x work"]) > LIMIT or float(row["server x FedAvg"]) > 1


def _measured(options: argparse.Namespace, *overrides: str) -> dict[str, float]:
    """Seconds of a round, seconds of the server's step, and the samples' work, from the second round on."""
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="fedlt-methods-") as folder, _server_steps() as steps:
        evaluation = (f"evaluation.every={options.rounds}", "evaluation.clients=1")
        changes = (*options.changes, *overrides, f"federation.rounds={options.rounds}", *evaluation)
        run = fedlt.run(options.scenario, *changes, out=folder, backend="inline", callbacks=[clock])
        table = run.rounds[1:]
    return {
        "round": (clock.ends[-1] - clock.ends[0]) / (len(clock.ends) - 1),
        "server": statistics.fmean(steps[1:]),
        "work": float((3 * table.backward_samples + table.forward_samples).sum()),
    }


@contextmanager
def _server_steps() -> Iterator[list[float]]:
    """Processor seconds of every step that a server makes meanwhile."""
    took, step = list[float](), Aggregation.step

    def timed(self: Aggregation, round: int, updates: Sequence[Update]) -> None:
        began = time.process_time()
        step(self, round, updates)
        took.append(time.process_time() - began)

    with patch.object(Aggregation, "step", timed):
        yield took


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table("method", *FIELDS, "")
    for row in sorted(rows, key=lambda row: -row.get("clients x work", 0.0)):
        if "cannot" in row:
            table.add_row(row["name"], *["-"] * len(FIELDS), row["cannot"][:60])
        else:
            mark = (row["reason"] or "*") if exceeds(row) else ""
            table.add_row(row["name"], *(f"{row[field]:.2f}" for field in FIELDS), mark)
    return table


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("changes", nargs="*", metavar="key=value", help="overrides of the scenario")
    parser.add_argument("--scenario", default="digits_lt")
    parser.add_argument("--only", default="", help="names with commas between them; all built-in ones unless given")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--csv", type=Path, help="write the table here")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
