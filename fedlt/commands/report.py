"""Commands that make pages, and write models and what they make of samples: `fedlt report`, `export`, `features`."""

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


def features(
    run: Annotated[Path, typer.Argument(show_default=False)],
    clients: Annotated[str, typer.Option(help="Personal models too: 0,3,7, or all.")] = "",
    variant: Annotated[str, typer.Option(help="Whose logits; the headline's unless given.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Make anew what is there.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Write what a finished run's models make of its samples: features, logits, labels.

    RUN is a run folder. The generic model's are of all training rows and of the global test set, a client's of its own
    rows. They are made once; the folder's about.json says what its .npy files are. In Python: run.features().
    """
    from fedlt.results.runs import open_run

    opened = open_run(run)
    held = range(int(opened.summary["clients"]))
    chosen = [*held] if clients == "all" else [int(word) for word in clients.split(",") if word.strip().isdecimal()]
    if clients not in ("", "all") and len(chosen) < len(clients.split(",")):
        raise ScenarioError(Problem("--clients", f"expected numbers such as 0,3,7, or all, got {clients!r}"))

    generic = [None] if not chosen or any(name.startswith("generic/") for name in opened.final) else []
    for client in [*generic, *chosen]:
        try:
            found = opened.features(client, variant, device, force)
        except FedLTError as error:
            if clients == "all" and client is not None and not isinstance(error, ScenarioError):
                print(f"left out: {error}")  # one that was in no cohort has no model of its own
                continue
            raise error if isinstance(error, ScenarioError) else ScenarioError(Problem("", str(error))) from error
        print(f"{from_here(found.folder)}  {found!r}")


COMMANDS = (report, export, features)
