"""What `fedlt analyse` prints of samples: clients left out, densities, documents, tails, and pre-training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fedlt.commands.shared import figures_table
from fedlt.errors import Problem, ScenarioError

if TYPE_CHECKING:
    from rich.table import Table

    from fedlt.results.runs import Run


def left_out_tables(run: Run, client: str | None = None) -> list[Table]:
    """`--memorization --clients`: clients, the most memorised first, and all samples by head, medium and tail."""
    from fedlt.analyses.left_out import SAMPLES, left_out
    from fedlt.sweeps.view import view

    words = [] if client is None else [word.strip() for word in client.split(",")]
    if not all(word.isdecimal() for word in words):
        raise ScenarioError(Problem("--client", f"expected numbers such as 3,5, got {client!r}"))
    found = left_out(run, [int(word) for word in words], view=view()).table()

    shares = found.columns.drop(["of", "samples"])
    columns = {"samples": "samples", "with_it": "right with it, %", "without_it": "without it",
               "memorization": "points", "others": "others' samples", "test": "test classes",
               "test_tail": "tail of these"}  # fmt: skip
    shown = found.assign(**{name: 100 * found[name] for name in shares})[[*columns]].rename(columns=columns)
    title = f"what is lost without a client, in points of accuracy; {SAMPLES} has each sample"
    return [figures_table(title, list(found["of"]), shown)]


def density_tables(run: Run, bandwidth: float | None = None) -> list[Table]:
    """`--density`: head, medium and tail, and what is to be said of the bandwidth."""
    from fedlt.analyses.density import densities

    found = densities(run, bandwidth)
    groups = found.by_group()
    columns = {"classes": "classes", "samples": "samples of one", "alpha": "alpha", "participation": "Y2",
               "few": "on few samples, %", "density": "log density", "below": "apart, %"}  # fmt: skip
    shown = groups.assign(few=100 * groups["few"], below=100 * groups["below"])[[*columns]].rename(columns=columns)
    title = f"densities in {found.fitted.dim_} dimensions, bandwidth {found.fitted.bandwidth_:.2f}"
    table = figures_table(f"{title}; density_classes.parquet has each class", list(groups["of"]), shown, 2)
    apart = "apart: less dense than 95 % of the head's test samples"
    wrong = f"a low density tells wrong predictions with an AUROC of {found.failures():.2f}"
    table.caption, table.caption_justify = "\n".join(filter(None, [apart, wrong, found.warning()])), "left"
    return [table]


def scope_tables(runs: list[Run], documents: int | None = None) -> list[Table]:
    """`--scope`: of one run all documents and those of head, medium and tail, of several a row for each."""
    from fedlt.analyses.scope import DOCUMENTS, SEGMENTS, cards, scope_of

    if len(runs) == 1:
        found = scope_of(runs[0], documents or DOCUMENTS)
        table, passed_over = found.table(), found.passed_over
        labels = list(table["of"])
    else:
        table, passed_over = cards(runs, documents or DOCUMENTS), 0
        labels = [f"{row.data}, {row.strategy}, seed {row.seed}" for row in table.itertuples()]
    columns = {"documents": "documents", "right": "right, %", "tokens": "tokens", "scope": "scope",
               "dispersion": "dispersion", "lead": "first segment is enough, %"}  # fmt: skip
    shown = table.assign(right=100 * table["right"], lead=100 * table["lead"])[[*columns]].rename(columns=columns)
    printed = figures_table("how much of a document its class takes; scope.parquet has each", labels, shown, 2)
    if passed_over:
        printed.caption, printed.caption_justify = f"{passed_over} of fewer than {SEGMENTS} tokens are left out", "left"
    return [printed]


def tail_tables(
    runs: list[Run], rarest: int | None = None, rows: str | None = None, by: str | None = None
) -> list[Table]:
    """`--tail`: methods on the balanced test set of the rarest classes."""
    from fedlt.analyses.tail_set import tail_table

    found, kept = tail_table(runs, rarest, None if rows is None else Path(rows), by)
    labels = [f"{row.method} ({row.seeds})" for row in found.itertuples()]

    columns = {
        "tail": "these classes",
        "std": "std",
        "within": "among themselves",
        "all": "all classes",
    }
    shown = 100 * found[[*columns]].rename(columns=columns)
    title = f"accuracy in % on the {len(kept.classes)} rarest classes, {len(kept.rows):,} test samples (seeds)"
    return [figures_table(title, labels, shown)]


def pretraining_tables(runs: list[Run], by: str | None = None) -> list[Table]:
    """`--pretraining`: slopes over both numbers of samples, and accuracies on rare and frequent classes of both."""
    from fedlt.analyses.pretraining import pretraining_table

    found = pretraining_table(runs, by)
    labels = [f"{row.of} ({row.seeds})" for row in found.itertuples()]
    columns = {"before": "slope before", "own": "slope now", "many": "many before", "few": "few before",
               "own_many": "many now", "own_few": "few now"}  # fmt: skip
    shown = found[[*columns]].rename(columns=columns)
    spread = found.reindex(columns=[f"{name}_std" for name in columns])  # the slopes have one
    title = "accuracy on a class by its samples in pre-training (before) and in training (now)"
    table = figures_table(title, labels, shown, spread=spread)
    table.caption, table.caption_justify = (
        "slope: points per decade, at equal samples of the other; a third each",
        "left",
    )
    return [table]
