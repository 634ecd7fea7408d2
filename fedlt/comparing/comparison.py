"""What a comparison of runs consists of: figures of methods over seeds, and their differences to a reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fedlt.comparing.cells import Cell, Paired, difference_text, mean_text
from fedlt.comparing.methods import row_name
from fedlt.comparing.run_keys import some
from fedlt.comparing.selection import Selection
from fedlt.comparing.sheet import Sheet, page
from fedlt.measures.figure import Figure
from fedlt.measures.figures import COSTS
from fedlt.measures.headlines import BALANCED, headline
from fedlt.process.wording import counted
from fedlt.results.record import LAST

if TYPE_CHECKING:
    import pandas as pd

LOWER = "Lower is better:"
WHEN = {"last": "last evaluation", "last_five": "mean of the last five evaluations"}
REACH = "first"
"""The evaluation at which a figure was first as good as asked, among the kinds of cells."""


@dataclass(frozen=True)
class Row:
    """One method.

    Attributes:
        labels: values of the keys `by`.
        variant: of its models; empty: the headline.
        cells: `last` or `last_five` -> metric -> figure; `first` -> column of `reach` -> figure.
        needs: what its strategy and its learner have beyond the model.
        setting: the one chosen on validation data; empty where nothing was chosen.
        tried: how many it was chosen from; 0 where nothing was.
    """

    labels: tuple[str, ...]
    variant: str
    seeds: tuple[int, ...]
    cells: Mapping[str, Mapping[str, Cell]]
    needs: tuple[str, ...] = ()
    setting: str = ""
    tried: int = 0

    @property
    def name(self) -> str:
        """The labels in one text, as `--reference` takes it."""
        return row_name(self.labels, self.variant)


@dataclass(frozen=True, repr=False)
class Comparison:
    """A table of methods.

    Attributes:
        by: keys whose values tell methods apart.
        figures: by the name of a metric, what is told of it, in the order of the columns.
        reference: name of the row to which differences are taken; empty: none.
        level: of the confidence interval of these.
        excluded: what was left out because it is not finished, with its state.
        averaged: evaluations that the mean of the last five is over at least; fewer than five in short runs.
        selection: how each method's setting was chosen on validation data; None where rows are all that was run.
        unknown: folders of runs that hold no digests of the files that they were made of, and whose scenarios name
            some.
        untested: what is to be said of classes without a test sample, for each partition that has some.
        reach: by the name of a column, what is told of how soon a figure was reached; empty where that was not asked.
    """

    by: tuple[str, ...]
    figures: Mapping[str, Figure]
    rows: tuple[Row, ...]
    reference: str = ""
    level: float = 0.95
    title: str = ""
    excluded: tuple[str, ...] = ()
    averaged: int = LAST
    selection: Selection | None = None
    unknown: tuple[str, ...] = ()
    untested: tuple[str, ...] = ()
    reach: Mapping[str, Figure] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.figures)

    def frame(self) -> pd.DataFrame:
        """Long form: a line per method, evaluation and metric, with mean, std, n and the paired difference."""
        import pandas as pd

        return pd.DataFrame(self.records())

    def records(self) -> list[dict[str, Any]]:
        """The lines of `frame` as dictionaries. Accuracies are fractions."""
        lines = []
        for row in self.rows:
            choice = {"chosen": row.setting, "tried": row.tried} if self.selection else {}
            for when, cells in row.cells.items():
                for metric, cell in cells.items():
                    pair = cell.paired or Paired(math.nan, math.nan, math.nan, 0)
                    lines.append({
                        "setting": self.title, **dict(zip(self.by, row.labels, strict=True)),
                        "variant": row.variant, **choice, "evaluation": when,
                        "metric": metric, "mean": cell.mean, "std": cell.std, "n": cell.n, "difference": pair.mean,
                        "low": pair.low, "high": pair.high, "pairs": pair.n, "mark": pair.mark,
                    })  # fmt: skip
        return lines

    def __str__(self) -> str:
        return page(self.title, sheets(self), caption(self), "text")

    __repr__ = __str__  # its figures' records would fill pages

    def _repr_markdown_(self) -> str:
        return page(self.title, sheets(self), caption(self), "markdown")


def sheets(comparison: Comparison) -> list[Sheet]:
    """Means for both kinds of evaluation; with a reference, the differences to it as well.

    Where settings were chosen on validation data, what was tried stands first.
    """
    found = [_tried_sheet(comparison.selection)] if comparison.selection else []
    for when, title in WHEN.items():
        main = headline(comparison.metrics, comparison.figures.values())
        found.append(_sheet(comparison, when, f"{main} in %, {title}", comparison.metrics, _mean))
    if comparison.reach:
        found.append(_sheet(comparison, REACH, "first evaluation that is as good", tuple(comparison.reach), _reached))

    if comparison.reference:
        compared = [metric for metric in comparison.metrics if metric not in COSTS]
        for when, title in WHEN.items():
            head = f"difference to {comparison.reference} in points with {comparison.level:.0%} interval, {title}"
            found.append(_sheet(comparison, when, head, compared, _difference))
    return found


def caption(comparison: Comparison) -> list[str]:
    """What the reader must know, one note a line."""
    notes = ["Mean ± sample standard deviation over n seeds; n in brackets where a figure is defined for fewer."]
    notes += comparison.selection.notes if comparison.selection else ()
    if comparison.averaged < LAST:
        notes.append(f"Some runs have only {counted(comparison.averaged, 'evaluation')}: their mean is over these.")

    if BALANCED in comparison.metrics:
        notes.append(
            "Balanced, head, medium and tail are means of class recalls. Where test sets are not balanced, generic is "
            "over samples, and large classes decide it."
        )

    if comparison.reach:
        notes.append("First evaluation: means over the runs that reach the figure; (2 of 3): so many do; -: none does.")

    lower = [figure.header for metric, figure in comparison.figures.items() if _lower_is_better(metric, figure)]
    if lower:
        notes.append(f"{LOWER} {', '.join(lower)}.")

    if comparison.reference:
        notes.append(
            f"↑ ↓: higher or lower than {comparison.reference}; the {comparison.level:.0%} confidence interval of the "
            "paired differences over the same seeds excludes zero."
        )

    told = {row.labels: f"{row_name(row.labels)}: {', '.join(row.needs)}" for row in comparison.rows if row.needs}
    if told:
        notes.append(f"Beyond the model these have or send: {'; '.join(told.values())}.")
    notes += [f"In no figure, as they have no test sample: {classes}." for classes in comparison.untested]

    if comparison.unknown:
        notes.append(
            "Written before digests were kept, so that whether all were made of the same files is not known: "
            f"{some(comparison.unknown)}."
        )

    notes += [f"left out: {run}" for run in comparison.excluded]
    return notes


def _lower_is_better(metric: str, figure: Figure) -> bool:
    """Whether that must be said: of costs everyone knows it."""
    return figure.better == "lower" and metric not in COSTS


def _sheet(
    comparison: Comparison, when: str, title: str, metrics: Sequence[str], show: Callable[[Row, Cell, Figure], str]
) -> Sheet:
    """A table of a comparison, as texts.

    Args:
        when: what the figures are of, as the last evaluation.
        show: a cell in words.
    """
    variants = any(row.variant for row in comparison.rows)
    chosen = comparison.selection is not None
    figures = {**comparison.figures, **comparison.reach}
    header = (*comparison.by, *(["variant"] if variants else []), *(["chosen setting", "tried"] if chosen else []), "n",
              *(figures[m].header for m in metrics))  # fmt: skip
    lines = tuple(
        (*row.labels, *([row.variant or "-"] if variants else []), *([row.setting, str(row.tried)] if chosen else []),
         str(len(row.seeds)), *(show(row, row.cells[when][metric], figures[metric]) for metric in metrics))
        for row in comparison.rows
    )  # fmt: skip
    labels = len(comparison.by) + variants + chosen
    best = _best(comparison, when, metrics) if show in (_mean, _reached) else ()
    first = len(header) - len(metrics)
    return Sheet(title, header, lines, labels, frozenset((line, first + place) for line, place in best))


def _best(comparison: Comparison, when: str, metrics: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The rows with the best mean of each metric, as (row, place of the metric): all that show the same figure, and
    none where all rows do.
    """
    for place, metric in enumerate(metrics):
        figure = comparison.figures[metric] if when != REACH else comparison.reach[metric]
        cells = [(row.cells[when][metric], row) for row in comparison.rows]
        means = [cell.mean if when != REACH or cell.n == len(row.seeds) else math.nan for cell, row in cells]
        defined = [mean for mean in means if not math.isnan(mean)]
        if not figure.better or not defined:
            continue
        best = figure.shown.text(max(defined) if figure.better == "higher" else min(defined))
        found = [line for line, mean in enumerate(means) if figure.shown.text(mean) == best]
        if len(found) < len(means):
            yield from ((line, place) for line in found)


