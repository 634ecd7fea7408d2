"""How long a study of eight methods takes: in fluke, one after the other, and as one `fedlt sweep`.

    pip install torch==2.13.0 -e . fluke-fl==0.8.1     # at once: fluke alone takes another torch
    python -m benchmarks.studies --csv benchmarks/results/studies.csv

Both train the same model on the same clients, with equally many steps of equally many samples, and test the generic
model and the personal models of as many clients in equal rounds. They take turns; whole commands are timed. fluke runs
with as many threads as PyTorch takes and with one (`fluke-1`), which is quicker where the batches are small; the sweep
runs as it does by default, two methods side by side on two cores. `steps` is the floor: as many plain steps of the
model in a bare loop, one process a core, without anything around. `quicker` is against the quicker of fluke's two.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.studies.setting import METHODS, prepare

FLUKE: dict[str, dict[str, str]] = {
    "fluke": {},
    "fluke-1": {"OMP_NUM_THREADS": "1"},
}  # and what each adds to the environment
FLOOR = "steps"
APART = 0.1  # by which accuracies of plain FedAvg may differ, which still rises: other batches, other cohorts


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, write the file."""
    options = _options(arguments)
    rows: list[dict[str, Any]] = []
    for repeat in range(options.repeats):
        with tempfile.TemporaryDirectory(prefix="fedlt-studies-") as name:
            folder = Path(name)
            words = prepare(options.mnist, folder, options.rounds)
            in_fluke = ["-m", "benchmarks.studies.in_fluke", name, str(options.rounds)]
            in_fedlt = ["-m", "fedlt", *words, "--out", str(folder / "runs"), "-q"]

            # Who begins changes from one repeat to the next.
            order = [*FLUKE, "fedlt"] if repeat % 2 == 0 else ["fedlt", *reversed(FLUKE)]
            timed = {each: _timed(in_fluke if each in FLUKE else in_fedlt, FLUKE.get(each, {})) for each in order}
            made = {each: json.loads(timed[each][2].splitlines()[-1]) for each in FLUKE}
            made["fedlt"] = _made(folder / "runs")
            for each in FLUKE:
                _expect_equal(made[each], made["fedlt"])

            steps = int(sum(method["steps"] for method in made["fedlt"].values()))
            timed[FLOOR] = _timed(["-m", "benchmarks.studies.steps", name, str(steps)], {})

        quickest = min(timed[each][0] for each in FLUKE)
        for each in (*order, FLOOR):
            wall, used, _ = timed[each]
            row = {"study": each, "repeat": repeat, "wall_seconds": wall, "processor_seconds": used, "steps": steps}
            accuracy = made[each]["fedavg"]["accuracy"] if each in made else float("nan")
            rows.append(row | {"accuracy": accuracy, "quicker": quickest / wall})
            print(*(f"{key} {value:.4g}" if key != "study" else value for key, value in rows[-1].items()), flush=True)
    report.write(rows, None, options.csv)


def _timed(command: Sequence[str], own: Mapping[str, str]) -> tuple[float, float, str]:
    """Seconds on the clock, and on the processors with all its processes, of a whole command; and what it printed."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    before, began = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command], check=False, env=environment | own, capture_output=True, text=True
    )
    wall, after = time.perf_counter() - began, os.times()
    if done.returncode:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, used, done.stdout


def _made(folder: Path) -> dict[str, dict[str, float]]:
    """By method: the steps of fluke's optimisers that FedLT's come to, and the generic model's last accuracy."""
    import fedlt

    found = {}
    for run in fedlt.load_runs(folder):
        name = run.scenario["strategy"]["name"]
        steps = int(run.rounds.steps.sum()) * METHODS[name].steps
        found[name] = {"steps": steps, "accuracy": run.final.get("generic/accuracy", float("nan"))}
    return found


def _expect_equal(fluke: dict[str, dict[str, float]], fedlt: dict[str, dict[str, float]]) -> None:
    """Raise SystemExit where one has made other steps, or has learnt something else by plain FedAvg."""
    steps = [{name: method["steps"] for name, method in made.items()} for made in (fluke, fedlt)]
    if steps[0] != steps[1]:
        raise SystemExit(f"the steps differ: fluke {steps[0]}, fedlt {steps[1]}")
    accuracies = [made["fedavg"]["accuracy"] for made in (fluke, fedlt)]
    if not abs(accuracies[0] - accuracies[1]) <= APART:
        raise SystemExit(f"plain FedAvg's accuracies differ: fluke {accuracies[0]}, fedlt {accuracies[1]}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    data = Path(os.environ.get("FEDLT_DATA", Path.home() / ".cache" / "fedlt"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, default=data / "mnist.npz", help="MNIST as FedLT keeps it")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--csv", type=Path, help="write the table here")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
