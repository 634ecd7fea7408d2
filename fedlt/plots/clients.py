"""Client by client: personal models against the generic one, and the gain over a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedlt.plots.chart import Axis, Chart, Dots, Line, squeezed
from fedlt.plots.measured import (
    ClientPoints,
    Runs,
    by_name,
    client_points,
    gains,
    has_model,
    listed,
    main_figure,
    marked,
    note_on_chance,
    split_of,
)
from fedlt.plots.on_axes import draw_on
from fedlt.plots.style import looks
from fedlt.process.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fedlt.comparing.methods import Source
    from fedlt.results.runs import Run
NOTE = (
    "A dot per client and seed; its area follows the client's training samples. Both models are tested on the client's "
    "own test samples. Above the diagonal the personal model is better."
)

TIMES = "\N{MULTIPLICATION SIGN}"


def client_scatter(
    ax: Axes,
    runs: Source,
    title: str = "",
    masked: bool = False,
    variant: str = "",
    generic_of: Source | None = None,
) -> None:
    """One dot per client (and seed) of one method: its personal model above the diagonal is better than the generic.

    x: the generic model's accuracy (of several labels, mAP) on the client's own test samples, in per cent. y: that of
    the personal model on the same ones. The area of a dot follows the client's training samples.

    Args:
        masked: classes that a client never saw cannot be predicted.
        variant: of the personal model, and of the generic one where it has it.
        generic_of: runs whose generic model stands in where there is none.
    """
    lent = None if generic_of is None else listed(generic_of)
    (panel,) = client_panels(client_chart({title: listed(runs)}, masked, variant, generic_of=lent))
    draw_on(ax, panel)


def client_gains(ax: Axes, runs: Runs, reference: str, by: str | None = None, masked: bool = False) -> None:
    """Gain of each client's personal model over the same client under the reference, sorted, for every other method.

    x: share of the clients (of all seeds) with a smaller gain, in per cent. Where a line crosses zero is the share of
    the clients that lose.
    """
    draw_on(ax, gain_chart(by_name(runs, by), reference, masked))


def client_chart(
    methods: Mapping[str, Sequence[Run]],
    masked: bool = False,
    variant: str = "",
    lender: str = "",
    generic_of: Sequence[Run] | None = None,
) -> Chart:
    """See `client_scatter`, of several methods.

    Args:
        lender: name of the method whose generic model stands in for that of methods that have none; empty:
            `generic_of`, whose name is not told.
    """
    marks = []
    said = {"map": ", mAP", "recall": ", recall"}.get(main_figure(next(iter(methods.values()))[0]), "")
    spare = methods[lender] if lender else generic_of
    for name, look in looks(methods).items():
        runs = methods[name]
        points = client_points(runs, variant, masked, spare)
        shown = ~(np.isnan(points.generic) | np.isnan(points.personal))
        borrowed = lender not in ("", name) and not any(has_model(run, "generic") for run in runs)
        gain = points.personal[shown] - points.generic[shown]
        marks.append(Dots(
            name,
            100 * points.generic[shown], 100 * points.personal[shown],
            points.samples[shown], _largest(methods), look,
            label=f"{name} (generic: {lender})" if borrowed else marked(name, runs),
            corner=_counted(gain, len(np.unique(points.client[shown])), len(runs)) if len(gain) else "",
            empty="no generic model\n(a reference can lend its own)",
            texts=_texts(name, runs, points, variant, shown),
        ))  # fmt: skip

    chart = Chart(
        name="clients",
        title="Client by client",
        x=Axis(f"generic model{said}", "%"),
        y=Axis(f"personal model{said}, masked" if masked else f"personal model{said}", "%"),
        marks=tuple(marks),
        note=" ".join(filter(None, [NOTE, note_on_chance(methods)])),
        diagonal=True,
    )
    return _from(chart, _lowest(marks))


def client_panels(chart: Chart) -> list[Chart]:
    """A panel for each method: on equal scales, unless one method's clients would press most others into a corner."""
    panels = chart.panels()
    lows = [_lowest([mark]) for mark in chart.marks if isinstance(mark, Dots)]
    if not squeezed([100 - low for low in lows]):
        return panels
    return [
        replace(_from(panel, low), note=f"{chart.note} Axes differ between panels.")
        for panel, low in zip(panels, lows, strict=True)
    ]


