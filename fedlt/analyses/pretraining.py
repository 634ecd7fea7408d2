"""How a model's accuracy on a class follows from its two histories: samples in pre-training, and in its own training.

Chen, Qin, Li, Chen, Su: Rethinking the Bias of Foundation Model under Long-tailed Distribution. ICML 2025, who call a
class P-few that was rare in pre-training and D-few that is rare in the data at hand. They have to guess the former
from a foundation model's predictions; here runs began with weights of other runs (`init_from`), whose class counts are
kept. Over the classes c of a run,

    accuracy on c = a + b log10 p_c + d log10 n_c

with p_c samples in pre-training and n_c in the run: b is what parameters remember at equal n_c, in points for ten times
as many samples, and d what the data at hand do at equal p_c.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedlt.errors import Problem, ScenarioError
from fedlt.plots.measured import Runs, Split, by_name, recalls, split_of
from fedlt.results.runs import Run, open_run

FEWEST = 6
"""Classes that the three numbers are fitted to, at least."""
PART = 1 / 3
"""Of the classes, the most frequent of which are many, and the rarest few."""
KEY = "--pretraining"


@dataclass(frozen=True)
class Histories:
    """The two slopes of one model.

    Attributes:
        before: points per tenfold number of samples in pre-training, at equal numbers in training.
        own: likewise of the run's own training samples.
        few, many: accuracy on the third of the classes that was rarest and most frequent in pre-training, in %.
        own_few, own_many: likewise in training.
    """

    before: float
    own: float
    few: float
    many: float
    own_few: float
    own_many: float


def histories(before: NDArray[np.float64], own: NDArray[np.int64], recalls: NDArray[np.float64]) -> Histories:
    """Fit classes that have training and test samples; one that pre-training lacked counts as one with a sample.

    Args:
        before: [C] samples in pre-training; of several pre-trainings their geometric means.
        own: int64 [C] training samples of the run.
        recalls: [C] in 0..1; NaN: untested.

    Raises:
        ValueError: where the slopes cannot be told apart: too few classes, or counts that are alike.
    """
    known = (own > 0) & ~np.isnan(recalls)
    accuracy = 100 * recalls[known]
    logs = [np.log10(np.maximum(counts[known], 1.0)) for counts in (before, own)]
    design = np.stack([np.ones_like(accuracy), *logs], 1)
    if len(accuracy) < FEWEST or np.linalg.matrix_rank(design) < 3:
        raise ValueError(f"takes {FEWEST} classes whose numbers of samples differ, and differently in the two")

    slopes = np.linalg.lstsq(design, accuracy, rcond=None)[0][1:]
    part = max(1, round(PART * len(accuracy)))
    ends = [np.argsort(log, kind="stable") for log in logs]
    few, own_few = (float(accuracy[order[:part]].mean()) for order in ends)
    many, own_many = (float(accuracy[order[-part:]].mean()) for order in ends)
    return Histories(float(slopes[0]), float(slopes[1]), few, many, own_few, own_many)


def pretraining_table(runs: Runs, by: str | None = None) -> pd.DataFrame:
    """A row for each method and model: `of`, `seeds`, the means of `Histories` over the seeds, and of both slopes the
    deviations `before_std` and `own_std`. Models side by side have rows of their own, each by its own pre-training.

    Args:
        runs: as pictures take them; those that began with random weights have no row.
        by: keys that name the methods, as in `compare`.

    Raises:
        ScenarioError: where no run has such slopes.
    """
    rows, reason = [], "no run began with the weights of another run (init_from)"
    for name, mine in by_name(runs, by).items():
        found: dict[str, list[Histories]] = {}
        for run in mine:
            try:
                for model, before in _models(run):
                    own = split_of(run).train.sum(axis=0)
                    found.setdefault(model, []).append(histories(before, own, recalls(run, model)))
            except ValueError as error:
                reason = f"{name}: {error}"

        for model, each in found.items():
            rows.append(_row(f"{name}, {model[len('generic[') : -1]}" if model != "generic" else name, each))

    if not rows:
        raise ScenarioError(Problem(KEY, reason))
    return pd.DataFrame(rows)


def _row(of: str, found: list[Histories]) -> dict[str, object]:
    each = pd.DataFrame([vars(one) for one in found])
    spread = each[["before", "own"]].std().add_suffix("_std")  # NaN for one seed
    return {"of": of, "seeds": len(found), **each.mean(), **spread}


def _models(run: Run) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """The generic model and those side by side in it, each with the samples of each class in its pre-training."""
    named = (run.scenario.get("init_from") or {}).get("name")
    names = [named] if isinstance(named, str) else named or []
    if not names:
        return
    counts = [_counts(Path(name), split_of(run)) for name in names]
    yield "generic", np.exp(np.mean([np.log(np.maximum(each, 1.0)) for each in counts], axis=0))
    for number in range(len(set(run.classes["model"]))):
        if (model := f"generic[model{number}]") in set(run.classes["model"]):
            yield model, counts[number if len(counts) > 1 else 0]


def _counts(folder: Path, own: Split) -> NDArray[np.float64]:
    """[C] training samples of each class in the run that weights are from. Raises `ScenarioError` for other classes."""
    if not (folder / "partition.npz").is_file():
        message = f"init_from names {folder.name}, which is no run folder that says how many samples each class had"
        raise ScenarioError(Problem(KEY, message))
    given = split_of(open_run(folder))
    if given.names != own.names:
        message = f"{folder.name} was trained on other classes: {', '.join(given.names[:3])}, ..."
        raise ScenarioError(Problem(KEY, f"{message}; name runs on the same classes"))
    return given.train.sum(axis=0).astype(np.float64)
