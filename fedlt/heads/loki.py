"""Loki: of all classes, the one whose expected squared distance from the truth is least, in the place of the likeliest.

Roberts, Li, Huang, Adila, Schoenberg, Liu, Pick, Ma, Albarghouthi, Sala: Geometry-Aware Adaptation for Pretrained
Models. NeurIPS 2023 (arXiv 2307.12226). With probabilities p of observed classes k and a metric d between all classes

    predicted = argmin over all y of sum_k p_k d(y, k)^2

which is argmax where all distances are equal, and may name a class that no sample was ever seen of: on a path two
observed ends reach every class between them, on a tree of leaves nothing is reached but what was observed. It needs
calibrated probabilities, hence a temperature first; and it trades exact hits for near misses, which pays where misses
have a size.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linprog, minimize_scalar
from scipy.spatial.distance import cdist
from scipy.special import log_softmax, softmax

from fedlt.data.groups import SHOTS, Grouping
from fedlt.errors import Problem, ScenarioError
from fedlt.process.files import replace_file

if TYPE_CHECKING:
    from fedlt.results.runs import Run

KEY = "--loki"
FEWEST = 30
"""Validation rows that a temperature is found on: where all of a handful are right, none is too low."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Loki:
    """The decoder.

    Attributes:
        distances: [C, C] between all classes.
        observed: int [O], the classes that probabilities are of, in their order; None: all C.
    """

    distances: Floats
    observed: NDArray[np.int64] | None = None

    @property
    def squared(self) -> Floats:
        """[O, C] squared distances from observed classes to all."""
        from_observed = self.distances if self.observed is None else self.distances[self.observed]
        return np.asarray(from_observed**2, np.float64)

    def predict(self, probabilities: Any) -> NDArray[np.int64]:
        """[n] classes. probabilities: [n, O]. Of classes that are as good, the first."""
        cost = np.asarray(probabilities, np.float64) @ self.squared
        return cost.argmin(1).astype(np.int64)

    def reachable(self) -> NDArray[np.bool_]:
        """[C] the classes that some probabilities lead to, by a linear program each."""
        cost = self.squared
        observed, classes = cost.shape
        total = np.append(np.ones(observed), 0.0)[None]
        found = []
        for label in range(classes):
            # The largest margin by which the class is no worse than every other one.
            worse = np.delete(cost[:, [label]] - cost, label, 1).T
            bounds = [(0, 1)] * observed + [(None, None)]
            best = linprog(np.append(np.zeros(observed), -1.0), np.c_[worse, np.ones(classes - 1)],
                           np.zeros(classes - 1), total, [1.0], bounds)  # fmt: skip
            found.append(best.status == 0 and -best.fun >= -1e-9)
        return np.array(found)


def temperature(logits: Any, labels: NDArray[np.int64]) -> float:
    """By what logits are to be divided so that labels are likeliest. Guo et al., ICML 2017.

    Args:
        logits: [n, C] of rows that nothing was trained on.
        labels: [n] their classes.

    Returns:
        A number within e^-4..e^4: above 1 for a model that is too sure.
    """
    scores, places = np.asarray(logits, np.float64), np.arange(len(labels))

    def cost(log: float) -> float:
        return -float(log_softmax(scores / np.exp(log), axis=1)[places, labels].mean())

    return float(np.exp(minimize_scalar(cost, bounds=(-4, 4), method="bounded").x))


def tree_distances(parents: NDArray[np.int64]) -> Floats:
    """[C, C] edges between leaves of a tree of two levels: 2 between siblings, else 4. parents: [C]."""
    apart = np.where(parents[:, None] == parents, 2.0, 4.0)
    np.fill_diagonal(apart, 0.0)
    return apart


def path_distances(classes: int) -> Floats:
    """[C, C] steps between classes that have an order, which is that of their numbers."""
    places = np.arange(classes, dtype=float)
    return np.abs(places[:, None] - places)


