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
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from fedlt.comparison import ACCURACIES, COSTS, WHEN, Cell, Comparison, Row, paired
from fedlt.errors import Problem, ScenarioError
from fedlt.record import LAST
from fedlt.results import Run, load
from fedlt.run_keys import Keys, differing, is_setting, lookup, run_keys, setting_problems, values_text
from fedlt.schema import suggest


def compare(
    *sources: str | Path | Run | Iterable[Run],
    by: str | Sequence[str] | None = None,
    reference: str = "",
    metrics: Sequence[str] = (*ACCURACIES, *COSTS),
    variants: str | Sequence[str] = (),
    level: float = 0.95,
    title: str = "",
) -> Comparison:
    """Compare runs, given as paths, globs or `Run`s.

    by: keys whose values make the rows, such as `strategy,local.lr`; all in which the runs differ unless given.
    reference: a row's name; the others then get paired differences. variants: names or patterns (`*`) of models'
    variants that get rows of their own. level: of the confidence interval. Raises `ScenarioError` with the keys in
    which runs differ that should not.
    """
    everything = collect(sources)
    runs = [run for run in everything if run.status == "finished"]
    excluded = tuple(
        f"{run.folder} ({run.status}, round {run.summary['rounds']})" for run in everything if run not in runs
    )
    if not runs:
        left = f"; left out: {', '.join(excluded)}" if excluded else ""
        raise ScenarioError(Problem("compare", f"there is no finished run to compare{left}"))
    keys = [run_keys(run) for run in runs]
    problems = setting_problems(runs, keys)
    if problems:
        raise ScenarioError(problems, source="the comparison")
    chosen = _keys_by(by, keys)
    grouped: dict[tuple[str, ...], list[int]] = {}
    for index, found in enumerate(keys):
        grouped.setdefault(tuple(lookup(found, key) for key in chosen), []).append(index)
    problems = [p for labels, members in grouped.items() for p in _row_problems(labels, members, runs, keys)]
    if problems:
        raise ScenarioError(problems, source="the comparison")
    patterns = [variants] if isinstance(variants, str) else list(variants)
    values: dict[tuple[tuple[str, ...], str], dict[str, dict[int, dict[str, float]]]] = {}
    for labels, members in sorted(grouped.items(), key=lambda entry: _order(entry[0])):
        mine = [runs[index] for index in members]
        for variant in ("", *_variants(mine, patterns)):
            values[labels, variant] = _values(mine, variant, metrics)
    base = _reference(reference, list(values))
    rows = []
    for (labels, variant), found in values.items():
        against = values[base] if base and base != (labels, variant) else None
        cells = {
            when: {m: _cell(found[when], m, against[when] if against else None, level) for m in metrics}
            for when in WHEN
        }
        rows.append(Row(labels, variant, tuple(sorted(found["last"])), cells))
    averaged = min(LAST, *(run.summary["evaluations"] for run in runs))
    name = next((row.name for row in rows if (row.labels, row.variant) == base), "")
    return Comparison(chosen, tuple(metrics), tuple(rows), name, level, title, excluded, averaged)


def compare_each(
    *sources: str | Path | Run | Iterable[Run], each: Sequence[str] | None = None, **options: Any
) -> list[Comparison]:
    """One comparison for every value of the keys `each` (all settings in which the runs differ, where it is None)."""
    runs = collect(sources)
    keys = [run_keys(run) for run in runs]
    names = tuple(key for key in differing(keys) if is_setting(key)) if each is None else tuple(each)
    _check_known(names, keys)
    parts: dict[tuple[str, ...], list[Run]] = {}
    for run, found in zip(runs, keys, strict=True):
        parts.setdefault(tuple(lookup(found, key) for key in names), []).append(run)
    tables = []
    for values, members in parts.items():
        title = ", ".join(f"{key}={value}" for key, value in zip(names, values, strict=True))
        if any(run.status == "finished" for run in members) or len(parts) == 1:
            tables.append(compare(members, title=title, **options))
    return tables


def collect(sources: Iterable[str | Path | Run | Iterable[Run]]) -> list[Run]:
    """The runs of all sources, each folder once."""
    found: dict[Path, Run] = {}
    for source in sources:
        runs = load(source) if isinstance(source, str | Path) else [source] if isinstance(source, Run) else source
        for run in runs:
            found.setdefault(run.folder.resolve(), run)
    return list(found.values())


