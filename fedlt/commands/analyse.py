"""The command that looks into finished runs: `fedlt analyse`.

An analysis is a flag of the command and a line of `ANALYSES`: which of the command's other options are its own, and the
function that makes its tables. Options of others are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedlt.commands import answers
from fedlt.commands.sample_tables import density_tables, left_out_tables, pretraining_tables, scope_tables, tail_tables
from fedlt.commands.shared import NamesOption, Paths, figures_table, finished, named, refused
from fedlt.errors import Problem, ScenarioError

if TYPE_CHECKING:
    from rich.table import Table

    from fedlt.results.runs import Run

MOST_CLIENTS = 10
"""Clients that a table shows; the files have them all."""
Number = int | None
Real = float | None
Word = str | None


def analyse(
    paths: Paths,
    frequency: Annotated[bool, typer.Option("--frequency", help="Accuracy by how frequent a class is.")] = False,
    memorization: Annotated[bool, typer.Option("--memorization", help="Samples right only because seen.")] = False,
    density: Annotated[bool, typer.Option("--density", help="What densities of rare classes rest on.")] = False,
    scope: Annotated[bool, typer.Option("--scope", help="How much of a document its class takes.")] = False,
    tail: Annotated[bool, typer.Option("--tail", help="Accuracy on a test set of the rarest classes.")] = False,
    pretraining: Annotated[bool, typer.Option("--pretraining", help="Classes that were rare in pre-training.")] = False,
    calibration: Annotated[bool, typer.Option("--calibration", help="Probabilities, before and after.")] = False,
    conformal: Annotated[bool, typer.Option("--conformal", help="Sets of classes that hold the true one.")] = False,
    abstention: Annotated[bool, typer.Option("--abstention", help="Accuracy where rows are declined.")] = False,
    model: Annotated[Word, typer.Option(help="frequency: generic (default), generic[psi] or personal.")] = None,
    by: Annotated[Word, typer.Option(help="frequency, tail, pretraining: keys that name methods.")] = None,
    learners: Annotated[Number, typer.Option(min=30, help="memorization: shares of the samples; 400.")] = None,
    coverage: Annotated[float | None, typer.Option(help="conformal: share of rows whose class is in; 0.9.")] = None,
    score: Annotated[Word, typer.Option(help="conformal: lac (default) or aps.")] = None,
    client: Annotated[
        Word,
        typer.Option(help="calibration, conformal, abstention: its personal model, or all; --clients: only 3,5."),
    ] = None,
    variant: Annotated[
        Word, typer.Option(help="calibration, conformal, abstention: whose logits; the headline's unless given.")
    ] = None,
    clients: Annotated[bool, typer.Option("--clients", help="memorization: train again without each client.")] = False,
    bandwidth: Annotated[Real, typer.Option(min=1e-6, help="density: in standard deviations; the likeliest.")] = None,
    documents: Annotated[Number, typer.Option(min=1, help="scope: test documents that are looked at; 500.")] = None,
    rarest: Annotated[Number, typer.Option(min=2, help="tail: how many classes; a fifth of them.")] = None,
    rows: Annotated[Word, typer.Option(help="tail: file of the set, taken where it is there, written else.")] = None,
    names: NamesOption = None,
) -> None:
    """Look into finished runs: one of the analyses.

    PATHS are those of compare. --frequency: a line of each method's accuracy on a class over log10 of its training
    samples; points per decade, 0 for a model that knows no tail. --memorization, of one run: training samples that the
    nearest neighbours would get wrong had they not been seen, by head, medium and tail and by client. With --clients,
    the federation is trained again without each client: what of its samples is right only because it took part.
    --density, of one run: how many samples a kernel density of each class rests on, and test samples that lie apart.
    --scope, of runs on token ids: how many segments of a document must go before the model is wrong.
    --tail: accuracy on a balanced test set of the rarest classes, which --rows keeps for other runs on the data set.
    --pretraining, of runs that began with others' weights (init_from): accuracy on a class over its samples there, at
    equal samples of the run's own, and over these, at equal samples there.

    Of one run, fitted on its validation rows (data.validation) and measured on test rows, with a .parquet and a .png in
    the run folder: --calibration, temperature, vector scaling and isotonic curves; --conformal, sets that hold the
    true class as often as --coverage asks, with one threshold, one for each class or one for each client; --abstention,
    accuracy on the rows of which the model is surest, and whose rows are declined.
    """
    from fedlt.results.summary import plain

    analysis, options = _chosen(
        {
            "frequency": frequency,
            "memorization": memorization,
            "density": density,
            "scope": scope,
            "tail": tail,
            "pretraining": pretraining,
            "calibration": calibration,
            "conformal": conformal,
            "abstention": abstention,
        },
        {
            "model": model,
            "by": by,
            "learners": learners,
            "clients": clients or None,
            "client": client,
            "bandwidth": bandwidth,
            "documents": documents,
            "rarest": rarest,
            "rows": rows,
            "coverage": coverage,
            "score": score,
            "variant": variant,
        },
    )
    runs, left_out = finished(named(paths, "", names)[0])
    with refused():
        tables = analysis(runs, options)
    for table in tables:
        print(plain(table))
    if left_out:
        print(f"left out: {', '.join(left_out)}")


def _frequency(runs: list[Run], by: str | None = None, model: str = "generic") -> list[Table]:
    from fedlt.analyses.frequency import frequency_table

    found = frequency_table(runs, by, model)
    labels = [f"{row.method} ({row.seeds})" for row in found.itertuples()]
    columns = {"slope": "points per decade", "std": "std", "at_ten": "at 10 samples", "correlation": "r",
               "aic": "AIC, log less linear"}  # fmt: skip
    title = "accuracy on a class over log10 of its training samples (seeds)"
    return [figures_table(title, labels, found[[*columns]].rename(columns=columns), 2)]


def _memorization(
    run: Run, learners: int | None = None, clients: bool = False, client: str | None = None
) -> list[Table]:
    if clients:
        if learners is not None:
            raise ScenarioError(Problem("--learners", "is of nearest neighbours, not of trainings without clients"))
        return left_out_tables(run, client)
    if client is not None:
        raise ScenarioError(Problem("--client", "goes with --clients, which trains again without them"))
    from fedlt.analyses.memorization import memorization_table

    samples, found = memorization_table(run, learners or 400)
    of_client = found["of"].str.startswith("client")
    most = found[of_client].sort_values("mean", ascending=False).head(MOST_CLIENTS)
    import pandas as pd

    both = pd.concat([found[~of_client], most])
    columns = {"samples": "samples", "mean": "memorization in %", "half": "of one half or more, %"}
    shown = both.assign(mean=100 * both["mean"], half=100 * both["half"])[[*columns]].rename(columns=columns)
    title = f"memorization of {len(samples)} training samples; memorization.parquet has each"
    return [figures_table(title, list(both["of"]), shown)]


@dataclass(frozen=True)
class Analysis:
    """One of the analyses.

    Attributes:
        name: its flag, as the command's argument is called.
        tables: takes the runs, or the run, and its own options that were given.
        options: names of these.
        one: whether it is of one run.
    """

    name: str
    tables: Callable[..., Sequence[Table]]
    options: tuple[str, ...] = ()
    one: bool = True

    def __call__(self, runs: list[Run], options: Mapping[str, Any]) -> Sequence[Table]:
        """What it shows. Raises `ScenarioError` for several runs where it is of one."""
        if not self.one:
            return self.tables(runs, **options)
        if len(runs) != 1:
            raise ScenarioError(Problem(_flag(self.name), f"takes one run, got {len(runs)}"))
        return self.tables(runs[0], **options)


ANALYSES = (
    Analysis("frequency", _frequency, ("by", "model"), one=False),
    Analysis("memorization", _memorization, ("learners", "clients", "client")),
    Analysis("density", density_tables, ("bandwidth",)),
    Analysis("scope", scope_tables, ("documents",), one=False),
    Analysis("tail", tail_tables, ("rarest", "rows", "by"), one=False),
    Analysis("pretraining", pretraining_tables, ("by",), one=False),
    Analysis("calibration", answers.calibration, ("client", "variant")),
    Analysis("conformal", answers.conformal, ("coverage", "score", "client", "variant")),
    Analysis("abstention", answers.abstention, ("client", "variant")),
)


def _chosen(flags: Mapping[str, bool], options: Mapping[str, Any]) -> tuple[Analysis, dict[str, Any]]:
    """The one analysis whose flag was given, and its options that were. Raises `ScenarioError` for those of others."""
    chosen = [analysis for analysis in ANALYSES if flags[analysis.name]]
    if len(chosen) != 1:
        known = ", ".join(_flag(analysis.name) for analysis in ANALYSES)
        raise ScenarioError(Problem("", f"choose one: {known}"), source="fedlt analyse")

    given = {name: value for name, value in options.items() if value is not None}
    problems = []
    for name in given:
        if name not in chosen[0].options:
            owners = [_flag(analysis.name) for analysis in ANALYSES if name in analysis.options]
            listed = " and ".join(filter(None, (", ".join(owners[:-1]), owners[-1])))
            problems.append(Problem(_flag(name), f"goes with {listed}, not with {_flag(chosen[0].name)}"))
    if problems:
        raise ScenarioError(problems, source="fedlt analyse")
    return chosen[0], given


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


COMMANDS = (analyse,)
