"""Commands on what finished runs keep of their samples: `fedlt features`, `head`, `decode`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedlt.commands.shared import figures_table, refused
from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.process.files import from_here

FIGURES = ("accuracy", "balanced", "head", "medium", "tail")


def features(
    run: Annotated[Path, typer.Argument(show_default=False)],
    clients: Annotated[str, typer.Option(help="Personal models too: 0,3,7, or all.")] = "",
    variant: Annotated[str, typer.Option(help="Whose logits; the headline's unless given.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Make anew what is there.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Write features, logits and labels of a finished run's samples.

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


def head(
    run: Annotated[Path, typer.Argument(show_default=False)],
    words: Annotated[list[str] | None, typer.Argument(metavar="[NAME.KEY=VALUE]...", show_default=False)] = None,
    heads: Annotated[str, typer.Option("--with", help="ridge,gaussian,...; all but presto unless given.")] = "",
    client: Annotated[int | None, typer.Option(help="On its personal model; the generic one unless given.")] = None,
    variant: Annotated[str, typer.Option(help="Of the run's own logits; the headline unless given.")] = "",
) -> None:
    """Fit heads on a finished run's features, and compare.

    RUN is a run folder. A head is fitted on the features of all training rows at one place, of a client on its own
    ones: on frozen features, after the training. Heads: gaussian, logistic, nearest_mean, normalised_gd, ridge,
    singular_kernel, t_process; and presto, for classes that have an order, where it is named. Their keys:
    ridge.alpha=10 singular_kernel.order=8. The table is kept in the run folder.
    """
    from fedlt.heads.fitted import HEADS, ORDERED, head_table
    from fedlt.results.runs import open_run
    from fedlt.results.summary import plain

    names = [name.strip() for name in heads.split(",")] if heads else [name for name in HEADS if name not in ORDERED]
    opened = open_run(run)
    with refused():
        table = head_table(opened, names, words or (), client, variant)
    labels = [f"{row['model']} {row['options']}".strip() for row in table.to_dict("records")]
    print(plain(figures_table(f"accuracy in %, test rows of {_whose(client)}", labels, 100 * table[[*FIGURES]])))


def decode(
    run: Annotated[Path, typer.Argument(show_default=False)],
    loki: Annotated[
        str, typer.Option(help="Distances of classes: tree, path, or a .npy or .csv file.", show_default=False)
    ],
    client: Annotated[int | None, typer.Option(help="Of its personal model; the generic one unless given.")] = None,
    variant: Annotated[str, typer.Option(help="Whose logits; the headline's unless given.")] = "",
) -> None:
    """Decode a finished run's predictions by distances of classes.

    RUN is a run folder. Loki predicts the class with the least expected squared distance. tree: of data.parents, 2
    between siblings and 4 else; path: classes have an order; a file: distances [C, C], or vectors of classes [C, E].
    Probabilities are calibrated on the validation rows (data.validation). The table is kept in the run folder.
    """
    from fedlt.heads.loki import decoded_table
    from fedlt.results.runs import open_run
    from fedlt.results.summary import plain

    opened = open_run(run)
    with refused():
        table = decoded_table(opened, loki, client, variant)
    shown = table[["squared", "head", "medium", "tail"]].assign(accuracy=100 * table["accuracy"])
    divisor = f"temperature {table['temperature'].iloc[0]:.2f}"
    title = f"mean squared distance, and accuracy in %: test rows of {_whose(client)}, {divisor}"
    print(plain(figures_table(title, list(table["decoder"]), shown, 2)))


def _whose(client: int | None) -> str:
    return "the generic model" if client is None else f"the personal model of client {client}"


COMMANDS = (features, head, decode)
