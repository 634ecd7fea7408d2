"""Reads who holds which training row from a file of the user's: CSV, .npy or .npz."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import ordered
from fedlt.data.count_file import file_of
from fedlt.data.npz import BROKEN, opened
from fedlt.data.partitions.scheme import KEY, NOBODY
from fedlt.errors import Problem, ScenarioError

ROW, CLIENT = "row", "client"
DELIMITERS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True, eq=False)
class Holders:
    """What the file says, entry by entry.

    Attributes:
        file: its name, for messages.
        names: of the clients, in their order: whole numbers by size, texts alphabetically, where numbers in them count
            as numbers.
        clients: int64 [M], the client that each entry names; -1 for nobody.
        rows: int64 [M], the row of each entry; None: one entry a row, from row 0.
        lines: int64 [M], the entries' lines in a text file, from 1; None for arrays.
    """

    file: str
    names: tuple[str, ...]
    clients: NDArray[np.int64]
    rows: NDArray[np.int64] | None
    lines: NDArray[np.int64] | None

    def place(self, entry: int) -> str:
        """Where an entry stands, such as `clients.csv, line 3`."""
        where = f"line {self.lines[entry]}" if self.lines is not None else f"entry {entry}"
        return f"{self.file}, {where}"


def read_holders(source: str) -> Holders:
    """The content of a .csv or .tsv file, of an .npy file, or of an .npz file.

    A text file has a line of column names, `row` and `client` or `client` alone. An .npz file has arrays of these
    names, or one that is named as in `clients.npz:NAME`.

    Raises:
        ScenarioError: under `federation.partition.file`.
    """
    path = file_of(source)
    if not path.is_file():
        raise problem(f"no such file: {path.absolute()} (a path in a scenario file starts at its folder)")
    if path.suffix in DELIMITERS:
        return _read_text(path)
    if path.suffix == ".npy":
        try:
            return _of_arrays(path.name, np.load(path, allow_pickle=False), None)
        except BROKEN as error:
            raise problem(f"{path} is not a readable .npy file of a plain array: {error}") from error
    if path.suffix == ".npz":
        return _read_npz(path, source.partition(".npz:")[2])
    raise problem(f"expected a .csv, .tsv, .npy or .npz file, got {path.name}")


def problem(message: str) -> ScenarioError:
    """The error of a file that cannot be used."""
    return ScenarioError(Problem(f"{KEY}.file", message))


def _read_text(path: Path) -> Holders:
    """Holders from a table of text, a row or a line each."""
    lines: list[int] = []
    cells: list[list[str]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=DELIMITERS[path.suffix], skipinitialspace=True, strict=True)
            columns = [name.strip() for name in next(reader, [])]
            if columns not in ([ROW, CLIENT], [CLIENT, ROW], [CLIENT]):
                expected = f"its first line must name the columns, {ROW} and {CLIENT}, or {CLIENT} alone"
                raise problem(f"{path.name}: {expected}; got {', '.join(columns) or 'an empty file'}")
            for line in reader:
                if len(line) != len(columns):
                    what = f"has {len(line)} of the {len(columns)} columns" if line else "is empty; remove it"
                    raise problem(f"{path.name}, line {reader.line_num} {what}")
                lines.append(reader.line_num)
                cells.append([cell.strip() for cell in line])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise problem(f"{path} is not a readable table of texts in UTF-8: {error}") from error

    names = np.array([line[columns.index(CLIENT)] for line in cells], np.str_)
    rows = None
    if ROW in columns:
        texts = [line[columns.index(ROW)] for line in cells]
        for number, text in zip(lines, texts, strict=True):
            if not re.fullmatch(r"[0-9]{1,18}", text):
                raise problem(f"{path.name}, line {number}: row {text!r} is no whole number from 0")
        rows = np.array(texts, np.int64)
    return _coded(path.name, names, rows, np.array(lines, np.int64))


def _read_npz(path: Path, array: str) -> Holders:
    with opened(path, problem) as content:
        name = array or CLIENT
        if name not in content.files:
            held = ", ".join(content.files) or "(none)"
            raise problem(f"{path.name} has no array {name!r}, but {held}; name one as in {path.name}:NAME")
        rows = content[ROW] if not array and ROW in content.files else None
        return _of_arrays(path.name, content[name], rows)


def _of_arrays(file: str, clients: NDArray[Any], rows: NDArray[Any] | None) -> Holders:
    """Of arrays, [M] each: whole numbers or texts, and whole numbers."""
    if clients.ndim != 1 or clients.dtype.kind not in "iuU":
        held = f"{clients.dtype} {list(clients.shape)}"
        raise problem(f"{file}: expected one whole number or text for each row, got {held}")
    if rows is not None and (rows.shape != clients.shape or rows.dtype.kind not in "iu"):
        expected = f"rows must be {len(clients)} whole numbers, one for each client"
        raise problem(f"{file}: {expected}, got {rows.dtype} {list(rows.shape)}")
    return _coded(file, clients, None if rows is None else rows.astype(np.int64), None)


def _coded(file: str, named: NDArray[Any], rows: NDArray[np.int64] | None, lines: NDArray[np.int64] | None) -> Holders:
    """With clients as numbers. Nobody is named by an empty text, or by -1."""
    distinct, inverse = np.unique(named, return_inverse=True)
    if distinct.dtype.kind == "U":
        known = ordered(distinct[distinct != ""])
    else:
        known = [str(name) for name in distinct.tolist() if name != NOBODY]
    codes = {name: code for code, name in enumerate(known)}
    clients = np.array([codes.get(str(name), NOBODY) for name in distinct.tolist()], np.int64)[inverse]
    found = Holders(file, tuple(known), clients, rows, lines)

    if not known:
        raise problem(f"{file} names no client")
    if distinct.dtype.kind != "U" and distinct[0] < NOBODY:
        raise problem(f"{found.place(int(np.argmin(named)))}: clients are numbered from 0, got {distinct[0]}")
    return found
