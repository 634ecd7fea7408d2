"""Buffers of any kind travel, are reset and saved; what arrives frozen stays so. The bits are equal everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import fedlt
from fedlt.config.sections import Local
from fedlt.errors import ClientError
from fedlt.nn.flat import Flat
from fedlt.nn.net import Net
from fedlt.results.runs import Run
from tests.conftest import PowerCut

pytestmark = pytest.mark.slow

LOCAL = Local(epochs=1, batch_size=2, lr=0.1, momentum=0.0)
HUGE = 2**40 + 1


class Counting(nn.Module):
    """Features of two numbers beside buffers of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.register_buffer("seen", torch.tensor([10, HUGE]))
        self.register_buffer("small", torch.tensor([7], dtype=torch.uint8))
        self.register_buffer("flag", torch.tensor([True, False]))
        self.register_buffer("wave", torch.tensor([1 + 2j, 3 - 1j]))
        self.register_buffer("ema", torch.zeros(2), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


def counting(private: tuple[str, ...] = ()) -> tuple[Flat, Any]:
    torch.manual_seed(0)
    backbone = Counting()
    return Flat(Net(backbone, nn.Linear(2, 2), 2), private), backbone


# The vector -----------------------------------------------------------------------------------------------------------


def test_each_kind_in_the_vector_by_hand() -> None:
    flat, model = counting()
    assert flat.num_trainable == 12
    assert flat.shared[12:].tolist() == [0, 0, 0, 1, 0, 1, 2, 3, -1, 0, 0]  # whole numbers as changes, [re, im]

    model.seen += torch.tensor([5, 0])
    model.small += 2
    model.flag.logical_not_()
    model.wave *= 1j
    model.ema += 0.5
    assert flat.shared[12:].tolist() == [5, 0, 2, 0, 1, -2, 1, 1, 3, 0.5, 0.5]


def test_a_mean_over_clients_by_hand() -> None:
    """3 : 1, changes of 5 and 2 -> 4.25, of 1 and 4 -> 1.75; one of two flags; complex and floats as any mean."""
    flat, model = counting()
    start, sent = flat.shared.clone(), []
    for seen, small, flag, wave in ((5, 1, True, 4 + 0j), (2, 4, False, 0 + 8j)):
        flat.load_shared(start)
        assert model.seen.tolist() == [10, HUGE]
        assert model.flag.tolist() == [True, False]
        model.seen += torch.tensor([seen, 0])
        model.small += small
        model.flag.copy_(torch.tensor([flag, not flag]))
        model.wave.fill_(wave)
        sent.append(flat.shared.clone())
    flat.load_shared((3 * sent[0] + sent[1]) / 4)
    assert model.seen.tolist() == [14, HUGE]
    assert model.seen.dtype == torch.long
    assert model.small.tolist() == [9]
    assert model.flag.tolist() == [True, False]
    assert model.wave.tolist() == [3 + 2j, 3 + 2j]
    flat.load_shared((sent[0] + sent[1]) / 2)
    assert model.flag.tolist() == [True, True]  # from one half on


def test_a_mean_stays_within_the_numbers_that_the_type_holds() -> None:
    flat, model = counting()
    vector = flat.shared.clone()
    vector[14] = 300.0
    flat.load_shared(vector)
    assert model.small.tolist() == [255]


def test_whole_numbers_that_move_too_far_are_refused_by_name() -> None:
    flat, model = counting()
    model.seen += 2**24
    assert flat.shared[12] == 2**24
    model.seen += 1
    with pytest.raises(ValueError, match=r"buffer backbone\.seen \(int64\) moved by more than 16777216"):
        _ = flat.shared


@pytest.mark.parametrize("name", ["seen", "small", "flag", "wave", "ema"])
def test_a_buffer_that_is_replaced_travels_and_is_reset(name: str) -> None:
    """`self.ema = 0.9 * self.ema + ...` puts another tensor in its place, as much PyTorch code does."""
    flat, model = counting()
    start, edits, version = flat.shared.clone(), flat.edits(), flat.model.backbone_version()
    setattr(model, name, getattr(model, name) + 3 if name != "flag" else ~model.flag)
    assert flat.model.backbone_version() != version
    moved = flat.shared.clone()
    assert not torch.equal(moved, start)
    assert flat.edits() != edits

    setattr(model, name, getattr(model, name).clone())
    flat.load_shared(start)
    assert torch.equal(flat.shared, start)
    flat.load_shared(moved)
    assert torch.equal(flat.shared, moved)


def test_a_buffer_in_two_modules_is_one() -> None:
    net = Net(Counting(), nn.Linear(2, 2), 2)
    net.head.register_buffer("twin", net.backbone.ema)
    flat = Flat(net)
    net.head.twin += 2
    assert flat.shared[-2:].tolist() == [2, 2]
    net.head.twin = torch.full((2,), 4.0)
    assert flat.shared[-2:].tolist() == net.backbone.ema.tolist() == [4, 4]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: setattr(m, "ema", torch.zeros(3)), r"buffer backbone\.ema became of shape \(3,\)"),
        (lambda m: setattr(m, "ema", None), r"buffer backbone\.ema became None"),
        (lambda m: setattr(m.linear.bias, "data", torch.ones(2)), r"parameter backbone\.linear\.bias was replaced"),
        (lambda m: setattr(m.linear, "bias", nn.Parameter(torch.ones(2))), r"parameter backbone\.linear\.bias was"),
    ],
)
def test_what_cannot_travel_is_refused_by_name(edit: Callable[[Any], None], message: str) -> None:
    flat, model = counting()
    start = flat.shared.clone()
    edit(model)
    with pytest.raises(ValueError, match=message):
        _ = flat.shared
    flat.load_shared(start)
    assert torch.equal(flat.shared, start)


