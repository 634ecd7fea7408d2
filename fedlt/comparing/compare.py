"""Comparing runs: mean and standard deviation over seeds, and paired differences to a reference.

    comparison = compare("runs", by="strategy", reference="fedavg")
    print(comparison)
    comparison.frame()

A row is one method: all finished runs that agree in the keys `by`. The figures are those of the last evaluation and
the means of the last five; the best round is never looked at, because it is chosen on the test set. Runs whose data,
partition or evaluation differ are refused: their difference would say nothing about the methods.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from fedlt.comparing.cells import Cell, paired
from fedlt.comparing.comparison import REACH, WHEN, Comparison, Row
from fedlt.comparing.methods import Source, check_known, collect, find_row, group
from fedlt.comparing.own_names import called, checked_name, renamed
from fedlt.comparing.reach import Goal, goals, reach_figures
from fedlt.comparing.recorded_metrics import check_recorded
from fedlt.comparing.run_keys import differing, is_setting, lookup, run_keys, unknown_inputs
from fedlt.comparing.select import select_settings
from fedlt.comparing.short_names import of_file, shortened
from fedlt.data.groups import bare_text
from fedlt.measures.figure import Figure
from fedlt.measures.figures import COSTS
from fedlt.measures.glossary import described
from fedlt.measures.headlines import compared
from fedlt.results.record import LAST
from fedlt.results.runs import Run, measured


def compare(
    *sources: Source | Mapping[str, Source],
    by: str | Sequence[str] | None = None,
    reference: str = "",
    metrics: Sequence[str] = (),
    variants: str | Sequence[str] = (),
    select: str = "",
    reach: str | Sequence[str] = (),
    level: float = 0.95,
    title: str = "",
    names: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare runs, given as paths, globs, `Run`s or a sweep; in a mapping, by what their methods shall be called.

    Args:
        by: keys whose values make the rows, such as `strategy,local.lr`; all in which the runs differ unless given.
            With `select`: strategy and learner unless given.
        reference: a row's name; the others then get paired differences.
        metrics: columns; accuracies and costs unless given.
        variants: names or patterns (`*`) of models' variants that get rows of their own.
        select: validation figure by which each method's setting is chosen, or a weighted mean of several; see
            `fedlt.comparing.select`.
        reach: figures whose first evaluation that is as good is looked for, `generic/accuracy=0.8`; see
            `fedlt.comparing.reach`.
        level: of the confidence interval.
        names: what methods shall be called, by what they are called or as a strategy or learner is typed:
            `{"./balanced.py:Balanced": "Ours"}`. Runs may have names of their own (`fedlt.run(..., name="Ours")`).

    Raises:
        ScenarioError: with the keys in which runs differ that should not.
    """
    given = [each for source in sources for each in _sources(source)]
    if names:
        given = [renamed(collect(given), names)]
    if select:
        selection, grouped = select_settings(given, select, by)
    else:
        selection, grouped = None, group(*given, by=by)

    everything = [run for mine in grouped.methods.values() for run in mine]
    check_recorded([metric for metric in metrics if metric not in COSTS], everything)
    metrics = tuple(metrics) or (*compared(*measured(everything)), *COSTS)
    wanted = goals([reach] if isinstance(reach, str) else reach, everything)
    reached = reach_figures(wanted, everything)
    patterns = [variants] if isinstance(variants, str) else list(variants)
    values: dict[tuple[tuple[str, ...], str], dict[str, dict[int, dict[str, float]]]] = {}
    for labels, mine in grouped.methods.items():
        for variant in ("", *_variants(mine, patterns)):
            values[labels, variant] = _values(mine, variant, metrics)

    base = find_row((names or {}).get(reference, of_file(reference, everything)), list(values)) if reference else None
    rows = []
    for (labels, variant), figures in values.items():
        against = values[base] if base and base != (labels, variant) else None
        cells = {
            when: {m: _cell(figures[when], m, against[when] if against else None, level) for m in metrics}
            for when in WHEN
        }
        if wanted:
            first = {run.summary["seed"]: _reached(run, variant, wanted) for run in grouped.methods[labels]}
            cells[REACH] = {name: _cell(first, name, None, level) for name in reached}
        needs = tuple(grouped.methods[labels][0].summary.get("needs", ()))
        setting, tried = (selection.setting(labels), selection.tried(labels)) if selection else ("", 0)
        rows.append(Row(labels, variant, tuple(sorted(figures["last"])), cells, needs, setting, tried))

    averaged = min(LAST, *(run.summary["evaluations"] for run in everything))
    unknown = tuple(unknown_inputs(everything))
    name = next((row.name for row in rows if (row.labels, row.variant) == base), "")
    summaries = [run.summary for run in everything if any(run.summary.get("groups_untested", ()))]
    untested = dict.fromkeys(bare_text(summary["groups_count"], summary["groups_untested"]) for summary in summaries)

    return Comparison(
        by=grouped.by, figures=_figures(metrics, everything, rows), rows=tuple(rows), reference=name, level=level,
        title=title, excluded=grouped.excluded, averaged=averaged, selection=selection, unknown=unknown,
        untested=tuple(untested), reach=reached,
    )  # fmt: skip


