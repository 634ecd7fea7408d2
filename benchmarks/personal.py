"""What it costs to test all personal models after a round, beside the arithmetic of these tests.

    python -m benchmarks.personal --csv benchmarks/results/personal-methods.csv
    python -m benchmarks.personal --methods fedper,ditto --backends inline --rounds 15

40 clients, 12 of them trained in each round, and 800 images with as many tests as CIFAR-10 has beside its long tail.
Every second round is followed by a test of all models, so that one run has rounds of both kinds beside each other. Work
is counted in samples passed through the backbone: forward and backward 3, forward alone 1, fine-tuning before a test
among it. Rounds train clients of different sizes: their times are set against their work.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks import processes, report
from benchmarks.measure import cpu_seconds
from benchmarks.workloads import WORKLOADS, prepare

METHODS = ("fedper", "fedrep", "fedloge", "fedavg_ft", "ditto", "local")
BACKENDS = ("inline", "processes", "ray")
WORKLOAD = replace(WORKLOADS["personal"], rows=800, test_rows=640)  # less than there, as 18 runs take their time
FIRST = 3  # rounds until both kinds have been met, and memory has been claimed
FIELDS = ("off s", "on s", "x off", "arithmetic", "x arithmetic", "cpu off s", "cpu on s", "cpu x arithmetic")
NOTE = (
    "off, on: a round without and with a test of all models, of equal training; cpu: processor time, all processes.\n"
    "arithmetic: work of a round with tests over that of one without. x arithmetic: x off over it; 1 is the floor."
)


@dataclass(frozen=True)
class Round:
    """A round's seconds, processor seconds of all processes, work, and samples that it trained."""

    seconds: float
    cpu: float
    work: int
    samples: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, write the file."""
    options = _options(arguments)
    backends = options.backends.split(",")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="fedlt-personal-") as folder:
        data = Path(folder, "workload.npz")
        prepare(WORKLOAD, data)
        for repeat in range(options.repeats):
            for method in options.methods.split(","):
                here = _apart(data, method, "inline", options.rounds)
                for backend in backends:
                    rounds = here if backend == "inline" else _apart(data, method, backend, options.rounds)
                    figures = compared(rounds, [each.work for each in here])
                    rows.append({"run": f"{method} {backend}", "repeat": repeat, **figures})
                    print(f"{method} {backend}: {figures['x arithmetic']:.2f}", flush=True)
                report.write(rows, None, options.csv)  # what is measured is kept, whatever happens next
    print(f"\n{table(rows)}\n\n{NOTE}")


def compared(rounds: Sequence[Round], work: Sequence[int]) -> dict[str, float]:
    """A row of the table, from all rounds of a run. work: of each of them, which only a run in this process counts."""
    held = list(zip(rounds, work, strict=True))
    off, on = held[FIRST::2], held[FIRST + 1 :: 2]  # the tests of a round are done beside the next one's training
    trained = sum(done for _, done in off) / sum(each.samples for each, _ in off)
    usual = trained * sum(each.samples for each, _ in on) / len(on)  # work of training in a round with tests
    arithmetic = sum(done for _, done in on) / len(on) / usual

    def pair(name: str) -> tuple[float, float]:
        before, after = (sum(getattr(each, name) for each, _ in part) for part in (off, on))
        return before / sum(done for _, done in off) * usual, after / len(on)

    (seconds_off, seconds_on), (cpu_off, cpu_on) = pair("seconds"), pair("cpu")
    ratios = seconds_on / seconds_off, arithmetic, seconds_on / seconds_off / arithmetic
    values = (seconds_off, seconds_on, *ratios, cpu_off, cpu_on, cpu_on / cpu_off / arithmetic)
    return dict(zip(FIELDS, values, strict=True))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Medians over the repeats, by method and backend."""
    lines = []
    for name in dict.fromkeys(row["run"] for row in rows):
        medians = (statistics.median(row[field] for row in rows if row["run"] == name) for field in FIELDS)
        lines.append((name, *(f"{value:.2f}" for value in medians)))
    return report.table(("run", *FIELDS), lines)


def _apart(data: Path, method: str, backend: str, rounds: int) -> list[Round]:
    """A run in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_rounds, data, method, backend, rounds).result()


def _rounds(data: Path, method: str, backend: str, rounds: int) -> list[Round]:
    """The rounds of one run."""
    import fedlt
    from benchmarks.systems.fedlt_run import scenario

    class Clock(fedlt.Callback):
        """Reads the clocks at the end of each round."""

        def __init__(self) -> None:
            self.last, self.rounds = self._read(), list[Round]()

        def on_round(self, run: fedlt.RunState) -> None:
            now = self._read()
            seconds, cpu, work = (end - start for start, end in zip(self.last, now, strict=True))
            self.rounds.append(Round(seconds, cpu, int(work), int(run.row["samples"])))
            self.last = now

        def _read(self) -> tuple[float, float, int]:
            cpu = sum(map(cpu_seconds, processes.tree(os.getpid()).values()))
            return time.perf_counter(), cpu, sum(work)

    os.environ["FEDLT_CACHE"] = str(data.parent / "cache")
    content = scenario(WORKLOAD, data, rounds, every=2)
    content |= {"strategy": method, "resources": {"backend": backend}}
    with counted() as work, tempfile.TemporaryDirectory(prefix="fedlt-personal-run-") as folder:
        clock = Clock()
        fedlt.run(content, out=folder, callbacks=[clock])
    return clock.rounds


@contextmanager
def counted() -> Iterator[list[int]]:
    """The work of each pass of a batch through a backbone of this process, as long as the block lasts."""
    from torch import Tensor

    from fedlt.nn.net import Net

    work: list[int] = []
    encode = Net.encode

    def encoding(self: Net, x: Any, mask: Tensor | None = None) -> Tensor:
        features = encode(self, x, mask)
        if isinstance(x, Tensor):  # features at hand cost nothing; others come back here with their inputs
            work.append(len(x) * (3 if features.requires_grad else 1))
        return features

    Net.encode = encoding  # type: ignore[method-assign]
    try:
        yield work
    finally:
        Net.encode = encode  # type: ignore[method-assign]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=",".join(METHODS), help="names with commas between them")
    parser.add_argument("--backends", default=",".join(BACKENDS), help="likewise; `inline` runs in any case, to count")
    parser.add_argument("--rounds", type=int, default=9, help=f"at least {FIRST + 2}")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--csv", type=Path, help="write the rows here")
    options = parser.parse_args(arguments)
    if options.rounds < FIRST + 2:
        parser.error(f"--rounds {options.rounds}: give at least {FIRST + 2}")
    return options


if __name__ == "__main__":
    main()
