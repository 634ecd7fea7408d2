"""What to take out of long texts before they are cut, and who gains by it.

    python -m benchmarks.text.shortening --data /your/data --table benchmarks/text/shortening.csv

Medical notes (MTSamples, as `benchmarks.text.catalogue` has them) and abstracts (Ohsumed, 23 diseases, official split)
of which an encoder reads the first 64, 128 or 256 tokens. Taken out before: stop words (`data.shorten=english`), signs
that are no words, or words that fewer than three training texts have. `random words` is the control: as many words as
the stop words are, whichever. A linear bag reads both sets, a transformer the notes.

After arXiv 2403.12563, which takes stop words out of long news before a transformer reads them, and leaves signs and
rare words; its 18,000 articles are not public.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch

from benchmarks.rows import write_rows
from benchmarks.text.corpora import Row, notes, ohsumed, write_splits
from benchmarks.text.one_site import ATTENTION, BAG, BUCKETS, Cell, Reader, scored, verdicts
from fedlt.tokenizers.shorten import NEGATIONS, Shortening
from fedlt.tokenizers.words import words

RARE = 3  # training texts that a word must be in to stay
STOP, SIGNS = "data.shorten=english", "data.shorten.punctuation=true"
SETTINGS: tuple[tuple[str, int], ...] = (
    ("nothing", 64),
    ("stop words", 64),
    ("signs", 64),
    ("rare words", 64),
    ("random words", 64),
    ("nothing", 128),
    ("stop words", 128),
    ("nothing", 256),
)
"""What is taken out, and how many tokens are kept."""

READERS: Mapping[str, tuple[Reader, ...]] = {"mtsamples": (BAG, ATTENTION), "ohsumed": (BAG,)}
KEYS = {"stop words": STOP, "signs": SIGNS}


def rows_of(corpus: str, data: Path, seed: int) -> list[Row]:
    """Both splits of a set. seed: it draws the split where there is no official one."""
    return list(notes(data, seed) if corpus == "mtsamples" else ohsumed(data))


def without_rare(rows: Sequence[Row]) -> list[Row]:
    """Without words that fewer than `RARE` training texts have; signs stay."""
    among = Counter(word for split, _, text in rows if split == "train" for word in {*words(text.lower())})
    return _kept(rows, lambda word: among[word.lower()] >= RARE or not word[0].isalnum())


def without_random(rows: Sequence[Row], seed: int) -> list[Row]:
    """Without as large a share of the words and signs as stop words are."""
    stop, drawn = Shortening.of("english", [*NEGATIONS], False, False).stop, random.Random(seed)
    found = [word.lower() in stop for *_, text in rows for word in words(text)]
    share = sum(found) / len(found)
    return _kept(rows, lambda word: drawn.random() >= share)


def _kept(rows: Iterable[Row], stays: Callable[[str], bool]) -> list[Row]:
    return [(split, label, " ".join(filter(stays, words(text)))) for split, label, text in rows]


def written(corpus: str, data: Path, folder: Path, seed: int) -> dict[str, Path]:
    """The set's folders, by what is taken out of its texts where no key of a scenario does it."""
    rows = rows_of(corpus, data, seed)
    made = {"rare words": without_rare(rows), "random words": without_random(rows, seed)}
    return {name: write_splits(each, folder / name.replace(" ", "_")) for name, each in ({"": rows} | made).items()}


def claims(cells: Mapping[tuple[str, str, str, int], Cell]) -> list[tuple[str, bool]]:
    """What the table is to bear out, for each set and model."""
    found = {name: round(cell.mean(), 1) for name, cell in cells.items()}
    listed: list[tuple[str, bool]] = []

    for corpus, model in dict.fromkeys((corpus, model) for corpus, model, *_ in found):
        of = {setting: found[corpus, model, *setting] for setting in SETTINGS}

        raw, stop, drawn = of["nothing", 64], of["stop words", 64], of["random words", 64]
        twice, whole = of["stop words", 128], of["nothing", 256]
        rare, signs = of["rare words", 64], of["signs", 64]

        listed += [
            (f"{corpus}, {model}: 64 tokens without stop words {stop} are 2 points above raw {raw}", stop >= raw + 2),
            (f"{corpus}, {model}: ... and above 64 tokens without random words {drawn}", stop > drawn),
            (f"{corpus}, {model}: 128 without stop words {twice} within 1.5 of raw 256 {whole}", twice >= whole - 1.5),
            (f"{corpus}, {model}: 64 without rare words {rare} less than a point above raw {raw}", rare < raw + 1),
        ]

        if model == ATTENTION.name:
            listed += [
                (f"{corpus}, {model}: 64 without signs {signs} less than a point above raw {raw}", signs < raw + 1)
            ]
    return listed


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for, print it, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mtsamples.parquet and ohsumed23.parquet")
    parser.add_argument("--table", type=Path, help="a CSV file for the rows")
    parser.add_argument("--sets", nargs="+", default=list(READERS), choices=list(READERS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--buckets", type=int, default=BUCKETS, help="different ids of hashed words")
    given = parser.parse_args(arguments)

    torch.set_num_threads(1)
    cells: dict[tuple[str, str, str, int], Cell] = {}
    with tempfile.TemporaryDirectory(prefix="fedlt-shortening-") as made:
        for corpus in given.sets:
            places = [written(corpus, given.data, Path(made) / f"{corpus}-{seed}", seed) for seed in range(given.seeds)]
            for reader in READERS[corpus]:
                for out, length in SETTINGS:
                    name = {"set": corpus, "model": reader.name, "taken out": out, "tokens": str(length)}
                    cell = cells[corpus, reader.name, out, length] = Cell(name)
                    for seed, place in enumerate(places):
                        keys = [KEYS[out]] if out in KEYS else []
                        tokenizer = {"length": length, "buckets": given.buckets}
                        cell.add(scored(place.get(out, place[""]), reader, tokenizer, seed, *keys))
                    print(cell.written(), flush=True)
    write_rows(given.table, [cell.written() for cell in cells.values()])
    verdicts(claims(cells))


if __name__ == "__main__":
    main()
