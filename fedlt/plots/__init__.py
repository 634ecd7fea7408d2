"""Pictures of runs. Functions that take an `Axes`, and `draw` for whole figures:

    from fedlt import plots

    figure = plots.draw("clients", "runs")
    plots.learning_curves(ax, fedlt.load_runs("runs"), "generic/few")

Every figure is readable in print and in grey, and its colours are safe for colour-blind eyes.
"""

from fedlt.plots.classes import calibration_curve, class_accuracy
from fedlt.plots.clients import client_gains, client_scatter
from fedlt.plots.curves import class_norms, learning_curves
from fedlt.plots.figure import KINDS, draw, save
from fedlt.plots.heads import decoders_figure, heads_figure
from fedlt.plots.maps import accuracy_map, partition_map
from fedlt.plots.style import style

__all__ = [
    "KINDS",
    "accuracy_map",
    "calibration_curve",
    "class_accuracy",
    "class_norms",
    "client_gains",
    "client_scatter",
    "decoders_figure",
    "draw",
    "heads_figure",
    "learning_curves",
    "partition_map",
    "save",
    "style",
]
