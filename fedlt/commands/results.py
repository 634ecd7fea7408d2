"""Commands for many runs: `fedlt sweep`, `compare`, `plot`. They are registered on the app of `fedlt.commands.cli`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedlt.commands.completion import PLOTS, complete_formats, complete_plots
from fedlt.commands.shared import (
    NamesOption,
    Overrides,
    Paths,
    QuietOption,
    ScenarioArgument,
    VerboseOption,
    named,
    parse_seeds,
)
from fedlt.commands.typed import DEFAULT_SCENARIO, split
from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.process.files import from_here
from fedlt.process.wording import counted

if TYPE_CHECKING:
    from fedlt.comparing.comparison import Comparison
    from fedlt.sweeps.sweep import Sweep


def sweep(
    scenario: ScenarioArgument = DEFAULT_SCENARIO,
    overrides: Overrides = None,
    seeds: Annotated[str | None, typer.Option(help="0-4, or 0,3,7; the scenario's own unless given.")] = None,
    parallel: Annotated[str, typer.Option(help="Runs side by side, a core each; auto takes what is faster.")] = "auto",
    out: Annotated[Path, typer.Option(help="Parent of the run folders; runs/ by default.", show_default=False)] = Path(
        "runs"
    ),
    reference: Annotated[str, typer.Option(help="Row of the comparison to which differences are taken.")] = "",
    select: Annotated[
        str, typer.Option(help="Validation figure that chooses each method's setting; see compare.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Run again what is already finished.")] = False,
    track: Annotated[
        list[str] | None, typer.Option(help="Trackers and callbacks of each run: tensorboard, ./file.py:Mine.")
    ] = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Run every combination of values, and compare.

    What is finished is skipped. OVERRIDES: key=value,value sets a key to each value in turn: strategy=fedavg,fedprox
    local.lr=0.01,0.1. Commas in brackets do not count, so a value may be a component with keys of its own:
    'strategy=fedavg,{name: fedprox, mu: 0.1}'. All combinations are checked before the first runs; those whose
    parts do not fit together are named, and the others run. Repeat the command to go on after an interruption.
    """
    from fedlt.sweeps.grid import plan

    name, words = split(scenario, overrides)
    if parallel != "auto" and not parallel.isdecimal():
        raise ScenarioError(Problem("--parallel", f"expected auto or a whole number >= 1, got {parallel!r}"))

    # All combinations are checked before anything is imported that runs them.
    jobs = plan(name, words, parse_seeds(seeds) if seeds else ())
    if select:
        from fedlt.comparing.select import check_scenarios

        check_scenarios(select, (job.scenario for job in jobs))

    from fedlt.results.next_steps import after_sweep
    from fedlt.sweeps.sweep import followed, run_jobs
    from fedlt.sweeps.view import Quiet, by_reason, view

    shown = Quiet() if quiet else view(verbose)
    result = run_jobs(followed(jobs, track), out, int(parallel) if parallel != "auto" else parallel, force, shown)

    if quiet:
        print("\n".join(str(from_here(run.folder)) for run in result.runs))
    elif result.runs:
        print()
        tables = _compared(result, reference, select)
        print_tables(tables)

        names = {job.scenario.run_name: job.name for job in jobs}
        for run in result.runs:
            if run.warnings:
                print(f"warning: {names[run.folder.name]}: {'; '.join(run.warnings)}")

        methods = len({row.labels for row in tables[0].rows}) if len(tables) == 1 and not select else 0
        if steps := after_sweep(result.runs, out, methods, tables[0].reference):
            print(f"next: {' | '.join(steps)}")

    # What failed, and what could not even begin, ends the command with an error.
    if result.failures:
        could_not = {name: result.failures[name] for name in result.refused}
        failed = [f"{name}: {error}" for name, error in result.failures.items() if name not in could_not]
        parts = [(len(failed), "failed", failed), (len(could_not), "could not run", by_reason(jobs, could_not))]
        told = [
            "\n  ".join([f"{count} of {counted(len(jobs), 'run')} {what}", *lines])
            for count, what, lines in parts
            if count
        ]
        raise FedLTError("\n".join(told))


def _compared(result: Sweep, reference: str, select: str) -> list[Comparison]:
    """The sweep's comparison; without differences where the reference is among what did not run."""
    try:
        return result.compare(reference=reference, select=select)
    except ScenarioError as error:
        if not reference or not result.failures:
            raise
        print(f"no differences: {'; '.join(map(str, error.problems))}")
        return result.compare(select=select)


