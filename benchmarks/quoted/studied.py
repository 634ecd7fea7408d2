"""What the tables of equal trials say of a method, for its page: `benchmarks.strategies.study`."""

from __future__ import annotations

from benchmarks.quoted import measured
from benchmarks.strategies import summary
from benchmarks.strategies.study import STUDY

COLUMNS = {
    "generic": "generic/balanced_accuracy",
    "medium": "generic/medium",
    "tail": "generic/few",
    "masked": "personal_masked/accuracy",
}
REFERENCE = "fedavg"
ABOUT = """**In equal trials.** Four settings a method, chosen on validation data, then three seeds: per cent, and in
brackets points to FedAvg, with an arrow where their 95 % interval excludes zero (`benchmarks/strategies`). *Generic*
takes all classes alike.
"""


def studied(*methods: str) -> str:
    """A row for each setting and method with figures: the chosen trial, mean and standard deviation of the headlines
    in per cent, and points to FedAvg.
    """
    lines, missing = [], []

    for setting in STUDY.settings:
        table = summary.read(setting)
        for method in methods:
            if method in table:
                named = f"`{setting}`" + (f", `{method}`" if len(methods) > 1 else "")
                rate, own = summary.chosen(setting, method)
                cells = [_cell(table[method].get(metric), method) for metric in COLUMNS.values()]
                lines.append(f"| {named} | {rate} | {f'`{own}`' if own else ''} | {' | '.join(cells)} |")
            elif table and setting not in missing:
                missing.append(setting)

    head = [f"| | lr | own key | {' | '.join(COLUMNS)} |", f"| :-- | --: | :-- |{' --: |' * len(COLUMNS)}"]
    lines = [ABOUT, *head, *lines] if lines else ["**In equal trials.** No figures yet."]
    if missing:
        lines += [
            "",
            f"Not in the table of {', '.join(f'`{each}`' for each in missing)}; `benchmarks/strategies` says why.",
        ]
    return "\n".join(lines)


def _cell(row: measured.Row | None, method: str) -> str:
    """`41.5 ± 0.3 (+2.7 ↑)`, in two lines so that the table fits its page; FedAvg itself has no difference."""
    text = measured.mean(row)
    if row is None or not text or method == REFERENCE or not row["difference"]:
        return text
    return f"{text}<br>({100 * float(row['difference']):+.1f}{measured.arrow(row)})"
