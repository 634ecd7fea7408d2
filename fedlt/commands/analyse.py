"""The command that looks into finished runs: `fedlt analyse`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fedlt.commands.shared import NamesOption, Paths, figures_table, named, refused
from fedlt.errors import Problem, ScenarioError

if TYPE_CHECKING:
    from rich.table import Table

    from fedlt.results.runs import Run

MOST_CLIENTS = 10
"""Clients that the table of memorization shows; the file has them all."""


def analyse(
    paths: Paths,
    frequency: Annotated[bool, typer.Option("--frequency", help="Accuracy by how frequent a class is.")] = False,
    memorization: Annotated[bool, typer.Option("--memorization", help="Samples right only because seen.")] = False,
    model: Annotated[str, typer.Option(help="frequency: generic, generic[psi] or personal.")] = "generic",
    by: Annotated[str | None, typer.Option(help="frequency: keys that name the methods.")] = None,
    learners: Annotated[int, typer.Option(min=30, help="memorization: shares of the samples.")] = 400,
    names: NamesOption = None,
) -> None:
    """Look into finished runs: one of the analyses.

    PATHS are those of compare. --frequency: a line of each method's accuracy on a class over log10 of its training
    samples; points per decade, 0 for a model that knows no tail. --memorization, of one run: training samples that the
    nearest neighbours would get wrong had they not been seen, by head, medium and tail and by client.
    """
    if frequency == memorization:
        raise ScenarioError(Problem("", "choose one: --frequency or --memorization"), source="fedlt analyse")
    from fedlt.results.summary import plain

    runs, _ = named(paths, "", names)
    with refused():
        table = _by_frequency(runs, model, by) if frequency else _by_memorization(runs, learners)
    print(plain(table))


def _by_frequency(runs: list[Run], model: str, by: str | None) -> Table:
    from fedlt.analyses.frequency import frequency_table

    found = frequency_table(runs, by, model)
    labels = [f"{row.method} ({row.seeds})" for row in found.itertuples()]
    columns = {"slope": "points per decade", "std": "std", "at_ten": "at 10 samples", "correlation": "r",
               "aic": "AIC, log less linear"}  # fmt: skip
    title = "accuracy on a class over log10 of its training samples (seeds)"
    return figures_table(title, labels, found[[*columns]].rename(columns=columns), 2)


def _by_memorization(runs: list[Run], learners: int) -> Table:
    from fedlt.analyses.memorization import memorization_table

    if len(runs) != 1:
        raise ScenarioError(Problem("--memorization", f"takes one run, got {len(runs)}"))
    samples, found = memorization_table(runs[0], learners)
    groups = found[~found["of"].str.startswith("client")]
    clients = found[found["of"].str.startswith("client")].sort_values("mean", ascending=False).head(MOST_CLIENTS)
    import pandas as pd

    both = pd.concat([groups, clients])
    columns = {"samples": "samples", "mean": "memorization in %", "half": "of one half or more, %"}
    shown = both.assign(mean=100 * both["mean"], half=100 * both["half"])[[*columns]].rename(columns=columns)
    title = f"memorization of {len(samples)} training samples; memorization.parquet has each"
    return figures_table(title, list(both["of"]), shown)


COMMANDS = (analyse,)
