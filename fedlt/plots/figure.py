"""Whole figures: one kind of picture of several runs, its panels side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedlt.comparing.comparison import BALANCED
from fedlt.comparing.methods import Source, collect, find_row
from fedlt.errors import Problem, ScenarioError
from fedlt.plots.classes import class_accuracy
from fedlt.plots.clients import LARGEST, client_gains, client_scatter
from fedlt.plots.curves import learning_curves
from fedlt.plots.maps import accuracy_map, partition_map
from fedlt.plots.measured import by_name, client_points, recalls, series, split_of
from fedlt.plots.measures import calibration_curve, class_norms
from fedlt.plots.style import looks, plain_number, style

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from fedlt.results.runs import Run

Methods = Mapping[str, Sequence["Run"]]
PAGE = 7.0
"""Inches of a printed page between its margins."""
COLLAPSE = ("generic/nc1", "generic/nc2_norms", "generic/nc2_angles", "generic/nc3")
CURVES = ("generic/accuracy", "generic/few", "personal/accuracy", "personal_masked/accuracy")


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
    """Learning curves, a panel for each metric; unless given, the four that matter most, and balanced accuracy where a
    test set is not balanced."""
    if not metrics:
        balanced = all(run.balanced for mine in methods.values() for run in mine)
        metrics = CURVES if balanced else (CURVES[0], BALANCED, *CURVES[1:])
    figure, axes = _panels(len(metrics), columns=2, height=2.3)
    for ax, metric in zip(axes, metrics, strict=True):
        learning_curves(ax, methods, metric, percent=_is_share(methods, metric))
    _legend(figure, axes)
    return figure


def clients(methods: Methods, reference: str, masked: bool = False) -> Figure:
    """Personal against generic accuracy of every client, the methods side by side."""
    largest = max(int(split_of(run).train.sum(axis=1).max()) for mine in methods.values() for run in mine)
    lenders = {name: _lender(name, methods, reference) for name in methods}
    low = min(_lowest(methods[name], masked, methods[lender] if lender else None) for name, lender in lenders.items())
    figure, axes = _panels(len(methods), columns=3, height=2.75, share=True)

    for ax, (name, look) in zip(axes, looks(methods).items(), strict=True):
        lender = lenders[name]
        title = f"{name} (generic: {lender})" if lender else name
        spare = methods[lender] if lender else None
        client_scatter(ax, methods[name], title, masked, generic_of=spare, look=look, largest=largest, low=low)
        ax.label_outer()

    sizes = _round_sizes(largest)
    dots = [axes[0].scatter([], [], s=LARGEST * n / largest, color="0.7", edgecolors="black", linewidths=0.4)
            for n in sizes]  # fmt: skip
    labels = [f"a client of {n} training samples" if n == sizes[0] else f"of {n}" for n in sizes]
    figure.legend(dots, labels, loc="outside lower center", ncols=len(dots))

    return figure


def classes(methods: Methods, reference: str) -> Figure:
    """Accuracy along the long tail: of the generic model, and of the personal models."""
    models = [m for m in ("generic", "personal") if any(_has(run, m) for mine in methods.values() for run in mine)]
    figure, axes = _panels(len(models), columns=1, height=2.5)
    for ax, model in zip(axes, models, strict=True):
        class_accuracy(ax, methods, model)
    _legend(figure, axes)
    return figure


def partition(methods: Methods, reference: str) -> Figure:
    """Clients by classes, a panel for each seed: all methods share it."""
    seeds = {run.summary["seed"]: run for mine in methods.values() for run in mine}
    splits = {seed: split_of(run) for seed, run in sorted(seeds.items())}
    figure, axes = _panels(len(seeds), columns=3, height=_map_height(seeds.values()), share=True)
    largest = max(int(split.train.max()) for split in splits.values())
    for ax, (seed, split) in zip(axes, splits.items(), strict=True):
        image = partition_map(ax, split.train, split.names, largest)
        ax.set_title(f"seed {seed}")
        ax.label_outer()
    _scale(figure, axes, image, "training samples")
    return figure


def accuracies(methods: Methods, reference: str) -> Figure:
    """Accuracy of each client's personal model on each class, a panel for each method; its first seed."""
    figure, axes = _panels(
        len(methods), columns=3, height=_map_height(mine[0] for mine in methods.values()), share=True
    )
    for ax, (name, mine) in zip(axes, methods.items(), strict=True):
        image = accuracy_map(ax, mine[0], names=split_of(mine[0]).names)
        ax.set_title(f"{name}, seed {mine[0].summary['seed']}")
        ax.label_outer()
    _scale(figure, axes, image, "accuracy of the personal model, %")
    return figure


