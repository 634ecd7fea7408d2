"""Every way to read a long text, on medical notes under a tail of nature.

    python -m benchmarks.text.catalogue --data /your/data --table benchmarks/text/catalogue.csv

MTSamples: notes of 516 words and signs in the median, 37 specialties of 298 notes to 5, a fifth of each drawn for the
test by the seed. An encoder reads 128 tokens: the first ones, the last ones, half at either end, or all chunks of a
text, whose features make the text's; or all tokens with window or block attention. Texts are cut at 512 tokens. `chunk,
first alone` is the control: the same model, which has one chunk to read.

The list is that of reviews of long-text classification (truncation, pooling of chunks, hierarchies, sparse attention).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.rows import write_rows
from benchmarks.text.corpora import notes, write_splits
from benchmarks.text.one_site import ATTENTION, BAG, LAYERED, NARROW, PERCEPTRON, Cell, Reader, scored, verdicts

BUDGET, LONGEST = 128, 512  # tokens that an encoder reads at a time, and those of a text
RATES = ((BAG, (0.01, 0.03, 0.1)), (PERCEPTRON, (0.01, 0.03, 0.1)), (ATTENTION, (0.001, 0.003, 0.01)))


def chunked(pool: str) -> Reader:
    """A perceptron over each chunk's bag of words, and what makes the text's features of the chunks'."""
    return replace(PERCEPTRON, model={"name": "chunked", "inside": LAYERED, "length": BUDGET, "pool": pool})


def sparse(attention: str) -> Reader:
    """A transformer in which a token attends to 64 others on either side, or to blocks."""
    kind = (
        {"attention": attention, "window": BUDGET} if attention == "window" else {"attention": attention, "block": 32}
    )
    return replace(ATTENTION, model={"name": "window_transformer", **NARROW, **kind})


SHORT, LONG = {"length": BUDGET}, {"length": LONGEST}
CATALOGUE: dict[str, tuple[Reader, Mapping[str, Any]]] = {
    "perceptron, head": (PERCEPTRON, SHORT),
    "perceptron, tail": (PERCEPTRON, SHORT | {"keep": "tail"}),
    "perceptron, head and tail": (PERCEPTRON, SHORT | {"keep": "both"}),
    "chunk, first alone": (chunked("mean"), SHORT),
    "chunk, mean": (chunked("mean"), LONG),
    "chunk, largest": (chunked("max"), LONG),
    "hierarchy, attention": (chunked("attention"), LONG),
    "hierarchy, bilstm": (chunked("bilstm"), LONG),
    "hierarchy, transformer": (chunked("transformer"), LONG),
    "transformer, head": (ATTENTION, SHORT),
    "window attention": (sparse("window"), LONG),
    "block attention": (sparse("blocks"), LONG),
}


def claims(cells: Mapping[str, Cell]) -> list[tuple[str, bool]]:
    """What the table is to bear out."""
    found = {name: round(cell.mean(), 1) for name, cell in cells.items()}
    head, chunk, alone = found["perceptron, head"], found["chunk, mean"], found["chunk, first alone"]
    long, short = found["window attention"], found["transformer, head"]
    return [
        (f"every one of {len(CATALOGUE)} entries has run", set(found) == set(CATALOGUE)),
        (f"chunks and their mean {chunk} are no worse than the head {head}, of {BUDGET} tokens each", chunk >= head),
        (f"chunks and their mean {chunk} are ahead of the first chunk alone {alone}", chunk > alone),
        (f"window attention over {LONGEST} tokens {long} is ahead of a transformer's {BUDGET} {short}", long > short),
    ]


def rates(data: Path, folder: Path) -> None:
    """Print what each rate is worth on validation notes of seed 100."""
    place = write_splits(notes(data, 100), folder / "notes")
    for reader, tried in RATES:
        for rate in tried:
            found = scored(
                place, replace(reader, rate=rate), SHORT, 100, "data.validation=0.2", split="validation/generic"
            )
            print(reader.name, rate, {name: round(100 * value, 1) for name, value in found.items()}, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for, print it, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mtsamples.parquet")
    parser.add_argument("--table", type=Path, help="a CSV file for the rows")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates", action="store_true", help="what rates are worth on validation notes, and no table")
    given = parser.parse_args(arguments)

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="fedlt-catalogue-") as made:
        if given.rates:
            rates(given.data, Path(made))
            return
        places = [
            write_splits(notes(given.data, seed), Path(made) / str(seed) / "notes") for seed in range(given.seeds)
        ]
        cells = {name: Cell({"entry": name}) for name in CATALOGUE}
        for name, (reader, tokenizer) in CATALOGUE.items():
            for seed, place in enumerate(places):
                cells[name].add(scored(place, reader, tokenizer, seed))
            print(cells[name].written(), flush=True)
    write_rows(given.table, [cell.written() for cell in cells.values()])
    verdicts(claims(cells))


if __name__ == "__main__":
    main()