def _state(run: Run) -> str:
    return f"{run.folder} ({run.status}, round {run.summary['rounds']})"


def _order(labels: tuple[str, ...]) -> list[tuple[float, str]]:
    """Numbers by size, before texts."""
    return [(float(text), "") if _is_number(text) else (math.inf, text) for text in labels]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _keys_by(by: str | Sequence[str] | None, keys: Sequence[Keys]) -> tuple[str, ...]:
    if by is None:
        return tuple(dict.fromkeys(["strategy", *(key for key in differing(keys) if not is_setting(key))]))
    names = tuple(part.strip() for part in by.split(",")) if isinstance(by, str) else tuple(by)
    _check_known(names, keys)
    return names


def _check_known(names: Iterable[str], keys: Sequence[Keys]) -> None:
    known = {key for found in keys for key in found}
    problems = [Problem(name, f"no run has this key{suggest(name, known)}") for name in names if name not in known]
    if problems:
        raise ScenarioError(problems, source="the comparison")


def _row_problems(
    labels: tuple[str, ...], members: Sequence[int], runs: Sequence[Run], keys: Sequence[Keys]
) -> list[Problem]:
    """A row is one method: its runs differ in their seeds only, and no seed counts twice."""
    mine = [keys[index] for index in members]
    row = " ".join(labels)
    problems = [
        Problem(key, f"the row {row!r} mixes {values_text(key, mine)}; add the key to --by, or choose runs")
        for key in differing(mine)
    ]
    seeds: dict[int, list[str]] = {}
    for index in members:
        seeds.setdefault(runs[index].summary["seed"], []).append(runs[index].folder.name)
    if not problems:
        problems = [
            Problem("seed", f"the row {row!r} has {len(names)} runs of seed {seed}: {', '.join(names)}; choose one")
            for seed, names in seeds.items()
            if len(names) > 1
        ]
    return problems


def _variants(runs: Sequence[Run], patterns: Sequence[str]) -> list[str]:
    """Variants of the runs' models that match a pattern, in order of appearance."""
    names = (name.partition("/")[0] for run in runs for name in run.final)
    found = dict.fromkeys(name.partition("[")[2].removesuffix("]") for name in names if "[" in name)
    return [name for name in found if any(fnmatchcase(name, pattern) for pattern in patterns)]


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


def cost(run: Run) -> dict[str, float]:
    """Mean seconds of a round, and megabytes up and down per client and round."""
    rounds = run.rounds
    clients = rounds["clients"].sum() if len(rounds) else 0
    traffic = {name: rounds[f"bytes_{name}"].sum() / clients / 1e6 if clients else math.nan for name in ("up", "down")}
    seconds = float(rounds["seconds"].mean()) if len(rounds) else math.nan
    return {"cost/seconds": seconds, "cost/mb_up": float(traffic["up"]), "cost/mb_down": float(traffic["down"])}


def _of_variant(metric: str, variant: str) -> str:
    model, slash, figure = metric.partition("/")
    return f"{model}[{variant}]{slash}{figure}" if variant else metric


def _cell(
    mine: Mapping[int, Mapping[str, float]],
    metric: str,
    reference: Mapping[int, Mapping[str, float]] | None,
    level: float,
) -> Cell:
    values = np.array([figures[metric] for figures in mine.values() if not math.isnan(figures[metric])])
    mean = float(values.mean()) if len(values) else math.nan
    std = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    if reference is None or metric in COSTS:
        return Cell(mean, std, len(values))
    both = [mine[seed][metric] - reference[seed][metric] for seed in sorted(mine.keys() & reference.keys())]
    return Cell(mean, std, len(values), paired([d for d in both if not math.isnan(d)], level))


def _reference(name: str, rows: Sequence[tuple[tuple[str, ...], str]]) -> tuple[tuple[str, ...], str] | None:
    """The row that `name` means: its whole name, or one of its labels where only one row has it."""
    if not name:
        return None
    full = {Row(labels, variant, (), {}).name: (labels, variant) for labels, variant in rows}
    partly = [(labels, variant) for labels, variant in rows if name in labels and not variant]
    if name in full or len(partly) == 1:
        return full.get(name) or partly[0]
    several = f": it may be any of {', '.join(repr(' '.join(labels)) for labels, _ in partly)}" if partly else ""
    raise ScenarioError(Problem("--reference", f"{name!r} names no single row{several or suggest(name, full)}"))
