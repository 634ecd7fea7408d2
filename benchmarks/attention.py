"""Full attention against windows and blocks, by the length of the texts.

python -m benchmarks.attention --table benchmarks/results/attention.csv

The models are `transformer` and `window_transformer` at their defaults (two layers of width 64, four heads; windows of
128 tokens, blocks of 64 and two drawn ones) with one thread. A step is a pass forward and backward over two texts that
fill the length. The three take turns, once to warm up and then as often as `--repeats` says; the table has the medians
in milliseconds, and how many times as long full attention takes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import torch

from benchmarks.rows import write_rows
from fedlt.nn.text.encoder import Embedding, TokenEncoder
from fedlt.nn.text.transformer import Transformer
from fedlt.nn.text.window_transformer import WindowTransformer

LENGTHS = (512, 1024, 2048, 4096, 8192)
TEXTS, VOCABULARY = 2, 1000
RECIPES = {
    "full": Transformer(),
    "window": WindowTransformer(),
    "blocks": WindowTransformer(attention="blocks"),
}


def step(encoder: TokenEncoder, ids: torch.Tensor) -> float:
    """Seconds of a pass forward and backward."""
    mask = torch.ones_like(ids, dtype=torch.bool)
    start = time.perf_counter()
    encoder(ids, mask).square().sum().backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - start


def measure(length: int, repeats: int) -> dict[str, float]:
    """Milliseconds of a step of each of `RECIPES`: the median of so many, which they make in turn."""
    encoders = {}
    for name, recipe in RECIPES.items():
        encoders[name] = recipe.tokens(Embedding(VOCABULARY, recipe.width, None), length)
    ids = torch.randint(VOCABULARY, (TEXTS, length))
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(1 + repeats):
        for name, encoder in encoders.items():
            seconds[name].append(step(encoder, ids))
    return {name: 1000 * median(found[1:]) for name, found in seconds.items()}


def main() -> None:
    """Measure what the command line asks for, print it, and write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="tokens of a text")
    parser.add_argument("--repeats", type=int, default=3, help="steps that are measured, after one to warm up")
    parser.add_argument("--table", type=Path, help="CSV file to write")
    given = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    for length in given.lengths:
        found = measure(length, given.repeats)
        row = {"tokens": length, **{f"{name}_ms": f"{value:.1f}" for name, value in found.items()}}
        row |= {f"full_over_{name}": f"{found['full'] / found[name]:.2f}" for name in ("window", "blocks")}
        rows.append(row)
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)

    write_rows(given.table, rows)


if __name__ == "__main__":
    main()
