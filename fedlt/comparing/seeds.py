"""What one command's runs of several seeds have together: the table of a run, with means and spreads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedlt.comparing.cells import mean_text
from fedlt.comparing.compare import compare
from fedlt.measures.headlines import headline
from fedlt.process.wording import counted
from fedlt.results.summary import models_table

if TYPE_CHECKING:
    from rich.table import Table

    from fedlt.results.runs import Run


def seeds_table(runs: Sequence[Run]) -> Table:
    """Mean ± sample standard deviation over the seeds of runs of one method: the figures of `compare`.

    Raises:
        ScenarioError: where the runs differ in more than their seeds.
    """
    found = {name: None for run in runs for name in run.final}
    comparison = compare(runs, metrics=list(found))
    (row,) = comparison.rows
    cells = row.cells["last"]

    def text(name: str) -> str:
        """A cell of the table, with the number of seeds where it is not defined for all."""
        cell = cells.get(name)
        if cell is None or math.isnan(cell.mean):
            return "-"
        defined = f" ({cell.n})" if cell.n < len(row.seeds) else ""
        return mean_text(cell, comparison.figures[name], defined)

    main = headline(runs[0].final, runs[0].figures.values())
    title = f"{main} in %, mean ± standard deviation over {counted(len(row.seeds), 'seed')}"
    seeds = ", ".join(map(str, row.seeds))
    caption = f"Seeds {seeds}; sample standard deviation. In brackets: seeds for which a figure is defined, if not all."
    return models_table(runs[0], title, caption, text)