def _sources(source: Source | Mapping[str, Source]) -> list[Source]:
    """A source as it is; of a mapping each, with its runs under the name given."""
    if not isinstance(source, Mapping):
        return [source]
    return [[called(run, checked_name(name)) for run in collect([mine])] for name, mine in source.items()]


def compare_each(*sources: Source, each: Sequence[str] | None = None, **options: Any) -> list[Comparison]:
    """One comparison for every value of the keys `each` (all settings in which the runs differ, where it is None)."""
    runs = collect(sources)
    keys = shortened(runs, [run_keys(run) for run in runs])
    names = tuple(key for key in differing(keys) if is_setting(key)) if each is None else tuple(each)
    check_known(names, keys)
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run, keys_of_run in zip(runs, keys, strict=True):
        groups.setdefault(tuple(lookup(keys_of_run, key) for key in names), []).append(run)
    tables = []
    for values, members in groups.items():
        title = ", ".join(f"{key}={value}" for key, value in zip(names, values, strict=True))
        if any(run.status == "finished" for run in members) or len(groups) == 1:
            tables.append(compare(members, title=title, **options))
    return tables


def _figures(metrics: Sequence[str], runs: Sequence[Run], rows: Sequence[Row]) -> dict[str, Figure]:
    """What is told of each metric, in a unit that fits its values."""
    own = {name: figure for run in runs for name, figure in run.figures.items()}
    means = {m: [row.cells[when][m].mean for row in rows for when in WHEN] for m in metrics}
    return {metric: described(metric, own).of_values(means[metric]) for metric in metrics}


def _variants(runs: Sequence[Run], patterns: Sequence[str]) -> list[str]:
    """Variants of the runs' models that match a pattern, in order of appearance.

    The headline is also a variant under a name of its own; it has its row already, and gets another only by that name.
    """
    names = (name.partition("/")[0] for run in runs for name in run.final)
    variants = dict.fromkeys(name.partition("[")[2].removesuffix("]") for name in names if "[" in name)
    matching = (name for name in variants if any(fnmatchcase(name, pattern) for pattern in patterns))
    return [name for name in matching if name in patterns or not all(_is_headline(run, name) for run in runs)]


def _is_headline(run: Run, variant: str) -> bool:
    """Whether all figures of a variant are the headline's."""
    mark = f"[{variant}]"
    pairs = (
        (value, figures[name.replace(mark, "")])
        for figures in (run.final, run.last_five)
        for name, value in figures.items()
        if mark in name
    )
    return all(own == plain or (math.isnan(own) and math.isnan(plain)) for own, plain in pairs)


def _values(runs: Sequence[Run], variant: str, metrics: Sequence[str]) -> dict[str, dict[int, dict[str, float]]]:
    """`last` and `last_five` -> seed -> metric -> value."""
    result: dict[str, dict[int, dict[str, float]]] = {when: {} for when in WHEN}
    for run in runs:
        costs = cost(run)
        for when, figures in (("last", run.final), ("last_five", run.last_five)):
            result[when][run.summary["seed"]] = {
                metric: costs[metric] if metric in costs else figures.get(_of_variant(metric, variant), math.nan)
                for metric in metrics
            }
    return result


def _reached(run: Run, variant: str, wanted: Sequence[Goal]) -> dict[str, float]:
    """When a run's models, or a variant of them, were first as good as asked, by column."""
    reached = (goal.reached(run, _of_variant(goal.metric, variant)) for goal in wanted)
    return {name: value for columns in reached for name, value in columns.items()}


def cost(run: Run) -> dict[str, float]:
    """Median seconds of a round (a pause of the machine is no cost), and megabytes up and down per client and round."""
    rounds = run.rounds
    clients = rounds["clients"].sum() if len(rounds) else 0
    traffic = {name: rounds[f"bytes_{name}"].sum() / clients / 1e6 if clients else math.nan for name in ("up", "down")}
    seconds = float(rounds["seconds"].median()) if len(rounds) else math.nan
    return {"cost/seconds": seconds, "cost/mb_up": float(traffic["up"]), "cost/mb_down": float(traffic["down"])}


def _of_variant(metric: str, variant: str) -> str:
    model, slash, figure = metric.rpartition("/")  # the model may be `validation/generic`
    return f"{model}[{variant}]{slash}{figure}" if variant else metric


def _cell(
    mine: Mapping[int, Mapping[str, float]],
    metric: str,
    reference: Mapping[int, Mapping[str, float]] | None,
    level: float,
) -> Cell:
    """A method's mean of one metric over its seeds.

    Args:
        mine: seed -> figures of the method.
        reference: seed -> figures of the row that others are set against; None: no difference.
        level: of the interval.
    """
    values = np.array([figures[metric] for figures in mine.values() if not math.isnan(figures[metric])])
    mean = float(values.mean()) if len(values) else math.nan
    std = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    if reference is None or metric in COSTS:
        return Cell(mean, std, len(values))
    both = [mine[seed][metric] - reference[seed][metric] for seed in sorted(mine.keys() & reference.keys())]
    return Cell(mean, std, len(values), paired([d for d in both if not math.isnan(d)], level))