def compare(
    paths: Paths,
    by: Annotated[str | None, typer.Option(help="Keys that make the rows: strategy,local.lr.")] = None,
    reference: Annotated[str, typer.Option(help="Row to which paired differences are taken.")] = "",
    select: Annotated[str, typer.Option(help="Validation figure that chooses each method's setting.")] = "",
    reach: Annotated[str, typer.Option(help="Figures to be reached: generic/accuracy=0.8.")] = "",
    variants: Annotated[str, typer.Option(help="Variants of models that get rows: names or '*'.")] = "",
    metrics: Annotated[str, typer.Option(help="Columns, such as generic/accuracy,personal/few.")] = "",
    each: Annotated[str, typer.Option(help="Keys of the setting: a table for each value.")] = "",
    names: NamesOption = None,
    level: Annotated[float, typer.Option(help="Level of the confidence interval.")] = 0.95,
    format: Annotated[
        str,
        typer.Option(help="text, markdown, latex, csv or json.", show_default=False, autocompletion=complete_formats),
    ] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File; its ending may choose the format.")
    ] = None,
) -> None:
    """Compare runs: means, deviations, differences, costs.

    PATHS are run folders, folders that hold runs, or globs. A row holds the runs that agree in all keys of --by; all
    keys in which the runs differ, unless given. Means and standard deviations are over seeds, differences to
    --reference seed by seed. Runs whose data, partition or evaluation differ are refused; --each KEY makes a table
    for each of its values. Unfinished runs are left out and named.

    --select validation/generic/accuracy keeps, of each method's settings, the one with the highest mean of that figure,
    and compares only the kept ones; a method is then strategy and learner, unless --by says otherwise. A weighted mean:
    0.7*validation/generic/accuracy,0.3*validation/personal/few.

    --reach generic/accuracy=0.8 adds a table of the first evaluation that is as good: its round and, where the clients'
    devices have a clock (federation.clock), its simulated seconds.
    """
    from fedlt.comparing.compare import compare_each
    from fedlt.comparing.table import ENDINGS, FORMATS, render

    if not 0 < level < 1:
        raise ScenarioError(Problem("--level", f"expected a number between 0 and 1, got {level}"))
    if output is not None and not output.parent.is_dir():
        raise ScenarioError(Problem("--output", f"there is no folder {output.parent}"))
    if output is not None and not format and output.suffix.lower() not in ENDINGS:
        endings = ", ".join(ENDINGS)
        raise ScenarioError(Problem("--output", f"{output} ends in none of {endings}; give it one, or --format"))
    chosen = format or ENDINGS.get(output.suffix.lower() if output else "", "text")
    if chosen not in FORMATS:
        raise ScenarioError(Problem("--format", f"expected one of {', '.join(FORMATS)}, got {chosen!r}"))
    runs, base = named(paths, reference, names)
    tables = compare_each(
        *runs, each=_words(each), by=by, reference=base, variants=_words(variants), select=select,
        level=level, metrics=_words(metrics), reach=_words(reach),
    )  # fmt: skip
    if output is not None:
        output.write_text(render(tables, chosen) + "\n", encoding="utf-8")
        print(output)
    elif chosen == "text":
        print_tables(tables)
    else:
        print(render(tables, chosen))


def plot(
    paths: Paths,
    kind: Annotated[str, typer.Option(help=f"{PLOTS}; or all.", autocompletion=complete_plots)] = "curves",
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture, or a folder for all.")] = Path("fedlt.png"),
    by: Annotated[str | None, typer.Option(help="Keys that name the methods: strategy,local.lr.")] = None,
    reference: Annotated[str, typer.Option(help="Method to compare with; gain needs it.")] = "",
    metrics: Annotated[str, typer.Option(help="Panels of curves: generic/few,personal/accuracy.")] = "",
    names: NamesOption = None,
    width: Annotated[float, typer.Option(help="Inches: 7 fills a page, 3.3 a column of two.")] = 7.0,
) -> None:
    """Draw runs: learning curves, clients, classes, who holds what.

    PATHS are those of compare; unfinished runs are drawn as far as they are. The output's ending chooses the format:
    .png, .pdf, .svg and others.
    """
    from fedlt.comparing.methods import collect
    from fedlt.comparing.reach import has_clock
    from fedlt.plots.figure import KINDS, check_ending, draw, save
    from fedlt.plots.measured import by_name

    if kind != "all":
        check_ending(output)
    runs, base = named(paths, reference, names)
    wanted = list(KINDS) if kind == "all" else [kind]
    if kind == "all":
        if not reference or len(by_name(runs, by)) < 2:
            wanted.remove("gain")
        if not any(map(has_clock, collect(runs))):
            wanted = [name for name in wanted if name != "time"]
        output.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        options = {"metrics": _words(metrics)} if metrics and name in ("curves", "time") else {}
        path = output / f"{name}.png" if kind == "all" else output
        save(draw(name, *runs, by=by, reference=base, width=width, **options), path)
        print(path)


def print_tables(tables: list[Comparison]) -> None:
    """On a terminal, as wide as it is; else as text."""
    from fedlt.comparing.comparison import caption
    from fedlt.comparing.table import render, rich_tables

    if not sys.stdout.isatty():
        print(render(tables, "text"))
        return
    from rich.console import Console

    console = Console()
    for table in tables:
        if table.title:
            console.print(table.title, style="bold", markup=False)
        for title, parts in rich_tables(table, console.width):
            console.print(title, markup=False, highlight=False)
            console.print(*parts, sep="\n")
        console.print("\n".join(caption(table)), markup=False, highlight=False)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


COMMANDS = (sweep, compare, plot)
