"""What `fedlt analyse` shows of a run's answers: calibration, sets of classes, and answers that are declined."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedlt.commands.shared import figures_table

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from fedlt.results.runs import Run

MOST_CLIENTS = 10
"""Clients that a table shows; the files have them all."""
SHOWN_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)


def calibration(run: Run, client: str | None = None, variant: str = "") -> list[Table]:
    """Calibration errors, losses and Brier scores before and after."""
    from fedlt.analyses.calibration import calibration_table

    found = _of_groups(calibration_table(run, client, variant))
    percent = {"accuracy": "accuracy, %", "ece": "ECE", "class_ece": "class-wise ECE"}
    shown = found.assign(**{name: 100 * found[name] for name in percent})
    columns = {**percent, "nll": "NLL, nats", "brier": "Brier"}
    labels = [f"{row.method}: {row.of}" for row in found.itertuples()]
    return [figures_table(f"calibration in points, test rows of {_whose(client)}", labels,
                          shown[[*columns]].rename(columns=columns), 2)]  # fmt: skip


def conformal(
    run: Run, coverage: float = 0.9, score: str = "lac", client: str | None = None, variant: str = ""
) -> list[Table]:
    """Coverage and size of sets by head, medium and tail, and the clients that are covered least."""
    import pandas as pd

    from fedlt.analyses.conformal import conformal_table

    found = conformal_table(run, coverage, score, client, variant)
    groups = _of_groups(found)
    lines = {"coverage": ("coverage in %", 100), "size": ("classes in a set", 1),
             "unknown": ("rows whose class is in every set, %", 100)}  # fmt: skip
    rows = {
        f"{kind}: {text}": scale * mine.set_index("of")[column]
        for kind, mine in groups.groupby("sets", sort=False)
        for column, (text, scale) in lines.items()
        if column != "unknown" or mine["unknown"].any()
    }
    title = f"sets to hold the true class in {100 * coverage:g} % of cases ({score}), test rows of {_whose(client)}"
    tables = [figures_table(title, list(rows), pd.DataFrame(rows).T[list(groups["of"].unique())])]

    of_clients = found[found["of"].str.startswith("client")]
    if len(of_clients):
        each = 100 * of_clients.pivot(index="of", columns="sets", values="coverage")[list(found["sets"].unique())]
        least = each.assign(samples=of_clients.groupby("of")["samples"].first()).sort_values(
            each.columns[0], kind="stable"
        )
        told = least.head(MOST_CLIENTS)
        tables.append(figures_table("coverage in %, clients with the least", list(told.index), told))
    return tables


def abstention(run: Run, client: str | None = None, variant: str = "") -> list[Table]:
    """Accuracy on answered rows at some shares, and the areas under the curves."""
    import pandas as pd

    from fedlt.analyses.abstention import abstention_table, areas

    table = abstention_table(run, client, variant)
    found, area = _of_groups(table), areas(_of_groups(table))
    rows = {}
    for share in SHOWN_SHARES:
        mine = found[found["share"] == share].set_index("of")
        right = {f"right: {of}": 100 * value for of, value in mine["accuracy"].items()}
        answered = {f"answered: {of}": 100 * value for of, value in mine["answered"].items()}
        tail = {"tail, of declined": 100 * mine["tail_declined"].iloc[0]}
        rows[f"{100 * share:g} %"] = answered | right | tail
    rows["area"] = {f"right: {of}": 100 * value for of, value in area.items()}
    title = f"test rows of {_whose(client)} where a share of the validation rows is answered, in %"
    return [figures_table(title, list(rows), pd.DataFrame(rows).T)]


def _of_groups(table: pd.DataFrame) -> pd.DataFrame:
    """Without the rows of single clients."""
    return table[~table["of"].str.startswith("client")]


def _whose(client: str | None) -> str:
    if client is None:
        return "the generic model"
    return "all personal models" if client == "all" else f"the personal model of client {client}"
