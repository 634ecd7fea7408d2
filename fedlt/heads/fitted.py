"""Heads fitted on the features of a finished run, beside what the run itself predicts: `fedlt head`.

A head sees the features of all training rows at one place, so it is a centralized step after a federated training, and
is no rival of a head that never left its client. Nothing is chosen: a head has its defaults, or what is given.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from omegaconf import OmegaConf
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedlt.config.schema import suggest
from fedlt.data.groups import SHOTS, Grouping
from fedlt.errors import Problem, ScenarioError
from fedlt.process.files import replace_file
from fedlt.process.threads import one_thread

if TYPE_CHECKING:
    from fedlt.results.features import KeptFeatures, Split
    from fedlt.results.runs import Run

AS_RUN = "as the run predicts"
WITH = "--with"


@dataclass(frozen=True)
class Recipe:
    """A head that has a name.

    Attributes:
        target: `module:Class` of an estimator.
        summary: what it is, in a line.
        options: its keys that are not at their defaults.
        scaled: whether features are brought to mean 0 and variance 1 first.
    """

    target: str
    summary: str
    options: Mapping[str, Any] = field(default_factory=dict)
    scaled: bool = True

    def estimator(self, options: Mapping[str, Any]) -> BaseEstimator:
        """The estimator with these keys. Raises `ValueError` for a key that it does not have."""
        module, _, name = self.target.partition(":")
        made = getattr(importlib.import_module(module), name)(**self.options)
        known = made.get_params()
        for key in options:
            if key not in known:
                raise ValueError(f"has no key {key!r}{suggest(key, known) or ': it has none'}")
        return made.set_params(**options)


HEADS = {
    "gaussian": Recipe(
        "sklearn.discriminant_analysis:LinearDiscriminantAnalysis",
        "one Gaussian a class with a common, shrunk covariance, and equal priors",
        {"solver": "lsqr", "shrinkage": "auto"},
    ),
    "logistic": Recipe(
        "sklearn.linear_model:LogisticRegression",
        "logistic regression with classes of equal weight",
        {"class_weight": "balanced", "max_iter": 1000},
    ),
    "nearest_mean": Recipe("sklearn.neighbors:NearestCentroid", "the class of the nearest mean"),
    "normalised_gd": Recipe("fedlt.heads.normalised_gd:NormalisedGD", "gradient descent until all samples are right"),
    "presto": Recipe("fedlt.heads.presto:PRESTO", "ordered classes, whose boundaries are alike unless the data ask"),
    "ridge": Recipe(
        "sklearn.linear_model:RidgeClassifier",
        "least squares with classes of equal weight",
        {"class_weight": "balanced"},
    ),
    "singular_kernel": Recipe(
        "fedlt.heads.singular_kernel:SingularKernel", "a vote by distance, each class with one vote", scaled=False
    ),
    "t_process": Recipe("fedlt.heads.t_process:TProcessClassifier", "an infinitely wide network of random scale"),
}
ORDERED = ("presto",)
"""Heads for classes that have an order, which only their user knows."""


def head_table(
    run: Run, names: Sequence[str], words: Sequence[str] = (), client: int | None = None, variant: str = ""
) -> pd.DataFrame:
    """Accuracies on the test rows: of the run's model, and of each head on its features.

    Args:
        names: of `HEADS`.
        words: `NAME.KEY=VALUE`, keys of heads.
        client: whose personal model and rows; the generic model's unless given.
        variant: of the run's own logits.

    Columns: model, options, accuracy, balanced (mean over classes of their accuracy), and accuracy on the rows of head,
    medium and tail classes, NaN where there are none. Kept as
    `heads-generic.parquet` in the run folder. Raises `ScenarioError` for names and keys that there are not.
    """
    options = _options(words, names)
    made = {name: _made(name, options[name]) for name in names}
    kept = run.features(client, variant)
    if kept.train.labels.ndim > 1:
        raise ScenarioError(Problem(WITH, "heads predict one class a sample, and here samples have several"))
    groups = Grouping.of_run(run.scenario)(kept.class_counts)
    rows = [_row(AS_RUN, "", kept.test.logits.argmax(1), kept.test, groups)]

    for name, estimator in made.items():
        scaled = make_pipeline(StandardScaler(), estimator) if HEADS[name].scaled else estimator
        with one_thread():
            predicted = _fitted(name, scaled, kept)
        given = ", ".join(f"{key}={value}" for key, value in options[name].items())
        rows.append(_row(name, given, predicted, kept.test, groups))

    table = pd.DataFrame(rows)
    place = run.folder / f"heads-{kept.folder.name}.parquet"
    replace_file(place, lambda draft: table.to_parquet(Path(draft), index=False))
    return table


def _fitted(name: str, estimator: Any, kept: KeptFeatures) -> NDArray[np.int64]:
    """[n] classes of the test rows."""
    if len(np.unique(kept.train.labels)) < 2:
        raise ScenarioError(Problem(WITH, f"{name} needs training rows of two classes, and there is one"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # classes of one sample, which a long tail has
            estimator.fit(np.asarray(kept.train.features), np.asarray(kept.train.labels))
        found: NDArray[np.int64] = estimator.predict(np.asarray(kept.test.features))
    except ValueError as error:
        raise ScenarioError(Problem(f"{WITH} {name}", str(error).splitlines()[0])) from error
    return found


def _made(name: str, options: Mapping[str, Any]) -> BaseEstimator:
    if name not in HEADS:
        raise ScenarioError(Problem(WITH, f"there is no head {name!r}{suggest(name, HEADS)}"))
    try:
        return HEADS[name].estimator(options)
    except ValueError as error:
        raise ScenarioError(Problem(f"{WITH} {name}", str(error))) from error


def _options(words: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Keys and values by the name of the head."""
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    for word in words:
        place, equals, value = word.partition("=")
        name, dot, key = place.partition(".")
        if not (equals and dot and key) or name not in found:
            message = f"expected NAME.KEY=VALUE, such as ridge.alpha=10, of a head of {WITH}: {', '.join(found)}"
            raise ScenarioError(Problem(word, message))
        found[name][key] = OmegaConf.from_dotlist([f"value={value}"]).value
    return found


def _row(
    name: str, options: str, predicted: NDArray[np.int64], test: Split, groups: NDArray[np.int8]
) -> dict[str, Any]:
    """Accuracy over all test rows, and over those of head, medium and tail classes."""
    right = predicted == test.labels
    of = groups[test.labels]
    classes = [right[test.labels == label].mean() for label in np.unique(test.labels)]
    shots = {shot: right[of == group].mean() if (of == group).any() else np.nan for group, shot in enumerate(SHOTS)}
    overall = {"accuracy": right.mean(), "balanced": np.mean(classes)} if len(right) else {}
    return {"model": name, "options": options, "accuracy": np.nan, "balanced": np.nan} | overall | shots
