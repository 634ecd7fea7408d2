"""Class by class along the long tail, and how far a model's confidence can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedlt.data.groups import SHOTS, Grouping
from fedlt.measures.metrics import GROUPS
from fedlt.plots.chart import Array, Axis, Behind, Chart, Line, mean_line
from fedlt.plots.measured import (
    Runs,
    by_name,
    class_word,
    last,
    marked,
    note_on_chance,
    of_classes,
    split_of,
    told_seeds,
)
from fedlt.plots.on_axes import FEW_NAMES, draw_on
from fedlt.plots.style import looks

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from fedlt.results.runs import Run

TITLES = {"generic": "generic model", "personal": "personal models"}


def class_accuracy(ax: Axes, runs: Runs, model: str = "generic", by: str | None = None) -> None:
    """Accuracy on each class, from the largest class to the smallest, with the training counts behind (right axis);
    average precision where samples have several labels.

    Mean over the seeds, with one sample standard deviation: as bars, or as a band where there are many classes; it ends
    at 0 and at 100. Dotted lines separate head, medium and tail classes.

    Args:
        model: `generic`, or `personal`, which is pooled over the clients.
    """
    draw_on(ax, class_chart(by_name(runs, by), model))


def calibration_curve(ax: Axes, runs: Runs, model: str = "generic", by: str | None = None) -> None:
    """Accuracy against confidence at the last evaluation, by bins: on the diagonal a model can be trusted.

    Samples are pooled over the seeds, and over the clients of personal models; a dot holds a hundredth of them at
    least. The legend gives the expected calibration error, mean over the seeds, in points.
    """
    draw_on(ax, calibration_chart(by_name(runs, by), model))


def class_chart(methods: Mapping[str, Sequence[Run]], model: str) -> Chart:
    """See `class_accuracy`; the counts are those of the first seed."""
    one = next(iter(methods.values()))[0]
    split = split_of(one)
    counts = split.train.sum(axis=0)
    order = np.argsort(-counts, kind="stable")
    places, few = np.arange(len(order)), len(order) <= FEW_NAMES

    lines = []
    for number, (name, look) in enumerate(looks(methods).items()):
        values = 100 * np.array([of_classes(run, model)[order] for run in methods[name]])
        if not np.isnan(values).all():
            beside = min(0.12, 0.7 / len(methods)) * (number - (len(methods) - 1) / 2) if few else 0.0
            label = marked(name, methods[name]) if model == "generic" else name
            lines.append(
                mean_line(name, places, values, look, label, within=(0.0, 100.0), bars=few, marked=few, offset=beside)
            )

    log = bool(counts.max() >= 10 * max(1, counts.min()))
    samples = Axis("training samples", low=None if log else 0.0, log=log, digits=0)
    groups = _groups(one, counts)[order]
    middles = [(float(places[groups == group].mean()), text) for group, text in enumerate(SHOTS) if group in groups]
    return Chart(
        name=f"classes-{model}",
        title=TITLES.get(model, f"{model} models"),
        x=Axis("class", title="class, by training samples", low=-0.6, high=len(order) - 0.4,
               names=tuple(split.names[c] for c in order)),
        y=Axis(class_word(one), "%", low=-3.0, high=103.0),
        marks=tuple(lines),
        note=" ".join(filter(None, [told_seeds(methods, "bars" if few else "band"),
                                    note_on_chance(methods) if model == "generic" else ""])),
        behind=Behind(counts[order], samples, tuple(SHOTS[g] for g in groups)),
        dividers=tuple((np.flatnonzero(np.diff(groups)) + 0.5).tolist()),
        groups=tuple(middles),
    )  # fmt: skip


def _groups(run: Run, counts: NDArray[np.int64]) -> NDArray[np.int8]:
    """[C] 0, 1 and 2 for head, medium and tail classes, as the run has them: labels that noise hides count there.

    Args:
        run: of which groups are asked.
        counts: [C] labels as the clients see them, which decide where no generic model was tested.
    """
    table = run.classes.drop_duplicates("class").sort_values("class")
    if len(table) != len(counts):
        return Grouping.of_run(run.scenario)(counts)
    return np.asarray(table["group_count"].map({name: place for place, name in enumerate(GROUPS)}), np.int8)


def calibration_chart(methods: Mapping[str, Sequence[Run]], model: str) -> Chart:
    """See `calibration_curve`."""
    lines = []
    for name, look in looks(methods).items():
        tables = [last(run.calibration[run.calibration.model == model]) for run in methods[name]]
        samples, confidence, accuracy = _pooled(tables)
        if not samples.sum():
            continue
        shown = samples >= 0.01 * samples.sum()
        error = np.mean([run.final[f"{model}/ece"] for run in methods[name]])
        told = zip(100 * confidence[shown], 100 * accuracy[shown], samples[shown], strict=True)
        texts = (f"{name}: confidence {c:.1f} %, accuracy {a:.1f} %, {n:.0f} predictions" for c, a, n in told)
        lines.append(Line(name, 100 * confidence[shown], 100 * accuracy[shown], look,
                          f"{marked(name, methods[name]) if model == 'generic' else name}: error {100 * error:.1f}",
                          texts=tuple(texts)))  # fmt: skip
    return Chart(
        name=f"calibration-{model}",
        title=TITLES.get(model, model),
        x=Axis("confidence", "%", low=-3.0, high=103.0),
        y=Axis("accuracy", "%", low=-3.0, high=103.0),
        marks=tuple(lines),
        note=" ".join(filter(None, ["Below the diagonal a model is too sure of itself. Error: expected calibration "
                                    "error in points.", note_on_chance(methods) if model == "generic" else ""])),
        diagonal=True,
    )  # fmt: skip


def _pooled(tables: Sequence[pd.DataFrame]) -> tuple[Array, Array, Array]:
    """Samples, mean confidence and accuracy of each bin over all tables; 0 where a bin is empty."""
    bins = max((int(table["bin"].max()) + 1 for table in tables if len(table)), default=0)
    sums = np.zeros((3, bins))
    for table in tables:
        count = table["samples"].to_numpy(dtype=np.float64)
        for row, column in enumerate((None, "confidence", "accuracy")):
            value = 1.0 if column is None else np.nan_to_num(table[column].to_numpy(dtype=np.float64))
            np.add.at(sums[row], table["bin"].to_numpy(), count * value)
    whole = np.maximum(sums[0], 1.0)
    return sums[0], sums[1] / whole, sums[2] / whole
