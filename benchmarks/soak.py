"""Memory over a long run: the resident set of every process, in the second tenth of the rounds and in the last.

    python -m benchmarks.soak digits_lt federation.rounds=2000 --backend inline --json benchmarks/results/soak.json

Arguments: a scenario and its overrides. A process counts if it lives from before the second tenth until the end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks import processes

EVERY = 0.5  # seconds between two readings


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, read, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--backend", default="inline")
    parser.add_argument("--workers", default="1")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)

    with tempfile.TemporaryDirectory(prefix="fedlt-soak-") as folder:
        readings: dict[int, list[tuple[float, int]]] = {}
        titles: dict[int, str] = {}
        process = get_context("spawn").Process(target=_run, args=(options, Path(folder)))
        process.start()
        assert process.pid is not None
        while process.exitcode is None:
            now = time.time()
            for pid in processes.tree(process.pid):
                if size := processes.resident(pid):
                    readings.setdefault(pid, []).append((now, size))
                    titles[pid] = processes.title(pid)
            time.sleep(EVERY)
        if process.exitcode:
            raise SystemExit("the run failed")
        times = json.loads((Path(folder) / "times.json").read_text())

    figures = _figures(readings, titles, times, process.pid)
    for row in figures:
        print(f"{row['process']:24s} {row['second_mb']:8.1f} MB {row['last_mb']:8.1f} MB  {row['growth']:+.2%}")

    if options.json:
        content = {"scenario": options.scenario, "overrides": options.overrides, "backend": options.backend}
        content |= {"rounds": len(times), "seconds": times[-1] - times[0], "processes": figures}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _run(options: argparse.Namespace, folder: Path) -> None:
    """The run, and the time at which each of its rounds ended."""
    import fedlt
    from fedlt.results.record import RunWriter

    times: list[float] = []
    kept = RunWriter.round

    def noting(self: RunWriter, row: Any) -> None:
        times.append(time.time())
        kept(self, row)

    RunWriter.round = noting  # type: ignore[method-assign]
    fedlt.run(
        options.scenario, *options.overrides, out=folder / "runs", backend=options.backend, workers=options.workers
    )
    (folder / "times.json").write_text(json.dumps(times))


def _figures(
    readings: dict[int, list[tuple[float, int]]], titles: dict[int, str], times: list[float], root: int
) -> list[dict[str, Any]]:
    def median(read: list[tuple[float, int]], start: int, stop: int) -> float:
        sizes = [size for when, size in read if times[start] <= when <= times[stop - 1]]
        return statistics.median(sizes) if sizes else 0.0

    rows = []
    tenth = len(times) // 10
    for pid, read in readings.items():
        second, last = median(read, tenth, 2 * tenth), median(read, len(times) - tenth, len(times))
        if second and last:
            words = titles[pid].split()
            name = "server" if pid == root else Path(words[0]).name if words else "?"
            if pid != root and titles[pid] == titles.get(root):
                name = "forked worker"
            elif name.startswith("python") and len(words) > 1:
                name = Path(next((word for word in words[1:] if not word.startswith("-")), words[0])).name
            figures = {"second_mb": second / 1e6, "last_mb": last / 1e6, "growth": last / second - 1}
            rows.append({"process": name, **figures})
    return rows


if __name__ == "__main__":
    main()