def gain_chart(methods: Mapping[str, Sequence[Run]], reference: str, masked: bool = False) -> Chart:
    """See `client_gains`."""
    lines = []
    for name, look in looks(methods).items():
        if name == reference:
            continue
        gain = np.sort(gains(methods[name], methods[reference], masked))
        if not len(gain):
            continue
        share = 100 * (np.arange(len(gain)) + 0.5) / len(gain)
        won, lost = 100 * (gain > 0).mean(), 100 * (gain < 0).mean()
        mean = round(100 * gain.mean(), 1) + 0.0  # no negative zero
        sign = "+" if mean >= 0 else "\N{MINUS SIGN}"  # as on the axis
        label = f"{name}: mean {sign}{abs(mean):.1f}; {won:.0f} % gain, {lost:.0f} % lose"
        lines.append(Line(name, share, 100 * gain, look, label))
    return Chart(
        name="gain-masked" if masked else "gain",
        title="personal models, masked" if masked else "personal models",
        x=Axis("clients, sorted by gain", "%", low=0.0, high=100.0),
        y=Axis(f"gain over {reference}", "points"),
        marks=tuple(lines),
        note=f"A line goes over the {_times(methods)}, each against itself under {reference}.",
        level=0.0,
        ruled=True,
        empty="no other method",
    )


def _times(methods: Mapping[str, Sequence[Run]]) -> str:
    """What there is a dot of: `20 clients × 3 seeds`; of the method with most seeds."""
    seeds = max(len(runs) for runs in methods.values())
    clients = max(int(run.summary["clients"]) for runs in methods.values() for run in runs)
    return f"{clients} client{'s' if clients != 1 else ''}" + (f" {TIMES} {seeds} seeds" if seeds > 1 else "")


def _counted(gain: NDArray[np.float64], clients: int, seeds: int) -> str:
    """How many dots lie where, and how many there are."""
    where = f"{int((gain > 0).sum())} above, {int((gain < 0).sum())} below" if gain.any() else "all on the diagonal"
    repeated = f" {TIMES} {seeds} seeds" if seeds > 1 else ""
    return f"{where}\n{clients} client{'s' if clients != 1 else ''}{repeated}"


def _largest(methods: Mapping[str, Sequence[Run]]) -> int:
    """Training samples of the largest client."""
    return max(int(split_of(run).train.sum(axis=1).max()) for runs in methods.values() for run in runs)


def _from(chart: Chart, low: float) -> Chart:
    """The chart with both axes from there to 100, and a little room for the dots on either side."""
    room = 0.03 * (100 - low)
    x, y = (replace(axis, low=low - room, high=100 + room) for axis in (chart.x, chart.y))
    return replace(chart, x=x, y=y)


def _lowest(marks: Sequence[Dots]) -> float:
    """The least accuracy of any client under either model, down to a round figure in per cent."""
    found = np.concatenate([values for mark in marks for values in (mark.x, mark.y)])
    return min(90.0, float(10 * np.floor(found.min() / 10))) if len(found) else 0.0


def _texts(
    name: str, runs: Sequence[Run], points: ClientPoints, variant: str, shown: NDArray[np.bool_]
) -> tuple[str, ...]:
    """What is told of each client: who it is, what it holds, and how good the models are for it."""
    masked = 100 * client_points(runs, variant, masked=True).personal
    held = {int(run.summary["seed"]): (split_of(run).train > 0).sum(axis=1) for run in runs}
    columns = (points.client, points.seed, points.samples, points.personal, masked, points.generic)
    return tuple(
        f"{name}, client {client:.0f}, seed {seed:.0f}\n{counted(int(samples), 'training sample')} of "
        f"{counted(held[int(seed)][int(client)], 'class', 'classes')}\n"
        f"personal {100 * personal:.1f} %, masked {without:.1f} %\ngeneric on the same samples {100 * generic:.1f} %"
        for client, seed, samples, personal, without, generic in zip(*(c[shown].tolist() for c in columns), strict=True)
    )
