"""What a model is right about when it may decline to answer: accuracy against the share of rows that are answered.

A row is answered where its largest probability reaches a threshold (Chow, IEEE Transactions on Information Theory,
1970; Geifman and El-Yaniv, NeurIPS 2017). The threshold of a share is the one at which that share of the validation
rows is answered, so that what is answered of the test rows is a finding. Beside accuracy by head, medium and tail
stands whose rows are declined: a model that is unsure of rare classes gains accuracy by not serving them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import softmax

from fedlt.analyses.judged import Floats, Judged, judged, keep
from fedlt.data.groups import FEW, SHOTS

if TYPE_CHECKING:
    from fedlt.results.runs import Run

KEY = "--abstention"
SHARES = tuple(round(0.02 * step, 2) for step in range(50, 0, -1))
"""Shares of the validation rows that are answered: 1, .98, ..., .02."""


def abstention_table(run: Run, client: int | str | None = None, variant: str = "") -> pd.DataFrame:
    """Accuracy on the test rows that are answered, for each share of the validation rows that is.

    Args:
        client: whose personal model and rows, or `all`, each client's rows under its own and one threshold for all; the
            generic one's unless given.
        variant: of the logits; the headline unless given.

    Columns: share (asked), threshold, of (`all`, `head`, `medium`, `tail`, `client 3`), samples, answered (share of
    them), accuracy (on the answered ones; NaN where there are none), tail_declined (share of tail rows among those that
    are declined; NaN where none is, and for head, medium and tail). Kept as `abstention-generic.parquet` and `.png` in
    the run folder.

    Raises:
        ScenarioError: for what there is not.
    """
    from fedlt.plots.uncertainty import abstention_figure

    found = judged(run, KEY, client, variant)
    table = answered(found)
    keep(run, f"abstention-{found.name}", table, abstention_figure(table))
    return table


def answered(found: Judged) -> pd.DataFrame:
    """The table of `abstention_table`, of any rows."""
    given, test = _confidence(found.validation.logits), found.test
    confidence, right = _confidence(test.logits), test.logits.argmax(1) == test.labels
    tail = found.groups[test.labels] == FEW
    lines = []
    for share in SHARES:
        limit = -np.inf if share == 1 else float(np.quantile(given, 1 - share, method="higher"))
        taken = confidence >= limit
        for of, mask in found.parts().items():
            both, declined = mask & taken, mask & ~taken
            lines.append({
                "share": share, "threshold": limit, "of": of, "samples": int(mask.sum()),
                "answered": both.sum() / mask.sum(), "accuracy": right[both].mean() if both.any() else np.nan,
                "tail_declined": tail[declined].mean() if declined.any() and of not in SHOTS else np.nan,
            })  # fmt: skip
    return pd.DataFrame(lines)


def areas(table: pd.DataFrame) -> dict[str, float]:
    """For each group of rows, the area under accuracy over the share of all rows that is answered, over its width.

    It is the mean accuracy if every share is as likely. Shares at which none of the group's rows is answered are left
    out, so that a group may be judged on fewer.
    """
    whole = table[table["of"] == "all"].set_index("share")["answered"]
    found = {}
    for of, mine in table.groupby("of", sort=False):
        known = mine.dropna(subset=["accuracy"])
        x = whole[known["share"]].to_numpy()
        width = x.max() - x.min()
        y = known["accuracy"].to_numpy()
        found[str(of)] = float(np.trapezoid(y[::-1], x[::-1]) / width) if width else float(y.mean())
    return found


def _confidence(logits: Floats) -> Floats:
    return np.asarray(softmax(logits, axis=1).max(1))
