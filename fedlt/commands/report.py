"""Commands that make pages and write models: `fedlt report`, `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedlt.commands.shared import NamesOption, Paths, named
from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.process.files import from_here


def report(
    paths: Paths,
    output: Annotated[Path, typer.Option("--output", "-o", help="File of the page.")] = Path("report.html"),
    by: Annotated[str | None, typer.Option(help="Keys that make the rows: strategy,local.lr.")] = None,
    reference: Annotated[str, typer.Option(help="Row to which paired differences are taken.")] = "",
    names: NamesOption = None,
    title: Annotated[str, typer.Option(help="Title of the page; the scenarios' names unless given.")] = "",
) -> None:
    """Write one page about runs, with tables and pictures.

    PATHS are run folders, folders that hold runs, or globs. Tables sort, and pictures tell a client's figures. The page
    is one file, and reaches no network. Runs whose data, partition or evaluation differ get sections of their own.
    """
    if not output.parent.is_dir():
        raise ScenarioError(Problem("--output", f"there is no folder {output.parent}"))
    from fedlt.report import write_report

    runs, base = named(paths, reference, names)
    size = write_report(runs, output, by, base, title).stat().st_size
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


COMMANDS = (report, export)
