"""Runs one system once: `python -m benchmarks.child SYSTEM WORKLOAD DATA FOLDER ROUNDS BLOCK`.

Prints one line of JSON. The parent (`benchmarks.speed`) starts it in a process of its own and measures from outside.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.job import Job, steady
from benchmarks.systems import SYSTEMS
from benchmarks.workloads import WORKLOADS, build_model


def main(arguments: list[str]) -> None:
    """Run the system, then say what it did."""
    system, name, data, folder, rounds, block = arguments
    workload = replace(WORKLOADS[name], block=int(block))
    job = Job(workload, Path(data), Path(folder), int(rounds))
    outcome = SYSTEMS[system].run(job)
    if outcome is None:  # not the first of several processes
        return
    initial = {key: value.numpy() for key, value in build_model(workload).state_dict().items()}
    squares = [np.square(value - initial[key]).sum() for key, value in outcome.weights.items() if key in initial]
    moved = float(np.sqrt(sum(squares)))  # about equal where the same steps were made, whatever their order
    print(json.dumps({**steady(outcome, workload.warmup), "moved": moved}))


if __name__ == "__main__":
    main(sys.argv[1:])
