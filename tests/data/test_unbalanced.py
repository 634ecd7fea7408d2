"""A global test set that is not balanced: figures say what they are over, and "balanced" is said where it is true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedlt
from fedlt.comparing.compare import compare
from fedlt.data.groups import by_count
from fedlt.measures.figures import COSTS
from fedlt.measures.headlines import ACCURACIES, BALANCED, compared
from fedlt.measures.metrics import Confusion, generic_metrics
from fedlt.plots import draw
from fedlt.results.runs import Run, measured
from fedlt.results.summary import evaluation_line, final_table, plain


def skewed(path: Path, tests: tuple[int, ...]) -> Path:
    """8 x 8 noise of as many classes, with these numbers of test samples."""
    rng = np.random.default_rng(0)
    train, test = np.repeat(np.arange(len(tests)), 40), np.repeat(np.arange(len(tests)), tests)
    images = {f"x_{n}": rng.integers(0, 255, (len(y), 8, 8), np.uint8) for n, y in (("train", train), ("test", test))}
    np.savez(path, **images, y_train=train, y_test=test)
    return path


@pytest.fixture
def run_on(tiny: dict[str, Any], tmp_path: Path) -> Any:
    def run(tests: tuple[int, ...], *changes: str) -> Run:
        data = skewed(tmp_path / f"tests-{'-'.join(map(str, tests))}.npz", tests)
        tail = ["data.longtail.profile=none", "~data.longtail.imbalance_factor", "~data.longtail.largest"]
        return fedlt.run(tiny, f"data.name={data}", *tail, *changes, out=tmp_path / "runs", backend="inline")

    return run


def test_groups_are_means_of_recalls_by_hand() -> None:
    """Of classes 0 and 1 (head) 9 of 10 and 1 of 2 are right, of class 2 (tail) none of 4; class 3 has no sample."""
    true = np.repeat([0, 1, 2], [10, 2, 4])
    pred = np.array([0] * 9 + [1] + [1, 0] + [0] * 4)
    found = generic_metrics(
        Confusion.from_predictions(true, pred, 4), by_count(np.array([200, 150, 10, 5])), np.array([90, 5, 3, 2])
    )
    assert found["many"] == pytest.approx((0.9 + 0.5) / 2)
    assert found["few"] == 0
    assert found["accuracy"] == pytest.approx(10 / 16)
    assert found["balanced_accuracy"] == pytest.approx((0.9 + 0.5 + 0) / 3)
    assert found["mass_many"] == pytest.approx(0.9)


def test_a_balanced_set_has_the_same_groups_as_before() -> None:
    true = np.repeat([0, 1, 2], 4)
    pred = np.array([0, 0, 0, 1, 1, 1, 0, 0, 2, 0, 0, 0])
    confusion = Confusion.from_predictions(true, pred, 3)
    groups = confusion.group_accuracy(np.array([0, 0, 2], dtype=np.int8))
    assert groups[0] == pytest.approx(5 / 8)
    assert groups[2] == pytest.approx(1 / 4)


def test_an_unbalanced_set_shows_balanced_accuracy_everywhere(run_on: Any, tmp_path: Path) -> None:
    run = run_on((45, 2, 20, 5))
    assert not run.balanced
    assert run.summary["test_per_class"] == [2, 45]
    recall = run.classes[run.classes["round"] == 2]["recall"]
    assert run.final["generic/balanced_accuracy"] == pytest.approx(recall.mean())

    shown = f"{100 * run.final['generic/balanced_accuracy']:.1f}"
    text = plain(final_table(run))
    assert "balanced" in text.splitlines()[2] + text.splitlines()[3]
    assert "not balanced (2 to 45 samples a class)" in text
    assert shown in text
    if abs(run.final["generic/accuracy"] - recall.mean()) > 1e-3:
        assert f"balanced {shown}, head" in evaluation_line(2, 2, run.final)

    assert compared(*measured([run])) == (ACCURACIES[0], BALANCED, *ACCURACIES[1:])
    found = compare([run])
    assert found.metrics[:2] == ("generic/accuracy", BALANCED)
    assert "balanced" in str(found)
    assert "large classes decide it" in str(found)
    assert compare([run], metrics=["generic/few"]).metrics == ("generic/few",)

    titles = [ax.get_title(loc="left") for ax in draw("curves", run).axes]
    assert titles[:2] == ["generic model", "generic model, mean of class recalls"]


@pytest.mark.slow
def test_the_report_says_balanced_only_where_it_is_true(run_on: Any, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    from fedlt.report import write_report

    for tests, balanced in (((45, 2, 20, 5), False), ((6, 6, 6, 6), True)):
        run, path = run_on(tests), tmp_path / "page.html"
        write_report([run], path=path)
        page = path.read_text(encoding="utf-8")
        assert ("which is balanced" in page) == balanced
        assert ("mean of class recalls" in page) == (not balanced)


@pytest.mark.slow
@pytest.mark.parametrize(("tests", "balanced"), [((6, 6, 6, 6), True), ((6, 6, 6, 5), False), ((6, 6, 6, 0), False)])
def test_balanced_is_said_where_every_class_has_equally_many(
    run_on: Any, tests: tuple[int, ...], balanced: bool
) -> None:
    run = run_on(tests)
    assert run.balanced == balanced
    assert ("balanced" in plain(final_table(run))) == (not balanced)
    assert compare([run]).metrics == ((*ACCURACIES, *COSTS) if balanced else (*compared(*measured([run])), *COSTS))


def test_runs_of_older_versions_are_told_by_their_figures(run_on: Any) -> None:
    for tests in ((45, 2, 20, 5), (6, 6, 6, 6)):
        run = run_on(tests)
        found = run.balanced
        del run.summary["test_per_class"]
        assert run.balanced == found
        run.summary["final"] = {}
        assert run.balanced
