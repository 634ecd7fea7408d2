"""Figures that pages quote are those of the tables and runs that they name."""

from __future__ import annotations

from pathlib import Path

import pytest

import fedlt
from benchmarks.quoted import measured
from benchmarks.quoted.pages import ROOT, quoting, stale, written
from fedlt.data.federation import plan

PAGE = """# A page

<!-- figures: digits: fedavg personal/accuracy = 80.0; fedavg personal_masked/accuracy = 87.4;
fedloge generic/few = +1.0 -->
The mask lifts 80.0 % to
87.4 %; 187.4 and 80.04 are others. The tail: +1.0.

80.0 is told of elsewhere.

<!-- quoted: rows digits 'tail, personal' 'difference=- fedloge'
'both=fedavg; fedloge' -->
old
<!-- end -->
"""


@pytest.mark.parametrize("page", quoting(), ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_quotes_is_current(page: Path) -> None:
    assert not stale(page, costly=False)


@pytest.mark.slow
def test_the_readmes_table_is_what_a_run_says() -> None:
    assert not stale(ROOT / "README.md")


def test_figures_are_written_where_they_are_quoted(tmp_path: Path) -> None:
    """87.4 is both an old and a new figure: replacing one after the other would make both of them 91.1."""
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    assert stale(page) == [
        "`rows digits` is not current: python -m benchmarks.quoted",
        "digits: fedavg personal/accuracy is 87.4, not 80.0",
        "digits: fedavg personal_masked/accuracy is 91.1, not 87.4",
        "digits: fedloge generic/few is +16.9, not +1.0",
    ]
    new = written(PAGE)
    assert "lifts 87.4 % to\n91.1 %; 187.4 and 80.04 are others. The tail: +16.9." in new
    assert "80.0 is told of elsewhere." in new
    assert "| difference | +16.9 (1.6 to 32.2) | +5.3 (2.7 to 8.0) |" in new
    assert "| both | 55.6 ± 9.8 | 92.7 ± 2.1 |" in new
    page.write_text(new, encoding="utf-8")
    assert not stale(page)
    page.write_text(new.replace("to\n91.1", "to\n91.2"), encoding="utf-8")
    assert stale(page) == ["91.1 (fedavg personal_masked/accuracy) does not stand in the paragraph"]


def test_a_figure_is_written_as_it_was() -> None:
    figures = ("72.4", "72.4 ± 5.6", "+16.9", "+16.9 (1.6 to 32.2)", "+16.9, 1.6 to 32.2")
    assert [measured.as_written("digits", "fedloge", "generic/few", form) for form in figures] == list(figures)
    with pytest.raises(KeyError, match=r"digits.csv has no generic/few of fedlouge"):
        measured.as_written("digits", "fedlouge", "generic/few", "1.0")


def test_what_the_default_scenario_says_of_its_samples_is_so() -> None:
    text = (ROOT / "scenarios" / "digits_lt.yaml").read_text(encoding="utf-8")
    split = plan(fedlt.load_scenario("digits_lt"))
    largest, smallest = split.class_counts[0], split.class_counts[9]
    assert f"{largest} samples of the digit 0, {smallest} of the digit 9" in text
    assert f"{split.class_counts.sum() / 20:.0f} samples a client in the mean" in text
    tables = (ROOT / "benchmarks" / "strategies" / "README.md").read_text(encoding="utf-8")
    assert f"handwritten digits, {largest} in the largest class and {smallest} in the smallest" in tables
