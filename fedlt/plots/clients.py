"""Client by client: personal models against the generic one, and the gain over a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedlt.plots.chart import Axis, Chart, Dots, Line
from fedlt.plots.measured import ClientPoints, by_name, client_points, gains, has_model, split_of
from fedlt.plots.on_axes import draw_on
from fedlt.plots.style import looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fedlt.results.runs import Run

Runs = Sequence["Run"] | Mapping[str, Sequence["Run"]]


def client_scatter(
    ax: Axes,
    runs: Sequence[Run],
    title: str = "",
    masked: bool = False,
    variant: str = "",
    generic_of: Sequence[Run] | None = None,
) -> None:
    """One dot per client (and seed) of one method: its personal model above the diagonal is better than the generic.

    x: the generic model on the client's own test samples, in per cent. y: the personal model on the same ones. The area
    of a dot follows the client's training samples. masked: classes that a client never saw cannot be predicted.
    variant: of the personal model, and of the generic one where it has it. generic_of: runs whose generic model stands
    in where there is none.
    """
    (panel,) = client_chart({title: runs}, masked, variant, generic_of=generic_of).panels()
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
    """See `client_scatter`, of several methods on equal scales.

    lender: name of the method whose generic model stands in for that of methods that have none; empty: `generic_of`,
    whose name is not told.
    """
    marks = []
    spare = methods[lender] if lender else generic_of
    for name, look in looks(methods).items():
        runs = methods[name]
        points = client_points(runs, variant, masked, spare)
        shown = ~(np.isnan(points.generic) | np.isnan(points.personal))
        borrowed = lender and not any(has_model(run, "generic") for run in runs)
        gain = points.personal[shown] - points.generic[shown]
        marks.append(Dots(
            name,
            100 * points.generic[shown], 100 * points.personal[shown],
            points.samples[shown], _largest(methods), look,
            label=f"{name} (generic: {lender})" if borrowed else name,
            corner=_counted(gain, len(np.unique(points.client[shown])), len(runs)) if len(gain) else "",
            empty="no generic model\n(a reference can lend its own)",
            texts=_texts(name, runs, points, variant, shown),
        ))  # fmt: skip

    low = _lowest(marks)
    spare_room = 0.03 * (100 - low)
    return Chart(
        name="clients",
        title="Client by client",
        x=Axis("generic model", "%", low=low - spare_room, high=100 + spare_room),
        y=Axis("personal model, masked" if masked else "personal model", "%", low=low - spare_room,
               high=100 + spare_room),
        marks=tuple(marks),
        note="A dot per client and seed; its area follows the training samples. Across: the generic model on the "
        "client's own test samples. Above the diagonal the personal model is better.",
        diagonal=True,
    )  # fmt: skip


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
        label = f"{name}: mean {mean:+.1f}; {won:.0f} % gain, {lost:.0f} % lose"
        lines.append(Line(name, share, 100 * gain, look, label))
    return Chart(
        name="gain-masked" if masked else "gain",
        title="personal models, masked" if masked else "personal models",
        x=Axis("clients, sorted by gain", "%", low=0.0, high=100.0),
        y=Axis(f"gain over {reference}", "points"),
        marks=tuple(lines),
        level=0.0,
        ruled=True,
        empty="",
    )


def _counted(gain: NDArray[np.float64], clients: int, seeds: int) -> str:
    """How many dots lie where, and how many there are."""
    where = f"{int((gain > 0).sum())} above, {int((gain < 0).sum())} below" if gain.any() else "all on the diagonal"
    repeated = f" in {seeds} seeds" if seeds > 1 else ""
    return f"{where}; {clients} client{'s' if clients != 1 else ''}{repeated}"


def _largest(methods: Mapping[str, Sequence[Run]]) -> int:
    """Training samples of the largest client."""
    return max(int(split_of(run).train.sum(axis=1).max()) for runs in methods.values() for run in runs)


def _lowest(marks: Sequence[Dots]) -> float:
    """The least accuracy of any client under either model, down to a round figure in per cent."""
    found = np.concatenate([values for mark in marks for values in (mark.x, mark.y)])
    return float(10 * np.floor(found.min() / 10)) if len(found) else 0.0


def _texts(
    name: str, runs: Sequence[Run], points: ClientPoints, variant: str, shown: NDArray[np.bool_]
) -> tuple[str, ...]:
    """What is told of each client: who it is, what it holds, and how good the models are for it."""
    masked = 100 * client_points(runs, variant, masked=True).personal
    held = {int(run.summary["seed"]): (split_of(run).train > 0).sum(axis=1) for run in runs}
    columns = (points.client, points.seed, points.samples, points.personal, masked, points.generic)
    return tuple(
        f"{name}, client {client:.0f}, seed {seed:.0f}\n{samples:.0f} training samples of "
        f"{held[int(seed)][int(client)]} classes\n"
        f"personal {100 * personal:.1f} %, masked {without:.1f} %\ngeneric on the same samples {100 * generic:.1f} %"
        for client, seed, samples, personal, without, generic in zip(*(c[shown].tolist() for c in columns), strict=True)
    )
