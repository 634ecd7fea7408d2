"""What the figures show, as arrays: taken from the tables of runs, without any drawing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.comparing.methods import Source, collect, group, row_name
from fedlt.comparing.reach import simulated
from fedlt.errors import Problem, ScenarioError, UsageError
from fedlt.measures.headlines import headline
from fedlt.statistic import Subject

if TYPE_CHECKING:
    import pandas as pd

    from fedlt.results.runs import Run

Array = NDArray[np.float64]
Runs = Source | Mapping[str, Source]
"""What is drawn: a folder or glob, a run or several, or a mapping of methods' names to such."""
AT_CHANCE = "†"
"""Behind the name of a method whose generic model is at chance."""
NOTE_ON_CHANCE = f"{AT_CHANCE} its generic model is at chance."


def by_name(runs: Runs, by: str | None = None) -> dict[str, list[Run]]:
    """The runs of each method by its name, as in a comparison; a mapping is taken as it is, seeds ascending.

    Raises:
        ScenarioError: where there is nothing to draw.
    """
    if isinstance(runs, Mapping):
        return {name: _of_method(name, mine) for name, mine in runs.items()}
    grouped = group(runs, by=by, unfinished=True)
    short = len(grouped.by) > 1  # "fedprox -" says less than "fedprox"
    return {
        row_name(tuple(text for text in labels if text != "-") if short else labels): mine
        for labels, mine in grouped.methods.items()
    }


def _of_method(name: str, source: Source) -> list[Run]:
    finished = [run for run in listed(source) if run.final]
    if not finished:
        raise ScenarioError(Problem(str(name), "there is no run with an evaluation"), source="the picture")
    return sorted(finished, key=lambda run: int(run.summary["seed"]))


def listed(source: Source) -> list[Run]:
    """The runs of one source."""
    return collect([source])


