"""No text of a figure lies over another, is cut by the figure's edge, or stands where a method is drawn.

The boxes of all texts are measured as they are drawn, with one, four and nine methods of long names, at the widths of a
page and of a column.
"""

from __future__ import annotations

from itertools import combinations
from math import cos, radians, sin
from typing import Any

import pytest
from fake_runs import make_run
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from fedlt import plots
from fedlt.plots.layout import COLUMN, PAGE, inches, wrapped
from fedlt.results.runs import Run

NAMES = ("fedavg", "fedprox mu=0.001", "a_method_whose_name_nobody_would_type_twice_in_a_row", "fedloge", "local",
         "fedrod learner=balanced_softmax local.lr=0.01", "ditto", "creff", "Balanced")  # fmt: skip
SLACK = 1.0  # pixels by which boxes may touch: descents of letters count, whether a text has them or not


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Three seeds of one method; the last is far better than the first for all clients."""
    folder = tmp_path_factory.mktemp("runs")
    scenario = {"data": {"name": "digits"}, "federation": {"clients": 3, "rounds": 2}}
    found = [
        make_run(folder, scenario, f"seed={seed}", right=(40, 60 + 15 * seed), personal=(30, 60, 100), simulated=5.0)
        for seed in range(3)
    ]
    for run in found:  # a head whose rows are measured, so that there are norms to draw
        run.classes.assign(head_norm=1.5).to_parquet(run.folder / "classes.parquet")
    return [Run(run.folder) for run in found]


def drawn_texts(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Text, Bbox]]:
    """Every text that is drawn, with its box in pixels: ticks outside of an axis, for one, are not."""
    found: list[Text] = []
    draw = Text.draw

    def noting(text: Text, renderer: Any) -> None:
        if text.get_visible() and text.get_text().strip():
            found.append(text)
        draw(text, renderer)

    canvas = FigureCanvasAgg(figure)
    with monkeypatch.context() as patched:
        patched.setattr(Text, "draw", noting)
        canvas.draw()
    return [(text, text.get_window_extent(canvas.get_renderer())) for text in found]


def apart(one: tuple[Text, Bbox], other: tuple[Text, Bbox]) -> bool:
    """Whether two texts do not overlap. Slanted ones, whose boxes do, are measured across their direction."""
    (first, a), (second, b) = one, other
    angle = first.get_rotation() % 90
    if angle and first.get_rotation() == second.get_rotation():
        turn = radians(angle)
        distance = abs((b.x1 - a.x1) * sin(turn) - (b.y1 - a.y1) * cos(turn))
        return distance >= first.get_fontsize() * first.get_figure(root=True).dpi / 72 - SLACK
    return min(a.x1, b.x1) - max(a.x0, b.x0) <= SLACK or min(a.y1, b.y1) - max(a.y0, b.y0) <= SLACK


def problems(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is wrong with the figure's texts, in words."""
    texts = drawn_texts(figure, monkeypatch)
    width, height = figure.bbox.size
    cut = [
        f"{text.get_text()!r} leaves the figure"
        for text, box in texts
        if min(box.x0, box.y0) < -SLACK or box.x1 > width + SLACK or box.y1 > height + SLACK
    ]
    over = [
        f"{one[0].get_text()!r} lies over {other[0].get_text()!r}"
        for one, other in combinations(texts, 2)
        if not apart(one, other)
    ]
    legends = [legend.get_window_extent() for ax in figure.axes if (legend := ax.get_legend())]
    legends += [legend.get_window_extent() for legend in figure.legends]
    hidden = [f"a legend lies in a panel at {ax.bbox.bounds}" for ax in figure.axes for box in legends
              if ax.bbox.y0 < box.y1 - SLACK and box.y0 < ax.bbox.y1 and ax.bbox.x0 < box.x1 - SLACK
              and box.x0 < ax.bbox.x1]  # fmt: skip
    return cut + over + hidden


CASES = [
    (kind, number, width)
    for kind in plots.KINDS
    for number, width in ((1, PAGE), (4, PAGE), (9, PAGE), (1, COLUMN), (9, COLUMN))
    if kind != "partition" or number == 1  # which is the same for all methods
    if kind != "gain" or number > 1  # which is over another method
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "number", "width"), [*CASES, ("clients", 2, PAGE), ("clients", 2, COLUMN)])
def test_no_text_is_cut_or_lies_over_another(
    kind: str, number: int, width: float, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = dict.fromkeys(NAMES[:number], runs)
    figure = plots.draw(kind, methods, reference=max(methods, key=len), width=width)
    assert figure.get_size_inches()[0] <= width
    assert problems(figure, monkeypatch) == []


def test_a_text_over_another_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = Figure()
    figure.text(0.5, 0.5, "one")
    figure.text(0.5, 0.5, "two")
    figure.text(0.99, 0.9, "too far to the right")
    assert problems(figure, monkeypatch) == [
        "'too far to the right' leaves the figure", "'one' lies over 'two'",
    ]  # fmt: skip


def test_long_texts_are_broken_after_signs_and_anywhere_where_they_must_be() -> None:
    assert wrapped("fedavg", 1.0, 8) == "fedavg"
    assert wrapped("local (generic: fedavg)", inches("local (generic:", 8), 8) == "local (generic:\nfedavg)"
    assert wrapped("one\ntwo three", inches("two three", 8), 8) == "one\ntwo three"
    assert wrapped("my_method", inches("my_met", 8), 8) == "my_\nmethod"
    assert wrapped("aaaa", inches("aa", 8), 8) == "aa\naa"
    assert wrapped("", 1.0, 8) == ""
