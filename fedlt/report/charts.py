"""The interactive pictures: described charts as the plain data that plotly.js draws.

plotly's Python half only carries the script.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fedlt.plots.chart import Axis, Chart, Dots, Line, Shades
from fedlt.plots.maps import partition_chart
from fedlt.plots.measured import split_of
from fedlt.plots.style import DASHES, MARKERS, Look

if TYPE_CHECKING:
    from fedlt.results.runs import Run

Drawn = dict[str, Any]
_DASHES = dict(zip(DASHES, ("solid", "dash", "dot", "dashdot", "longdash"), strict=True))
_SYMBOLS = dict(
    zip(
        MARKERS,
        ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "triangle-left"),
        strict=True,
    )
)
"""What plotly calls the dashes and markers of the printed figures."""
SHADES = [[0.0, "#f1e8b8"], [0.5, "#7c7b78"], [1.0, "#00224d"]]
"""From few to many; the lightness is monotonic, so that it reads in grey."""
MOST_NAMES = 25
"""Ticks of an axis of names; more would lie over each other."""
MOST_CLIENTS = 200
"""Rows of the map of the partition; more could not be told apart on a screen."""


def drawn(chart: Chart) -> dict[str, Any]:
    """`data` and `layout` of the chart, as plotly.js takes them."""
    layout: Drawn = {"xaxis": _axis(chart.x, chart.behind is not None), "yaxis": _axis(chart.y)}
    data: list[Drawn] = []
    if chart.diagonal:
        data.append({
            "x": [0, 100], "y": [0, 100], "mode": "lines", "line": {"color": "#666", "dash": "dash", "width": 1},
            "hoverinfo": "skip", "showlegend": False,
        })  # fmt: skip

    if chart.behind is not None:
        axis = chart.behind.axis
        data.append({
            "type": "bar", "x": list(range(len(chart.x.names))), "y": chart.behind.heights.tolist(), "yaxis": "y2",
            "name": axis.word, "marker": {"color": "#dddddd"}, "text": list(chart.x.names), "textposition": "none",
            "customdata": list(chart.behind.groups),
            "hovertemplate": f"%{{text}}: %{{y}} {axis.word} (%{{customdata}})<extra></extra>",
        })  # fmt: skip
        layout["yaxis"] |= {"overlaying": "y2", "side": "left", "tickmode": "linear", "dtick": 20}
        layout["yaxis2"] = {**_axis(axis), "side": "right", "showgrid": False}
        layout["yaxis2"]["title"]["text"] += " (bars)"
    layout |= _groups(chart)

    for mark in chart.marks:
        if isinstance(mark, Line):
            data += _line(mark, chart)
        elif isinstance(mark, Dots):
            data.append(_dots(mark))
            layout |= {"hovermode": "closest", "height": 340}
            if not len(mark.x):
                middle = {"xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5, "showarrow": False}
                layout["annotations"] = [{"text": mark.empty.replace("\n", "<br>"), **middle}]
            layout["yaxis"]["scaleanchor"] = "x"
            for name in ("xaxis", "yaxis"):
                layout[name] |= {"constrain": "domain", "dtick": 20 if (chart.x.low or 0) < 50 else 10}
        else:
            data.append(_map(mark, chart))
            rows = len(mark.values)
            layout |= {"hovermode": "closest", "height": int(max(320, min(900, 140 + 12 * rows))), "margin": {"t": 90}}
            layout["yaxis"] |= {"autorange": "reversed", "showticklabels": rows <= 40, "showgrid": False}
    return {"data": data, "layout": layout}


def largest_clients(run: Run) -> Chart:
    """Who holds what, from the largest client to the smallest: every one, or as many as a screen can tell apart."""
    split = split_of(run)
    order = np.argsort(-split.train.sum(axis=1), kind="stable")
    shown = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), MOST_CLIENTS)).astype(int))]
    note = f"Seed {run.summary['seed']}. Clients from the largest to the smallest; white: no sample."
    if len(shown) < len(order):
        note += f" {len(shown)} of {len(order)} clients are shown."
    return partition_chart(split.train, split.names, rows=shown.tolist(), note=note)


def _axis(axis: Axis, placed: bool = False) -> Drawn:
    """How plotly draws an axis.

    Args:
        placed: whether its names are of places 0, 1, ..., between which marks may stand; else each is a place itself.
    """
    found: Drawn = {"title": {"text": axis.text}}

    if axis.names and placed:
        places = list(range(0, len(axis.names), 1 + len(axis.names) // MOST_NAMES))
        found |= {"tickvals": places, "ticktext": [axis.names[place] for place in places], "showgrid": False}
    elif axis.names:
        return {**found, "type": "category"}

    if axis.log:
        ticks = [digit * 10**power for power in range(7) for digit in (1, 2, 5)]
        return {**found, "type": "log", "tickvals": ticks}

    if axis.low is not None and axis.high is not None:
        found["range"] = [round(axis.low, 4), round(axis.high, 4)]
    elif axis.low == 0:
        found["rangemode"] = "tozero"
    return found


def _groups(chart: Chart) -> Drawn:
    """Dividers between groups of neighbours, and the groups' names above them."""
    line = {"color": "#555", "width": 1, "dash": "dot"}
    above = {"yref": "paper", "y": 1.0, "yanchor": "bottom", "showarrow": False, "font": {"size": 11, "color": "#555"}}
    if not chart.groups:
        return {}
    return {
        "margin": {"t": 50},
        "shapes": [{"type": "line", "x0": place, "x1": place, "yref": "paper", "y0": 0, "y1": 1, "line": line}
                   for place in chart.dividers],
        "annotations": [{"x": middle, "text": name, **above} for middle, name in chart.groups],
    }  # fmt: skip