def last(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last evaluation."""
    return table[table["round"] == table["round"].max()] if len(table) else table


def series(runs: Sequence[Run], metric: str) -> tuple[NDArray[np.int64], Array]:
    """Rounds [T] at which all runs have the metric, and its values [runs, T]."""
    columns = []
    for run in runs:
        table = run.metrics
        columns.append(table[table.metric == metric].dropna().set_index("round")["value"])
    shared = sorted(set.intersection(*(set(column.index) for column in columns)))
    values = np.array([column.loc[shared].to_numpy() for column in columns], dtype=np.float64)
    return np.array(shared, dtype=np.int64), values.reshape(len(runs), len(shared))


def timed_series(runs: Sequence[Run], metric: str) -> tuple[Array, Array]:
    """Simulated seconds [T] that all runs have reached, and the metric at them, [runs, T].

    The seconds are those of any run's evaluations; between two evaluations of a run a value is on the straight line.
    Both are empty where some run has no clock (`federation.clock`).
    """
    curves = []
    for run in runs:
        table = run.metrics
        found = table[table.metric == metric].dropna().sort_values("round")
        seconds = np.array([simulated(run, round) for round in found["round"]], dtype=np.float64)
        curves.append((seconds, found["value"].to_numpy(dtype=np.float64)))
    if any(not len(seconds) or np.isnan(seconds).any() for seconds, _ in curves):
        return np.zeros(0), np.zeros((len(runs), 0))

    first, end = max(seconds[0] for seconds, _ in curves), min(seconds[-1] for seconds, _ in curves)
    grid = np.unique(np.concatenate([seconds for seconds, _ in curves]))
    grid = grid[(grid >= first) & (grid <= end)]
    return grid, np.array([np.interp(grid, seconds, values) for seconds, values in curves])


def recalls(run: Run, model: str = "generic") -> Array:
    """[C] share of each class's test samples that the last evaluation predicted correctly; NaN where there is none.

    A personal model's are pooled over the clients: each client's test samples count once.
    """
    if model == "generic" or model.startswith("generic["):
        table = last(run.classes[run.classes.model == model]).sort_values("class")
        return table["recall"].to_numpy(dtype=np.float64) if len(table) else np.full(num_classes(run), np.nan)
    right, tested = _cells(run, model)
    return _ratio(right.sum(axis=0), tested.sum(axis=0))


def main_figure(run: Run) -> str:
    """`accuracy`, or what stands for the models of a run that has none, such as `map`."""
    return headline(run.final)


def of_classes(run: Run, model: str = "generic") -> Array:
    """[C] recalls; average precisions where samples have several labels, which are recorded of generic models alone."""
    if main_figure(run) != "map":
        return recalls(run, model)
    table = last(run.classes[run.classes.model == model]).sort_values("class")
    precisions = table["average_precision"].to_numpy(dtype=np.float64) if len(table) else None
    return np.full(num_classes(run), np.nan) if precisions is None else precisions


def class_word(run: Run) -> str:
    """What `of_classes` gives, in words."""
    return {"map": "average precision", "recall": "recall"}.get(main_figure(run), "accuracy")


def at_chance(runs: Sequence[Run]) -> bool:
    """Whether a method's generic model is no better than one that never looks at its input.

    That one predicts the largest class of the test set, and is right in a share p of its n samples: 1 / C where the set
    is balanced. At chance is a mean accuracy over the seeds of at most p and two of its standard errors,
    sqrt(p (1 - p) / n).
    """
    accuracies = [run.final.get("generic/accuracy", math.nan) for run in runs]
    if np.isnan(accuracies).any():
        return False
    tested = last(runs[0].classes[runs[0].classes.model == "generic"])["test_count"].to_numpy(dtype=np.float64)
    if not tested.sum():
        return False
    share = float(tested.max() / tested.sum())
    return bool(np.mean(accuracies) <= share + 2 * math.sqrt(share * (1 - share) / tested.sum()))


def marked(name: str, runs: Sequence[Run]) -> str:
    """The method's name, with a mark where its generic model is at chance."""
    return f"{name} {AT_CHANCE}" if at_chance(runs) else name


def note_on_chance(methods: Mapping[str, Sequence[Run]]) -> str:
    """What the mark means; empty where no method has it."""
    return NOTE_ON_CHANCE if any(map(at_chance, methods.values())) else ""


def told_seeds(methods: Mapping[str, Sequence[Run]], spread: str) -> str:
    """How many seeds there are of every method: `Mean of 3 seeds; band: ± 1 standard deviation.` Empty where methods
    differ.

    Args:
        spread: what shows the standard deviation.
    """
    number, *others = {len(runs) for runs in methods.values()}
    if others:
        return ""
    return f"Mean of {number} seeds; {spread}: ± 1 standard deviation." if number > 1 else "One seed."


def has_model(run: Run, model: str) -> bool:
    """Whether the last evaluation tested such models."""
    return not np.isnan(of_classes(run, model)).all()


def client_recalls(run: Run, model: str = "personal") -> Array:
    """[K, C] accuracy of each client's model on each class of its own test set; NaN where it has no sample."""
    return _ratio(*_cells(run, model))


def _cells(run: Run, model: str) -> tuple[Array, Array]:
    """Correctly predicted, and all test samples of each client and class, [K, C]."""
    table = last(run.confusion[run.confusion.model == model])
    shape = (int(run.summary["clients"]), num_classes(run))
    right, tested = np.zeros(shape), np.zeros(shape)
    client, true = table["client"].to_numpy(), table["true"].to_numpy()
    count = table["count"].to_numpy(dtype=np.float64)
    np.add.at(tested, (client, true), count)
    np.add.at(right, (client, true), count * (true == table["pred"].to_numpy()))
    return right, tested


def num_classes(run: Run) -> int:
    """C."""
    return int(run.summary["num_classes"])


@dataclass(frozen=True)
class Split:
    """Who holds what.

    Attributes:
        train, test: samples of each client by class [K, C].
        names: of the classes.
    """

    names: tuple[str, ...]
    train: NDArray[np.int64]
    test: NDArray[np.int64]


def split_of(run: Run) -> Split:
    """From the run's `partition.npz`. Raises `UsageError` where the folder has none."""
    if not (run.folder / "partition.npz").is_file():
        raise UsageError(f"{run.folder} has no partition.npz, which says who holds what")
    with np.load(run.folder / "partition.npz") as arrays:
        names = tuple(map(str, arrays["class_names"]))
        train, test = (
            arrays[f"{kind}_counts"]
            if f"{kind}_counts" in arrays
            else _table(arrays[f"{kind}_offsets"], arrays[f"{kind}_labels"], len(names))
            for kind in ("clients", "tests")
        )
    return Split(names, train, test)


def _table(offsets: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    counts = np.zeros((len(offsets) - 1, classes), dtype=np.int64)
    np.add.at(counts, (np.repeat(np.arange(len(counts)), np.diff(offsets)), labels), 1)
    return counts


@dataclass(frozen=True)
class ClientPoints:
    """One entry per seed and client of a method, at the last evaluation. NaN where a figure is not defined.

    Attributes:
        generic, personal: accuracies, or what stands for them (`main_figure`), of the generic and of the personal model
            on the client's own test set.
    """

    seed: NDArray[np.int64]
    client: NDArray[np.int64]
    samples: NDArray[np.int64]
    generic: Array
    personal: Array


def client_points(
    runs: Sequence[Run], variant: str = "", masked: bool = False, generic_of: Sequence[Run] | None = None
) -> ClientPoints:
    """Clients' accuracies under both models.

    Args:
        variant: of the personal model, and of the generic one where it has it.
        generic_of: runs (paired by seed) whose generic model takes the place of a missing one, as `local` has none.
    """
    columns: dict[str, list[Any]] = {name: [] for name in ("seed", "client", "samples", "generic", "personal")}
    spare = {run.summary["seed"]: run for run in generic_of or ()}

    for run in runs:
        table = _clients(run, variant)
        clients = table["client"].to_numpy(dtype=np.int64)
        generic = _generic_on_clients(run, variant, clients)
        if np.isnan(generic).all() and run.summary["seed"] in spare:
            generic = _generic_on_clients(spare[run.summary["seed"]], "", clients)

        columns["seed"].append(np.full(len(clients), run.summary["seed"]))
        columns["client"].append(clients)
        columns["samples"].append(table["train_samples"].to_numpy(dtype=np.int64))
        columns["generic"].append(generic)
        column = main_figure(run) + ("_masked" if masked else "")
        values = table[column] if column in table else np.full(len(table), np.nan)
        columns["personal"].append(np.asarray(values, dtype=np.float64))

    return ClientPoints(**{name: np.concatenate([*parts, []]) for name, parts in columns.items()})


def _clients(run: Run, variant: str) -> pd.DataFrame:
    """The last evaluation's rows of a variant, clients ascending."""
    table = run.client_variants
    return last(table[table.variant == variant]).sort_values("client")


def _generic_on_clients(run: Run, variant: str, clients: NDArray[np.int64]) -> Array:
    """[n] accuracy of the generic model on the clients' own test samples; NaN where there is no such model.

    Runs of an earlier version do not have it: there, its recalls weighted by the client's test classes, which is what
    would be expected of samples of that mix.
    """
    table = _clients(run, variant)
    if "generic" in table and table["generic"].notna().any():
        by_client = table.set_index("client")["generic"].reindex(clients)
        return by_client.to_numpy(dtype=np.float64)

    own = Subject("generic", variant).name
    recall = recalls(run, own if (run.classes.model == own).any() else "generic")
    if np.isnan(recall).all():
        return np.full(len(clients), np.nan)
    mix = split_of(run).test[clients]
    return _ratio((mix * np.nan_to_num(recall)).sum(axis=1), mix.sum(axis=1))


def gains(runs: Sequence[Run], reference: Sequence[Run], masked: bool = False) -> Array:
    """Differences of the clients' personal accuracies to the same clients under the reference, over shared seeds."""
    theirs = client_points(reference, masked=masked)
    known = dict(zip(zip(theirs.seed.tolist(), theirs.client.tolist(), strict=True), theirs.personal, strict=True))
    mine = client_points(runs, masked=masked)
    pairs = zip(mine.seed.tolist(), mine.client.tolist(), mine.personal.tolist(), strict=True)
    differences = np.array(
        [value - known.get((seed, client), math.nan) for seed, client, value in pairs], dtype=np.float64
    )
    return differences[~np.isnan(differences)]


def _ratio(part: Any, whole: Any) -> Array:
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    ratio = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole != 0)
    return ratio
