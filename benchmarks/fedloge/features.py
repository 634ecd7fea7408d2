r"""Draws what motivates the sparse simplex: few features answer strongly to a class, the others weakly and noisily.

python -m benchmarks.fedloge.features 'runs/fedloge/cifar100/*-s[0-2]-*' \
    --methods 'fednpc=FedAvg,fedloge simplex 0.0=dense simplex,fedloge simplex 0.6=sparse simplex' \
    --csv benchmarks/fedloge/features.csv --picture docs/strategies/fedloge-features.svg

Finished runs' generic models see the test set. The features of each class are ranked by their mean over the class's
images; what is drawn are means and standard deviations by rank, as parts of the strongest feature's mean, averaged
over classes and runs. Measures of neural collapse of the same models are printed beside.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from clients.worker import Worker
from fedlt import plots
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.measures.collapse import Moments, collapse_figures
from fedlt.plots.measured import by_name
from fedlt.plots.style import looks
from fedlt.results.runs import Run, load_runs

ROWS = "strategy,strategy.backbone_from,strategy.sparsity"
COLLAPSE = ("nc1", "nc2_norms", "nc2_angles", "nc3")
Curves = NDArray[np.float64]


def ranked(features: NDArray[np.float32], y: NDArray[np.int64]) -> Curves:
    """[2, D] mean and standard deviation of features [N, D] within a class, by rank of the mean, over the classes."""
    curves = []
    for label in np.unique(y):
        own = features[y == label]
        mean, std = own.mean(axis=0), own.std(axis=0)
        order = np.argsort(-mean)
        curves.append(np.stack([mean[order], std[order]]) / mean.max())
    return np.mean(curves, axis=0, dtype=np.float64)


def encoded(run: Run, chunk: int = 1000) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]:
    """The test set's features [N, D] under the run's generic model, its classes [N], and the head's rows [C, D]."""
    scenario = load_scenario(run.scenario)
    worker = Worker(scenario, federate(scenario))
    for name, tensor in load_file(run.folder / "model.safetensors").items():
        worker.context.flat.tensors[name].copy_(tensor)
    worker.context.model.eval()
    with torch.no_grad():
        rows = torch.arange(len(worker.testing.sets.inputs)).split(chunk)
        features = torch.cat([worker.context.model.encode(worker.testing.sets.inputs.take(part)) for part in rows])
    head = worker.context.model.get_parameter("head.weight").detach().double()
    return features.numpy(), worker.testing.sets.targets.numpy(), head.numpy()


def collapse(features: NDArray[np.float32], y: NDArray[np.int64], head: NDArray[np.float64]) -> dict[str, float]:
    """The measures of `fedlt.measures.collapse`, by name."""
    h, onehot = features.astype(np.float64), np.eye(len(head))[y]
    none = np.zeros((0, h.shape[1])), np.zeros((0, len(head)))
    moments = Moments(onehot.sum(axis=0), onehot.T @ h, h.T @ h, np.zeros(0), *none)
    return collapse_figures(moments, head)


def draw(curves: Mapping[str, Curves], path: Path) -> None:
    """Means on the left, spread in parts of the mean on the right; both by rank."""
    from matplotlib.figure import Figure

    with plots.style():
        figure = Figure(figsize=(6.9, 2.7), layout="constrained")
        left, right = figure.subplots(1, 2)
        for name, look in looks(curves).items():
            mean, std = curves[name]
            ranks = np.arange(1, len(mean) + 1)
            line = look.line | {"markevery": max(1, len(ranks) // 8)}
            left.plot(ranks, mean, label=name, **line)
            right.plot(ranks, std / mean, **line)
        left.set(xlabel="feature, by its mean", ylabel="mean, strongest = 1", ylim=(0, None))
        right.set(xlabel="feature, by its mean", ylabel="standard deviation / mean", ylim=(0, None))
        figure.legend(loc="outside lower center", ncols=len(curves))
        plots.save(figure, path)


def main() -> None:
    """Measure what the command line asks for, print it, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="run folders, or folders that hold runs")
    parser.add_argument("--methods", default="", help="to draw, with labels: fednpc=FedAvg,...; all unless given")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    methods = by_name(load_runs(*given.runs), ROWS)
    if given.methods:
        labels = (text.partition("=") for text in given.methods.split(","))
        methods = {label or name: methods[name] for name, _, label in labels}

    curves = {}
    for name, mine in methods.items():
        seen = [encoded(run) for run in mine]
        mean, std = curves[name] = np.mean([ranked(features, y) for features, y, _ in seen], axis=0)
        found = [collapse(*parts) for parts in seen]
        values = {figure: [one[figure] for one in found] for figure in COLLAPSE}
        shown = "  ".join(f"{f} {np.mean(v):.3g} ± {np.std(v, ddof=1):.2g}" for f, v in values.items())
        weak = f"features below a tenth of the strongest: {100 * (mean < 0.1).mean():.0f} %"
        print(f"{name} (n = {len(mine)}): {shown}; {weak}; std / mean, median: {np.median(std / mean):.2f}")

    if given.csv:
        with given.csv.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["method", "rank", "mean", "std"])
            for name, (mean, std) in curves.items():
                writer.writerows([name, i + 1, f"{mean[i]:.4f}", f"{std[i]:.4f}"] for i in range(len(mean)))

    if given.picture:
        draw(curves, given.picture)


if __name__ == "__main__":
    main()
