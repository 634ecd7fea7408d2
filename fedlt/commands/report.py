"""The commands that tell what figures mean and make pages of them: `fedlt explain`, `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedlt.errors import Problem, ScenarioError


def explain(
    metric: Annotated[str, typer.Argument(show_default=False)] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="All entries as a page of Markdown.")] = False,
) -> None:
    """Say what a figure means: a metric or a column of a run's tables.

    METRIC: a name such as generic/few, personal_masked/accuracy or clients.nll, or its last part. All names unless
    given.
    """
    from fedlt.measures import glossary

    if markdown:
        if metric:
            raise ScenarioError(Problem("--markdown", "writes all entries; leave out the metric"))
        print(glossary.page(), end="")
    elif metric:
        for entry in glossary.explain(metric):
            print(f"{entry.name}\n{glossary.wrap(entry.text, '  ')}")
    else:
        print("\n".join(entry.name for entry in glossary.entries()))


def report(
    paths: Annotated[list[str], typer.Argument(show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("report.html"),
    by: Annotated[str | None, typer.Option(help="Keys that make the rows: strategy,local.lr.")] = None,
    reference: Annotated[str, typer.Option(help="Row to which paired differences are taken.")] = "",
    title: Annotated[str, typer.Option(help="Of the page; the scenarios' names unless given.")] = "",
) -> None:
    """Write one self-contained page about runs: tables that sort, pictures that tell a client's figures.

    PATHS are run folders, folders that hold runs, or globs. The page reaches no network. Runs whose data, partition or
    evaluation differ get sections of their own.
    """
    if not output.parent.is_dir():
        raise ScenarioError(Problem("--output", f"there is no folder {output.parent}"))
    from fedlt.report import write_report

    size = write_report(paths, output, by, reference, title).stat().st_size
    print(f"{output.resolve()}  ({size / 1e6:.1f} MB)")


COMMANDS = (explain, report)
