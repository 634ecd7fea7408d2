"""Tables that grow over a run: what is new is a file of its own, so that an evaluation costs what it has measured.

    pieces/confusion.000001-000008.parquet    what was added first to eighth
    pieces/confusion.000009-000009.parquet    what was added ninth

A file is never edited. Where a table has many, the last ones are written anew as one and then deleted: their number
grows with the logarithm of the table, and so does how often a row is written. Nothing stays in memory. When the run
ends, each table becomes one file in the run folder.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fedlt.process.files import link, replace_file
from fedlt.results.tables import TABLES, named_as_today, schema

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "pieces"
MANY = 8  # files of a table


@dataclass(frozen=True)
class Piece:
    """A file with what was added from the `first` to the `last` time."""

    path: Path
    first: int
    last: int

    @staticmethod
    def at(path: Path) -> Piece:
        """The piece that a file name tells."""
        first, last = path.name.split(".")[-2].split("-")
        return Piece(path, int(first), int(last))


def pieces(folder: Path, table: str) -> list[Piece]:
    """The pieces in a folder, in order, without those that are in a larger one already."""
    in_order = sorted(
        (Piece.at(path) for path in folder.glob(f"{table}.*-*.parquet")), key=lambda piece: (piece.first, -piece.last)
    )
    return [piece for index, piece in enumerate(in_order) if all(piece.last > other.last for other in in_order[:index])]


def read_table(run_folder: Path, table: str) -> pa.Table:
    """A table of a run, finished or not."""
    whole = _read([run_folder / f"{table}.parquet"])
    return read_pieces(run_folder / FOLDER, table) if whole is None else whole


def read_pieces(folder: Path, table: str) -> pa.Table:
    """What the pieces in a folder hold together; one of the `TABLES` without rows where there are none."""
    while True:
        names = [piece.path for piece in pieces(folder, table)]
        table_read = _read(names) if names else schema(table).empty_table()
        if table_read is not None:
            return table_read


def _read(paths: list[Path]) -> pa.Table | None:
    """None where one of the files is not there (any more)."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        return pa.concat_tables([_read_file(path) for path in paths], promote_options="default")
    except FileNotFoundError:
        return None


def _read_file(path: Path) -> pa.Table:
    """A table, its columns by today's names."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:  # read_table looks for a data set of many files first
        content = file.read()
    return content.rename_columns([named_as_today(name) for name in content.column_names])


class Growing:
    """The tables of a run that is being written."""

    def __init__(self, run_folder: Path) -> None:
        self.run_folder, self.folder = run_folder, run_folder / FOLDER
        self._sizes: dict[str, list[tuple[Piece, int]]] = {name: [] for name in TABLES}  # with rows

    def clear(self) -> None:
        """Forget and delete everything, also of an earlier run."""
        self._sizes = {name: [] for name in TABLES}
        for name in TABLES:
            (self.run_folder / f"{name}.parquet").unlink(missing_ok=True)
        self._discard()

    def _discard(self) -> None:
        if self.folder.is_dir():
            shutil.rmtree(self.folder)

    def append(self, table: str, parts: list[pa.Table]) -> None:
        """Add rows below those that are there."""
        import pyarrow as pa

        chunk = pa.concat_tables(parts, promote_options="default")
        self.folder.mkdir(exist_ok=True)
        sizes = self._sizes[table]
        number = sizes[-1][0].last + 1 if sizes else 1
        sizes.append((self._write(table, number, number, chunk), len(chunk)))
        if len(sizes) > MANY:
            self._join(table)

    def _join(self, table: str) -> None:
        """Make one of the last pieces: of so many that each is at most as large as all behind it."""
        sizes = self._sizes[table]
        start = len(sizes) - 2
        while start and sizes[start - 1][1] <= sum(rows for _, rows in sizes[start:]):
            start -= 1
        joined = [piece for piece, _ in sizes[start:]]
        content = _read([piece.path for piece in joined])
        assert content is not None
        sizes[start:] = [(self._write(table, joined[0].first, joined[-1].last, content), len(content))]
        for piece in joined:
            piece.path.unlink()

    def _write(self, table: str, first: int, last: int, content: pa.Table) -> Piece:
        import pyarrow.parquet

        path = self.folder / f"{table}.{first:06d}-{last:06d}.parquet"
        replace_file(path, lambda temporary: pyarrow.parquet.write_table(content, temporary))
        return Piece(path, first, last)

    def save(self, folder: Path) -> None:
        """Keep the pieces in another folder of the same file system, too."""
        for sizes in self._sizes.values():
            for piece, _ in sizes:
                link(piece.path, folder / piece.path.name)

    def restore(self, folder: Path) -> None:
        """Take back what `save` kept in a folder."""
        import pyarrow.parquet

        self.clear()
        self.folder.mkdir(exist_ok=True)
        for name in TABLES:
            for piece in pieces(folder, name):
                path = self.folder / piece.path.name
                link(piece.path, path)
                self._sizes[name].append((Piece.at(path), pyarrow.parquet.read_metadata(path).num_rows))

    def cut(self, table: str, round: int) -> None:
        """Leave out a table's rows of later rounds than this one."""
        import pyarrow.compute as pc

        sizes = self._sizes[table]
        if sizes:
            content = read_pieces(self.folder, table)
            content = content.filter(pc.less_equal(content["round"], round))
            for piece, _ in sizes:
                piece.path.unlink()
            self._sizes[table] = [(self._write(table, 1, sizes[-1][0].last, content), len(content))]

    def finish(self) -> None:
        """Make each table one file, piece by piece, and delete the pieces."""
        for name, sizes in self._sizes.items():
            whole = self.run_folder / f"{name}.parquet"
            if len(sizes) == 1:
                sizes[0][0].path.replace(whole)
            elif sizes:
                replace_file(whole, partial(_concatenate, [piece.path for piece, _ in sizes]))
        self._discard()


def _concatenate(sources: list[Path], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    schemas = [pyarrow.parquet.read_schema(source) for source in sources]
    columns = pa.unify_schemas([pa.schema([f.with_name(named_as_today(f.name)) for f in held]) for held in schemas])
    with pyarrow.parquet.ParquetWriter(path, columns) as writer:
        for source in sources:
            content = [columns.empty_table(), _read_file(source)]
            writer.write_table(pa.concat_tables(content, promote_options="default"))
