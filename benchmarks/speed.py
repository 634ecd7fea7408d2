"""Speed beside a plain loop and other simulators, side by side in one run.

    python -m benchmarks.speed --workload tiny --systems bare,fedlt-ray,flower,pfl --repeats 3 --json tiny.json

Every run is a process of its own; the systems run one after the other within a repeat, in another order in each. With
`--turns SECONDS` all are begun, and each runs for so long while the others stand still; the time counts in which all
are past their warm-up and none has ended. On a machine whose speed varies from minute to minute, this compares them
fairly.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.measure import measure, measure_in_turns
from benchmarks.systems import BARE, GROUPS, SYSTEMS
from benchmarks.workloads import WORKLOADS, Workload, prepare

HEAD = ("system", "images/s", "x bare", "s/round", "cpu ms/image", "x bare", "start s", "peak MB", "x bare", "others %")
NOTE = (
    "Medians. Steady state: warm-up rounds and the last evaluation left out; cpu: all processes, in the same rounds;\n"
    "start: process start to the first finished round; peak MB: proportional set sizes, all processes.\n"
    "others: share of the machine's processor time that other programs took meanwhile;\n"
    "x bare: against the faster bare loop (the first system where there is none)."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, write the files."""
    options = _options(arguments)
    workload = WORKLOADS[options.workload]
    chosen = options.systems.split(",") if options.systems else workload.systems
    systems = _available([name for item in chosen for name in GROUPS.get(item, (item,))])
    if options.turns and "flower" in systems and len(systems) > 1:
        raise SystemExit("flower joins the Ray cluster of another system that runs: measure it without --turns")
    rounds, block = options.rounds or workload.rounds, options.block or workload.block
    rows: list[dict[str, Any]] = []

    with tempfile.TemporaryDirectory(prefix="fedlt-speed-") as folder:
        data = Path(folder) / "workload.npz"
        prepare(workload, data)
        for repeat in range(options.repeats):
            turn = repeat % len(systems)
            counts = {
                system: max(workload.warmup + 2, round(rounds * SYSTEMS[system].share))
                for system in systems[turn:] + systems[:turn]
            }
            for system, found in _measured(counts, options.workload, data, {"block": block}, options.turns):
                label = f"repeat {repeat}  {system:16s}"
                if isinstance(found, RuntimeError):  # the others are still worth their hours
                    print(f"{label} failed: {found}", file=sys.stderr)
                    continue
                rows.append({"workload": options.workload, "system": system, "repeat": repeat, **found})
                print(f"{label} {found['images_per_second']:10.1f} images/s", file=sys.stderr)
                report.write(rows, options.json, options.csv)  # what is measured is kept, whatever happens next

    if not rows:
        raise SystemExit("no system could be measured")
    print(f"{options.workload}: {_describe(workload, rounds, block)}\n\n{_table(rows)}\n\n{NOTE}")


def _measured(
    rounds: Mapping[str, int], workload: str, data: Path, changes: Mapping[str, Any], turns: float | None
) -> Iterator[tuple[str, dict[str, Any] | RuntimeError]]:
    """One repeat: the systems one after the other, or in turns of so many seconds."""
    if turns is not None:
        yield from measure_in_turns(rounds, workload, data, changes, turns)
        return
    for system, count in rounds.items():
        try:
            yield system, measure(system, workload, data, count, changes)
        except RuntimeError as error:
            yield system, error


def _available(systems: list[str]) -> list[str]:
    """The systems whose packages are installed; the others are named with the remedy."""
    unknown = [name for name in systems if name not in SYSTEMS]
    if unknown:
        raise SystemExit(f"unknown system {unknown[0]!r}; known: {', '.join([*GROUPS, *SYSTEMS])}")
    for name in systems:
        if remedy := SYSTEMS[name].missing():
            print(f"{name} is left out: {remedy}", file=sys.stderr)
    return [name for name in dict.fromkeys(systems) if not SYSTEMS[name].missing()]


def _describe(workload: Workload, rounds: int, block: int) -> str:
    share = "equal parts" if workload.alpha is None else f"Dirichlet {workload.alpha}"
    return (
        f"{workload.clients} clients ({share} of {workload.rows} images), {workload.cohort} a round, "
        f"batch {workload.batch_size}, {workload.epochs} epochs, model {dict(workload.model)}, block {block}, "
        f"{rounds} rounds"
    )


def _table(rows: list[dict[str, Any]]) -> str:
    def median(system: str, key: str) -> float:
        values = [row[key] for row in rows if row["system"] == system]
        return math.nan if None in values else statistics.median(values)

    systems = list(dict.fromkeys(row["system"] for row in rows))
    bare = [name for name in systems if name in BARE] or systems[:1]
    limit = max(bare, key=lambda name: median(name, "images_per_second"))
    lines = []
    for name in systems:
        speed, cpu, peak = (median(name, key) for key in ("images_per_second", "cpu_ms_per_image", "peak_mb"))
        lines.append((
            name,
            f"{speed:.1f}",
            f"{speed / median(limit, 'images_per_second'):.2f}",
            f"{median(name, 'seconds_per_round'):.3f}",
            f"{cpu:.3f}",
            f"{cpu / median(limit, 'cpu_ms_per_image'):.2f}",
            f"{median(name, 'startup_seconds'):.1f}",
            f"{peak:.0f}",
            f"{peak / median(limit, 'peak_mb'):.2f}",
            f"{100 * median(name, 'others_cpu_share'):.0f}",
        ))  # fmt: skip
    return report.table(HEAD, lines)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__.splitlines()[0])
    parser.add_argument("--workload", choices=WORKLOADS, required=True)
    parser.add_argument("--systems", help="separated by commas; `bare` is both bare loops; default: the workload's")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, help="default: the workload's; slow systems run a share of them")
    parser.add_argument("--block", type=int, help="clients that FedLT adds up before they travel")
    parser.add_argument(
        "--turns", type=float, help="seconds: all systems are begun and take turns; not beside `flower`"
    )

    parser.add_argument("--json", type=Path, help="write every run and the machine to this file")
    parser.add_argument("--csv", type=Path, help="likewise as CSV, with comment lines on top")
    options = parser.parse_args(arguments)
    if options.turns is not None and options.turns <= 0:
        parser.error(f"--turns {options.turns}: give seconds above 0")

    return options


if __name__ == "__main__":
    main()
