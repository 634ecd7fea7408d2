"""Commands on what finished runs keep of their samples: `fedlt features`, `head`, `decode`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedlt.commands.shared import NamesOption, Paths, figures_table, finished, named, refused
from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.process.files import from_here

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from fedlt.results.runs import Run

FIGURES = ("accuracy", "balanced", "head", "medium", "tail")
Given = Annotated[list[str], typer.Argument(metavar="PATHS... [NAME.KEY=VALUE]...", show_default=False)]
ByOption = Annotated[str | None, typer.Option(help="Of several runs: keys that name the methods.")]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Picture of all: a panel for each method.")]


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
    given: Given,
    heads: Annotated[str, typer.Option("--with", help="ridge,gaussian,...; all but presto unless given.")] = "",
    client: Annotated[int | None, typer.Option(help="On its personal model; the generic one unless given.")] = None,
    variant: Annotated[str, typer.Option(help="Of the run's own logits; the headline unless given.")] = "",
    by: ByOption = None,
    names: NamesOption = None,
    output: OutputOption = None,
) -> None:
    """Fit heads on finished runs' features, and compare.

    PATHS are those of compare; of several runs the table has means over seeds. A head is fitted on the features of all
    training rows at one place, of a client on its own ones: on frozen features, after the training. Heads: gaussian,
    logistic, nearest_mean, normalised_gd, ridge, singular_kernel, t_process; and presto, for classes that have an
    order, where it is named. Their keys: ridge.alpha=10 singular_kernel.order=8. A run's table and its picture are kept
    in its folder.
    """
    from fedlt.heads.fitted import HEADS, ORDERED, head_table
    from fedlt.plots.heads import heads_figure

    paths, words = _paths_and_keys(given)
    fitted = [name.strip() for name in heads.split(",")] if heads else [name for name in HEADS if name not in ORDERED]
    shown = _Shown(heads_figure, "heads", output)
    with refused():
        table, left_out = _table(
            paths, names, by, client, variant, lambda run: head_table(run, fitted, words, client, variant), shown
        )
    _print(f"accuracy in %, test rows of {_whose(client)}", table, left_out, dict.fromkeys(FIGURES, 100.0))


def decode(
    paths: Paths,
    loki: Annotated[
        str, typer.Option(help="Distances of classes: tree, path, or a .npy or .csv file.", show_default=False)
    ],
    client: Annotated[int | None, typer.Option(help="Of its personal model; the generic one unless given.")] = None,
    variant: Annotated[str, typer.Option(help="Whose logits; the headline's unless given.")] = "",
    by: ByOption = None,
    names: NamesOption = None,
    output: OutputOption = None,
) -> None:
    """Decode finished runs' predictions by distances of classes.

    PATHS are those of compare; of several runs the table has means over seeds. Loki predicts the class with the least
    expected squared distance. tree: of data.parents, 2 between siblings and 4 else; path: classes have an order; a
    file: distances [C, C], or vectors of classes [C, E]. Probabilities are calibrated on the validation rows
    (data.validation). A run's table and its picture are kept in its folder.
    """
    from fedlt.heads.loki import decoded_table
    from fedlt.plots.heads import decoders_figure

    shown = _Shown(decoders_figure, "loki", output)
    with refused():
        table, left_out = _table(
            paths, names, by, client, variant, lambda run: decoded_table(run, loki, client, variant), shown
        )
    divisors = sorted({f"{value:.2f}" for value in table["temperature"]})
    title = (
        f"mean squared distance, and accuracy in %: test rows of {_whose(client)}, temperature {', '.join(divisors)}"
    )
    columns = {"squared": 1.0, "head": 1.0, "medium": 1.0, "tail": 1.0, "accuracy": 100.0}
    _print(title, table, left_out, columns, 2)


def _paths_and_keys(given: list[str]) -> tuple[list[str], list[str]]:
    """What names runs, and NAME.KEY=VALUE of heads."""
    words = [word for word in given if "=" in word and not Path(word).exists()]
    paths = [word for word in given if word not in words]
    if not paths:
        raise ScenarioError(Problem("PATHS", "expected a run folder, a folder of runs, or a glob"))
    return paths, words


@dataclass(frozen=True)
class _Shown:
    """Where pictures go. draw: makes one of tables. name: of the file in a run folder. output: of them all, or None."""

    draw: Callable[[pd.DataFrame], Figure]
    name: str
    output: Path | None

    def of_run(self, run: Run, table: pd.DataFrame, whose: str) -> None:
        """Into the run folder."""
        from fedlt.plots.figure import save

        save(self.draw(table), run.folder / f"{self.name}-{whose}.png")

    def of_all(self, table: pd.DataFrame) -> None:
        """Into the output, a panel for each method."""
        from fedlt.plots.figure import save

        if self.output is not None:
            save(self.draw(table), self.output)
            print(self.output)


def _table(
    paths: list[str],
    names: list[str] | None,
    by: str | None,
    client: int | None,
    variant: str,
    table_of: Callable[[Run], pd.DataFrame],
    shown: _Shown,
) -> tuple[pd.DataFrame, list[str]]:
    """That of one run, or of several over their seeds; and what was left out."""
    from fedlt.heads.over_seeds import over_seeds
    from fedlt.plots.figure import check_ending

    if shown.output is not None:
        check_ending(shown.output)
    runs, left_out = finished(named(paths, "", names)[0])

    def kept(run: Run) -> pd.DataFrame:
        table = table_of(run)
        shown.of_run(run, table, run.features(client, variant).folder.name)
        return table

    if len(runs) == 1:
        table = kept(runs[0])
    else:
        table, without = over_seeds(runs, kept, client, variant, by)
        left_out = [*left_out, *without]
    shown.of_all(table)
    return table, left_out


def _print(title: str, table: pd.DataFrame, left_out: list[str], columns: dict[str, float], digits: int = 1) -> None:
    """The table's columns, each by its factor; of several runs with deviations."""
    import pandas as pd

    from fedlt.results.summary import plain

    tells = [name for name in ("method", "model", "options", "decoder") if name in table]
    several = "method" in table
    labels = [" ".join(filter(None, row)) for row in table[tells].itertuples(index=False)]
    figures = pd.DataFrame({name: factor * table[name] for name, factor in columns.items()})
    spread = None
    if several:
        title = f"{title} (mean ± standard deviation over seeds)"
        spread = pd.DataFrame({name: factor * table[f"{name}_std"] for name, factor in columns.items()})
        labels = [f"{label} ({seeds})" for label, seeds in zip(labels, table["seeds"], strict=True)]
    print(plain(figures_table(title, labels, figures, digits, spread)))
    for line in left_out:
        print(f"left out: {line}")


def _whose(client: int | None) -> str:
    return "the generic model" if client is None else f"the personal model of client {client}"


COMMANDS = (features, head, decode)
