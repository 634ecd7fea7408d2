"""IndicNews's English headlines: whether the files are the published ones, and what length is worth.

    python -m benchmarks.text.headlines --data /your/data --table benchmarks/text/headlines.csv

L3Cube-IndicNews (arXiv 2401.02254) has the same 12 sections for headlines (`shc_*.csv`), paragraphs (`lpc_*.csv`) and
articles (`ldc_*.csv`). What is read of a headline are its first 2, 4 or 8 tokens, or all. Paragraphs and articles are
read where their files are in the folder `text_extra`, under the same names.

`joined 4` and `joined 16` stand for longer texts: so many headlines of a section, as many texts as of `joined 1`, each
headline in one text at most. They are no articles, and more words of a section are more evidence by construction; `one,
with 3 of any section` is their control, as long and without more of the section.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.rows import write_rows
from benchmarks.text.corpora import Row, write_splits
from benchmarks.text.one_site import BAG, Cell, scored, verdicts

SHA256 = {
    "shc_train.csv": "6b3f12a89af9dd4c27dfc4226a40740d0a6e0c1c7e3a5f2b494db34f9820ade1",
    "shc_test.csv": "db60ab93edba3f5f8bcfbae3b425e2a287ba5968325c203e2e774eb45cae4e92",
}
"""Of the files of github.com/l3cube-pune/indic-nlp."""

COUNTS = {
    "Health": 4011, "Business": 3907, "Elections": 3710, "Education": 3628, "Lifestyle": 3414, "Technology": 3003,
    "World": 2937, "India": 2922, "Sports": 2711, "Entertainment": 2635, "Science": 2302, "Auto": 1677,
}  # fmt: skip
"""Training headlines of each section; 20 further ones have no label, and are left out."""

READER = replace(BAG, rate=0.01, passes=2)
LENGTHS = (2, 4, 8, 64)  # tokens of a headline; none has 64
JOINED = (1, 4, 16)
GROUP = JOINED[-1]
WITH_OTHERS = f"one, with {JOINED[1] - 1} of any section"
LONGER = {"paragraphs": "lpc", "articles": "ldc"}
LONG = 1024  # tokens of what is longer


def read(folder: Path, kind: str) -> list[Row]:
    """Rows of `KIND_train.csv` and `KIND_test.csv` that have a label; a missing headline is an empty text."""
    found: list[Row] = []
    for split in ("train", "test"):
        table = pd.read_csv(folder / f"{kind}_{split}.csv")
        table = table[table.labels.notna()].fillna({"text": ""})
        found += [(split, str(label), str(text)) for text, label in zip(table.text, table.labels, strict=True)]
    return found


def joined(rows: Sequence[Row], many: int, seed: int, others: bool = False) -> Iterator[Row]:
    """Texts of the first `many` headlines of each group: `GROUP` headlines of one section and split, drawn by the seed,
    so that there are as many texts however long they are. others: all but the first headline of a text are drawn from
    any section.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(rows))
    of_any = {split: [text for which, _, text in rows if which == split] for split in ("train", "test")}

    held: dict[tuple[str, str], list[str]] = {}
    for row in order:
        split, label, text = rows[row]
        group = held.setdefault((split, label), [])
        group.append(text)

        if len(group) == GROUP:
            drawn = (
                [of_any[split][place] for place in rng.integers(len(of_any[split]), size=many - 1)] if others else []
            )
            yield split, label, " ".join([group[0], *drawn] if others else group[:many])
            group.clear()


def texts_of(folder: Path, rows: Sequence[Row]) -> Iterator[tuple[str, Callable[[int], Iterable[Row]], int]]:
    """What each line of the table reads: its name, the texts by the seed, and how many tokens of each are kept."""
    for length in LENGTHS:
        yield (f"first {length}" if length != LENGTHS[-1] else "headline"), partial(_same, rows), length
    for name, kind in LONGER.items():
        if (folder / f"{kind}_train.csv").is_file():
            yield name, partial(_same, read(folder, kind)), LONG
    for many in JOINED:
        yield f"joined {many}", partial(joined, rows, many), LONG
    yield WITH_OTHERS, partial(joined, rows, JOINED[1], others=True), LONG


def _same(rows: Sequence[Row], seed: int) -> Sequence[Row]:
    return rows


def files_of(folder: Path) -> list[tuple[str, bool]]:
    """Whether the files are the published ones, and their sections as numerous."""
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in SHA256}
    rows = read(folder, "shc")
    counts = Counter(label for split, label, _ in rows if split == "train")
    tests = sum(split == "test" for split, *_ in rows)
    return [
        (f"{' and '.join(SHA256)} are the published files, by their SHA-256", found == SHA256),
        (f"{counts.total():,} training headlines of {len(counts)} sections as published", dict(counts) == COUNTS),
        (f"{tests:,} test headlines", tests == 4608),
    ]


def claims(cells: Mapping[str, Cell]) -> list[tuple[str, bool]]:
    """What the table is to bear out: accuracy rises with length, and with words alone."""
    found = {name: round(cell.mean(), 1) for name, cell in cells.items()}

    def rises(names: Sequence[str]) -> tuple[str, bool]:
        values = [found[name] for name in names]
        told = ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))
        return f"accuracy rises with length: {told}", values == sorted({*values})

    real = [f"first {length}" for length in LENGTHS[:-1]] + ["headline", *(name for name in LONGER if name in found)]
    several = [f"joined {many}" for many in JOINED]
    alone = found[WITH_OTHERS]
    told = f"... and not by length alone: {WITH_OTHERS} {alone}, no more than {found[several[0]]}"
    return [rises(real), rises(several), (told, alone <= found[several[0]])]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for, print it, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with text_extra/shc_train.csv and shc_test.csv"
    )
    parser.add_argument("--table", type=Path, help="a CSV file for the rows")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args(arguments)

    torch.set_num_threads(1)
    folder = given.data / "text_extra"
    rows = read(folder, "shc")
    cells: dict[str, Cell] = {}
    with tempfile.TemporaryDirectory(prefix="fedlt-headlines-") as made:
        for name, texts, length in texts_of(folder, rows):
            cell = cells[name] = Cell({"texts": name})
            for seed in range(given.seeds):
                place = write_splits(texts(seed), Path(made) / name.replace(" ", "_") / str(seed))
                cell.add(scored(place, READER, {"length": length}, seed))
            print(cell.written(), flush=True)
    write_rows(given.table, [cell.written() for cell in cells.values()])
    verdicts([*files_of(folder), *claims(cells)])


if __name__ == "__main__":
    main()
