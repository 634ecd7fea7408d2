"""Results as text: the table at the end of a run, and the line that each evaluation prints."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

from fedlt.data.groups import SHOTS, Grouping, bare_text
from fedlt.measures.figures import METRICS
from fedlt.measures.headlines import ACCURACY, by_group, headline
from fedlt.process.wording import counted

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from fedlt.measures.figure import Figure

WIDTH = 110
"""Characters a line of a table that is not drawn on a terminal."""

_MODELS = {"generic": "generic model", "personal": "personal models", "personal_masked": "personal models, masked"}


class Told(Protocol):
    """What tables take of a run (`fedlt.results.runs.Run`, which shows itself by them)."""

    summary: dict[str, Any]

    @property
    def final(self) -> Mapping[str, float]: ...
    @property
    def figures(self) -> Mapping[str, Figure]: ...
    @property
    def balanced(self) -> bool: ...
    @property
    def rounds(self) -> pd.DataFrame: ...


def final_table(run: Told) -> Table:
    """The headline figures of a run's last evaluation in per cent: who is good on which classes, and for which clients.

    Balanced accuracy has a column of its own where the global test set is not balanced.
    """
    final = run.final
    when = f"round {run.summary['final_round']}" if final else "not evaluated yet"
    title = f"{headline(final, run.figures.values())} in %, {when}"
    return models_table(run, title, _caption(run), lambda name: _percent(final, name))


def models_table(run: Told, title: str, caption: str, text: Callable[[str], str]) -> Table:
    """The headline figures, a row for each kind of model and variant that the run has.

    Args:
        text: of a figure, by name.
    """
    from rich import box
    from rich.markup import escape as as_written
    from rich.table import Table

    final = run.final
    main = headline(final, run.figures.values())
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", padding=(0, 0, 0, 1),
                  caption=caption, caption_justify="left")  # fmt: skip
    table.add_column("", no_wrap=True)
    uneven = "generic/accuracy" in final and not run.balanced
    columns = [main, *(["balanced_accuracy"] if uneven else []), *by_group(main), "worst_decile", "std"]
    if main != ACCURACY:  # whose columns always stand there, so that tables of runs are alike
        columns = [name for name in columns if any(found.endswith(f"/{name}") for found in final)]

    for header in map(_heading, columns):
        table.add_column(header, justify="right", min_width=max(map(len, header.split())))
    for kind, words in _MODELS.items():
        found = (name.removesuffix(f"/{main}") for name in final if name.endswith(f"]/{main}"))
        for model in [kind, *(model for model in found if model.startswith(f"{kind}["))]:
            name = as_written(f"{words} {model[len(kind) :]}".strip())  # [variant] is no markup
            table.add_row(name, *(text(f"{model}/{column}") for column in columns))
    return table


def join_table(metrics: Mapping[str, float]) -> Table:
    """What clients that joined later get from a run, in per cent: a row for each way to join and variant."""
    from rich import box
    from rich.markup import escape as as_written
    from rich.table import Table

    clients = max((value for name, value in metrics.items() if name.endswith("/clients")), default=0)
    title = f"{headline(metrics)} in %, {counted(round(clients), 'client')} that took no part"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    main = headline(metrics)
    for header in (main, "masked", _heading("worst_decile"), _heading("std")):
        table.add_column(header, justify="right")
    for name in metrics:
        model, _, figure = name.rpartition("/")
        if figure == main and "_masked" not in model:
            way, bracket, variant = model.partition("[")
            masked = f"{way}_masked{bracket}{variant}/{main}"
            cells = (_percent(metrics, key) for key in (name, masked, f"{model}/worst_decile", f"{model}/std"))
            table.add_row(as_written(model), *cells)
    return table


def profile_table(run: Told) -> Table:
    """Where a round's time goes, means over the rounds. Seconds of work are per worker; what is left is waiting."""
    from rich import box
    from rich.table import Table

    rounds = run.rounds
    workers = rounds["workers"].mean()
    seconds_of = {name: rounds[f"{name}_seconds"].mean() / workers for name in ("train", "evaluate", "move")}
    seconds_of["wait"] = max(0.0, rounds["exchange_seconds"].mean() - sum(seconds_of.values()))
    seconds_of["aggregate"] = rounds["aggregate_seconds"].mean()
    seconds_of["other"] = max(0.0, rounds["seconds"].mean() - sum(seconds_of.values()))
    whole = rounds["seconds"].mean()
    table = Table(box=box.SIMPLE_HEAD, title=f"seconds per round, mean of {len(rounds)}", title_justify="left")
    for header in ("", "seconds", "%"):
        table.add_column(header, justify="right" if header else "left")
    for name, seconds in {**seconds_of, "round": whole}.items():
        table.add_row(name, f"{seconds:.3f}", f"{100 * seconds / whole:.1f}")
    return table


