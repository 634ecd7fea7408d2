"""FedReLa: which samples change their labels, when, and that the strategy inside trains on the new ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Local
from fedlt.data.federation import federate
from fedlt.errors import ScenarioError
from fedlt.nn.net import Net
from fedlt.strategy import Client, Server, Strategy
from fedlt.training.assembly import assemble, pick_device
from strategies.fedrela import LABELS, FedReLa, relabelled, transfer

Y = torch.tensor([0] * 6 + [1] * 3 + [2])
POSTERIOR = torch.tensor(
    [
        *([0.90, 0.08, 0.02], [0.80, 0.15, 0.05], [0.70, 0.20, 0.10], [0.60, 0.30, 0.10], [0.95, 0.04, 0.01]),
        *([0.50, 0.20, 0.30], [0.30, 0.60, 0.10], [0.20, 0.70, 0.10], [0.40, 0.50, 0.10], [0.30, 0.30, 0.40]),
    ],
    dtype=torch.float64,
)


# The rule -------------------------------------------------------------------------------------------------------------


def test_few_samples_may_move_and_only_to_a_rarer_class() -> None:
    """Rarities 0, .6, 1 and thresholds .9945, .4493, .0342 leave two positive rates."""
    chances = transfer(POSTERIOR, Y, share=0.2)
    positive = [(3, 1), (5, 2)]
    assert [tuple(place) for place in (chances > 0).nonzero().tolist()] == positive
    found = [float(chances[place]) for place in positive]
    assert found == pytest.approx([0.4949, 0.9676], abs=5e-5)


def test_a_small_client_changes_nothing() -> None:
    assert not (transfer(POSTERIOR, Y, share=0.05) > 0).any()  # 0 of 10 samples qualify
    assert not (transfer(POSTERIOR[-1:], Y[-1:], share=0.9) > 0).any()  # its class has no spread


def test_a_draw_below_the_rate_moves_a_sample_to_the_likeliest_class() -> None:
    chances = torch.tensor([[0.0, 0.5, 0.9], [0.0, 0.5, 0.9], [0.0, 0.5, 0.9], [0.0, 0.0, 0.0]])
    draws = torch.tensor([[0.0, 0.4, 0.8], [0.0, 0.4, 0.95], [0.0, 0.6, 0.95], [0.0, 0.0, 0.0]])
    assert relabelled(torch.tensor([0, 0, 0, 1]), chances, draws).tolist() == [2, 1, 0, 1]


# The hook -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recording(Strategy):
    """Tells what it was given to train on, and predicts class 1 for inputs above 0."""

    seen: ClassVar[list[tuple[list[int], float]]] = []

    def fit(self, client: Client) -> None:
        self.seen.append((client.data.y.tolist(), client.lr_factor))
        client.train(self.loss)

    def generic(self, server: Server, x: Tensor) -> dict[str, Tensor]:
        sure = 9 * x[:, 0]
        return {"headline": torch.stack([-sure, sure], 1), "other": torch.zeros(len(x), 2)}


@pytest.fixture
def client(make_client: Any) -> Client:
    """Thirty samples of class 0, of which the first lies where class 1 is, and five of class 1."""
    x, y = [[1.0]] + [[-1.0]] * 29 + [[1.0]] * 5, [0] * 30 + [1] * 5
    torch.manual_seed(0)
    return make_client(Net(nn.Identity(), nn.Linear(1, 2), 1), x, y, Local(epochs=1, batch_size=4, lr=0.5))  # type: ignore[no-any-return]


def test_the_strategy_inside_trains_on_the_new_labels_at_a_smaller_rate(client: Client) -> None:
    Recording.seen.clear()
    method = FedReLa(Recording(), start=0.5)
    given = client.data.y.tolist()
    method.fit(client)
    assert LABELS not in client.state  # it is too early

    client.progress = 0.5
    before = client.vector.clone()
    method.fit(client)
    moved = float((client.vector - before).norm())
    assert Recording.seen == [(given, 1.0), ([1, *given[1:]], 0.1)]
    assert client.data.y.tolist() == given and client.lr_factor == 1.0

    client.data = client.data.labelled(torch.tensor([0] * 35))  # labels change once, whatever is seen later
    client.vector = before
    FedReLa(Recording(), start=0.5, lr_factor=1.0).fit(client)
    assert Recording.seen[-1] == ([1, *given[1:]], 1.0)
    assert float((client.vector - before).norm()) > 3 * moved


# Runs -----------------------------------------------------------------------------------------------------------------

AT_ONCE = ("strategy=fedrela", "strategy.start=0.5", "strategy.share=0.3", "local.augment=none")


@pytest.mark.slow
@pytest.mark.parametrize("inner", ["fedavg", "fedetf", "fedloge"])
def test_one_that_never_starts_is_the_strategy_inside(inner: str, tiny: dict[str, Any], tmp_path: Path) -> None:
    alone = fedlt.run(tiny, f"strategy={inner}", out=tmp_path, backend="inline")
    inside = f"strategy.inside={inner}"
    never = fedlt.run(tiny, "strategy=fedrela", "strategy.start=1", inside, out=tmp_path, backend="inline")
    assert never.summary["model_hash"] == alone.summary["model_hash"]
    late = fedlt.run(tiny, *AT_ONCE, inside, out=tmp_path, backend="inline")
    assert late.summary["model_hash"] != alone.summary["model_hash"]


@pytest.mark.slow
def test_labels_are_kept_by_clients_wherever_they_are_computed(tiny: dict[str, Any], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    one = fedlt.run(tiny, *AT_ONCE, "federation.participation=1", out=tmp_path / "one", backend="inline")
    two = fedlt.run(tiny, *AT_ONCE, "federation.participation=1", out=tmp_path / "two", backend="processes", workers=2)
    assert one.summary["model_hash"] == two.summary["model_hash"]
    kept, federation = load_file(one.folder / "clients.safetensors"), federate(load_scenario(one.scenario))
    changed = 0
    for client, rows in enumerate(federation.clients):
        given, labels = federation.train_targets.values[rows], kept[f"{client}/state/{LABELS}"].numpy()
        counts = federation.counts(client)
        moved = labels != given
        changed += int(moved.sum())
        assert (counts[labels[moved]] < counts[given[moved]]).all()  # none loses a sample to a more frequent class
    assert changed > 10


def test_one_without_a_generic_model_is_refused() -> None:
    scenario = load_scenario("digits_lt", "strategy=fedrela", "strategy.inside=local")
    with pytest.raises(ScenarioError, match="asks the generic model that clients receive, and there is none"):
        assemble(scenario, federate(scenario), pick_device("cpu"))
