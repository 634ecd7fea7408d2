"""Whole figures: one kind of picture of several runs, its panels side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedlt.comparing.methods import Source, collect, find_row
from fedlt.errors import Problem, ScenarioError
from fedlt.measures.figures import section
from fedlt.measures.headlines import followed
from fedlt.plots.chart import Chart, Dots, Shades
from fedlt.plots.classes import calibration_chart, class_chart
from fedlt.plots.clients import client_chart, gain_chart
from fedlt.plots.curves import curve_chart, norms_chart
from fedlt.plots.maps import accuracy_chart, partition_chart
from fedlt.plots.measured import by_name, has_model, split_of
from fedlt.plots.on_axes import LARGEST, draw_map, draw_on
from fedlt.plots.style import plain_number, style
from fedlt.results.runs import measured

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fedlt.results.runs import Run

Methods = Mapping[str, Sequence["Run"]]
PAGE = 7.0
"""Inches of a printed page between its margins."""

LEGEND_LINE = 0.17
"""Inches of a line of a legend."""


def draw(kind: str, *runs: Source, by: str | None = None, reference: str = "", **options: Any) -> Figure:
    """A figure of one of the `KINDS`. runs: paths, globs or runs. by: keys that name the methods, as in `compare`.

    reference: a method's name; `gain` needs it, and in `clients` its generic model serves methods without one.
    """
    if kind not in KINDS:
        from fedlt.config.schema import suggest

        raise ScenarioError(Problem("--kind", f"unknown kind {kind!r}{suggest(kind, KINDS)}"))
    methods = by_name(collect(runs), by)
    base = find_row(reference, [((name,), "") for name in methods])[0][0] if reference else ""
    with style():
        return KINDS[kind](methods, base, **options)


def save(figure: Figure, path: Path, option: str = "--output") -> None:
    """Write the figure; the file's ending chooses the format: .png, .pdf, .svg. option: named where it goes wrong."""
    with style():
        try:
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        except (OSError, ValueError) as error:
            raise ScenarioError(Problem(option, f"cannot draw into {path}: {error}")) from error


def curves(methods: Methods, reference: str, metrics: Sequence[str] = ()) -> Figure:
    """Learning curves, a panel for each metric; unless given, those that matter most."""
    names = metrics or followed(*measured(run for runs in methods.values() for run in runs))
    return _side_by_side([curve_chart(methods, name) for name in names], columns=2, height=2.3)


def clients(methods: Methods, reference: str, masked: bool = False) -> Figure:
    """Personal against generic accuracy of every client, the methods side by side."""
    chart = client_chart(methods, masked, lender=reference)
    panels = chart.panels()
    figure, axes = _panels(len(panels), columns=2 if len(panels) == 4 else 3, height=2.75, share=True)
    for ax, panel in zip(axes, panels, strict=True):
        draw_on(ax, panel)
        ax.label_outer()

    # What the sizes of the dots mean.
    largest = max(mark.largest for mark in chart.marks if isinstance(mark, Dots))
    sizes = _round_sizes(largest)
    dots = [axes[0].scatter([], [], s=LARGEST * n / largest, color="0.7", edgecolors="black", linewidths=0.4)
            for n in sizes]  # fmt: skip
    labels = [f"a client of {n} training samples" if n == sizes[0] else f"of {n}" for n in sizes]
    figure.legend(dots, labels, loc="outside lower center", ncols=len(dots))

    return figure


def classes(methods: Methods, reference: str) -> Figure:
    """Accuracy along the long tail: of the generic model, and of the personal models."""
    runs = [run for mine in methods.values() for run in mine]
    models = [model for model in ("generic", "personal") if any(has_model(run, model) for run in runs)]
    return _side_by_side([class_chart(methods, model) for model in models], columns=1, height=2.5)


def partition(methods: Methods, reference: str) -> Figure:
    """Clients by classes, a panel for each seed: all methods share it."""
    seeds = {int(run.summary["seed"]): run for mine in methods.values() for run in mine}
    splits = {seed: split_of(run) for seed, run in sorted(seeds.items())}
    largest = max(int(split.train.max()) for split in splits.values())
    charts = [
        replace(partition_chart(split.train, split.names, largest), title=f"seed {seed}")
        for seed, split in splits.items()
    ]
    return _maps(charts, _map_height(seeds.values()))


def accuracies(methods: Methods, reference: str) -> Figure:
    """Accuracy of each client's personal model on each class, a panel for each method; its first seed."""
    first = {name: mine[0] for name, mine in methods.items()}
    charts = [
        accuracy_chart(run, names=split_of(run).names, title=f"{name}, seed {run.summary['seed']}")
        for name, run in first.items()
    ]
    return _maps(charts, _map_height(first.values()))


