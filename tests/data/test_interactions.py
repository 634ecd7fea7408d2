"""Tables of interactions: histories by hand, what is refused, and the embedded table."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedlt.config.scenario import load_scenario
from fedlt.data import sources
from fedlt.data.book_loans import table
from fedlt.data.federation import federate
from fedlt.data.inputs.histories import HistoryKind
from fedlt.data.raw import RawData
from fedlt.errors import ScenarioError

ROWS = """who,what,when,stars,kind
ann,a,3,5,x|y
ann,b,1,5,y
ann,c,2,4,
ann,d,4,4.5,x
bob,a,10,5,x|y
bob,b,11,1,y
bob,c,12,4,
bob,b,13,4,y
bob,e,14,4,z
"""
COLUMNS = "user: who, item: what, time: when, rating: stars, scale: [1, 5], least: 4, features: [kind]"


def loaded(path: Path, more: str = "", text: str = ROWS, columns: str = COLUMNS, *keys: str) -> RawData:
    file = path / "rows.csv"
    file.write_text(text, encoding="utf-8")
    return sources.load(load_scenario("book_loans", given(file, more, columns, *keys)).data)


def given(file: Path, more: str, columns: str, *keys: str) -> list[str]:
    return [f"data.name={file}", f"data.interactions={{{columns}{', ' + more if more else ''}}}",
            "data.group_columns=[who]", *keys]  # fmt: skip


def test_histories_by_hand(tmp_path: Path) -> None:
    """By time ann took b, c, a, d and bob a, c, b, e; his second row is below `least`. d and e are tested and nobody's
    target of training, so nothing is left until eve takes e in a row for training.
    """
    with pytest.raises(
        ScenarioError, match=r"data.interactions: rows: no interactions are left .* 8 count, by 2 users"
    ):
        loaded(tmp_path)
    eve = "eve,c,1,5,\neve,a,2,5,x\neve,b,3,5,y\neve,e,4,5,z\neve,d,5,5,x\n"
    more = ROWS + eve + "cid,c,8,5,\ncid,d,9,5,x\n"
    raw = loaded(tmp_path, "history: 2", more)
    assert raw.class_names == ("a", "b", "c", "e")  # d is nobody's target of training, and comes last
    found = {tuple(x[x >= 0].tolist()): raw.class_names[y] for x, y in zip(raw.x_train, raw.y_train, strict=True)}
    assert found == {(1,): "c", (1, 2): "a", (0,): "c", (0, 2): "b", (2,): "a", (2, 0): "b", (0, 1): "e"}
    assert [x[x >= 0].tolist() for x in raw.x_test] == [[2, 1]]  # bob's e; ann's, eve's and cid's d are left out
    assert raw.class_names[raw.y_test[0]] == "e"
    assert raw.train_targets.groups["who"].tolist() == [0, 0, 1, 1, 2, 2, 2]

    kind = raw.inputs
    assert isinstance(kind, HistoryKind)
    assert kind.fields == ("what", "kind") and kind.starts == (0, 1, 3)
    assert kind.codes.tolist() == [[0, 5, 6], [1, 6, -1], [2, -1, -1], [3, 7, -1], [4, 5, -1]]
    assert kind.remarks()[1].startswith("3 of 4 test rows are left out")


def test_the_cache_gives_the_catalogue_back(tmp_path: Path) -> None:
    text = ROWS + "ann,a,9,5,x\n"
    first, second = (loaded(tmp_path, text=text).inputs for _ in range(2))
    assert isinstance(first, HistoryKind) and isinstance(second, HistoryKind)
    assert (first.fields, first.starts, first.told) == (second.fields, second.starts, second.told)
    assert np.array_equal(first.codes, second.codes)


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        (ROWS.replace("4.5", "45"), COLUMNS, "rating: rows: row 3 has the rating 45, .* 1 to 5; mend 1 such"),
        (ROWS.replace("4.5", "good"), COLUMNS, "row 3 has the rating good, and ratings go from 1 to 5; mend"),
        (ROWS.replace("4.5", ""), "user: who, item: what, time: when, rating: stars", "rating nan, which is no number"),
        (ROWS, COLUMNS.replace("who", "userId"), "data.interactions.user: rows has no column 'userId'; it has: who, "),
        (ROWS, COLUMNS.replace("kind", "genre"), "data.interactions.features: rows has no column 'genre'"),
        (ROWS, COLUMNS.replace("least: 4", "least: 6"), "data.interactions.least: 6 is outside of the scale, 1 to 5"),
        (ROWS, COLUMNS.replace("[1, 5]", "[5, 1]"), "data.interactions.scale: expected the lowest and the highest"),
        (ROWS, "user: who, least: 4", "data.interactions.least: is of ratings; name their column"),
        (ROWS.replace("ann,c,2", "ann,c,soon"), COLUMNS, "data.interactions.time: rows: row 2 has 'soon' as 'when'"),
        (ROWS.replace("ann,c", ",c"), COLUMNS, "data.interactions.user: rows: row 2 has no 'who'; take such rows out"),
        (ROWS, COLUMNS + ", tested: 4", "data.interactions: rows: no interactions are left .* lower"),
        (ROWS, "item: what", "data.interactions.item: has no effect without data.interactions.user"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, text: str, columns: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        loaded(tmp_path, "", text, columns)


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("book_loans", [], "name its columns: data.interactions={user: reader,"),
        ("book_loans", ["data.test_share=0.2"], "has no effect"),
        ("book_loans", ["data.target_column=book"], "data.target_column: has no effect on interactions"),
        ("book_loans", ["data.test_split=late"], "data.test_split: interactions are split by time"),
        ("rows.npz", [], "interactions are read from one .csv, .tsv, .jsonl or .parquet file"),
    ],
)
def test_keys_of_other_sources_are_refused(tmp_path: Path, name: str, keys: list[str], message: str) -> None:
    (tmp_path / "rows.npz").write_bytes(b"")
    if name != "book_loans":
        name = str(tmp_path / name)
    plain: dict[str, Any] = {"data": {"name": name, "interactions": {"user": "reader", "item": "book", "time": "day"}}}
    if not keys and name == "book_loans":
        del plain["data"]["interactions"]
    with pytest.raises(ScenarioError, match=message):
        sources.load(load_scenario(plain, keys).data)


def test_dates_and_numbers_are_times_and_rows_need_not_be_sorted(tmp_path: Path) -> None:
    text = ROWS + "ann,a,9,5,x\n"
    dates = text.split("\n", 1)[0] + "\n" + "\n".join(
        ",".join([*row.split(",")[:2], f"2020-01-{int(row.split(',')[2]):02d}", *row.split(",")[3:]])
        for row in text.split("\n")[1:] if row
    )  # fmt: skip
    numbers = loaded(tmp_path, text=text)
    mixed = loaded(tmp_path, text="\n".join([dates.split("\n")[0], *dates.split("\n")[:0:-1]]))
    assert np.array_equal(np.sort(numbers.x_train, 0), np.sort(mixed.x_train, 0))
    assert sorted(numbers.y_train) == sorted(mixed.y_train) and numbers.y_test.tolist() == mixed.y_test.tolist()


def test_the_embedded_loans_never_change_and_have_a_tail() -> None:
    """Every figure of the scenario rests on them."""
    rows = table()
    assert hashlib.sha256(rows.to_csv(index=False).encode()).hexdigest()[:16] == "e78c8516a73d7ff1"
    assert not rows.duplicated(["reader", "book"]).any()
    scenario = load_scenario("book_loans")
    found = federate(scenario)
    assert len(found.clients) == 6
    counts = np.sort(np.bincount(sources.load(scenario.data).y_train))
    assert counts[-1] >= 80 and counts[0] <= 3


def test_ratings_by_hand(tmp_path: Path) -> None:
    """Ann likes b, c, a, d in this order and bob a, not b, c, b, e; a history has liked books alone."""
    liked = "rows: liked, tested: 2, history: 2"
    with pytest.raises(ScenarioError, match=r"data.targets: items has no meaning with data.interactions.rows=liked"):
        loaded(tmp_path, liked)
    raw = loaded(tmp_path, liked, ROWS, COLUMNS, "data.targets=liked")
    kind = raw.inputs
    assert isinstance(kind, HistoryKind) and kind.asked
    assert raw.class_names == ("passed over", "liked") and raw.train_targets.kind.name == "liked"
    train, test = (
        sorted(("".join("abcde"[item] for item in x if item >= 0), int(y)) for x, y in zip(*part, strict=True))
        for part in ((raw.x_train, raw.y_train), (raw.x_test, raw.y_test))
    )
    assert train == [("ba", 0), ("ca", 1), ("cb", 1)]  # the item that is asked about, then the history
    assert test == [("abc", 1), ("bac", 1), ("dca", 1), ("ecb", 1)]


def test_ratings_need_what_makes_them_liked(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"data.interactions.rows: liked needs data.interactions.rating"):
        loaded(tmp_path, columns="user: who, item: what, time: when, rows: liked")
