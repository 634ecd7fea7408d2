"""Puts the figures of the tables into README.md: `python -m benchmarks.centralized.summary`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.centralized.table import markdown, spread
from benchmarks.tables import fill

HERE = Path(__file__).parent
COLUMNS = (
    ("FedAvg: generic", "fedavg", "generic/accuracy"),
    ("few", "fedavg", "generic/few"),
    ("personal", "fedavg", "personal/accuracy"),
    ("masked", "fedavg", "personal_masked/accuracy"),
    ("centralized: generic", "centralized", "generic/accuracy"),
    ("few", "centralized", "generic/few"),
    ("local: personal", "local", "personal/accuracy"),
    ("masked", "local", "personal_masked/accuracy"),
)

SHOWN = {
    "parts": ("all", "many", "few", "images", "seconds"),
    "attributes": ("total", "head", "medium", "tail", "gini", "texts", "seconds"),
    "foundation": ("all", "rare", "any_rare", "gap_before", "gap_now", "images", "seconds"),
    "from_scratch": ("accuracy", "images", "seconds", "parameters"),
    "upsampling": ("head_loss", "tail_loss", "all_loss", "accuracy", "all", "many", "few", "images", "seconds"),
    "recommendation": ("all", "head", "medium", "tail", "ndcg", "samples", "seconds"),
    "ranking": ("auc", "short", "distance", "entropy", "samples", "seconds"),
    "joint_pretraining": ("all", "many", "few", "rank", "embedding_rank", "images", "forward_images", "seconds"),
}
"""Columns of the tables that have a line a method."""


def main() -> None:
    """Fill the page."""
    fill(HERE / "README.md", text)


def text(name: str) -> str:
    """The table of one setting."""
    path = HERE / f"{name}.csv"
    if not path.exists():
        return "Not run yet."
    found = pd.read_csv(path)
    if name == "multilabel":
        return several_labels(found)
    if name == "synthetic":
        return made_images(found)
    if name in SHOWN:
        return by_method(found, SHOWN[name])
    return federation(found) if name == "federation" else markdown(found.dropna(subset=["all", "ece"]))


def several_labels(found: pd.DataFrame) -> str:
    """mAP over all classes and by group, and the corrector's finds: mean ± standard deviation, in %."""
    shown = ("total", "head", "medium", "tail")
    lines = [f"| setting | method | seeds | {' | '.join(shown)} | recovered right, % | refused |"]
    lines.append("|---|---|---|" + "---|" * (len(shown) + 2))
    for (setting, method), part in found.groupby(["setting", "method"], sort=False):
        number, right = part.found.sum(), part.right.sum()
        counted = f"{100 * right / number:.0f} of {number / len(part):,.0f}" if number else "-"
        cells = [*(spread(part[name].to_numpy()) for name in shown), counted, f"{part.refused.mean():,.0f}"]
        lines.append(f"| {setting} | {method} | {len(part)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def by_method(found: pd.DataFrame, shown: tuple[str, ...]) -> str:
    """These columns by method, and by what else names a row: mean ± standard deviation over the seeds."""
    keys = [key for key in ("setting", "model", "init", "method") if key in found]
    lines = [f"| {' | '.join([*keys, 'seeds', *shown])} |", "|" + "---|" * (len(keys) + 1 + len(shown))]
    for labels, part in found.groupby(keys, sort=False):
        cells = [cell(part[name].to_numpy(), 3 if name.endswith("loss") else 1) for name in shown]
        lines.append(f"| {' | '.join([*labels, str(len(part)), *cells])} |")
    return "\n".join(lines)


def cell(values: NDArray[np.float64], digits: int) -> str:
    """Mean ± sample standard deviation; "-" where there is no value."""
    if np.isnan(values).all():
        return "-"
    return (
        f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"
        if len(values) > 1
        else f"{values[0]:.{digits}f}"
    )


def made_images(found: pd.DataFrame) -> str:
    """Accuracies by group, what made images are like, and costs: mean ± standard deviation, in %."""
    shown = ("all", "many", "medium", "few", "precision", "recall", "spread")
    lines = [f"| setting | method | seeds | {' | '.join(shown)} | images / 1000 | forward only | seconds |"]
    lines.append("|---|---|---|" + "---|" * (len(shown) + 3))
    for (setting, method), part in found.groupby(["setting", "method"], sort=False):
        cells = [spread(part[name].to_numpy()) if part[name].notna().all() else "-" for name in shown]
        cells += [f"{part[name].mean():.0f}" for name in ("images", "forward_images", "seconds")]
        lines.append(f"| {setting} | {method} | {len(part)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def federation(found: pd.DataFrame) -> str:
    """Learners, and variants of their models, inside FedAvg, centralized and local: mean ± standard deviation, in %."""
    last = found[found.evaluation == "last"].assign(variant=found.variant.fillna("").replace("-", ""))
    lines = [f"| learner | seeds | {' | '.join(title for title, *_ in COLUMNS)} |", "|---|---|" + "---|" * len(COLUMNS)]
    for (learner, variant), part in last.groupby(["learner", "variant"], sort=False):
        values = part.set_index(["strategy", "metric"])
        cells = [_cell(values, strategy, metric) for _, strategy, metric in COLUMNS]
        name = f"`{learner}`, variant `{variant}`" if variant else f"`{learner}`"
        lines.append(f"| {name} | {int(part.n.max())} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: pd.DataFrame, strategy: str, metric: str) -> str:
    if (strategy, metric) not in values.index:
        return "-"
    mean, std = 100 * values.loc[(strategy, metric), ["mean", "std"]].to_numpy(float)
    return f"{mean:.1f} ± {std:.1f}"


if __name__ == "__main__":
    main()