def evaluation_line(round: int, rounds: int, metrics: Mapping[str, float]) -> str:
    """One line for one evaluation, for example

    `round 20/100  generic 63.1 % (head 81.0, medium 60.2, tail 31.5)  personal 71.2 % (masked 74.0)`

    and, where validation data are set apart, `validation 62.0 / 70.4 %`: generic and personal accuracy on these.
    """
    parts = [f"round {round}/{rounds}"]
    main = headline(metrics)
    if f"generic/{main}" in metrics:
        accuracy, balanced = (metrics.get(f"generic/{name}", math.nan) for name in ("accuracy", "balanced_accuracy"))
        uneven = {"balanced_accuracy": "balanced"} if abs(accuracy - balanced) > 1e-9 else {}
        beside = uneven | {
            name: word for name, word in zip(by_group(main), SHOTS, strict=True) if f"generic/{name}" in metrics
        }
        told = ", ".join(f"{word} {_percent(metrics, f'generic/{name}')}" for name, word in beside.items())
        parts.append(f"generic {_percent(metrics, f'generic/{main}')} %" + (f" ({told})" if told else ""))

    if f"personal/{main}" in metrics:
        masked = f"personal_masked/{main}"
        parts.append(f"personal {_percent(metrics, f'personal/{main}')} %" + (
            f" (masked {_percent(metrics, masked)})" if masked in metrics else ""))  # fmt: skip

    validation = (f"validation/{kind}/{main}" for kind in ("generic", "personal"))
    held = [_percent(metrics, name) for name in validation if name in metrics]
    if held:
        parts.append(f"validation {' / '.join(held)} %")

    return "  ".join(parts)


def plain(table: Table) -> str:
    """The table as text without colours, `WIDTH` characters wide at most, for pipes and files."""
    from rich.console import Console

    text = io.StringIO()
    Console(
        file=text, width=WIDTH, color_system=None, force_terminal=False, force_jupyter=False, legacy_windows=False
    ).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip("\n")


def as_html(table: Table) -> str:
    """The table for a notebook: its title above, its caption beneath."""
    from rich.text import Text

    def text(markup: object) -> str:
        return escape(Text.from_markup(str(markup or "")).plain)

    def cell(tag: str, markup: object, number: bool) -> str:
        return f'<{tag} style="text-align: {"right" if number else "left"}">{text(markup)}</{tag}>'

    right = [column.justify == "right" for column in table.columns]
    head = [cell("th", column.header, number) for column, number in zip(table.columns, right, strict=True)]
    rows = zip(*(column.cells for column in table.columns), strict=True)
    lines = ["".join(map(cell, ["td"] * len(row), row, right)) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    notes = text(table.caption).replace("\n", "<br>")
    return (
        f'<table><caption style="text-align: left">{text(table.title)}</caption>'
        f"<thead><tr>{''.join(head)}</tr></thead><tbody>{body}</tbody></table><small>{notes}</small>"
    )


def _caption(run: Told) -> str:
    summary = run.summary
    if "groups_count" not in summary:
        return "no partition recorded"
    many, medium, few = summary["groups_count"]
    above, between, below = summary.get("groups_rule", Grouping().words)  # runs of earlier versions lack it
    head = counted(many, "head class", "head classes")
    untested = summary.get("groups_untested", (0, 0, 0))  # runs of earlier versions lack it
    without = bare_text(summary["groups_count"], untested)
    tested = run.final.get("personal/clients", math.nan)
    clients = counted(summary["clients"], "client")
    clients = clients if math.isnan(tested) else f"{tested:.0f} of {clients}"
    uneven = ""

    if "generic/accuracy" in run.final and not run.balanced:
        fewest, most = summary.get("test_per_class", ("?", "?"))
        uneven = (
            f"The global test set is not balanced ({fewest} to {most} samples a class): accuracy is over samples, and\n"
            "large classes decide it; balanced, head, medium and tail are means of class recalls.\n"
        )

    return uneven + (
        f"Generic: {head} ({above}), {medium} medium ({between}), {few} tail ({below}).\n"
        + (f"In no figure, as they have no test sample: {without}.\n" if without else "")
        + f"Personal: {clients}, unweighted; head, medium and tail are 75, 20 and 5 % of each client's own "
        "training samples.\nSpread: standard deviation over clients. -: not defined."
    )


def _heading(name: str) -> str:
    """Of a column of one figure of all models, by the last part of its name."""
    figure = METRICS.get(f"generic/{name}") or METRICS.get(f"personal/{name}")
    return figure.column or name if figure else name


def _percent(metrics: Mapping[str, float], name: str) -> str:
    value = metrics.get(name, math.nan)
    return "-" if math.isnan(value) else f"{100 * value:.1f}"
