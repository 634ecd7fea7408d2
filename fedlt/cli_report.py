"""The commands that tell what figures mean and make pages of them: `fedlt explain`, `report`."""

from __future__ import annotations

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
    from fedlt import glossary

    if markdown:
        if metric:
            raise ScenarioError(Problem("--markdown", "writes all entries; leave out the metric"))
        print(glossary.page(), end="")
    elif metric:
        for entry in glossary.explain(metric):
            print(f"{entry.name}\n{glossary.wrap(entry.text, '  ')}")
    else:
        print("\n".join(entry.name for entry in glossary.entries()))


COMMANDS = (explain,)
