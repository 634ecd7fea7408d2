"""FedWolf: ranks, moves and contributions by hand; nothing is sorted by test data."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fedlt
from fedlt.config.sections import Local
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.nn.net import Net
from fedlt.strategy import Client, Server, Update
from strategies.fedwolf import FedWolf, contributions, moved


def changes(*sequences: str) -> torch.Tensor:
    """How often a rank came after another, of sequences such as "2331"."""
    found = torch.zeros(len(sequences), 3, 3)
    for client, ranks in enumerate(sequences):
        for one, next in itertools.pairwise(ranks):
            found[client, int(one) - 1, int(next) - 1] += 1
    return found


def test_the_rest_goes_to_the_mean_of_itself_the_rest_and_the_first_three() -> None:
    """Seconds (2 + 8) / 2 and (0 + 8) / 2; rest 3 and 1 of mean 2, the first three 8, 5 and 4 of mean 17 / 3."""
    found = moved(torch.tensor([[8.0], [2.0], [0.0], [3.0], [1.0]]))
    wanted = [8, 5, 4, (3 + 2 + 17 / 3) / 3, (1 + 2 + 17 / 3) / 3]
    assert found.flatten().tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_cohorts_without_a_rest(count: int) -> None:
    assert moved(torch.tensor([[8.0], [2.0], [0.0]])[:count]).flatten().tolist() == [8.0, 5.0, 4.0][:count]


def test_contributions_of_the_code_by_hand() -> None:
    """1111 has .5 and 2331 nothing, since a lead that is never left loses all; 1212 ends with .5 in front."""
    assert contributions(changes("1111", "2331")).tolist() == [1.0, 0.0]
    assert contributions(changes("1111", "1212", "3333")).tolist() == pytest.approx([0.5, 0.5, 0.0])
    assert contributions(changes("2331", "1", "3")).tolist() == pytest.approx([1 / 3] * 3)


def server_of(make_client: Any) -> tuple[Client, Server]:
    """A model of two logits for one input; validation samples are x = 1 of class 0 and x = -1 of class 1."""
    net = Net(nn.Identity(), nn.Linear(1, 2, bias=False), 1)
    client: Client = make_client(net, [[1.0], [-1.0]], [0, 1], Local(batch_size=2))
    server = Server(client.model, client.flat, Task("single", 2, (1,)), num_clients=9, validation=client.data)
    FedWolf().setup(server)
    return client, server


def test_models_are_sorted_by_validation_data(make_client: Any) -> None:
    """Client 7 is always right, 2 always wrong, and 4 says class 0; in the next round 2 and 7 change places."""
    client, server = server_of(make_client)
    right, wrong, one = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]), torch.tensor([0.0, 0.0])

    def step(**models: torch.Tensor) -> dict[int, list[float]]:
        updates = [Update((int(name[1:]),), 3.0, 3 * model) for name, model in models.items()]
        FedWolf().aggregate(server, updates)
        return {number: letter["model"].tolist() for number, letter in server.letters.items()}

    assert step(c2=wrong, c4=one, c7=right) == {2: [1.0, 1.0], 4: [1.0, 0.0], 7: [2.0, 0.0]}
    assert server.state["rank"].tolist() == [-1, -1, 1, -1, 1, -1, -1, 0, -1]
    assert server.weights.tolist() == pytest.approx([4 / 3, 1 / 3])

    found = step(c2=right, c7=wrong)
    assert found == {2: [2.0, 0.0], 4: [1.0, 0.0], 7: [1.0, 1.0]}
    assert server.state["changes"].nonzero().tolist() == [[2, 1, 0], [7, 0, 1]]
    step(c2=wrong, c7=right)
    step(c2=right, c7=wrong)
    assert server.weights.tolist() == pytest.approx([1.5, 0.5])  # both change places for ever; 4 never came again

    client.received["model"] = server.letters[7]["model"]
    FedWolf().adapt(client)
    assert client.vector.tolist() == [1.0, 1.0]


def test_without_validation_data_a_run_is_refused(tiny: Any, tmp_path: Any) -> None:
    with pytest.raises(ScenarioError, match=r"data\.validation\.per_class: fedwolf sorts"):
        fedlt.run(tiny, "strategy=fedwolf", out=tmp_path, backend="inline")
    assert not list(tmp_path.iterdir())


def test_personal_models_differ_and_the_test_set_plays_no_role(tiny: Any, tmp_path: Any) -> None:
    changes = ["strategy=fedwolf", "data.validation.per_class=3", "federation.participation=1", "evaluation.every=2"]
    run = fedlt.run(tiny, *changes, out=tmp_path, backend="inline")
    assert run.final["generic/accuracy"] != run.final["personal/accuracy"]
    assert np.isfinite([value for key, value in run.final.items() if "accuracy" in key]).all()
