"""What privacy and compression cost head, medium and tail classes, and small and large clients, on handwritten digits.

    python -m benchmarks.links.cost run --seeds 0-4    # about 6 minutes of a core; what is finished is not run again
    python -m benchmarks.links.cost table              # the table of docs/howto/privacy-and-compression.md
    python -m benchmarks.links.cost picture            # its picture

`digits_lt` over 100 clients with 1 to 21 samples each, half of them a round, 60 rounds of a perceptron with 1,210
weights; FedAvg, whose personal models are fine-tuned at each client (`fedavg_ft`). Seeds draw the partition, the
initial weights and the noise alike. digits.csv has a row for each run, in per cent.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

import fedlt
from benchmarks.arguments import seeds_of
from fedlt.results.runs import Run

HERE = Path(__file__).parent
ROWS = HERE / "digits.csv"
PICTURE = HERE.parents[1] / "docs" / "howto" / "privacy-and-compression.svg"

SCENARIO = [
    "federation.clients=100", "federation.participation=0.5", "federation.rounds=60",
    "local={epochs: 3, batch_size: 16, lr: 0.1, momentum: 0.0}", "model={name: mlp, width: 16, depth: 1}",
    "evaluation.every=60", "strategy=fedavg_ft",
]  # fmt: skip

PRIVATE = "{{name: dp, clip: 0.5, weights: uniform, noise: {}}}"
SETTINGS = {
    "plain": "",
    "dp, noise 0": PRIVATE.format(0),
    "dp, noise 1": PRIVATE.format(1),
    "dp, noise 2": PRIVATE.format(2),
    "dp, noise 4": PRIVATE.format(4),
    "dp, noise 8": PRIVATE.format(8),
    "dp, noise 4, adaptive": "{name: dp, clip: 0.5, weights: uniform, noise: 4, quantile: 0.5}",
    "quantise, 8 bits": "{name: quantise, bits: 8}",
    "quantise, 2 bits": "{name: quantise, bits: 2}",
    "top_k, 5 %": "{name: top_k, share: 0.05}",
    "top_k, 1 %": "{name: top_k, share: 0.01}",
    "top_k, 1 %, no feedback": "{name: top_k, share: 0.01, feedback: false}",
}
"""Rows of the table, and their `federation.links`."""

GROUPS = ("head", "medium", "tail", "personal, small", "personal, large")
"""Columns: class recalls of the generic model; accuracy of personal models in the lower and upper third of sizes."""


def figures(run: Run) -> dict[str, float]:
    """Figures of a run in per cent, its epsilon and its megabytes from clients to the server."""
    clients = run.clients.sort_values(["train_samples", "client"])
    third = len(clients) // 3

    found = {
        "accuracy": run.final["generic/accuracy"],
        "head": run.final["generic/many"],
        "medium": run.final["generic/medium"],
        "tail": run.final["generic/few"],
        "personal": run.final["personal/accuracy"],
        "personal, small": clients["accuracy"].head(third).mean(),
        "personal, large": clients["accuracy"].tail(third).mean(),
    }

    spent = run.rounds["epsilon"].iloc[-1] if "epsilon" in run.rounds else math.nan
    sent = run.rounds["bytes_up"].sum() / 1e6
    return {name: 100 * value for name, value in found.items()} | {"epsilon": spent, "megabytes": sent}


def measure(seeds: Sequence[int], out: str) -> None:
    """Run every setting, and write a row for each run."""
    rows: list[dict[str, Any]] = []
    for name, link in SETTINGS.items():
        for seed in seeds:
            words = [*SCENARIO, f"federation.links=[{link}]", f"seed={seed}"]
            run = fedlt.run("digits_lt", *words, out=out, backend="inline")
            rows.append({"setting": name, "seed": seed, **figures(run)})
            print(name, seed, f"{rows[-1]['accuracy']:.1f}", flush=True)
    pd.DataFrame(rows).round(3).to_csv(ROWS, index=False)


def differences(rows: pd.DataFrame, column: str) -> dict[str, tuple[float, float]]:
    """Mean difference from the plain run of the same seed, and half of its 95 % interval (Student's t), by setting."""
    table = rows.pivot(index="seed", columns="setting", values=column)
    found = {}
    for name in SETTINGS:
        paired = (table[name] - table["plain"]).to_numpy()
        half = stats.t.ppf(0.975, len(paired) - 1) * paired.std(ddof=1) / np.sqrt(len(paired))
        found[name] = float(paired.mean()), float(half)
    return found


def table() -> str:
    """Figures of the plain run, and of the others the differences from it, as Markdown."""
    rows = pd.read_csv(ROWS)
    columns = ("accuracy", "head", "medium", "tail", "personal", "personal, small", "personal, large")
    means = rows.groupby("setting").mean()
    changes = {column: differences(rows, column) for column in columns}
    lines = [f"| links | epsilon | MB up | {' | '.join(columns)} |", "|---" * (len(columns) + 3) + "|"]
    for name in SETTINGS:
        spent = means["epsilon"][name]
        shown = "∞" if np.isinf(spent) else "" if np.isnan(spent) else f"{spent:.3g}"
        cells = [f"{means[column][name]:.1f}" for column in columns]
        if name != "plain":
            cells = ["{:+.1f} ± {:.1f}".format(*changes[column][name]) for column in columns]
        lines.append(f"| {name} | {shown} | {means['megabytes'][name]:.2f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def picture() -> None:
    """Differences from the plain run by group: over noise on the left, over what travels on the right."""
    from matplotlib.figure import Figure

    from fedlt.plots.style import looks, style

    rows = pd.read_csv(ROWS)
    means = rows.groupby("setting").mean()
    panels = {
        "privacy": [name for name in SETTINGS if name.startswith("dp") and "adaptive" not in name],
        "compression": [name for name in SETTINGS if not name.startswith(("dp", "plain"))],
    }
    with style():
        figure = Figure(figsize=(7.0, 2.9), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        for axis, (title, names) in zip(axes, panels.items(), strict=True):
            for place, (group, look) in enumerate(looks(GROUPS).items()):
                found = [differences(rows, group)[name] for name in names]
                x = np.arange(len(names)) + 0.12 * (place - 2)
                y, half = zip(*found, strict=True)
                axis.errorbar(x, y, yerr=half, color=look.colour, marker=look.marker, linestyle="none", label=group)
            axis.axhline(0, color="0.6", linewidth=0.6)
            axis.set_title(title)
            axis.set_xticks(range(len(names)), [_label(name, means) for name in names])
        axes[0].set_ylabel("points from the plain run")
        axes[0].legend()
        figure.savefig(PICTURE, metadata={"Date": None})


def _label(name: str, means: pd.DataFrame) -> str:
    if not name.startswith("dp"):
        share = means["megabytes"][name] / means["megabytes"]["plain"]
        return name.replace(", ", "\n") + f"\n({100 * share:.0f} % sent)"
    spent = means["epsilon"][name]
    return name.removeprefix("dp, ") + f"\nε {'∞' if np.isinf(spent) else f'{spent:.3g}'}"


def main() -> None:
    """Measure what the command line asks for, print it, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table", "picture"))
    parser.add_argument("--seeds", type=seeds_of, default="0-4", help="0-2 or 0,3,7")
    parser.add_argument("--out", default="runs/links")
    given = parser.parse_args()
    if given.what == "run":
        measure(given.seeds, given.out)
    elif given.what == "table":
        print(table())
    else:
        picture()


if __name__ == "__main__":
    main()
