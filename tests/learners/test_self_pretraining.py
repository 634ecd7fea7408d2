"""Hidden parts of inputs are told: which, by hand; the stage without labels; and that scratch is cross-entropy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import few_words
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clients.context import Context, Exchange
from fedlt.blocks.hidden_words import masked_words
from fedlt.blocks.pretext import Denoiser, hidden_inputs_loss
from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Local
from fedlt.data.federation import federate
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.exchange import Job
from fedlt.learner import Learner
from fedlt.learners.cross_entropy import CrossEntropy
from fedlt.learners.self_pretraining import SelfPretraining
from fedlt.nn.net import Net

X = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
Y = np.repeat([0, 1, 2], [6, 3, 1])


class Rows(nn.Module):
    """[B, L, F] to states that are the rows themselves, and features that are their mean."""

    state_dim = 3

    def states(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return x.flatten(1, -2)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.states(x, mask).mean(1)


def told(encoder: nn.Module, dim: int, x: Tensor, mask: Tensor | None = None) -> tuple[float, Tensor]:
    """The loss where everything is taken for 10, and which of the numbers it is of, by what their error adds."""
    net = Net(encoder, nn.Linear(dim, 2), dim)
    denoiser = Denoiser(encoder, dim, tuple(x.shape[1:]))
    nn.init.zeros_(denoiser.tell.weight)
    nn.init.constant_(denoiser.tell.bias, 10.0)
    x = x.clone().requires_grad_()
    loss = hidden_inputs_loss(net, denoiser, x, mask, 0.5, np.random.default_rng(1))
    loss.backward()
    assert x.grad is not None
    return loss.item(), x.grad != 0


def test_the_error_of_hidden_pixels_alone_counts() -> None:
    """Both channels of a pixel are hidden, half of the pixels, and the loss is the mean of 10 - x over them."""
    x = torch.rand(8, 2, 4, 4)
    loss, hidden = told(nn.Flatten(), 32, x)
    drawn = np.random.default_rng(1).random((8, 1, 4, 4)) <= 0.5
    assert torch.equal(hidden, torch.from_numpy(drawn).expand(8, 2, 4, 4))
    assert loss == pytest.approx((10 - x[hidden]).mean().item(), rel=1e-6)


def test_the_encoder_reads_the_mean_where_something_is_hidden() -> None:
    seen = []

    class Watching(nn.Flatten):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach())
            return super().forward(x)

    x = torch.rand(8, 1, 4, 4) + 1
    _, hidden = told(Watching(), 16, x)
    assert torch.equal(seen[0], torch.where(hidden, 0.0, x))


def test_rows_are_told_from_their_own_states_and_padding_is_not() -> None:
    """A state that is what the encoder reads of its row: with unit weights hidden rows are told as zeros."""
    x, mask = torch.rand(6, 5, 3) + 1, torch.arange(5) < torch.tensor([[5], [4], [3], [5], [1], [2]])
    encoder = Rows()
    denoiser = Denoiser(encoder, 3, (5, 3))
    assert denoiser.tell.weight.shape == (3, 3)
    nn.init.eye_(denoiser.tell.weight)
    nn.init.zeros_(denoiser.tell.bias)
    found = hidden_inputs_loss(Net(encoder, nn.Linear(3, 2), 3), denoiser, x, mask, 0.5, np.random.default_rng(1))
    hidden = torch.from_numpy(np.random.default_rng(1).random((6, 5)) <= 0.5) & mask
    assert found.item() == pytest.approx(x[hidden].mean().item(), rel=1e-6)
    assert told(encoder, 3, torch.rand(4, 1, 5, 3))[1].any()  # rows of an image


@pytest.fixture
def site(make_client: Any) -> Any:
    def make(learner: Learner, **fields: Any) -> Any:
        torch.manual_seed(0)
        net = Net(nn.Sequential(nn.Linear(4, 6), nn.Tanh()), nn.Linear(6, 3), 6)
        learner.build(net, Task("single", 3, (4,)))
        return make_client(net, X, Y, Local(epochs=2, batch_size=5, lr=0.1), learner=learner, **fields)

    return make


def test_scratch_is_cross_entropy(site: Any) -> None:
    ends = []
    for learner in (CrossEntropy(), SelfPretraining(init="scratch")):
        made = site(learner, progress=0.0, span=0.5)
        made.train(made.learner.loss)
        ends.append(made.tensors())
    assert ends[0].keys() == ends[1].keys() and all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_labels_are_of_no_account_at_first(site: Any) -> None:
    """With any labels the first stage ends alike, in another backbone and the same head; the second is of labels."""
    ends = []
    for labels in (Y, Y[::-1]):
        made = site(SelfPretraining(), progress=0.0, span=0.5)
        start = made.tensors()
        made.data.targets.copy_(torch.tensor(labels.copy()))
        made.train(made.learner.loss)
        ends.append(made.tensors())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert torch.equal(start["head.weight"], ends[0]["head.weight"])
    assert not torch.equal(start["backbone.0.weight"], ends[0]["backbone.0.weight"])
    made.progress = 0.5
    made.train(made.learner.loss)
    assert not torch.equal(made.tensors()["head.weight"], start["head.weight"])
    assert torch.equal(made.tensors()["filling.tell.weight"], ends[1]["filling.tell.weight"])


def test_the_protocol_is_part_of_the_scenario(tiny: dict[str, Any]) -> None:
    learner = "learner={{name: self_pretraining, init: {}}}"
    one, other = (load_scenario(tiny, [learner.format(init)]) for init in ("self", "scratch"))
    assert one.hash != other.hash


# Token ids ------------------------------------------------------------------------------------------------------------


def words(folder: Path, model: dict[str, Any]) -> Context:
    given = few_words.scenario(folder, clients=1) | {
        "model": model,
        "strategy": "fedavg",
        "learner": "self_pretraining",
    }
    scenario = load_scenario(given, ["federation.rounds=2", "data.unlabelled.hidden=0.8", "federation.partition=iid"])
    return Context(scenario, federate(scenario))


def test_hidden_tokens_are_told_also_of_texts_without_labels(tmp_path: Path) -> None:
    context = words(tmp_path, {"name": "transformer", "width": 8, "heads": 2, "depth": 1, "dropout": 0.0})
    job = Job({}, "", 1, [], context.flat.shared.clone(), {}, {}, {})
    client = context.client(0, Exchange.on(context.device, job), "train")
    labelled = client.num_samples
    client.learner.begin(client)
    assert (labelled, client.num_samples) == (49, 245)

    batch = client.data.batch(torch.arange(10))
    client.rng = np.random.default_rng(3)
    found = client.learner.loss(client, batch)
    encoder, (ids, mask) = client.model.part("backbone"), client.task.inputs.split(batch.x)
    filling = client.model.part("filling")
    expected = masked_words(encoder, filling, encoder.embedding, ids, mask, np.random.default_rng(3))[0]
    torch.testing.assert_close(found, expected)


def test_an_encoder_without_states_of_tokens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="self_pretraining needs a model that has a state of each token"):
        words(tmp_path, {"name": "hash_bag", "width": 8})