def gain(methods: Methods, reference: str) -> Figure:
    """Gain of every client over the reference, unmasked and masked."""
    if not reference:
        raise ScenarioError(Problem("--reference", f"gain needs one of {', '.join(methods)}"))
    figure, axes = _panels(2, columns=2, height=3.0, share=True)
    for ax, masked in zip(axes, (False, True), strict=True):
        client_gains(ax, methods, reference, masked=masked)
        ax.label_outer()
        _own_legend(ax, "lower right")
    return figure


def norms(methods: Methods, reference: str) -> Figure:
    """Norms of the head's rows over the rounds, a panel for each method."""
    figure, axes = _panels(len(methods), columns=3, height=2.3, share=True)
    for ax, (name, mine) in zip(axes, methods.items(), strict=True):
        class_norms(ax, mine)
        ax.set_title(name)
        ax.label_outer()
    _legend(figure, axes)
    return figure


def collapse(methods: Methods, reference: str) -> Figure:
    """Measures of neural collapse over the rounds; all are 0 in a collapsed model."""
    figure, axes = _panels(len(COLLAPSE), columns=2, height=2.3)
    for ax, metric in zip(axes, COLLAPSE, strict=True):
        learning_curves(ax, methods, metric, percent=False)
        ax.set_ylim(bottom=0)
    _legend(figure, axes)
    return figure


def calibration(methods: Methods, reference: str) -> Figure:
    """Accuracy against confidence, of the generic and of the personal models."""
    figure, axes = _panels(2, columns=2, height=3.3, share=True)
    for ax, model in zip(axes, ("generic", "personal"), strict=True):
        calibration_curve(ax, methods, model)
        ax.label_outer()
        _own_legend(ax, "upper left")
    return figure


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


def _legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend below all panels, with every method once."""
    found: dict[str, Any] = {}
    for ax in axes:
        found |= {label: handle for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=min(4, max(1, len(found))))


def _own_legend(ax: Axes, place: str) -> None:
    """A legend within the panel, where there is something to tell."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc=place)


def _scale(figure: Figure, axes: Sequence[Axes], image: AxesImage, label: str) -> None:
    """One bar of shades for all panels, below them."""
    figure.colorbar(image, ax=list(axes), label=label, location="bottom", shrink=0.5, aspect=40, format=plain_number)


def _is_share(methods: Methods, metric: str) -> bool:
    """Whether all values of the metric lie in 0..1, so that per cent make sense."""
    values = np.concatenate([series(mine, metric)[1].ravel() for mine in methods.values()])
    return not len(values) or bool((values >= 0).all() and (values <= 1).all())


def _lender(name: str, methods: Methods, reference: str) -> str:
    """The method whose generic model stands in for a missing one; "" where there is no need, or none to lend."""
    return "" if any(_has(run, "generic") for run in methods[name]) else reference


def _lowest(runs: Sequence[Run], masked: bool, generic_of: Sequence[Run] | None) -> float:
    """The least accuracy of any client under either model, down to a round figure in per cent."""
    points = client_points(runs, masked=masked, generic_of=generic_of)
    found = np.concatenate([points.generic, points.personal])
    found = found[~np.isnan(found)]
    return float(10 * np.floor(10 * found.min(initial=1.0)))


def _has(run: Run, model: str) -> bool:
    return not np.isnan(recalls(run, model)).all()


def _map_height(runs: Iterable[Run]) -> float:
    """Inches of a map's panel: enough to tell the clients apart, as long as a page holds it."""
    return min(7.0, 1.9 + 0.06 * max(int(run.summary["clients"]) for run in runs))


def _round_sizes(largest: int) -> list[int]:
    """Sizes for the legend: the largest client's in round numbers, a third and a tenth of it."""
    unit = 10 ** max(0, len(str(largest)) - 1)
    top = max(1, largest // unit * unit)
    return sorted({max(1, round(top * share)) for share in (0.1, 0.3, 1.0)})