def read_distances(source: str, classes: int) -> Floats:
    """Distances between all classes that a file gives, itself or by a vector for each class.

    Args:
        source: a `.npy` or `.csv` file of numbers, [C, C] distances or [C, E] vectors.
        classes: C.

    Returns:
        [C, C].

    Raises:
        ScenarioError: for a file that cannot be read, and for numbers that are no distances.
    """
    path = Path(source).expanduser()
    if not path.is_file():
        raise _problem(f"expected tree, path or a file, got {source!r}: there is no such file")
    try:
        found = np.load(path) if path.suffix == ".npy" else np.loadtxt(path, delimiter=",", ndmin=2)
        numbers = np.asarray(found, np.float64)
    except (ValueError, OSError) as error:
        raise _problem(f"{path} is no .npy or .csv file of numbers: {error}") from error

    if numbers.ndim != 2 or len(numbers) != classes or not np.isfinite(numbers).all():
        raise _problem(
            f"{path.name}: expected finite numbers [{classes}, ...], a row for each class, got {numbers.shape}"
        )
    if numbers.shape[1] != classes:
        return np.asarray(cdist(numbers, numbers), np.float64)
    if not (np.allclose(numbers, numbers.T) and (numbers >= 0).all() and np.allclose(np.diag(numbers), 0)):
        raise _problem(
            f"{path.name}: distances [{classes}, {classes}] are symmetric, not negative, and 0 to themselves"
        )
    return numbers


def distances_of(run: Run, metric: str) -> Floats:
    """Distances between all classes of a run that a word names.

    Args:
        run: knows the number of classes, and their tree.
        metric: `tree` (of the run's `data.parents`), `path` (|i - j|, of ordered classes), or a file for
            `read_distances`.

    Raises:
        ScenarioError: for `tree` where the run has no parents.
    """
    classes = int(run.summary["num_classes"])
    if metric == "path":
        return path_distances(classes)
    if metric != "tree":
        return read_distances(metric, classes)

    from fedlt.config.scenario import load_scenario
    from fedlt.data.federation import federate

    parents = federate(load_scenario(run.scenario)).parents
    if parents is None:
        raise _problem("tree needs the classes' parents, and the run's data.parents is null; path or a file need none")
    return tree_distances(parents)


def decoded_table(run: Run, metric: str, client: int | None = None, variant: str = "") -> pd.DataFrame:
    """What the metric is worth on the test rows: decoding by the largest probability, and by Loki.

    Columns: decoder, temperature, squared distance (mean), accuracy, squared distances on the rows of head, medium and
    tail classes, and accuracies on them (`accuracy_tail`). Kept as `loki-generic.parquet` in the run folder. The
    temperature is that of the validation rows, 1 where they are fewer than `FEWEST`.

    Args:
        run: a finished run of one label a sample.
        metric: as in `distances_of`.
        client: whose personal model; None: the generic one.
        variant: of the model; empty: the plain one.
    """
    between = distances_of(run, metric)
    kept = run.features(client, variant)
    if kept.test.labels.ndim > 1:
        raise _problem("a decoder takes one class a sample, and here samples have several")
    judged = kept.validation
    enough = judged is not None and len(judged) >= FEWEST
    divisor = temperature(judged.logits, judged.labels) if judged is not None and enough else 1.0
    probabilities = softmax(np.asarray(kept.test.logits, np.float64) / divisor, axis=1)
    groups = Grouping.of_run(run.scenario)(kept.class_counts)[kept.test.labels]

    lines = []
    for name, predicted in (("argmax", probabilities.argmax(1)), ("loki", Loki(between).predict(probabilities))):
        apart = between[predicted, kept.test.labels] ** 2
        shots = {shot: _mean(apart[groups == group]) for group, shot in enumerate(SHOTS)}
        right = predicted == kept.test.labels
        hits = {f"accuracy_{shot}": _mean(right[groups == group]) for group, shot in enumerate(SHOTS)}
        overall = {"temperature": divisor, "squared": _mean(apart), "accuracy": _mean(right)}
        lines.append({"decoder": name, **overall, **shots, **hits})

    table = pd.DataFrame(lines)
    replace_file(run.folder / f"loki-{kept.folder.name}.parquet", lambda draft: table.to_parquet(draft, index=False))
    return table


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else np.nan


def _problem(message: str) -> ScenarioError:
    return ScenarioError(Problem(KEY, message))
