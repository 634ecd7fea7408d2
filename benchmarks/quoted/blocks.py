"""The kinds of blocks that pages mark: the first word of a mark names the function, the others are its arguments."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import tempfile
from collections.abc import Callable, Iterator

from benchmarks.quoted import lists, measured, overview, studied
from benchmarks.strategies import summary

COLUMNS = {
    "generic": "generic/accuracy",
    "balanced": "generic/balanced_accuracy",
    "head": "generic/many",
    "medium": "generic/medium",
    "tail": "generic/few",
    "personal": "personal/accuracy",
    "masked": "personal_masked/accuracy",
    "worst 10 %": "personal/worst_decile",
    "MB up": "cost/mb_up",
}
POINTS = 8.0
"""Points by which figures of a run may differ from those on the page: after a hundred rounds the rounding of another
processor has become another model, and a tail class has ten samples."""


def make(what: str) -> str:
    """The text of a block. what: its mark, such as `compared digits fedavg fedloge`."""
    kind, *arguments = shlex.split(what)
    return KINDS[kind](*arguments)


def takes_runs(what: str) -> bool:
    """Whether a block is made by running a scenario."""
    return shlex.split(what)[0] == "final-table"


def same(what: str, text: str) -> bool:
    """Whether a block is current. Figures of a run may differ by `POINTS`; what it says else is equal."""
    now = make(what)
    if not takes_runs(what):
        return now == text
    words, numbers = _apart(now)
    old_words, old_numbers = _apart(text)
    return words == old_words and all(abs(new - old) <= POINTS for new, old in zip(numbers, old_numbers, strict=True))


def compared(table: str, *methods: str) -> str:
    """A row for each method: mean and standard deviation of the headlines, with an arrow where the interval of the
    paired difference to the table's reference excludes zero.
    """
    rows = measured.rows(table)
    columns = [name for name in COLUMNS if name not in ("balanced", "MB up")]
    lines = [f"| | {' | '.join(columns)} |", f"| :-- |{' --: |' * len(columns)}"]
    for method in methods:
        cells = [rows.get((method, COLUMNS[name])) for name in columns]
        shown = (measured.mean(cell) + (measured.arrow(cell) if cell else "") for cell in cells)
        lines.append(f"| `{method}` | {' | '.join(shown)} |")
    return "\n".join(lines)


def rows(table: str, columns: str, *lines: str) -> str:
    """A row for each `LABEL=METHOD`.

    `LABEL=GENERIC; PERSONAL` takes figures of the generic model from one method (or variant) and those of the personal
    ones from another; `LABEL=- METHOD` the paired differences to the table's reference, with their intervals. columns:
    their names, separated by commas.
    """
    found = measured.rows(table)
    names = [name.strip() for name in columns.split(",")]
    shown = [f"| | {' | '.join(names)} |", f"| :-- |{' --: |' * len(names)}"]
    for line in lines:
        label, _, method = line.partition("=")
        told = measured.difference if method.startswith("- ") else measured.mean
        generic, _, personal = method.removeprefix("- ").partition("; ")
        by_model = {"generic": generic, "personal": personal or generic}
        metrics = [COLUMNS[name] for name in names]
        cells = [told(found.get((by_model[metric.split("/")[0].split("_")[0]], metric))) for metric in metrics]
        shown.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(shown)


def final_table(*command: str) -> str:
    """What `fedlt run` ends with, run in an empty folder: from the title of its table to before the folder's path."""
    from typer.testing import CliRunner

    from fedlt.commands.cli import app

    with _empty_folder():
        done = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["run", *command])
    if done.exit_code:
        raise RuntimeError(done.output)
    text = done.stdout[done.stdout.index("accuracy in %") :].rstrip().rpartition("\n")[0].rstrip()
    return f"```text\n{text}\n```"


@contextlib.contextmanager
def _empty_folder() -> Iterator[None]:
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(here)


def _apart(text: str) -> tuple[list[str], list[float]]:
    """The words of a text, and its numbers with a decimal point."""
    return re.sub(r"\d+\.\d+", "", text).split(), [float(number) for number in re.findall(r"\d+\.\d+", text)]


KINDS: dict[str, Callable[..., str]] = {
    "compared": compared,
    "rows": rows,
    "methods": overview.methods,
    "family": overview.family,
    "learners": overview.learners,
    "agreed": overview.agreed,
    "ranks": summary.ranks,
    "leaders": overview.leaders,
    "speed": overview.speed,
    "studied": studied.studied,
    "final-table": final_table,
    "citations": lists.citations,
    "columns": lists.columns,
    "words": lists.words,
}