def test_private_and_frozen_buffers_of_other_kinds() -> None:
    torch.manual_seed(0)
    model = Counting()
    flat = Flat(Net(model, nn.Linear(2, 2), 2), private=("backbone.seen",), frozen=("backbone.flag", "backbone.ema"))
    mine, start = flat.private.clone(), flat.shared.clone()
    model.seen += 3
    assert flat.private.tolist() == [3, 3]
    flat.load_private(mine)
    assert model.seen.tolist() == [10, HUGE]

    model.flag.fill_(True)
    model.ema = torch.ones(2)
    flat.load_shared(start)  # another client: what is frozen is what it was
    assert model.flag.tolist() == [True, False]
    assert model.ema.tolist() == [0, 0]


@pytest.mark.parametrize("kind", [torch.complex64, torch.int8])
def test_parameters_that_are_no_floats_are_refused_by_name(kind: torch.dtype) -> None:
    net = Net(nn.Linear(2, 2), nn.Linear(2, 2), 2)
    net.backbone.register_parameter("odd", nn.Parameter(torch.zeros(2, dtype=kind), requires_grad=False))
    with pytest.raises(ValueError, match=f"parameter backbone.odd holds {str(kind).removeprefix('torch.')}"):
        Flat(net)


def test_a_counter_of_batches_counts_where_it_decides_something() -> None:
    for momentum, names in ((0.1, []), (None, ["backbone.num_batches_tracked"])):
        flat = Flat(Net(nn.BatchNorm1d(2, momentum=momentum), nn.Linear(2, 2), 2))
        assert [name for name in flat.tensors if "num_batches" in name] == names


# Runs -----------------------------------------------------------------------------------------------------------------

EVERY_KIND = '''
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from fedlt import Learner
from fedlt.nn.model import Model


class Body(nn.Module):
    """A norm with a cumulative average, a replaced mean, and what it has seen as bits, signs and a wave."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(64, 16), nn.BatchNorm1d(16, momentum=None)
        self.register_buffer("mean", torch.zeros(16))
        self.register_buffer("wave", torch.ones(16, dtype=torch.complex64))
        self.register_buffer("sign", torch.zeros(16, dtype=torch.bool))
        self.register_buffer("table", torch.arange(64).flip(0))

    def forward(self, x):
        h = self.norm(self.linear(x.flatten(1)[:, self.table]))
        if self.training and len(x) > 1:
            self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(0)
            self.sign = h.detach()[0] > 0
            self.wave *= torch.polar(torch.ones(16), h.detach().std(0))
        return torch.relu(h - self.mean + self.sign + self.wave.imag)


@dataclass(frozen=True)
class Kinds(Model):
    def backbone(self, shape):
        return Body(), 16


@dataclass(frozen=True)
class Seen(Learner):
    def build(self, model, task):
        model.register_buffer("seen", torch.ones(task.num_classes, dtype=torch.long))
        model.register_buffer("known", torch.zeros(task.num_classes, dtype=torch.bool))
        model.register_buffer("phase", torch.zeros(task.num_classes, dtype=torch.complex64))

    def loss(self, site, batch):
        return cross_entropy(site.model(batch.x), batch.y)

    def finish(self, site):
        site.model.seen += site.class_counts
        site.model.known = site.class_counts > 0
        site.model.phase += 1j * site.class_counts

    def predict(self, model, x):
        prior = model.seen.float() / model.seen.sum() + 0.01 * model.known + 0.001 * model.phase.imag
        return model(x) - prior.log()
'''


