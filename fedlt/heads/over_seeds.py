"""Tables of heads or decoders of several runs as one: means and standard deviations over the seeds of each method."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd

from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.plots.measured import Runs, by_name

if TYPE_CHECKING:
    from fedlt.results.runs import Run


def over_seeds(
    runs: Runs,
    table_of: Callable[[Run], pd.DataFrame],
    client: int | None = None,
    variant: str = "",
    by: str | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """A row for each method and head, or decoder; and why methods have none.

    Args:
        runs: finished ones, as pictures take them.
        table_of: `head_table` or `decoded_table` of one run; its first column tells its rows apart.
        client, variant: of the model, for which a method without such a one is left out.
        by: keys that name the methods.

    Columns: method, seeds, then those of the tables, each figure with `NAME_std` behind it, NaN of one seed. Raises
    `ScenarioError` where no method has such a model.
    """
    tables, left_out = [], []
    for method, mine in by_name(runs, by).items():
        try:
            for run in mine:
                run.features(client, variant)
        except FedLTError as error:
            left_out.append(f"{method}: {_said(error)}")
            continue
        tables.append(_means(pd.concat([table_of(run) for run in mine], ignore_index=True), method, len(mine)))

    if not tables:
        raise ScenarioError(Problem("", f"no method has such a model: {'; '.join(left_out)}"))
    return pd.concat(tables, ignore_index=True), left_out


def _means(rows: pd.DataFrame, method: str, seeds: int) -> pd.DataFrame:
    """One method's rows, in the order of its tables."""
    texts = [name for name in rows if rows[name].dtype.kind not in "fiu"]
    grouped = rows.groupby(texts, sort=False, dropna=False)
    means, deviations = grouped.mean(), grouped.std()
    columns: dict[str, Any] = {}
    for name in map(str, means):
        columns |= {name: means[name], f"{name}_std": deviations[name]}
    table = pd.DataFrame(columns).reset_index()
    table.insert(0, "method", method)
    table.insert(1, "seeds", seeds)
    return table


def _said(error: FedLTError) -> str:
    """What an error tells, without its heading."""
    return "; ".join(problem.message for problem in error.problems) if isinstance(error, ScenarioError) else str(error)
