"""Who would hold what: the partition as figures, in the terminal, and as a picture. Needs labels only, no inputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedlt.data.federation import plan
from fedlt.data.groups import Grouping, by_mass, sizes, untested_text
from fedlt.process.wording import counted

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario

SHADES = " ·░▒▓█"
MAX_ROWS, MAX_COLUMNS = 40, 100


def partition_figures(scenario: Scenario) -> dict[str, Any]:
    """Plain figures of the partition, ready for JSON.

    class_counts: [C] training labels over all clients. client_sizes: [K]. test_total: summed sizes of the local
    test sets. groups_count, groups_mass: numbers of head, medium and tail classes by `evaluation.groups`, and by mass.
    groups_rule: what the first demands of each. client_class_counts: [K][C]. untested: what is to be said of classes
    without a test sample.
    """
    made, grouping = plan(scenario), Grouping(**vars(scenario.evaluation.groups))
    groups = grouping(made.class_counts)

    return {
        "scenario": scenario.name,
        "dataset": made.name,
        "classes": list(made.class_names),
        "class_counts": made.class_counts.tolist(),
        "client_sizes": made.client_sizes.tolist(),
        "test_sizes": made.test_sizes.tolist(),
        "test_total": int(made.test_sizes.sum()),
        "groups_count": list(sizes(groups)),
        "groups_rule": list(grouping.words),
        "groups_mass": list(sizes(by_mass(made.test_counts.sum(axis=0)))),
        "client_class_counts": made.client_counts.tolist(),
        "untested": untested_text(groups, made.test_class_counts, made.class_names),
        "partition_hash": made.digest,
    }


def partition_text(figures: dict[str, Any]) -> str:
    """Clients by classes, one character a cell (darker: more samples), with the totals."""
    counts = np.asarray(figures["client_class_counts"])
    held = np.asarray(figures["client_sizes"])
    shown = counts[:MAX_ROWS, :MAX_COLUMNS]
    top = np.log1p(counts.max()) or 1.0
    level = np.ceil(np.log1p(shown) / top * (len(SHADES) - 1)).astype(int)
    lines = [
        f"{figures['dataset']}: {counted(held.sum(), 'training sample')}, {counted(len(held), 'client')} "
        f"(min {held.min()}, median {np.median(held):g}, max {held.max()}), "
        f"{counted(figures['test_total'], 'local test sample')}",
        f"classes: {_groups(figures['groups_count'])} ({', '.join(figures['groups_rule'])}); "
        f"by mass: {_groups(figures['groups_mass'])} (75 %, 95 %)",
        *([figures["untested"]] if figures["untested"] else []),
        "",
        "client  classes" + " " * max(0, shown.shape[1] - 7) + "  train  test",
    ]
    for client, row in enumerate(level):
        cells = "".join(SHADES[value] for value in row).ljust(7)
        lines.append(f"{client:6d}  {cells}  {held[client]:5d} {figures['test_sizes'][client]:5d}")

    if len(counts) > MAX_ROWS or counts.shape[1] > MAX_COLUMNS:
        lines.append(f"(the first {MAX_ROWS} clients and {MAX_COLUMNS} classes; --json has all)")
    lines += ["", f"samples per class: {' '.join(map(str, figures['class_counts']))}"]
    return "\n".join(lines)


def save_partition_plot(figures: dict[str, Any], path: Path) -> None:
    """The same as a picture: clients by classes, and the long tail above it. The file's ending chooses the format."""
    from matplotlib.figure import Figure

    from fedlt.plots.figure import save
    from fedlt.plots.maps import partition_map
    from fedlt.plots.style import plain_number, style

    counts = np.asarray(figures["client_class_counts"])
    clients, classes = counts.shape
    with style():
        figure = Figure(figsize=(7.0, min(12.0, 2.2 + 0.14 * clients)), layout="constrained")
        above, below = figure.subplots(2, 1, height_ratios=(1, max(2.0, clients / 12)), sharex=True)
        above.bar(np.arange(classes), figures["class_counts"], color="0.45", width=0.9)
        above.set_yscale("log")
        above.yaxis.set_major_formatter(plain_number)
        above.set_ylabel("samples")
        above.set_title(
            f"{figures['scenario']}: {counted(sum(figures['client_sizes']), 'training sample')} of {figures['dataset']}"
        )
        image = partition_map(below, counts, figures["classes"])
        label = "samples of the client"
        figure.colorbar(image, ax=below, label=label, location="bottom", shrink=0.6, aspect=40, format=plain_number)
    save(figure, path, option="--plot")


def _groups(numbers: list[int]) -> str:
    head, medium, tail = numbers
    return f"{head} head, {medium} medium, {tail} tail"