@pytest.fixture
def every_kind(own_file: Callable[..., Path]) -> list[str]:
    path = own_file(EVERY_KIND)
    return [
        f"model={path}:Kinds",
        f"learner={path}:Seen",
        "federation.rounds=4",
        "resources.checkpoint=1",
    ]


def assert_same(run: Run, whole: Run) -> None:
    assert run.summary["model_hash"] == whole.summary["model_hash"]
    for name in ("metrics", "clients", "confusion"):
        pd.testing.assert_frame_equal(getattr(run, name), getattr(whole, name), check_exact=True, obj=name)
    for path in whole.folder.glob("*.safetensors"):
        assert (run.folder / path.name).read_bytes() == path.read_bytes()


@pytest.mark.usefixtures("ray_workers")
@pytest.mark.parametrize("strategy", ["fedavg", "fedrep"])
def test_every_kind_in_model_and_learner_gives_one_hash(
    tiny: dict[str, Any],
    every_kind: list[str],
    tmp_path: Path,
    power_cut: PowerCut,
    strategy: str,
) -> None:
    changes = [*every_kind, f"strategy={strategy}"]
    whole = fedlt.run(tiny, *changes, out=tmp_path / "whole", backend="inline")
    for backend in ("processes", "ray") if strategy == "fedavg" else ("processes",):
        assert_same(fedlt.run(tiny, *changes, out=tmp_path / backend, backend=backend, workers=2), whole)

    with power_cut(2):
        fedlt.run(tiny, *changes, out=tmp_path / "killed", backend="inline")
    assert_same(fedlt.run(tiny, *changes, out=tmp_path / "killed", backend="inline"), whole)

    held = load_file(str(whole.folder / "model.safetensors"))
    assert held["seen"].dtype == torch.long
    assert held["seen"].sum() > 10
    assert held["known"].dtype == held["backbone.sign"].dtype == torch.bool
    assert held["phase"].dtype == torch.complex64
    assert held["backbone.norm.num_batches_tracked"] > 1
    assert torch.equal(held["backbone.table"], torch.arange(64).flip(0))


@pytest.mark.parametrize("name", ["seen", "known", "phase"])
def test_the_hash_covers_buffers_of_every_kind(tiny: dict[str, Any], every_kind: list[str], name: str) -> None:
    from fedlt.config.scenario import load_scenario
    from fedlt.data.federation import federate
    from fedlt.strategy import Server
    from fedlt.training.assembly import assemble
    from server.rounds.progress import Progress
    from server.state.artifacts import model_hash
    from server.state.states import StateStore

    scenario = load_scenario(tiny, every_kind)
    parts = assemble(scenario, federate(scenario), torch.device("cpu"))
    progress = Progress(Server(parts.model, parts.flat, parts.task), StateStore(Path("none")))
    before = model_hash(progress, parts.strategy)
    getattr(parts.model, name)[3] = 5
    assert model_hash(progress, parts.strategy) != before


@pytest.mark.parametrize(("hook", "counts"), [("", False), ("generic", True), ("personal", True), ("adapt", True)])
def test_the_hash_covers_the_outbox_where_predictions_may_follow_from_it(hook: str, counts: bool) -> None:
    from fedlt.data.task import Task
    from fedlt.strategy import Server, Strategy
    from server.rounds.progress import Progress
    from server.state.artifacts import model_hash
    from server.state.states import StateStore

    strategy = type("Own", (Strategy,), {hook: lambda self, some, x=None: None} if hook else {})()
    flat, _ = counting()
    progress = Progress(Server(flat.model, flat, Task("single", 2, (2,), None)), StateStore(Path("none")))
    hashes = []
    for value in (0.0, 1.0):
        progress.server.outbox["head"] = torch.tensor([value])
        hashes.append(model_hash(progress, strategy))
    assert (hashes[0] != hashes[1]) == counts


