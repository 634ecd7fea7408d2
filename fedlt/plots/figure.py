"""Whole figures: one kind of picture of several runs, its panels side by side."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedlt.comparing.methods import collect, find_row
from fedlt.comparing.reach import has_clock
from fedlt.comparing.recorded_metrics import check_recorded
from fedlt.errors import Problem, ScenarioError
from fedlt.measures.figures import section
from fedlt.measures.headlines import followed
from fedlt.plots.chart import Chart, Dots, Line, Shades, squeezed
from fedlt.plots.classes import calibration_chart, class_chart
from fedlt.plots.clients import client_chart, client_panels, gain_chart
from fedlt.plots.curves import curve_chart, norms_chart
from fedlt.plots.layout import LEGEND_LINE, PAGE, Panels, wrapped
from fedlt.plots.maps import accuracy_chart, partition_chart
from fedlt.plots.measured import Runs, by_name, has_model, main_figure, split_of
from fedlt.plots.on_axes import LARGEST, draw_map, draw_on
from fedlt.plots.style import LABEL_SIZE, NOTE_SIZE, TITLE_SIZE, plain_number, style
from fedlt.process.wording import counted
from fedlt.results.runs import measured

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.figure import Figure

    from fedlt.results.runs import Run

Methods = Mapping[str, Sequence["Run"]]
NARROWEST, WIDEST = 2.5, 20.0
"""Inches of a figure."""
FORMATS = (".png", ".pdf", ".svg", ".eps", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
"""Endings of the files that a figure can be written to."""
COLLAPSE = (
    "0: fully collapsed, which is to say that all features of a class are equal (NC1), the class means equally "
    "long and as far apart as can be (NC2), and the head's rows parallel to them (NC3)."
)


def draw(
    kind: str, *runs: Runs, by: str | None = None, reference: str = "", width: float = PAGE, **options: Any
) -> Figure:
    """A figure of one of the `KINDS`.

    Args:
        runs: folders, globs, runs or lists of these; or one mapping of methods' names to them, `{"ours":
            "runs/mine-*"}`.
        by: keys that name the methods, as in `compare`.
        reference: a method's name; `gain` needs it, and in `clients` its generic model serves methods without one.
        width: inches; a page's is 7, and a column's of two 3.3.
        options: of the kind: `metrics` of curves, `masked` of clients.
    """
    if kind not in KINDS:
        from fedlt.config.schema import suggest

        raise ScenarioError(Problem("--kind", f"unknown kind {kind!r}{suggest(kind, KINDS)}"))
    if not NARROWEST <= width <= WIDEST:
        raise ScenarioError(Problem("--width", f"expected {NARROWEST:g} to {WIDEST:g} inches, got {width:g}"))
    mappings = [source for source in runs if isinstance(source, Mapping)]
    if mappings and len(runs) > 1:
        raise ScenarioError(Problem("runs", "either one mapping of names to runs, or folders and runs"))
    methods = by_name(
        mappings[0] if mappings else collect(source for source in runs if not isinstance(source, Mapping)), by
    )
    if not methods:
        raise ScenarioError(Problem("runs", "there is no run to draw"))
    base = find_row(reference, [((name,), "") for name in methods])[0][0] if reference else ""
    with style():
        figure = KINDS[kind](methods, base, width=width, **options)
        figure.draw_without_rendering()  # room is made in this pass: saving makes only one more
    return figure


def check_ending(path: Path, option: str = "--output") -> None:
    """Raise `ScenarioError`, before anything is drawn, for a file whose ending is none of `FORMATS`."""
    if path.suffix.lower() not in FORMATS:
        formats = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise ScenarioError(Problem(option, f"cannot draw into {path}: expected a file that ends in {formats}"))


def save(figure: Figure, path: Path, option: str = "--output") -> None:
    """Write the figure; the file's ending chooses the format.

    Args:
        option: named where it goes wrong.
    """
    check_ending(path, option)
    with style():
        try:
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        except (OSError, ValueError) as error:
            raise ScenarioError(Problem(option, f"cannot draw into {path}: {error}")) from error


def curves(methods: Methods, reference: str, width: float, metrics: Sequence[str] = ()) -> Figure:
    """Learning curves, a panel for each metric; unless given, those that matter most."""
    check_recorded(metrics, [run for runs in methods.values() for run in runs])
    names = metrics or followed(*measured(run for runs in methods.values() for run in runs))
    return side_by_side([curve_chart(methods, name) for name in names], width, columns=2, height=2.2, least=2.5)


def time(methods: Methods, reference: str, width: float, metrics: Sequence[str] = ()) -> Figure:
    """The same curves over the simulated seconds of the clients' devices."""
    check_recorded(metrics, [run for runs in methods.values() for run in runs])
    if not any(has_clock(run) for runs in methods.values() for run in runs):
        remedy = "set federation.clock, as in federation.clock=log_normal, and run again"
        raise ScenarioError(Problem("--kind", f"no run has simulated seconds; {remedy}"))
    names = metrics or followed(*measured(run for runs in methods.values() for run in runs))
    charts = [curve_chart(methods, name, timed=True) for name in names]
    return side_by_side(charts, width, columns=2, height=2.2, least=2.5)


def clients(methods: Methods, reference: str, width: float, masked: bool = False) -> Figure:
    """Personal against generic accuracy of every client, the methods side by side."""
    chart = client_chart(methods, masked, lender=reference)
    charts = client_panels(chart)
    equal = all(panel.x == charts[0].x for panel in charts)
    panels = Panels(len(charts), width, columns=2 if len(charts) == 4 else 3, height=None, share=equal)
    small = max(1.0, (2.0 / panels.inner) ** 2)  # dots shrink with a panel of less than two inches
    charts = [replace(panel, marks=tuple(_scaled(mark, small) for mark in panel.marks)) for panel in charts]
    for ax, panel in zip(panels.axes, charts, strict=True):
        draw_on(ax, _fitted(panel, panels))
    panels.label_outer()

    # What the sizes of the dots mean.
    largest = max(mark.largest for mark in chart.marks if isinstance(mark, Dots))
    sizes = _round_sizes(largest)
    areas = [LARGEST * n / (small * largest) for n in sizes]
    dots = [panels.axes[0].scatter([], [], s=area, color="0.7", edgecolors="black", linewidths=0.4) for area in areas]
    panels.legend_below(dots, [counted(n, "training sample") for n in sizes], charts[0].note)
    panels.make_square()

    return panels.figure


def classes(methods: Methods, reference: str, width: float) -> Figure:
    """Accuracy along the long tail: of the generic model, and of the personal models."""
    runs = [run for mine in methods.values() for run in mine]
    models = [model for model in ("generic", "personal") if any(has_model(run, model) for run in runs)]
    if not models:
        raise ScenarioError(Problem("--kind", "no run has figures by class; take curves or clients"))
    return side_by_side([class_chart(methods, model) for model in models], width, columns=1, height=2.3)


def partition(methods: Methods, reference: str, width: float) -> Figure:
    """Clients by classes, a panel for each seed: all methods share it."""
    seeds = {int(run.summary["seed"]): run for mine in methods.values() for run in mine}
    splits = {seed: split_of(run) for seed, run in sorted(seeds.items())}
    largest = max(int(split.train.max()) for split in splits.values())
    charts = [
        replace(partition_chart(split.train, split.names, largest), title=f"seed {seed}")
        for seed, split in splits.items()
    ]
    return maps_of(charts, width, _map_height(seeds.values()))


def accuracies(methods: Methods, reference: str, width: float) -> Figure:
    """Accuracy of each client's personal model on each class, a panel for each method; its first seed."""
    first = {name: mine[0] for name, mine in methods.items()}
    if all(main_figure(run) in ("map", "recall") for run in first.values()):
        message = "runs of several labels, and of ranked items, keep no accuracies of clients by class; take clients"
        raise ScenarioError(Problem("--kind", message))
    seeds = {int(run.summary["seed"]) for run in first.values()}
    charts = [
        accuracy_chart(run, names=split_of(run).names,
                       title=f"{name}, seed {run.summary['seed']}" if len(seeds) > 1 else name)
        for name, run in first.items()
    ]  # fmt: skip
    said = f"; seed {seeds.pop()}" if len(seeds) == 1 else ""
    return maps_of(charts, width, _map_height(first.values()), said)


def gain(methods: Methods, reference: str, width: float) -> Figure:
    """Gain of every client over the reference, unmasked and masked."""
    if not reference:
        raise ScenarioError(Problem("--reference", f"gain needs one of {', '.join(methods)}"))
    if len(methods) < 2:
        raise ScenarioError(Problem("--kind", f"gain compares methods, and all these runs are of {reference}"))
    charts = [gain_chart(methods, reference, masked) for masked in (False, True)]
    return _with_legends(charts, width, height=2.8)


def norms(methods: Methods, reference: str, width: float) -> Figure:
    """Norms of the head's rows over the rounds, a panel for each method that has a generic linear head."""
    charts = [norms_chart(mine, title=name) for name, mine in methods.items()]
    shown = [chart for chart in charts if chart.marks]
    without = [chart.title for chart in charts if not chart.marks]
    if not shown:
        return side_by_side(charts, width, columns=3, height=2.2, share=True)

    highs = [max(float(line.band[1].max()) for line in chart.lines) for chart in shown]
    equal = not squeezed(highs)
    notes = [
        *dict.fromkeys(chart.note for chart in shown),
        "" if equal else "Axes differ between panels.",
        f"Without a generic linear head: {', '.join(without)}." if without else "",
    ]
    high = 1.05 * max(highs) if equal else None  # panels that share an axis would keep the first one's limit
    noted = [replace(chart, note=" ".join(filter(None, notes)), y=replace(chart.y, high=high)) for chart in shown]
    return side_by_side(noted, width, columns=3, height=2.2, share=equal)


def collapse(methods: Methods, reference: str, width: float) -> Figure:
    """Measures of neural collapse over the rounds; all are 0 in a collapsed model."""
    names = [name for name in section("features") if name.startswith("generic/nc")]
    charts = [curve_chart(methods, name, from_zero=True) for name in names]
    noted = [replace(chart, note=f"{COLLAPSE} {chart.note}".strip()) for chart in charts]
    return side_by_side(noted, width, columns=2, height=2.2, least=2.5)


def calibration(methods: Methods, reference: str, width: float) -> Figure:
    """Accuracy against confidence, of the generic and of the personal models."""
    charts = [calibration_chart(methods, model) for model in ("generic", "personal")]
    return _with_legends([chart for chart in charts if chart.marks] or charts[:1], width, height=3.0)


_ALL = (curves, time, clients, classes, partition, accuracies, gain, norms, collapse, calibration)
KINDS: dict[str, Callable[..., Figure]] = {function.__name__: function for function in _ALL}


def _scaled(mark: Line | Dots | Shades, small: float) -> Line | Dots | Shades:
    """Dots whose areas are that many times smaller."""
    return replace(mark, largest=round(small * mark.largest)) if isinstance(mark, Dots) else mark


def _fitted(chart: Chart, panels: Panels) -> Chart:
    """With its title, and what is said of dots, in lines as wide as its panel; the title of its y-axis, as high."""
    marks = tuple(
        replace(mark, corner=wrapped(mark.corner, panels.inner, NOTE_SIZE),
                empty=wrapped(mark.empty, panels.inner - 0.1, LABEL_SIZE))
        if isinstance(mark, Dots) else mark
        for mark in chart.marks
    )  # fmt: skip
    y = replace(chart.y, title=wrapped(chart.y.text, panels.inner_height, LABEL_SIZE))
    return replace(chart, title=wrapped(chart.title, panels.inner, TITLE_SIZE), marks=marks, y=y)


def side_by_side(
    charts: Sequence[Chart], width: float, columns: int, height: float, share: bool = False, least: float = 1.6
) -> Figure:
    """The charts in panels, and one legend below all of them with every method once."""
    panels = Panels(len(charts), width, columns, height, share, least)
    handles: dict[str, Any] = {}
    for ax, chart in zip(panels.axes, charts, strict=True):
        draw_on(ax, _fitted(chart, panels))
        handles |= {label: handle for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    panels.label_outer()
    panels.legend_below(list(handles.values()), list(handles), _notes(charts))
    return panels.figure


def _with_legends(charts: Sequence[Chart], width: float, height: float) -> Figure:
    """Two charts on equal axes, each with a legend of its own beneath it, where no line can lie under it."""
    lines = max(len(chart.marks) for chart in charts)
    panels = Panels(len(charts), width, 2, height, least=2.5, extra=LEGEND_LINE * lines)
    for ax, chart in zip(panels.axes, charts, strict=True):
        draw_on(ax, _fitted(chart, panels))
        ax.set_aspect("auto")  # a fixed one would be applied after room was made for the legends
        panels.legend_under(ax)
    lows, highs = zip(*(ax.get_ylim() for ax in panels.axes), strict=True)
    for ax in panels.axes:
        ax.set_ylim(min(lows), max(highs))
    panels.legend_below((), (), _notes(charts))
    return panels.figure


def _notes(charts: Sequence[Chart]) -> str:
    """What the notes of the charts say, each sentence once."""
    sentences = (part.strip() for chart in charts for part in re.split(r"(?<=\.) ", chart.note))
    return " ".join(dict.fromkeys(filter(None, sentences)))


def maps_of(charts: Sequence[Chart], width: float, height: float, said: str = "") -> Figure:
    """Maps of one scale, with one bar of shades below them.

    Args:
        said: behind what the bar is of.
    """
    panels = Panels(len(charts), width, 3, height, share=True)
    for ax, chart in zip(panels.axes, charts, strict=True):
        image = draw_map(ax, _fitted(chart, panels))
    panels.label_outer()
    (shades,) = (mark for mark in charts[0].marks if isinstance(mark, Shades))
    high = panels.figure.get_size_inches()[1]
    bar = panels.figure.colorbar(
        image, ax=panels.axes, location="bottom", shrink=0.6 if width > 4 else 0.9, pad=0.08 / high,
        fraction=0.12 / high, aspect=40, format=plain_number,
    )  # fmt: skip
    bar.set_label(wrapped(f"{shades.word}{said}", panels.width - 0.3, LABEL_SIZE))
    return panels.figure


def _map_height(runs: Iterable[Run]) -> float:
    """Inches of a map's panel: enough to tell the clients apart, as long as a page holds it."""
    return min(7.0, 1.9 + 0.06 * max(int(run.summary["clients"]) for run in runs))


def _round_sizes(largest: int) -> list[int]:
    """Sizes for the legend: the largest client's in round numbers, a third and a tenth of it."""
    unit = 10 ** max(0, len(str(largest)) - 1)
    top = max(1, largest // unit * unit)
    return sorted({max(1, round(top * share)) for share in (0.1, 0.3, 1.0)})
