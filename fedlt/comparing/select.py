"""Settings chosen on validation data: each method is compared at the best of its own settings.

    compare("runs", select="validation/generic/accuracy")
    compare("runs", select="0.7*validation/generic/accuracy,0.3*validation/personal_masked/few")

A method is what the keys `by` say, strategy and learner unless given; whatever else varies is a setting. Of a method's
settings, the one with the highest mean over the seeds of a validation figure at the last evaluation is kept, and only
the kept ones are compared on the test set. All methods are judged by the same figure: one without it is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fedlt.comparing.cells import Cell
from fedlt.comparing.methods import Grouped, Source, collect, group, is_number, row_name
from fedlt.comparing.own_names import METHOD, Labels
from fedlt.comparing.selection import Selection, Trial, setting_text
from fedlt.config.schema import suggest
from fedlt.errors import Problem, ScenarioError
from fedlt.measures.figure import Figure
from fedlt.measures.figures import METRICS
from fedlt.measures.glossary import described
from fedlt.process.wording import counted
from fedlt.statistic import VALIDATION

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.results.runs import Run

REMEDY = "set data.validation, for example data.validation=0.2, and run again"


def select_settings(
    sources: Iterable[Source], figures: str, by: str | Sequence[str] | None = None
) -> tuple[Selection, Grouped]:
    """Choose each method's setting, and return the choice and the methods with the runs of their chosen settings.

    Of equally good settings the first in the order of their values is chosen, which is the same however the runs were
    found.

    Args:
        figures: as `parse_figures` reads them.
        by: keys that name methods; strategy and learner unless given.

    Raises:
        ScenarioError: where runs have no such figure, or where the settings of a method share no seed.
    """
    weights = parse_figures(figures)
    runs = collect(sources)

    # `group` takes all keys in which runs differ for names of methods; here they are parted into names and settings.
    every = group(runs, named=False)
    varied = [key for place, key in enumerate(every.by) if len({labels[place] for labels in every.methods}) > 1]
    usual = (METHOD if any(run.name for run in runs) else "strategy", *(key for key in varied if key == "learner"))
    named = by.split(",") if isinstance(by, str) else by or usual
    names = tuple(name.strip() for name in named)
    keys = tuple(key for key in varied if key not in names and not (key == "strategy" and METHOD in names))
    found = group(runs, by=(*names, *keys))  # every setting of every method, in the order of the values

    _check_runs(weights, [run for mine in found.methods.values() for run in mine])

    methods: dict[Labels, dict[Labels, list[Run]]] = {}
    for labels, mine in found.methods.items():
        methods.setdefault(labels[: len(names)], {})[labels[len(names) :]] = mine

    trials: list[Trial] = []
    notes: list[str] = []
    problems: list[Problem] = []
    for method, settings in methods.items():
        seeds = {setting: {int(run.summary["seed"]) for run in mine} for setting, mine in settings.items()}
        shared = set.intersection(*seeds.values())
        missing = _missing(keys, seeds)
        if not shared:
            text = f"the settings of {row_name(method)} share no seed, over which they could be compared"
            problems.append(Problem("seed", f"{text}; run what is missing: {missing}"))
            continue
        if missing:
            text = f"{row_name(method)}: settings are compared on {_seeds(shared)}, which all of them have"
            notes.append(f"{text}; missing: {missing}.")
        trials += _trials(method, settings, shared, weights)

    chosen = {trial.method: methods[trial.method][trial.setting] for trial in trials if trial.chosen}
    if not chosen and not problems:
        problems.append(Problem("--select", f"{_formula(weights)} is not defined for any method"))
    if problems:
        raise ScenarioError(problems, source="the selection")

    for method in (method for method in methods if method not in chosen):
        cells = [trial.cells for trial in trials if trial.method == method]
        nowhere = [f for place, f in enumerate(weights) if all(math.isnan(row[place].mean) for row in cells)]
        text = f"left out: {row_name(method)}, none of whose settings has {', '.join(nowhere or weights)} in every seed"
        notes.append(f"{text}; select by figures that every method has.")
    notes = [_explanation(weights), *_unequal(methods), *notes, *_edges(keys, trials)]
    return Selection(weights, names, keys, tuple(trials), tuple(notes)), Grouped(names, chosen, found.excluded)


def parse_figures(text: str) -> dict[str, float]:
    """Validation figures and their weights, scaled to add up to 1.

    Args:
        text: names with commas between them; none or each with a weight before it, as in
            `0.7*validation/generic/accuracy,0.3*validation/personal_masked/few`.
    """
    weights: dict[str, float] = {}
    problems: list[Problem] = []
    words = [word.strip() for word in text.split(",")]

    for word in words:
        factor, star, name = (part.strip() for part in word.rpartition("*"))
        if not name.startswith(VALIDATION):
            such = f"{VALIDATION}generic/accuracy"
            problems.append(Problem("--select", f"nothing is chosen on the test set: expected {such}, got {name!r}"))
        elif not _more_is_better(described(name)):
            problems.append(_no_score(name))
        elif name in weights:
            problems.append(Problem("--select", f"{name!r} is named twice"))
        elif star and not (is_number(factor) and float(factor) > 0):
            problems.append(Problem("--select", f"expected a weight > 0 before {name!r}, got {factor!r}"))
        weights[name] = float(factor) if star and is_number(factor) else 1.0

    if len({"*" in word for word in words}) > 1:
        problems.append(Problem("--select", f"give every figure a weight or none, got {text!r}"))
    if problems:
        raise ScenarioError(problems, source="the selection")
    total = sum(weights.values())

    return {name: weight / total for name, weight in weights.items()}


def check_scenarios(figures: str, scenarios: Iterable[Scenario]) -> None:
    """Refuse, before anything runs, figures that the runs will not have.

    Raises:
        ScenarioError: where runs of these scenarios would not have them.
    """
    weights = parse_figures(figures)
    masked = (name.replace("personal/", "personal_masked/") for name in METRICS)
    known = {f"{VALIDATION}{name}" for name in (*METRICS, *masked) if not name.startswith("cost/")}
    plain = [re.sub(r"\[[^]]*\]", "", name) for name in weights]  # which variants there are, the strategies know
    problems = _unknown(plain, known)
    if not all(scenario.data.validation.active for scenario in scenarios):
        problems.append(Problem("data.validation", f"--select needs validation data; {REMEDY}"))
    if problems:
        raise ScenarioError(problems, source="the selection")


def _check_runs(figures: Iterable[str], runs: Sequence[Run]) -> None:
    """Refuse runs without validation figures, or without those that are asked for."""
    bare = [run.folder.name for run in runs if not any(name.startswith(VALIDATION) for name in run.final)]
    if bare:
        some = f"{bare[0]}{', ...' if bare[1:] else ''}"
        text = (
            f"{len(bare)} of {counted(len(runs), 'run')} {'have' if bare[1:] else 'has'} no validation figures ({some})"
        )
        raise ScenarioError(Problem("data.validation", f"{text}; {REMEDY}"), source="the selection")
    figures = list(figures)
    problems = _unknown(figures, {name for run in runs for name in run.final if name.startswith(VALIDATION)})
    own = {name: figure for run in runs for name, figure in run.figures.items()}
    problems += [_no_score(name) for name in figures if not _more_is_better(described(name, own))]
    if problems:
        raise ScenarioError(problems, source="the selection")


def _more_is_better(figure: Figure) -> bool:
    """Whether a setting may be chosen by the figure; one of which nothing is told may be."""
    return figure.better == "higher" or not (figure.text or figure.better)


def _no_score(name: str) -> Problem:
    return Problem("--select", f"expected a figure of which more is better, got {name!r}")


def _unknown(figures: Iterable[str], known: set[str]) -> list[Problem]:
    return [Problem("--select", f"unknown figure {f!r}{suggest(f, known)}") for f in figures if f not in known]


def _trials(
    method: Labels, settings: Mapping[Labels, Sequence[Run]], seeds: set[int], weights: Mapping[str, float]
) -> list[Trial]:
    """All settings of one method, of which the first with the highest figure is chosen; none where all are NaN."""
    cells = {setting: _cells(runs, seeds, weights) for setting, runs in settings.items()}
    best = max(cells, key=lambda setting: _rank(cells[setting]))

    # A single setting is kept without a figure, too: nothing has to be chosen.
    some = len(settings) == 1 or not math.isnan(cells[best][-1].mean)
    return [Trial(method, s, tuple(sorted(seeds)), cells[s], some and s == best) for s in settings]


def _cells(runs: Sequence[Run], seeds: set[int], weights: Mapping[str, float]) -> tuple[Cell, ...]:
    """Mean and standard deviation over the seeds of each figure and, where there are several, of their weighted mean.

    A figure that is not defined in one of the seeds has no mean.
    """
    values = np.array([[run.final.get(f, math.nan) for f in weights] for run in runs if run.summary["seed"] in seeds])
    columns = list(values.T)
    if len(weights) > 1:
        columns.append(values @ np.array(list(weights.values())))
    return tuple(
        Cell(float(c.mean()), float(c.std(ddof=1)) if len(c) > 1 else math.nan, int((~np.isnan(c)).sum()))
        for c in columns
    )


def _rank(cells: Sequence[Cell]) -> float:
    """By which the best setting is found. Equal figures may differ by the rounding of a mean; NaN is the worst."""
    mean = cells[-1].mean
    return -math.inf if math.isnan(mean) else round(mean, 12)


def _missing(keys: Sequence[str], seeds: Mapping[Labels, set[int]]) -> str:
    """`local.lr=0.1 seed 2; local.lr=1.0 seeds 0, 2`: what some settings lack of the seeds that others have."""
    every = set.union(*seeds.values())
    lacking = ((setting_text(keys, setting), every - mine) for setting, mine in seeds.items() if mine != every)
    return "; ".join(f"{text} {_seeds(seeds)}" for text, seeds in lacking)


def _explanation(weights: Mapping[str, float]) -> str:
    return (
        f"Each method has the setting with the highest {_formula(weights)} (mean over seeds, last evaluation); the "
        "test set had no part in the choice."
    )


def _unequal(methods: Mapping[Labels, Mapping[Labels, Sequence[Run]]]) -> list[str]:
    """A line where methods had unequal numbers of settings to choose from."""
    counts = {row_name(method): len(settings) for method, settings in methods.items()}
    if len(set(counts.values())) == 1:
        return []
    shown = ", ".join(f"{name} {count}" for name, count in counts.items())
    return [f"Unequal numbers of settings were tried ({shown}): the best of more is better by chance alone."]


def _edges(keys: Sequence[str], trials: Sequence[Trial]) -> list[str]:
    """Chosen numbers beyond which none was tried."""
    notes = []
    for trial in (trial for trial in trials if trial.chosen):
        others = [other.setting for other in trials if other.method == trial.method]
        for place, key in enumerate(keys):
            value, values = trial.setting[place], {setting[place] for setting in others} - {"-"}
            if value == "-" or len(values) == 1 or not all(map(is_number, values)):
                continue
            for bound, edge, further in ((min, "smallest", "smaller"), (max, "largest", "larger")):
                if float(value) == bound(map(float, values)):
                    text = f"{row_name(trial.method)}: the best {key}, {value}, is the {edge} tried"
                    notes.append(f"{text}; a {further} one may be better.")
    return notes


def _formula(weights: Mapping[str, float]) -> str:
    """`validation/generic/accuracy`, or `0.7 validation/generic/accuracy + 0.3 validation/personal/few`."""
    return next(iter(weights)) if len(weights) == 1 else " + ".join(f"{w:.3g} {name}" for name, w in weights.items())


def _seeds(seeds: Iterable[int]) -> str:
    shown = [str(seed) for seed in sorted(seeds)]
    return f"seed{'s' if len(shown) > 1 else ''} {', '.join(shown)}"
