"""Methods: the runs that differ in their seeds only, found among any runs of one setting."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedlt.comparing.own_names import METHOD, Labels, default_keys, labels_of
from fedlt.comparing.run_keys import Keys, differing, run_keys, setting_problems, values_text
from fedlt.comparing.short_names import as_typed, shortened
from fedlt.config.schema import suggest
from fedlt.errors import Problem, ScenarioError
from fedlt.results.runs import Run, load_runs

Source = str | Path | Run | Iterable[Run]


@dataclass(frozen=True)
class Grouped:
    """Runs by method.

    Attributes:
        by: keys that tell methods apart.
        methods: their values -> runs, by seed.
        excluded: runs that were left out because they have not come far enough, with their state.
    """

    by: tuple[str, ...]
    methods: dict[Labels, list[Run]]
    excluded: tuple[str, ...]


def group(
    *sources: Source, by: str | Sequence[str] | None = None, unfinished: bool = False, named: bool = True
) -> Grouped:
    """The methods among the runs; `unfinished`: also of runs that have an evaluation without being finished.

    Args:
        by: keys whose values name a method, such as `strategy,local.lr`; all in which the runs differ unless given. A
            run with a name of its user's (`Run.name`) then has no other label, unless `named` is False.

    Raises:
        ScenarioError: with the keys in which runs differ that should not.
    """
    everything = collect(sources)
    runs = [run for run in everything if run.status == "finished" or (unfinished and run.final)]
    excluded = tuple(
        f"{run.folder} ({run.status}, round {run.summary['rounds']})" for run in everything if run not in runs
    )
    if not runs:
        left = f"; left out: {', '.join(excluded)}" if excluded else ""
        raise ScenarioError(Problem("", f"there is no finished run{left}"), source="the comparison")

    keys = shortened(runs, [run_keys(run) for run in runs])
    problems = setting_problems(runs, keys)
    if problems:
        raise ScenarioError(problems, source="the comparison")
    own = [run.name if named else "" for run in runs]
    chosen = default_keys(keys, own) if by is None else _keys_by(by, keys)
    members: dict[Labels, list[int]] = {}
    for index, found in enumerate(keys):
        members.setdefault(labels_of(found, chosen, own[index], alone=by is None), []).append(index)

    problems = [problem for labels, rows in members.items() for problem in _row_problems(labels, rows, runs, keys)]
    if problems:
        raise ScenarioError(problems, source="the comparison")
    methods = {
        labels: sorted((runs[index] for index in rows), key=lambda run: int(run.summary["seed"]))
        for labels, rows in sorted(members.items(), key=lambda entry: _order(entry[0]))
    }

    return Grouped(chosen, methods, excluded)


def collect(sources: Iterable[Source]) -> list[Run]:
    """The runs of all sources, each folder once."""
    found: dict[Path, Run] = {}
    for source in sources:
        runs = load_runs(source) if isinstance(source, str | Path) else [source] if isinstance(source, Run) else source
        for run in runs:
            found.setdefault(run.folder.resolve(), run)
    return list(found.values())


def row_name(labels: Labels, variant: str = "") -> str:
    """A row's name in one text, as `--reference` takes it: `fedprox 0.1 [variant]`.

    The first label alone where the others are "-", as those of a method with a name of its user's are.
    """
    words = labels[:1] if set(labels[1:]) == {"-"} else labels
    return " ".join(words) + (f" [{variant}]" if variant else "")


def find_row(name: str, rows: Sequence[tuple[Labels, str]]) -> tuple[Labels, str]:
    """The row (labels and variant) of that whole name, or with that label where only one row has it."""
    full = {row_name(labels, variant): (labels, variant) for labels, variant in rows}
    full |= {" ".join(labels): (labels, variant) for labels, variant in rows if not variant}
    name = as_typed(name, [*full, *(label for labels, _ in rows for label in labels)])
    partly = [(labels, variant) for labels, variant in rows if name in labels and not variant]
    if name in full or len(partly) == 1:
        return full.get(name) or partly[0]
    several = f": it may be any of {', '.join(repr(row_name(labels)) for labels, _ in partly)}" if partly else ""
    near = several or suggest(name, full)
    known = ", ".join(dict.fromkeys(row_name(labels, variant) for labels, variant in rows))
    rest = f" The rows are: {known}" if "did you mean" in near else ""
    raise ScenarioError(Problem("--reference", f"{name!r} names no single row{near}{rest}"))


def _keys_by(by: str | Sequence[str], keys: Sequence[Keys]) -> tuple[str, ...]:
    names = tuple(part.strip() for part in by.split(",")) if isinstance(by, str) else tuple(by)
    check_known([name for name in names if name != METHOD], keys)
    return names


def check_known(names: Iterable[str], keys: Sequence[Keys]) -> None:
    """Refuse names that are no keys.

    Raises:
        ScenarioError: for names that no run has as keys.
    """
    known = {key for found in keys for key in found}
    problems = [Problem(name, f"no run has this key{suggest(name, known)}") for name in names if name not in known]
    if problems:
        raise ScenarioError(problems, source="the comparison")


def _row_problems(
    labels: tuple[str, ...], members: Sequence[int], runs: Sequence[Run], keys: Sequence[Keys]
) -> list[Problem]:
    """A row is one method: its runs differ in their seeds only, and no seed counts twice."""
    mine = [keys[index] for index in members]
    row = row_name(labels)
    apart = ", or names (--name)" if any(runs[index].name for index in members) else ""
    problems = [
        Problem(key, f"the row {row!r} mixes {values_text(key, mine)}; add the key to --by, or choose runs{apart}")
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


def _order(labels: tuple[str, ...]) -> list[tuple[float, str]]:
    """Numbers by size, before texts."""
    return [(float(text), "") if is_number(text) else (math.inf, text) for text in labels]


def is_number(text: str) -> bool:
    """Whether the text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