def test_a_client_that_replaces_a_parameter_fails_by_name(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path
) -> None:
    path = own_file(
        "class Normed(Strategy):\n"
        "    def fit(self, client):\n"
        "        super().fit(client)\n"
        "        client.model.head.weight.data = client.model.head.weight.data / 2\n"
    )
    path.write_text(path.read_text().replace("class Normed", "@dataclass(frozen=True)\nclass Normed"))
    with pytest.raises(ClientError, match=r"parameter head\.weight was replaced in training"):
        fedlt.run(tiny, f"strategy={path}:Normed", out=tmp_path, backend="inline")


# What arrives frozen --------------------------------------------------------------------------------------------------


def half_frozen() -> Net:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2), nn.Dropout(0.5))
    for parameter in (*body[0].parameters(), *body[1].parameters()):
        parameter.requires_grad_(False)
    return Net(body, nn.Linear(2, 2), 2)


def test_what_arrives_frozen_is_neither_trained_nor_sent_nor_moved(make_client: Any) -> None:
    client = make_client(half_frozen(), np.ones((6, 2)), np.arange(6) % 2, LOCAL)
    flat = client.flat
    assert list(flat.trainable) == ["backbone.3.weight", "backbone.3.bias", "head.weight", "head.bias"]
    assert len(flat.shared) == flat.num_trainable == 14
    assert len(flat.frozen) == 9 + 6 + 6  # layer, norm, running statistics of the norm
    assert flat.given_frozen[0] == "backbone.0.weight"
    assert "backbone.1.running_mean" in flat.given_frozen

    before, modes = flat.frozen.clone(), []

    def loss(site: Any, batch: Any) -> Tensor:
        modes.append([site.model.backbone[k].training for k in (0, 1, 3, 4)])
        return cross_entropy(site.model(batch.x), batch.y)

    start = flat.shared.clone()
    client.train(loss)
    assert torch.equal(flat.frozen, before)
    assert not torch.equal(flat.shared, start)
    assert modes[0] == [False, False, True, True]
    required = [parameter.requires_grad for parameter in flat.model.parameters()]
    assert required == [False] * 4 + [True] * 4


def test_a_frozen_backbone_stays_in_evaluation_mode(make_client: Any) -> None:
    net = half_frozen()
    net.backbone.requires_grad_(False)
    client = make_client(net, np.ones((4, 2)), np.arange(4) % 2, LOCAL)
    modes = []

    def loss(site: Any, batch: Any) -> Tensor:
        modes.append(site.model.backbone[4].training)
        return cross_entropy(site.model(batch.x), batch.y)

    client.train(loss)
    assert modes == [False, False]
    assert client.trainer.work.backward_samples == 0
    assert client.trainer.work.forward_samples == 4


PROBE = """
from torch import nn

from fedlt.nn.model import Model


@dataclass(frozen=True)
class Probe(Model):
    def backbone(self, shape):
        body = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU())
        return body.requires_grad_(False), 8
"""


def test_check_and_the_run_say_what_arrived_frozen(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path
) -> None:
    from fedlt.config.scenario import load_scenario
    from fedlt.data.federation import federate
    from fedlt.training.assembly import assemble

    scenario = load_scenario(tiny, [f"model={own_file(PROBE)}:Probe"])
    parts = assemble(scenario, federate(scenario), torch.device("cpu"))
    (line,) = parts.remarks()
    assert "neither trained nor sent: backbone.1.weight, backbone.1.bias; 520 numbers" in line

    first = parts.flat.storage.clone()
    run = fedlt.run(scenario, out=tmp_path, backend="inline")
    last = load_file(str(run.folder / "model.safetensors"))
    held = {name: torch.equal(last[name], tensor) for name, tensor in parts.flat.views(first).items()}
    assert held == {"backbone.1.weight": True, "backbone.1.bias": True, "head.weight": False, "head.bias": False}
    assert line in (run.folder / "log.txt").read_text()
    assert (run.rounds["bytes_up"] == 3 * 4 * 90).all()


def test_what_arrives_frozen_stays_so_where_clients_are_trained_at_once(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path
) -> None:
    own = [f"model={own_file(PROBE)}:Probe", "federation.partition=iid", "federation.block=6"]
    runs = [fedlt.run(tiny, *own, f"local.together={n}", out=tmp_path, backend="inline") for n in (1, 6)]
    one, two = (load_file(str(run.folder / "model.safetensors")) for run in runs)
    assert torch.equal(one["backbone.1.weight"], two["backbone.1.weight"])
    assert torch.allclose(one["head.weight"], two["head.weight"], atol=1e-5)