def gain(methods: Methods, reference: str) -> Figure:
    """Gain of every client over the reference, unmasked and masked."""
    if not reference:
        raise ScenarioError(Problem("--reference", f"gain needs one of {', '.join(methods)}"))
    charts = [gain_chart(methods, reference, masked) for masked in (False, True)]
    return _with_legends(charts, height=2.8)


def norms(methods: Methods, reference: str) -> Figure:
    """Norms of the head's rows over the rounds, a panel for each method."""
    charts = [norms_chart(mine, title=name) for name, mine in methods.items()]
    return _side_by_side(charts, columns=3, height=2.3, share=True)


def collapse(methods: Methods, reference: str) -> Figure:
    """Measures of neural collapse over the rounds; all are 0 in a collapsed model."""
    names = [name for name in section("features") if name.startswith("generic/nc")]
    return _side_by_side([curve_chart(methods, name, from_zero=True) for name in names], columns=2, height=2.3)


def calibration(methods: Methods, reference: str) -> Figure:
    """Accuracy against confidence, of the generic and of the personal models."""
    charts = [calibration_chart(methods, model) for model in ("generic", "personal")]
    return _with_legends(charts, height=3.2)


_ALL = (curves, clients, classes, partition, accuracies, gain, norms, collapse, calibration)
KINDS: dict[str, Callable[..., Figure]] = {function.__name__: function for function in _ALL}


def _panels(number: int, columns: int, height: float, share: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure of that many panels, a page wide where they fill its columns, and its axes in reading order."""
    from matplotlib.figure import Figure

    wide = min(number, columns)
    rows = -(-number // columns)
    figure = Figure(figsize=(PAGE * max(wide, 2) / max(columns, 2) if columns > 1 else PAGE, height * rows + 0.4),
                    layout="constrained")  # fmt: skip
    grid = figure.subplots(rows, wide, squeeze=False, sharex=share, sharey=share)
    axes = list(grid.flat)
    for empty in axes[number:]:
        empty.remove()
    return figure, axes[:number]


def _side_by_side(charts: Sequence[Chart], columns: int, height: float, share: bool = False) -> Figure:
    """The charts in panels, and one legend below all of them with every method once."""
    figure, axes = _panels(len(charts), columns, height, share)
    found: dict[str, Any] = {}
    for ax, chart in zip(axes, charts, strict=True):
        draw_on(ax, chart)
        if share:
            ax.label_outer()
        found |= {label: handle for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=min(4, max(1, len(found))))
    return figure


def _with_legends(charts: Sequence[Chart], height: float) -> Figure:
    """Two charts on equal axes, each with a legend of its own beneath it, where no line can lie under it."""
    told = max(len(chart.marks) for chart in charts)
    figure, axes = _panels(len(charts), columns=2, height=height + LEGEND_LINE * told, share=True)
    for ax, chart in zip(axes, charts, strict=True):
        draw_on(ax, chart)
        ax.set_aspect("auto")  # a fixed one would be applied after room was made for the legends
        ax.label_outer()
        if ax.get_legend_handles_labels()[0]:
            ax.legend(loc="upper left", bbox_to_anchor=(0.0, -0.2), borderaxespad=0.0)
    return figure


def _maps(charts: Sequence[Chart], height: float) -> Figure:
    """Maps of one scale, with one bar of shades below them."""
    figure, axes = _panels(len(charts), columns=3, height=height, share=True)
    for ax, chart in zip(axes, charts, strict=True):
        image = draw_map(ax, chart)
        ax.label_outer()
    (shades,) = (mark for mark in charts[0].marks if isinstance(mark, Shades))
    figure.colorbar(image, ax=list(axes), label=shades.word, location="bottom", shrink=0.5, aspect=40,
                    format=plain_number)  # fmt: skip
    return figure


def _map_height(runs: Iterable[Run]) -> float:
    """Inches of a map's panel: enough to tell the clients apart, as long as a page holds it."""
    return min(7.0, 1.9 + 0.06 * max(int(run.summary["clients"]) for run in runs))


def _round_sizes(largest: int) -> list[int]:
    """Sizes for the legend: the largest client's in round numbers, a third and a tenth of it."""
    unit = 10 ** max(0, len(str(largest)) - 1)
    top = max(1, largest // unit * unit)
    return sorted({max(1, round(top * share)) for share in (0.1, 0.3, 1.0)})
