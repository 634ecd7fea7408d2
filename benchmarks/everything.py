"""Measures what docs/performance.md and LOG.md show: `python -m benchmarks.everything` (over an hour on two cores).

The results go to benchmarks/results, the tables into the pages. With names behind it, only these are measured.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence

from benchmarks import tables

LARGER = "bare,fedlt-processes,fedlt-ray,fedlt-best,fedlt-bf16,flower,pfl-2"  # where a run takes minutes
EXACT = "bare-processes,fedlt-processes,fedlt-ray,fedlt-best,fedlt-ray-best,pfl-2"
FEWER = "fedlt-processes,fedlt-ray,fedlt-best,fedlt-bf16,pfl-2"

COMMANDS = {
    "tiny": "speed --workload tiny",
    "tiny-turns": f"speed --workload tiny --rounds 240 --turns 4 --systems {EXACT}",
    "cifar-cnn": f"speed --workload cifar-cnn --rounds 8 --systems {LARGER}",
    "cifar-cnn-turns": f"speed --workload cifar-cnn --rounds 24 --turns 6 --systems {EXACT}",
    "large": f"speed --workload large --rounds 5 --systems bare-processes,{FEWER}",
    "personal": "speed --workload personal",
    "personal-methods": "personal",
    "cifar-resnet8": f"speed --workload cifar-resnet8 --rounds 5 --repeats 5 --systems bare-processes,{FEWER}",
    "cifar-resnet8-turns": f"speed --workload cifar-resnet8 --rounds 16 --turns 6 --systems {EXACT}",
    "startup": "startup",
    "ray-floor": "ray_floor",
    "scaling-clients": "scaling --axis clients",
    "scaling-model": "scaling --axis model --repeats 1",
    "scaling-cohort": "scaling --axis cohort --repeats 1",
    "scaling-workers": "scaling --axis workers --repeats 1",
    "scaling-rounds": "scaling --axis rounds --repeats 1",
    "methods": "methods",
    "studies": "studies",
}


def main(names: Sequence[str]) -> None:
    """Run the named measurements, or all; one that fails leaves the others alone."""
    unknown = sorted(set(names) - set(COMMANDS))
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; there are: {', '.join(COMMANDS)}")
    for name in names or COMMANDS:
        path = tables.RESULTS.relative_to(tables.RESULTS.parents[1]) / f"{name}.csv"
        command = f"python -m benchmarks.{COMMANDS[name]} --csv {path}"
        print(f"$ {command}", file=sys.stderr)
        done = subprocess.run([sys.executable, *shlex.split(command)[1:]], check=False)
        if done.returncode:
            print(f"{name} ended with {done.returncode}", file=sys.stderr)
        tables.main()


if __name__ == "__main__":
    main(sys.argv[1:])
