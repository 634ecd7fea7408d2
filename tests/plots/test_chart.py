"""A chart is described once: the printed figure and the page's say the same of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import make_run
from matplotlib.figure import Figure

from fedlt.plots.chart import Axis, Chart, Line, limits
from fedlt.plots.classes import calibration_chart, class_chart
from fedlt.plots.clients import client_chart
from fedlt.plots.curves import curve_chart
from fedlt.plots.on_axes import draw_map, draw_on
from fedlt.plots.style import looks
from fedlt.report.charts import drawn, largest_clients
from fedlt.results.runs import Run

LOOK = looks(["one"])["one"]


@pytest.fixture
def methods(tiny: dict[str, Any], tmp_path: Path) -> dict[str, list[Run]]:
    runs = [make_run(tmp_path, tiny, f"seed={seed}", right=(40, 60 + 10 * seed)) for seed in (0, 1)]
    return {"fedavg": runs}


def line(y: list[float], spread: list[float] | None = None) -> Line:
    return Line("one", np.arange(len(y)), np.array(y), LOOK, spread=None if spread is None else np.array(spread))


def test_limits_leave_a_twentieth_and_span_what_they_must() -> None:
    assert limits([line([20, 60])], 10, -2, 102) == (18, 62)
    assert limits([line([20, 60], [10, 10])], 10, -2, 102) == (7, 73)
    assert limits([line([50, 50])], 10, -2, 102) == (45, 55)
    assert limits([line([0, 100])], 10, -2, 102) == (-2, 102)
    assert limits([], 10, -2, 102) == (None, None)


def test_both_drawings_have_one_title_and_equal_axes(methods: dict[str, list[Run]]) -> None:
    charts = [curve_chart(methods, "generic/accuracy"), class_chart(methods, "generic"), client_chart(methods),
              calibration_chart(methods, "generic")]  # fmt: skip
    for chart in charts[:3]:
        ax = Figure().subplots()
        draw_on(ax, chart)
        layout = drawn(chart)["layout"]
        assert ax.get_xlabel() == layout["xaxis"]["title"]["text"] == chart.x.text
        assert ax.get_ylabel() == layout["yaxis"]["title"]["text"] == chart.y.text
        assert list(ax.get_ylim()) == pytest.approx(layout["yaxis"]["range"], abs=1e-4)
    assert [chart.title for chart in charts] == ["generic model", "generic model", "Client by client", "generic model"]


def test_both_drawings_hold_the_same_points(methods: dict[str, list[Run]]) -> None:
    chart = curve_chart(methods, "generic/accuracy")
    low, high, mean = drawn(chart)["data"]
    half = float(np.std([60, 70], ddof=1))
    assert (mean["x"], mean["y"]) == ([3, 6], [40, 65])
    assert (low["y"][1], high["y"][1]) == (pytest.approx(65 - half, abs=1e-4), pytest.approx(65 + half, abs=1e-4))
    assert mean["hovertemplate"] == "fedavg, round %{x}: %{y:.1f} ± %{customdata:.1f} %, n = 2<extra></extra>"

    diagonal, dots = drawn(client_chart(methods))["data"]
    assert diagonal["x"] == [0, 100]
    assert (dots["x"], dots["y"]) == ([60, 60, 60, 70, 70, 70], [50, 60, 70] * 2)
    assert dots["text"][0] == (
        "fedavg, client 0, seed 0<br>120 training samples of 2 classes<br>personal 50.0 %, masked 50.0 %<br>"
        "generic on the same samples 60.0 %"
    )


def test_bars_behind_and_maps_are_drawn_by_both(methods: dict[str, list[Run]]) -> None:
    bars, line = drawn(class_chart(methods, "generic"))["data"]
    assert (bars["x"], bars["y"], bars["customdata"]) == ([0, 1], [125, 40], ["head", "medium"])
    assert bars["text"] == line["text"] == ["cat", "dog"]
    half = float(np.std([20, 40], ddof=1))  # of class 1: 10 and 20 of 50 right; of class 0 all
    assert line["error_y"]["array"] == [0, pytest.approx(half, abs=1e-4)]
    layout = drawn(class_chart(methods, "generic"))["layout"]
    assert layout["xaxis"]["ticktext"] == ["cat", "dog"]
    assert [text["text"] for text in layout["annotations"]] == ["head", "medium"]
    assert [shape["x0"] for shape in layout["shapes"]] == [0.5]
    chart = largest_clients(methods["fedavg"][0])
    (shades,) = drawn(chart)["data"]
    assert shades["y"] == ["client 0", "client 1", "client 2"]
    assert shades["customdata"] == [[90, 30], [20, 10], [15, None]]
    assert shades["z"][1] == pytest.approx(np.log10([20, 10]), abs=1e-4)
    assert draw_map(Figure().subplots(), chart).get_array().shape == (3, 2)


def test_an_empty_chart_says_so() -> None:
    ax = Figure().subplots()
    draw_on(ax, Chart("x", "title", Axis("round"), Axis("accuracy", "%"), ()))
    assert [text.get_text() for text in ax.texts] == ["no such model"]
