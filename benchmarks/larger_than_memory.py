"""A data set of 2 GB on disk, decoded and trained on with a bounded resident size.

    python -m benchmarks.larger_than_memory --json benchmarks/results/larger_than_memory.json

54,000 noisy images of 112 x 112 pixels in folders of classes, PNG files of 2 GB, are decoded into the cache (2 GB
again) and dealt to 40 clients, who all train for 3 rounds of FedAvg on an MLP, so that every image is read three times.
Memory is what the kernel says of each process that the run starts: the sum of the largest resident sets (VmHWM; mapped
pages and shared ones count in full), and the largest sum of proportional sets at one time. The run is then done again,
with the images in the cache. All files are deleted at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import processes

SIDE, CLASSES, ROUNDS = 112, 10, 3
EVERY = 0.1  # seconds between two readings of the memory


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the images, run, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=50_000, help="training images")
    parser.add_argument("--test", type=int, default=4_000, help="test images")
    parser.add_argument("--backend", default="inline")
    parser.add_argument("--folder", type=Path, help="where some 4.2 GB are free for a while")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)

    with tempfile.TemporaryDirectory(prefix="fedlt-large-", dir=options.folder) as folder:
        size = _write_images(Path(folder) / "noise", {"train": options.train, "test": options.test})
        first = _run(Path(folder), options.backend, "decoding")
        again = _run(Path(folder), options.backend, "cached")

    figures = {
        "images": options.train + options.test,
        "files_mb": size / 1e6,
        "decoded_mb": (options.train + options.test) * SIDE * SIDE * 3 / 1e6,
        "backend": options.backend,
        "rounds": ROUNDS,
        **{
            f"{what}_{name}": value
            for what, run in (("first", first), ("cached", again))
            for name, value in run.items()
        },
        "same": first["hash"] == again["hash"],
    }
    print(json.dumps(figures, indent=1))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _write_images(folder: Path, counts: dict[str, int]) -> int:
    """Noise about a colour for each class, as PNG, in folders of classes; the bytes of all files."""
    import PIL.Image

    rng = np.random.default_rng(0)
    colours = rng.integers(64, 192, (CLASSES, 3))
    size = 0
    for split, count in counts.items():
        for label in range(CLASSES):
            (folder / split / str(label)).mkdir(parents=True)
        for number in range(count):
            label = number % CLASSES
            noise = rng.integers(-64, 64, (SIDE, SIDE, 3))
            path = folder / split / str(label) / f"{number}.png"
            PIL.Image.fromarray((colours[label] + noise).astype(np.uint8)).save(path, compress_level=0)
            size += path.stat().st_size
    return size


def _run(folder: Path, backend: str, name: str) -> dict[str, Any]:
    """One run in processes of its own: its model's hash, seconds, and memory."""
    call = [
        f"data.name={folder / 'noise'}", "~data.longtail", "federation.clients=40", f"federation.rounds={ROUNDS}",
        "federation.participation=1", "federation.partition={name: iid}", "local.epochs=1", "local.batch_size=32",
        "local.lr=0.01", "model={name: mlp, width: 16, depth: 1}", f"evaluation.every={ROUNDS}",
    ]  # fmt: skip
    start = [sys.executable, "-c", "from fedlt.commands.cli import main; main()"]
    command = [*start, "run", "digits_lt", *call, "--backend", backend, "--workers", "1", "--out", str(folder / name)]
    environment = os.environ | {"FEDLT_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}

    started, proportional, largest = time.monotonic(), 0, {}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True, env=environment)
    while process.poll() is None:
        tree = processes.tree(process.pid)
        proportional = max(proportional, sum(map(processes.proportional, tree)))
        largest |= {number: peak for number in tree if (peak := _high_water(number))}
        time.sleep(EVERY)
    if process.returncode:
        raise SystemExit(f"the run failed with {process.returncode}")

    (summary,) = (folder / name).glob("*/run.json")
    told = json.loads(summary.read_text(encoding="utf-8"))
    return {
        "peak_resident_mb": sum(largest.values()) / 1e6,
        "peak_proportional_mb": proportional / 1e6,
        "processes": len(largest),
        "seconds": time.monotonic() - started,
        "hash": told["model_hash"],
    }


def _high_water(process: int) -> int:
    """Bytes of the largest resident set that a process has had; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


if __name__ == "__main__":
    main()
