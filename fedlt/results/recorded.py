"""What a finished run knows of its models beside their weights, so that they can be used without the data set.

    model.json      the kind of the inputs with its constants (means, deviations, vocabulary, ...), the class names

With `partition.npz`, which holds the labels of every client's rows, that is all that strategy and learner may know of
the data when they predict: `recorded` makes a federation of it in which only the inputs are missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.config.scenario import Scenario
from fedlt.data.federation import Federation
from fedlt.data.groups import Grouping
from fedlt.data.inputs import InputKind, described, restored
from fedlt.data.kind_of import built_in, chosen
from fedlt.data.ragged import Ragged
from fedlt.data.targets import Targets
from fedlt.errors import UsageError
from fedlt.results.tables import write_json

if TYPE_CHECKING:
    from fedlt.target import Target

FILE = "model.json"


def write_description(folder: Path, federation: Federation) -> None:
    """Write `model.json` into a run folder."""
    write_json(folder / FILE, description(federation.inputs, federation.class_names))


def description(kind: InputKind, class_names: Sequence[str]) -> dict[str, Any]:
    """What a model expects and gives, as JSON has it; `read_description` takes it back."""
    arrays = {name: _as_json(array) for name, array in kind.arrays().items()}
    return {"class_names": list(class_names), "inputs": described(kind), "arrays": arrays}


def read_description(folder: Path) -> tuple[InputKind, tuple[str, ...]]:
    """The kind of a run's inputs, and the class names.

    Raises:
        UsageError: where the run did not keep them.
    """
    path = folder / FILE
    if not path.is_file():
        remedy = "fedlt run --force makes it again"
        raise UsageError(f"{folder} was written before runs kept what their models expect ({FILE}); {remedy}")
    content = json.loads(path.read_text(encoding="utf-8"))
    arrays = {name: np.asarray(held["values"], held["dtype"]) for name, held in content["arrays"].items()}
    return restored(content["inputs"], arrays), tuple(content["class_names"])


def recorded(folder: Path, scenario: Scenario, summary: Mapping[str, Any]) -> Federation:
    """The run's federation as its folder has it: rows and labels of every client, but no inputs.

    Training rows that no client holds have the label of class 0, and no one asks for them. Rows of the server and rows
    without labels are not known: where the scenario has some, one row stands for them.
    """
    kind, names = read_description(folder)
    target = _target(scenario, str(summary["targets"]))
    if not (folder / "partition.npz").is_file():
        raise UsageError(f"{folder} has no partition.npz, which says who holds what; fedlt run --force makes it again")

    with np.load(folder / "partition.npz") as partition:
        clients, train = _side(partition, "clients", len(names), target)
        tests, test = _side(partition, "tests", len(names), target)
        counts = partition["class_counts"]

    nothing, one = np.zeros((0, *kind.shape), np.float32), np.zeros(1, np.int64)
    extra = scenario.data.unlabelled.hidden or scenario.data.unlabelled.extra
    return Federation(
        name=scenario.data.name,
        class_names=names,
        inputs=kind.by_code_of(scenario.data),
        x_train=nothing,
        train_targets=train,
        x_test=nothing,
        test_targets=test,
        clients=clients,
        tests=tests,
        unlabelled=Ragged.from_owner(one[: int(bool(extra))], len(clients)),
        class_counts=counts,
        auxiliary=one[: int(bool(scenario.data.auxiliary))],
        server_unlabelled=one,
        made_of=summary.get("inputs") or {},
        grouping=Grouping(**vars(scenario.evaluation.groups)),
    )


def _side(held: Mapping[str, NDArray[Any]], name: str, classes: int, target: Target) -> tuple[Ragged, Targets]:
    """Rows of each client, and the labels of all rows up to the last one that a client holds."""
    rows = Ragged(held[f"{name}_values"], held[f"{name}_offsets"])
    labels = held[f"{name}_labels"]
    values = np.zeros((int(rows.values.max(initial=-1)) + 1, *labels.shape[1:]), labels.dtype)
    values[rows.values] = labels
    return rows, Targets(values, classes, target)


def _target(scenario: Scenario, name: str) -> Target:
    """The kind of the run's targets: that of the scenario, else the one that the data suggested."""
    return chosen(scenario.data) or built_in(name)


def _as_json(array: NDArray[Any]) -> dict[str, Any]:
    """An array of numbers; float32 come back bit for bit, since decimals tell them apart."""
    return {"dtype": str(array.dtype), "values": array.tolist()}
