"""Runs one system once: `python -m benchmarks.child ORDER`, the order as JSON (see `Order`). Prints one line of JSON.

The parent (`benchmarks.speed`, `benchmarks.scaling`) starts it in a process of its own and measures from outside.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace

import numpy as np

from benchmarks.job import Job, Order, Told
from benchmarks.systems import SYSTEMS
from benchmarks.workloads import WORKLOADS, build_model


def main(order: Order) -> None:
    """Run the system, then say what it did."""
    workload = replace(WORKLOADS[order.workload], **order.changes)
    outcome = SYSTEMS[order.system].run(Job(workload, order.data, order.folder, order.rounds), order.options)
    if outcome is None:  # not the first of several processes
        return
    initial = {key: value.numpy() for key, value in build_model(workload).state_dict().items()}
    squares = [np.square(value - initial[key]).sum() for key, value in outcome.weights.items() if key in initial]
    moved = float(np.sqrt(sum(squares)))  # about equal where the same steps were made, whatever their order
    print(json.dumps(asdict(Told(outcome.finished, outcome.images, outcome.steps, moved, outcome.parts))))


if __name__ == "__main__":
    main(Order.from_json(sys.argv[1]))
