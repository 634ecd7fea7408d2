"""Commands that tell what figures mean, make pages, and write models: `fedlt explain`, `report`, `export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.process.files import from_here

if TYPE_CHECKING:
    from fedlt.measures.figure import Figure


def explain(
    metric: Annotated[str, typer.Argument(show_default=False)] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="All entries as a page of Markdown.")] = False,
) -> None:
    """Say what a figure means: a metric or a column of a run's tables.

    METRIC: a name such as generic/few, personal_masked/accuracy or clients.nll, or its last part; or a metric of your
    own, ./mine.py:TopK. All names unless given.
    """
    from fedlt.measures import glossary

    if markdown:
        if metric:
            raise ScenarioError(Problem("--markdown", "writes all entries; leave out the metric"))
        print(glossary.page(), end="")
    elif metric:
        for figure in _own(metric) if ".py:" in metric else glossary.explain(metric):
            title = f" ({figure.title})" if figure.title else ""
            print(f"{figure.name}{title}\n{glossary.wrap(glossary.full_text(figure), '  ')}".rstrip())
    else:
        print("\n".join(entry.name for entry in glossary.entries()))


def _own(name: str) -> list[Figure]:
    """What a metric of the user's own tells of its figures, with its keys at their defaults."""
    from fedlt.config import catalog
    from fedlt.training.own_statistics import records

    found = catalog.find("metric", name)
    required = [field.name for field in found.fields if field.required]
    if required:
        raise ScenarioError(Problem("explain", f"{name} has keys without a default: {', '.join(required)}"))
    told = records(found.create({}))
    if not told:
        raise ScenarioError(Problem("explain", f"{name} tells nothing of its figures; give it a describe()"))
    return told


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
    print(f"{from_here(output)}  ({size / 1e6:.1f} MB)")


def export(
    run: Annotated[Path, typer.Argument(show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="model.pt2 or model.safetensors.", show_default=False)],
    client: Annotated[int | None, typer.Option(help="Its personal model; the generic one unless given.")] = None,
    variant: Annotated[str, typer.Option(help="Another than the headline, such as psi of fedloge.")] = "",
) -> None:
    """Write a finished run's model to a file that needs no FedLT.

    RUN is a run folder. model.pt2 holds the graph from images (uint8, channels last) or rows as the data set has them
    to logits, for batches of any size: torch.export.load. model.safetensors holds the weights by name, and what the
    model expects.
    """
    from fedlt.results.export import check_target
    from fedlt.results.runs import open_run

    check_target(output)
    try:
        opened = open_run(run)
        model = opened.model(variant) if client is None else opened.client(client, variant)
        remark = model.export(output)
    except ScenarioError:
        raise
    except FedLTError as error:
        raise ScenarioError(Problem("", str(error))) from error
    whose = "the generic model" if client is None else f"the personal model of client {client}"
    print(f"{from_here(output)}  ({whose}, {output.stat().st_size / 1e6:.1f} MB)")
    if remark:
        print(remark)


COMMANDS = (explain, report, export)