def _tried_sheet(selection: Selection) -> Sheet:
    """Every setting of every method with its validation figures, by which the settings were chosen."""
    mean = ["weighted mean"] if len(selection.weights) > 1 else []
    header = (*selection.by, *selection.keys, "chosen", "n", *selection.weights, *mean)
    lines = tuple(
        (*trial.method, *trial.setting, "yes" if trial.chosen else "", str(len(trial.seeds)),
         *(_percent(cell) for cell in trial.cells))
        for trial in selection.trials
    )  # fmt: skip
    labels = len(selection.by) + len(selection.keys) + 1
    return Sheet("settings tried, validation figures in %, last evaluation", header, lines, labels)


def _percent(cell: Cell) -> str:
    text = "-" if math.isnan(cell.mean) else f"{100 * cell.mean:.1f}"
    return text if math.isnan(cell.std) else f"{text} ± {100 * cell.std:.1f}"


def _mean(row: Row, cell: Cell, figure: Figure) -> str:
    defined = f" ({cell.n})" if cell.n < len(row.seeds) else ""
    return mean_text(cell, figure, defined)


def _reached(row: Row, cell: Cell, figure: Figure) -> str:
    some = f" ({cell.n} of {len(row.seeds)})" if cell.n < len(row.seeds) else ""
    return mean_text(cell, figure, some)


def _difference(row: Row, cell: Cell, figure: Figure) -> str:
    return difference_text(cell.paired, figure)
