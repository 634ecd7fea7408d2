"""Probabilities that can be taken at their word: calibrated after the training, on a finished run's validation rows.

    temperature   logits over one number                      Guo, Pleiss, Sun, Weinberger, ICML 2017
    vector        a factor and an offset for each class       the same paper's vector scaling; here both have a standard
                  normal prior around the temperature's, so that a class without validation rows stays as it is
    isotonic      a rising curve for each class's probability, scaled to sum to 1    Zadrozny, Elkan, KDD 2002

The calibration error of a group is that of the rows whose true class is in it: whether the model is surer of tail rows
than it is right about them. The class-wise error (Kull et al., NeurIPS 2019) asks the same of the probability of each
class over all rows; that of a group is the mean over its classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.isotonic import IsotonicRegression

from fedlt.analyses.judged import ALL, Floats, Judged, Rows, judged, keep
from fedlt.data.groups import SHOTS
from fedlt.heads.loki import temperature
from fedlt.measures.confidence import BINS, Confidence

if TYPE_CHECKING:
    from fedlt.results.runs import Run

KEY = "--calibration"
Calibrated = Callable[[Floats], Floats]
"""Makes probabilities [n, C] of logits [n, C]."""


def as_run(validation: Rows) -> Calibrated:
    """The run's own probabilities."""
    return lambda logits: np.asarray(softmax(logits, axis=1))


def by_temperature(validation: Rows) -> Calibrated:
    """Logits over the number at which the validation rows are likeliest."""
    divisor = temperature(validation.logits, validation.labels)
    return lambda logits: np.asarray(softmax(logits / divisor, axis=1))


def by_vector(validation: Rows) -> Calibrated:
    """A factor and an offset for each class: where likelihood times prior is largest."""
    scaled = validation.logits / temperature(validation.logits, validation.labels)
    classes = scaled.shape[1]
    truth = np.eye(classes)[validation.labels]

    def cost(point: Floats) -> tuple[float, Floats]:
        logs, offsets = np.split(point, 2)
        stretched = scaled * np.exp(logs)
        found = log_softmax(stretched + offsets, axis=1)
        wrong = np.exp(found) - truth
        slope = np.concatenate([(wrong * stretched).sum(0), wrong.sum(0)]) + point
        return float(-(found * truth).sum() + point @ point / 2), slope

    logs, offsets = np.split(minimize(cost, np.zeros(2 * classes), jac=True, method="L-BFGS-B").x, 2)
    factors = np.exp(logs) / temperature(validation.logits, validation.labels)
    return lambda logits: np.asarray(softmax(logits * factors + offsets, axis=1))


def by_isotonic(validation: Rows) -> Calibrated:
    """A rising step curve for each class's probability, from its own and all other rows.

    Curves keep 1 / (n + 2) away from 0 and 1, for n rows; a class without validation rows keeps its probability.
    """
    found, least = softmax(validation.logits, axis=1), 1 / (len(validation) + 2)
    curves = {
        label: IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(
            found[:, label], validation.labels == label
        )
        for label in np.unique(validation.labels)
    }

    def calibrated(logits: Floats) -> Floats:
        given = softmax(logits, axis=1)
        for label, curve in curves.items():
            given[:, label] = curve.predict(given[:, label])
        return np.asarray(given / given.sum(1, keepdims=True))

    return calibrated


METHODS: Mapping[str, Callable[[Rows], Calibrated]] = {
    "as the run predicts": as_run,
    "temperature": by_temperature,
    "vector": by_vector,
    "isotonic": by_isotonic,
}


def class_errors(probabilities: Floats, labels: NDArray[np.int64]) -> Floats:
    """The calibration error of each class's probability, over bins of equal width and all rows.

    Args:
        probabilities: [n, C], in 0..1.
        labels: [n] the true classes, 0..C-1.

    Returns:
        [C] means of |share of the class - its probability| over the rows of a bin, weighted by the bins' rows.
    """
    truth = np.eye(probabilities.shape[1])[labels]
    bins = np.ceil(probabilities * BINS).clip(1, BINS).astype(int) - 1
    gaps = np.stack([(np.where(bins == one, truth - probabilities, 0)).sum(0) for one in range(BINS)])
    return np.asarray(np.abs(gaps).sum(0) / len(labels))


def calibration_table(run: Run, client: int | str | None = None, variant: str = "") -> pd.DataFrame:
    """How far probabilities of the test rows can be trusted, before and after.

    Args:
        client: whose personal model and rows, or `all`, each client's rows under its own and one calibration for all;
            the generic one's unless given.
        variant: of the logits; the headline unless given.

    Columns: method (of `METHODS`), of (`all`, `head`, `medium`, `tail`, `client 3`), samples, accuracy, ece (expected
    calibration error), class_ece (class-wise; NaN for clients), nll (nats), brier. Kept as `calibrated-generic.parquet`
    and `.png` in the run folder.

    Raises:
        ScenarioError: for what there is not.
    """
    from fedlt.plots.uncertainty import reliability_figure

    found = judged(run, KEY, client, variant)
    table, curves = measured(found)
    keep(run, f"calibrated-{found.name}", table, reliability_figure(curves))
    return table


def measured(found: Judged) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table of `calibration_table`, of any rows, and the curves behind it.

    Columns of the curves: method, of, bin, samples, accuracy, confidence.
    """
    test, lines, curves = found.test, [], []
    labels = torch.from_numpy(test.labels)
    for name, fit in METHODS.items():
        probabilities = fit(found.validation)(test.logits)
        with np.errstate(divide="ignore"):
            logs = torch.from_numpy(np.log(probabilities))
        right = probabilities.argmax(1) == test.labels
        errors = class_errors(probabilities, test.labels)
        for of, mask in found.parts().items():
            told = Confidence.of(logs[mask], labels[mask])
            nll, brier = told.pooled()
            asked = found.groups == SHOTS.index(of) if of in SHOTS else np.full(len(errors), of == ALL)
            lines.append({
                "method": name, "of": of, "samples": int(mask.sum()), "accuracy": right[mask].mean(),
                "ece": told.calibration_error(), "class_ece": errors[asked].mean() if asked.any() else np.nan,
                "nll": nll, "brier": brier,
            })  # fmt: skip
            curves.append(pd.DataFrame({"method": name, "of": of, **told.curve_columns()}))
    return pd.DataFrame(lines), pd.concat(curves, ignore_index=True)
