"""The interactive pictures, as the plain data that plotly.js draws. plotly's Python half only carries the script."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fedlt.comparing.comparison import BALANCED
from fedlt.data.groups import by_count
from fedlt.plots.measured import client_points, last, recalls, series, split_of
from fedlt.plots.style import COLOURS

if TYPE_CHECKING:
    from fedlt.results.runs import Run

Methods = Mapping[str, Sequence["Run"]]
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "star")
SHADES = [[0.0, "#f1e8b8"], [0.5, "#7c7b78"], [1.0, "#00224d"]]
"""From few to many; the lightness is monotonic, so that it reads in grey."""
MOST_CLIENTS = 200
"""Rows of the map of the partition; more could not be told apart on a screen."""
CURVES = {
    "generic/accuracy": "Generic model", BALANCED: "Generic model, mean of class recalls",
    "generic/few": "Generic model, tail classes",
    "personal/accuracy": "Personal models", "personal_masked/accuracy": "Personal models, masked",
}  # fmt: skip


@dataclass(frozen=True)
class Chart:
    """One picture. data, layout: as plotly.js takes them. note: what the reader must know."""

    name: str
    title: str
    note: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]


def curves(methods: Methods) -> list[Chart]:
    """Accuracies over rounds: mean over the seeds, and a band of one sample standard deviation."""
    charts = []
    balanced = all(run.balanced for runs in methods.values() for run in runs)
    for metric, title in CURVES.items():
        if metric == BALANCED and balanced:
            continue
        data: list[dict[str, Any]] = []
        for name, look in _looks(methods).items():
            rounds, values = series(methods[name], metric)
            if not len(rounds):
                continue
            mean, std = 100 * values.mean(axis=0), np.zeros(len(rounds))
            if len(values) > 1:
                std = 100 * values.std(axis=0, ddof=1)
                edge = {"x": rounds.tolist(), "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
                group = {"legendgroup": name, "showlegend": False}
                low, high = np.clip(mean - std, 0, 100), np.clip(mean + std, 0, 100)
                data.append({"y": numbers(low), **edge, **group})
                data.append({"y": numbers(high), **edge, **group, "fill": "tonexty", "fillcolor": look["band"]})
            data.append({
                "x": rounds.tolist(), "y": numbers(mean), "customdata": numbers(std), "name": name, "legendgroup": name,
                "mode": "lines+markers", "line": look["line"], "marker": look["marker"],
                "hovertemplate": f"{name}, round %{{x}}: %{{y:.1f}} ± %{{customdata:.1f}} %, "
                f"n = {len(values)}<extra></extra>",
            })  # fmt: skip
        if data:
            layout = {"xaxis": {"title": {"text": "round"}}, "yaxis": {"title": {"text": "accuracy, %"}}}
            charts.append(Chart(f"curve-{metric.replace('/', '-')}", title, "", data, layout))
    return charts


def clients(methods: Methods) -> Chart:
    """One dot per client and seed: personal against generic accuracy."""
    lender = next((name for name, runs in methods.items() if "generic/accuracy" in runs[0].final), None)
    data: list[dict[str, Any]] = [
        {"x": [0, 100], "y": [0, 100], "mode": "lines", "line": {"color": "#666", "dash": "dash", "width": 1},
         "hoverinfo": "skip", "showlegend": False}
    ]  # fmt: skip
    largest = max(int(split_of(run).train.sum(axis=1).max()) for runs in methods.values() for run in runs)

    for name, look in _looks(methods).items():
        runs = methods[name]
        borrowed = lender is not None and "generic/accuracy" not in runs[0].final
        points = client_points(runs, generic_of=methods[lender] if borrowed and lender else None)
        masked = client_points(runs, masked=True).personal
        held = np.concatenate([(split_of(run).train > 0).sum(axis=1)[_evaluated(run)] for run in runs])
        details = zip(points.client, points.seed, points.samples, held, 100 * masked, strict=True)
        data.append({
            "x": numbers(100 * points.generic), "y": numbers(100 * points.personal), "mode": "markers",
            "name": f"{name} (generic: {lender})" if borrowed else name,
            "marker": {**look["marker"], "size": points.samples.tolist(), "sizemode": "area", "sizemin": 3,
                       "sizeref": largest / 150, "opacity": 0.6, "line": {"width": 0.5, "color": "#000"}},
            "customdata": [[int(k), int(s), int(n), int(c), _number(m)] for k, s, n, c, m in details],
            "hovertemplate": f"<b>{name}</b>, client %{{customdata[0]}}, seed %{{customdata[1]}}<br>"
            "%{customdata[2]} training samples of %{customdata[3]} classes<br>personal %{y:.1f} %, masked "
            "%{customdata[4]:.1f} %<br>generic on this client's mix %{x:.1f} %<extra></extra>",
        })  # fmt: skip

    axis = {"range": [-3, 103], "constrain": "domain"}
    layout = {
        "xaxis": {**axis, "title": {"text": "generic model on the client's mix of classes, %"}},
        "yaxis": {**axis, "title": {"text": "personal model, %"}, "scaleanchor": "x"},
        "hovermode": "closest", "height": 520,
    }  # fmt: skip
    note = "A dot per client and seed; its area follows the training samples. Above the diagonal the personal model is "

    return Chart("clients", "Client by client", note + "better than the generic one.", data, layout)


def classes(methods: Methods, model: str) -> Chart | None:
    """Accuracy along the long tail, with the training counts behind. None where no run has the model."""
    split = split_of(next(iter(methods.values()))[0])
    counts = split.train.sum(axis=0)
    order = np.argsort(-counts, kind="stable")
    names = [split.names[c] for c in order]
    groups = [("head", "medium", "tail")[group] for group in by_count(counts)[order]]
    data: list[dict[str, Any]] = [{
        "type": "bar", "x": names, "y": counts[order].tolist(), "yaxis": "y2", "name": "training samples",
        "marker": {"color": "#dddddd"}, "customdata": groups,
        "hovertemplate": "%{x}: %{y} training samples (%{customdata})<extra></extra>",
    }]  # fmt: skip

    for name, look in _looks(methods).items():
        values = 100 * np.array([recalls(run, model)[order] for run in methods[name]])
        if np.isnan(values).all():
            continue
        std = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(len(order))
        data.append({
            "x": names, "y": numbers(values.mean(axis=0)), "name": name, "mode": "lines+markers",
            "line": look["line"], "marker": look["marker"], "customdata": numbers(std),
            "hovertemplate": f"{name}, %{{x}}: %{{y:.1f}} ± %{{customdata:.1f}} %<extra></extra>",
        })  # fmt: skip

    if len(data) == 1:
        return None
    layout = {
        "xaxis": {"type": "category", "title": {"text": "class, by training samples (first seed's)"}},
        "yaxis": {
            "title": {"text": "accuracy, %"},
            "range": [-3, 103],
            "overlaying": "y2",
            "side": "left",
            "tickmode": "linear",
            "dtick": 20,
        },
        "yaxis2": {
            "type": "log",
            "side": "right",
            "title": {"text": "training samples"},
            "showgrid": False,
            "tickvals": [digit * 10**power for power in range(7) for digit in (1, 2, 5)],
        },
    }
    title = "Generic model, class by class" if model == "generic" else "Personal models, class by class"

    return Chart(f"classes-{model}", title, "", data, layout)


def partition(run: Run) -> Chart:
    """Training samples of each client by class."""
    split = split_of(run)
    order = np.argsort(-split.train.sum(axis=1), kind="stable")
    shown = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), MOST_CLIENTS)).astype(int))]
    counts = split.train[shown]
    shades = [[math.log10(value) if value else None for value in row] for row in counts.tolist()]
    ticks = [10**k for k in range(len(str(counts.max())))]
    heat = {
        "type": "heatmap", "x": list(split.names), "y": [f"client {k}" for k in shown], "z": shades,
        "customdata": counts.tolist(), "colorscale": SHADES, "xgap": 1, "ygap": 1 if len(shown) <= 60 else 0,
        "colorbar": {"title": {"text": "samples"}, "tickvals": [math.log10(t) for t in ticks], "ticktext": ticks},
        "hovertemplate": "%{y}, class %{x}: %{customdata} training samples<extra></extra>", "hoverongaps": False,
    }  # fmt: skip
    layout = {
        "xaxis": {"type": "category", "title": {"text": "class"}},
        "yaxis": {"type": "category", "autorange": "reversed", "showticklabels": len(shown) <= 40, "showgrid": False},
        "height": int(max(320, min(900, 140 + 12 * len(shown)))), "hovermode": "closest",
    }  # fmt: skip
    note = f"Seed {run.summary['seed']}. Clients from the largest to the smallest; white: no sample."
    if len(shown) < len(order):
        note += f" {len(shown)} of {len(order)} clients are shown."

    return Chart("partition", "Who holds what", note, [heat], layout)


def calibration(methods: Methods, model: str) -> Chart | None:
    """Accuracy against confidence, by bins, pooled over the seeds."""
    data: list[dict[str, Any]] = [
        {"x": [0, 100], "y": [0, 100], "mode": "lines", "line": {"color": "#666", "dash": "dash", "width": 1},
         "hoverinfo": "skip", "showlegend": False}
    ]  # fmt: skip

    for name, look in _looks(methods).items():
        tables = [last(run.calibration[run.calibration.model == model]) for run in methods[name]]
        tables = [table for table in tables if len(table)]
        if not tables:
            continue
        samples = np.sum([table["samples"].to_numpy() for table in tables], axis=0)
        sums = {
            column: np.sum([(table["samples"] * table[column]).fillna(0).to_numpy() for table in tables], axis=0)
            for column in ("accuracy", "confidence")
        }
        kept = samples > 0
        data.append({
            "x": numbers(100 * (sums["confidence"][kept] / samples[kept])),
            "y": numbers(100 * (sums["accuracy"][kept] / samples[kept])), "customdata": samples[kept].tolist(),
            "name": name, "mode": "lines+markers", "line": look["line"], "marker": look["marker"],
            "hovertemplate": f"{name}: confidence %{{x:.1f}} %, accuracy %{{y:.1f}} %, %{{customdata}} predictions"
            "<extra></extra>",
        })  # fmt: skip

    if len(data) == 1:
        return None
    layout = {
        "xaxis": {"title": {"text": "confidence, %"}, "range": [-3, 103]},
        "yaxis": {"title": {"text": "accuracy, %"}, "range": [-3, 103]}, "hovermode": "closest",
    }  # fmt: skip
    title = "Calibration of the generic model" if model == "generic" else "Calibration of the personal models"

    return Chart(f"calibration-{model}", title, "Below the diagonal a model is too sure of itself.", data, layout)


def numbers(values: Any) -> list[float | None]:
    """Values for JSON, which knows no NaN: such points are not drawn. Four digits after the point: files stay small."""
    return [_number(value) for value in np.asarray(values, dtype=np.float64).tolist()]


def _number(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None


def _evaluated(run: Run) -> Any:
    """Clients in the last evaluation of the headline, ascending."""
    table = run.clients
    return np.sort(last(table[table.variant == ""])["client"].to_numpy(dtype=np.int64))


def _looks(methods: Methods) -> dict[str, dict[str, Any]]:
    """Colour, dash and marker of each method, as in the printed figures."""
    looks = {}
    for i, name in enumerate(methods):
        colour = COLOURS[i % len(COLOURS)]
        red, green, blue = (int(colour[j : j + 2], 16) for j in (1, 3, 5))
        looks[name] = {
            "line": {"color": colour, "dash": DASHES[i % len(DASHES)], "width": 2},
            "marker": {"color": colour, "symbol": SYMBOLS[i % len(SYMBOLS)], "size": 7},
            "band": f"rgba({red},{green},{blue},0.15)",
        }
    return looks