def _line(line: Line, chart: Chart) -> list[Drawn]:
    """A line, after the edges of its band; or with its bars."""
    x = numbers(line.x + line.offset)
    data: list[Drawn] = []
    group = {"legendgroup": line.name}
    if line.spread is not None and not line.bars:
        edge = {"x": x, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, **group}
        fill = {"fill": "tonexty", "fillcolor": _band(line.look)}
        below, above = line.band
        data += [{**edge, "y": numbers(below)}, {**edge, "y": numbers(above), **fill}]

    trace: Drawn = {
        "x": x, "y": numbers(line.y), "name": line.label or line.name, "mode": "lines+markers", **group,
        "line": {"color": line.look.colour, "dash": _DASHES[line.look.dash], "width": 2}, "marker": _marker(line.look),
    }  # fmt: skip
    if len(line.x) > MOST_NAMES:
        trace["marker"]["maxdisplayed"] = 12
    if line.bars and line.spread is not None:
        below, above = line.band
        trace["error_y"] = {"type": "data", "array": numbers(above - line.y), "arrayminus": numbers(line.y - below),
                            "thickness": 1, "width": 2}  # fmt: skip
    if line.texts:
        told: Drawn = {"text": list(line.texts), "hovertemplate": "%{text}<extra></extra>"}
    else:
        spread = np.zeros(len(line.y)) if line.spread is None else line.spread
        where = "%{text}" if chart.x.names else f"{chart.x.word} %{{x}}"
        value = f"%{{y:.{chart.y.digits}f}} ± %{{customdata:.{chart.y.digits}f}}"
        seeds = f", n = {line.seeds}" if line.seeds else ""
        template = f"{line.name}, {where}: {value} {chart.y.unit}{seeds}<extra></extra>"
        names = {"text": [chart.x.names[place] for place in line.x]} if chart.x.names else {}
        told = {"customdata": numbers(spread), "hovertemplate": template, **names}
    return [*data, {**trace, **told}]


def _dots(dots: Dots) -> Drawn:
    marker = {
        **_marker(dots.look), "symbol": "circle", "size": dots.sizes.tolist(), "sizemode": "area", "sizemin": 3,
        "sizeref": dots.largest / 110, "opacity": 0.6, "line": {"width": 0.5, "color": "#000"},
    }  # fmt: skip
    return {
        "x": numbers(dots.x), "y": numbers(dots.y), "mode": "markers", "name": dots.label or dots.name,
        "legendgroup": dots.name, "marker": marker, "text": [text.replace("\n", "<br>") for text in dots.texts],
        "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip


def _map(shades: Shades, chart: Chart) -> Drawn:
    """With logarithms for shades whose steps multiply, and ticks in round numbers."""
    scaled = np.log10(shades.values) if shades.log else shades.values
    ticks = [10**k for k in range(len(str(int(np.nanmax(shades.values, initial=1)))))]
    bar = {"tickvals": [math.log10(tick) for tick in ticks], "ticktext": ticks} if shades.log else {}
    rows = len(shades.values)
    # The bar of shades keeps to the margin: beside the plot it would push the axis's title into it.
    return {
        "type": "heatmap", "x": list(chart.x.names), "y": [f"{chart.y.word} {name}" for name in chart.y.names],
        "z": [numbers(row) for row in scaled], "customdata": [numbers(row) for row in shades.values],
        "colorscale": SHADES, "xgap": 1, "ygap": 1 if rows <= 60 else 0,
        "colorbar": {
            "title": {"text": shades.word, "side": "top"}, "orientation": "h", "x": 0, "xanchor": "left",
            "yref": "container", "y": 0.98, "yanchor": "top", "len": 0.6, "thickness": 10, **bar,
        },
        "hovertemplate": f"%{{y}}, {chart.x.word} %{{x}}: %{{customdata}} {shades.word}<extra></extra>",
        "hoverongaps": False,
    }  # fmt: skip


def numbers(values: Any) -> list[float | None]:
    """Values for JSON, which knows no NaN: such points are not drawn. Four digits after the point: files stay small."""
    return [round(float(v), 4) if math.isfinite(v) else None for v in np.asarray(values, dtype=np.float64).tolist()]


def _marker(look: Look) -> Drawn:
    return {"color": look.colour, "symbol": _SYMBOLS[look.marker], "size": 7}


def _band(look: Look) -> str:
    red, green, blue = (int(look.colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"
