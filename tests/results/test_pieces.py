"""Tables in pieces: few files, few copies of a row, and one reading of them, whatever a crash has left."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from fedlt.results.pieces import FOLDER, MANY, Growing, pieces, read_pieces, read_table


def chunk(start: int, count: int) -> list[pa.Table]:
    """Rows numbered from `start`."""
    return [pa.table({"round": list(range(start, start + count))})]


def rounds(table: pa.Table) -> list[int]:
    return table["round"].to_pylist()  # type: ignore[no-any-return]


@pytest.mark.slow
def test_a_growing_table_has_few_pieces_and_each_row_is_written_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    write = pyarrow.parquet.write_table

    def counting(content: pa.Table, path: Path) -> None:
        written.append(len(content))
        write(content, path)

    monkeypatch.setattr(pyarrow.parquet, "write_table", counting)
    tables = Growing(tmp_path)
    most = 0
    for number in range(500):
        tables.append("rounds", chunk(2 * number, 2))
        most = max(most, len(list((tmp_path / FOLDER).iterdir())))
        if number in (0, 7, 8, 70, 499):
            assert rounds(read_table(tmp_path, "rounds")) == list(range(2 * number + 2))
    assert most <= MANY + 10
    assert sum(written) < 1000 * 10  # 500 * 501 if the table were written anew each time
    tables.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["rounds.parquet"]
    assert rounds(read_table(tmp_path, "rounds")) == list(range(1000))


def test_what_was_joined_counts_once_where_a_crash_has_left_it_twice(tmp_path: Path) -> None:
    for first, last in ((1, 4), (1, 1), (2, 3), (4, 4), (5, 5), (6, 7), (7, 7)):
        rows = chunk(first, last - first + 1)[0]
        pyarrow.parquet.write_table(rows, tmp_path / f"metrics.{first:06d}-{last:06d}.parquet")
    assert [(piece.first, piece.last) for piece in pieces(tmp_path, "metrics")] == [(1, 4), (5, 5), (6, 7)]
    assert rounds(read_pieces(tmp_path, "metrics")) == [1, 2, 3, 4, 5, 6, 7]
    assert len(read_pieces(tmp_path, "clients")) == 0


def test_what_was_saved_comes_back_and_later_rows_are_gone(tmp_path: Path) -> None:
    tables = Growing(tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "kept").mkdir()
    for number in range(20):
        tables.append("rounds", chunk(number, 1))
    tables.save(tmp_path / "kept")
    for number in range(20, 40):
        tables.append("rounds", chunk(-number, 1))
    tables.finish()
    (tmp_path / "run" / FOLDER).mkdir()
    (tmp_path / "run" / FOLDER / ".rounds.000041-000041.parquet.part").touch()  # of a crash
    other = Growing(tmp_path / "run")
    other.restore(tmp_path / "kept")
    assert rounds(read_table(tmp_path / "run", "rounds")) == list(range(20))
    for number in range(20, 60):
        other.append("rounds", chunk(number, 1))
    assert rounds(read_pieces(tmp_path / "kept", "rounds")) == list(range(20))
    other.finish()
    assert rounds(read_table(tmp_path / "run", "rounds")) == list(range(60))


def test_rows_may_have_further_columns_later(tmp_path: Path) -> None:
    tables = Growing(tmp_path)
    tables.append("rounds", chunk(1, 1))
    tables.append("rounds", [pa.table({"round": [2], "more": [0.5]})])
    assert read_table(tmp_path, "rounds").to_pydict() == {"round": [1, 2], "more": [None, 0.5]}
    tables.finish()
    assert read_table(tmp_path, "rounds").to_pydict() == {"round": [1, 2], "more": [None, 0.5]}
