"""Names of people's own components in what they share: short, told apart where they must be, and never a path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import fedlt
from fedlt import plots
from fedlt.comparing.short_names import as_typed, shortened, without_folders
from fedlt.report.page import write_report

MINE = """
@dataclass(frozen=True)
class Balanced(Strategy):
    scale: float = 1.0
"""


def names(*held: tuple[str, str]) -> list[Any]:
    """Short names of strategies. held: full name and content of each run."""
    runs: Any = [SimpleNamespace(summary={"inputs": {"strategy": {"mine.py": content}}}) for _, content in held]
    return [keys["strategy"] for keys in shortened(runs, [{"strategy": name, "seed": 0} for name, _ in held])]


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ([("/home/me/mine.py:Balanced", "a"), ("fedavg", "")], ["Balanced", "fedavg"]),
        # Moved, or copied: one method.
        ([("/home/me/mine.py:Balanced", "a"), ("/elsewhere/mine.py:Balanced", "a")], ["Balanced", "Balanced"]),
        # Two classes of one name: the file tells them apart, or the folder.
        ([("/w/one.py:B", "a"), ("/w/two.py:B", "b"), ("/w/two.py:C", "b")], ["one.py:B", "two.py:B", "C"]),
        ([("/w/x/mine.py:B", "a"), ("/w/y/mine.py:B", "b")], ["x/mine.py:B", "y/mine.py:B"]),
        # Edited between two runs: one name, and the comparison refuses the two contents.
        ([("/w/mine.py:B", "a"), ("/w/mine.py:B", "b")], ["B", "B"]),
    ],
)
def test_the_class_is_enough_unless_two_differ(held: list[tuple[str, str]], expected: list[str]) -> None:
    assert names(*held) == expected


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("./mine.py:Balanced", "Balanced"),
        ("/home/me/one.py:B", "one.py:B"),
        ("Balanced", "Balanced"),
        ("fedavg", "fedavg"),
        ("./mine.py:Balancd", "./mine.py:Balancd"),  # no such row: told as it was typed
    ],
)
def test_a_row_is_found_by_what_was_typed(typed: str, expected: str) -> None:
    assert as_typed(typed, ["fedavg", "Balanced", "one.py:B", "two.py:B"]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  name: /home/me/study/mine.py:Mine\n", "  name: mine.py:Mine\n"),
        ("data ~/pictures/cats, profile none", "data cats, profile none"),
        ("name: './mine.npz'", "name: './mine.npz'"),
        ("name: uoft-cs/cifar10", "name: uoft-cs/cifar10"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
        ("lr: 0.1 / 2", "lr: 0.1 / 2"),
    ],
)
def test_folders_are_left_out_of_a_text(text: str, expected: str) -> None:
    assert without_folders(text) == expected


@pytest.mark.slow
def test_no_path_reaches_what_is_shared(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = own_file(MINE)
    for strategy in ("fedavg", str(path) + ":Balanced"):
        fedlt.run(tiny, f"strategy={strategy}", out=tmp_path / "runs", backend="inline")
    compared = fedlt.compare(tmp_path / "runs", reference=f"{path}:Balanced")
    assert [row.labels for row in compared.rows] == [("Balanced",), ("fedavg",)]
    assert compared.reference == "Balanced"

    drawn = plots.draw("clients", tmp_path / "runs")
    texts = [text for ax in drawn.axes for text in (ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel())]
    texts += [text.get_text() for legend in drawn.legends for text in legend.get_texts()]
    page = write_report([tmp_path / "runs"], tmp_path / "report.html").read_text(encoding="utf-8")
    for shared in (str(compared), compared._repr_markdown_(), *texts, page, capsys.readouterr().out):
        assert str(tmp_path) not in shared
    assert "Balanced" in page
    assert "Balanced" in " ".join(texts)
