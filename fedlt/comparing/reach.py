"""How soon runs reach a figure: the first evaluation at which it is as good as asked, in rounds and simulated seconds.

    fedlt compare runs --reach generic/accuracy=0.8

Runs that never reach it have neither; what is told over seeds says of how many. Seconds are those of
`federation.clock`, and are left out where the runs have none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedlt.comparing.recorded_metrics import check_recorded
from fedlt.errors import Problem, ScenarioError
from fedlt.measures.figure import UNITS, Figure, Unit
from fedlt.measures.glossary import described

if TYPE_CHECKING:
    from fedlt.results.runs import Run

SECONDS = "simulated_seconds"
"""The column of the table of rounds that holds what a round took on the clients' devices."""


WHOLE = 100.0
"""Seconds of the longest run from which on fractions of a second are not told."""


@dataclass(frozen=True)
class Goal:
    """What is to be reached.

    Attributes:
        metric: as runs record it.
        value: a fraction for accuracies.
        higher: whether more is better.
        unit: in which the value is told.
    """

    metric: str
    value: float
    higher: bool = True
    unit: Unit = UNITS["number"]

    @property
    def text(self) -> str:
        """`generic/accuracy 80 %`."""
        unit = self.unit
        shown = f"{unit.scale * self.value:g}"
        return f"{self.metric} {shown}{' ' if unit.word else ''}{unit.word}"

    def column(self, what: str) -> str:
        """The name of a column: `rounds to generic/accuracy=0.8`.

        Args:
            what: `rounds` or `seconds`.
        """
        return f"{what} to {self.metric}={self.value:g}"

    def reached(self, run: Run, metric: str = "") -> dict[str, float]:
        """By column, when the run first got there; NaN where it never did.

        Args:
            metric: in place of the goal's, such as that of a variant.
        """
        table = run.metrics
        found = table[table.metric == (metric or self.metric)].dropna().sort_values("round")
        good = found[found.value >= self.value if self.higher else found.value <= self.value]
        round = float(good["round"].iloc[0]) if len(good) else math.nan
        return {self.column("rounds"): round, self.column("seconds"): simulated(run, round)}


def simulated(run: Run, round: float) -> float:
    """Seconds on the clients' devices up to the end of a round.

    Args:
        run: with or without a clock (`federation.clock`).
        round: its number; NaN: a round that was never reached.

    Returns:
        NaN where there is no clock, or no round.
    """
    rounds = run.rounds
    if SECONDS not in rounds or math.isnan(round):
        return math.nan
    return float(rounds[rounds["round"] <= round][SECONDS].sum(skipna=False))


def has_clock(run: Run) -> bool:
    """Whether its rounds have simulated seconds."""
    return SECONDS in run.rounds and bool(run.rounds[SECONDS].notna().any())


def goals(texts: Sequence[str], runs: Sequence[Run]) -> list[Goal]:
    """What the texts ask for, `generic/accuracy=0.8` each.

    Raises:
        ScenarioError: for what no run records.
    """
    found = []
    for text in texts:
        metric, _, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan

        if not math.isfinite(number):
            raise ScenarioError(Problem("--reach", f"expected METRIC=NUMBER, as in generic/accuracy=0.8, got {text!r}"))
        check_recorded([metric], runs, "--reach")

        own = {name: figure for run in runs for name, figure in run.figures.items()}
        figure = described(metric, own)
        if figure.unit == "fraction" and not 0 <= number <= 1:
            remedy = f"; write {metric}={number / 100:g}" if 1 < number <= 100 else ""
            raise ScenarioError(Problem("--reach", f"{metric} is a fraction between 0 and 1, got {value}{remedy}"))

        found.append(Goal(metric, number, figure.better != "lower", figure.shown))
    return found


def reach_figures(goals: Sequence[Goal], runs: Sequence[Run]) -> dict[str, Figure]:
    """What is told of the columns, by name: rounds, and seconds where some run has a clock."""
    spans = [run.rounds[SECONDS].sum() for run in runs if has_clock(run)]
    short = max(spans, default=0.0) < WHOLE
    told = {}
    for goal in goals:
        for what, unit in (("rounds", "count"), ("seconds", "seconds" if short else "count"))[: 1 + bool(spans)]:
            name = goal.column(what)
            told[name] = Figure(name, header=f"{goal.text}: {what}", unit=unit, better="lower")
    return told
