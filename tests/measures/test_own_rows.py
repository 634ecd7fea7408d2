"""The generic model on clients' own samples: the very same ones as their personal models, whoever tested which part."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

import fedlt
from fedlt.data.task import Task
from fedlt.learner import Prediction
from fedlt.measures.collect import Collector
from fedlt.measures.own_rows import OwnRows
from fedlt.plots.clients import client_chart
from fedlt.statistic import Known, Predicted, Subject

TASK = Task("single", 2, (4,))


def seen(subject: Subject, rows: list[int], right: list[int]) -> OwnRows:
    """A statistic that has seen these rows, all of class 0, those of `right` predicted correctly."""
    made = OwnRows().empty(TASK, subject)
    logits = torch.tensor([[1.0, 0.0] if row in right else [0.0, 1.0] for row in rows])
    made.add(Predicted(Prediction(logits), torch.zeros(len(rows), dtype=torch.int64), torch.tensor(rows)))
    return made


def shares(statistic: OwnRows, *clients: list[int]) -> list[float]:
    """The accuracy on each client's rows."""
    offsets = np.cumsum([0, *map(len, clients)])
    tests = SimpleNamespace(values=np.concatenate([np.array(rows, np.int64) for rows in clients]), offsets=offsets)
    columns = statistic.rows(cast(Known, SimpleNamespace(tests=tests)))["clients"]
    assert np.asarray(columns["client"]).tolist() == list(range(len(clients)))
    return np.asarray(columns["generic"]).tolist()


GENERIC = Subject("generic")


def test_each_client_has_the_share_of_its_own_rows() -> None:
    found = seen(GENERIC, [0, 1, 2, 3], right=[1, 2])
    assert shares(found, [0, 1], [1, 2], [2, 1, 3, 3], [0]) == [0.5, 1.0, 0.5, 0.0]
    assert shares(found, [0], [])[1] != shares(found, [0], [])[1]  # NaN: it has no test sample


def test_parts_may_come_in_any_order() -> None:
    one, two = (seen(GENERIC, rows, right=[1, 2]) for rows in ([2, 3], [0, 1]))
    one.merge(two)
    back = OwnRows().empty(TASK, GENERIC)
    back.from_arrays({name: value.copy() for name, value in one.to_arrays().items()})
    for found in (one, back):
        assert shares(found, [0, 1, 2, 3], [1]) == [0.5, 1.0]
    assert one.to_arrays()["rows"].tolist() == [0, 1, 2, 3]


def test_rows_that_nobody_could_test_do_not_count() -> None:
    assert shares(seen(GENERIC, [0, 2], right=[2]), [0, 1, 2], [5, 2]) == [0.5, 1.0]


@pytest.mark.parametrize("subject", [Subject("personal"), Subject("generic", validation=True)])
def test_it_is_not_of_other_models_and_other_sets(subject: Subject) -> None:
    collector = Collector({"own_rows": OwnRows()}, TASK)
    collector.add(subject, Predicted(Prediction(torch.zeros(1, 2)), torch.zeros(1), torch.zeros(1)))
    assert not collector.arrays()


@pytest.mark.slow
def test_under_plain_fedavg_every_client_lies_on_the_diagonal(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Its personal models are the generic one."""
    fedavg, fedloge = (
        fedlt.run(tiny, f"strategy={name}", "federation.rounds=6", out=tmp_path, backend="inline")
        for name in ("fedavg", "fedloge")
    )
    (dots,) = client_chart({"fedavg": [fedavg]}).marks
    assert np.array_equal(dots.x, dots.y)
    assert dots.corner == "all on the diagonal\n6 clients"  # type: ignore[union-attr]

    table = fedloge.client_variants
    psi = table[table.variant == "psi"]
    assert psi["generic"].tolist() == psi["accuracy"].tolist()  # the personal model of that variant is the generic one
    phi = table[table.variant == "phi"]
    assert phi["generic"].tolist() == table[table.variant == ""]["generic"].tolist()  # the headline's stands in
