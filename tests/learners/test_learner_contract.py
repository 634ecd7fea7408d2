"""What every learner may rely on: stages, schedules, hooks, state, samplers, views, cached features, prediction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from trained import trained

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Local
from fedlt.data import samplers
from fedlt.data.federation import federate
from fedlt.data.inputs.pixels import Images
from fedlt.data.site import Batch, Site
from fedlt.errors import FedLTError, ScenarioError
from fedlt.learner import Learner, Stage
from fedlt.nn.net import Net
from fedlt.nn.norm import norm
from fedlt.results.runs import Run
from fedlt.strategy import Strategy
from fedlt.training.assembly import assemble
from fedlt.training.schedules import over_the_run
from fedlt.training.vectorized import obstacle

pytestmark = pytest.mark.slow


def net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), nn.Linear(4, 2), 4)


def data(number: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(number, 3)), rng.integers(0, 2, number)


def slope(site: Site, batch: Batch) -> Tensor:
    """Gradient 1 for every weight: the weights fall by the sum of the learning rates."""
    return site.weights().sum()


# Learning rate --------------------------------------------------------------------------------------------------------


def test_the_schedules_by_hand() -> None:
    assert [over_the_run("constant", 0.0, p) for p in (0.0, 0.5, 1.0)] == [1, 1, 1]
    assert [over_the_run("constant", 0.2, p) for p in (0.05, 0.1, 0.3)] == [0.25, 0.5, 1]
    assert [over_the_run("cosine", 0.0, p) for p in (0.0, 0.5, 1.0)] == pytest.approx([1, 0.5, 0])
    assert [over_the_run("cosine", 0.2, p) for p in (0.1, 0.2, 0.6, 1.0)] == pytest.approx([0.5, 1, 0.5, 0])
    assert [over_the_run("step", 0.0, p) for p in (0.79, 0.8, 0.89, 0.9)] == pytest.approx([1, 0.01, 0.01, 0.0001])


def test_the_rate_follows_the_run_step_by_step(make_client: Any) -> None:
    """Round 2 of 2, four steps: progress 0.5 + 0.5 * (1, 3, 5, 7) / 8."""
    local = Local(epochs=2, batch_size=4, lr=0.1, momentum=0.0, schedule="cosine")
    client = make_client(net(), *data(8), local, progress=0.5, span=0.5)
    before = client.flat.storage.clone()
    client.train(slope)
    rates = [0.1 * (0.5 + 0.5 * np.cos(np.pi * (0.5 + k / 16))) for k in (1, 3, 5, 7)]
    assert torch.allclose(before - client.flat.storage, torch.tensor(sum(rates), dtype=torch.float32), atol=1e-6)
    assert client.now == 1.0


def test_fine_tuning_in_evaluation_is_outside_the_schedule(make_client: Any) -> None:
    local = Local(epochs=1, batch_size=4, lr=0.1, momentum=0.0, schedule="cosine")
    client = make_client(net(), *data(4), local, progress=1.0, span=0.0)
    before = client.flat.storage.clone()
    client.train(slope)
    assert torch.allclose(client.flat.storage, before - 0.1)


@dataclass(frozen=True)
class Halves(Learner):
    """Two halves; the second trains the head on features that are computed once."""

    cached: ClassVar[bool] = True

    def stages(self) -> tuple[Stage, ...]:
        return Stage("features", 0.5), Stage("head", 0.5, ("head.*",), encoded=self.cached)

    def loss(self, site: Site, batch: Batch) -> Tensor:
        return F.cross_entropy(site.model(batch.x), batch.y)


def test_the_schedule_runs_anew_in_each_stage(make_client: Any) -> None:
    seen = []
    for progress in (0.0, 0.25, 0.5, 0.75):
        client = make_client(net(), *data(4), Local(), learner=Halves(), progress=progress, span=0.25)
        client.elapsed = 0.5
        seen.append((client.stage.name, client.stage_begins, client.stage_progress, client.now))
    assert seen == [
        ("features", True, 0.25, 0.125),
        ("features", False, 0.75, 0.375),
        ("head", True, 0.25, 0.625),
        ("head", False, 0.75, 0.875),
    ]


@pytest.mark.parametrize("nesterov", [False, True])
def test_nesterov_is_that_of_pytorch(make_client: Any, nesterov: bool) -> None:
    local = Local(epochs=5, batch_size=8, lr=0.1, weight_decay=0.1, nesterov=nesterov)
    client, twin = make_client(net(), *data(8), local), net()
    client.train(client.learner.loss)
    reference = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=nesterov)
    x, y = (torch.as_tensor(part) for part in data(8))
    for _ in range(5):
        reference.zero_grad()
        F.cross_entropy(twin(x.float()), y).backward()
        reference.step()
    for name, expected in twin.named_parameters():
        assert torch.allclose(client.model.get_parameter(name), expected, atol=1e-6), name


def test_nesterov_needs_momentum(tiny: dict[str, Any]) -> None:
    with pytest.raises(ScenarioError, match=r"local\.nesterov: needs local\.momentum > 0"):
        load_scenario(tiny, ["local.nesterov=true", "local.momentum=0"])


def test_momentum_goes_on_where_rounds_are_one_training(make_client: Any) -> None:
    """Full batches: two rounds of one step are one round of two, and only if the momentum is kept."""
    ends = {}
    for kind, continuous, rounds in (("whole", False, 1), ("kept", True, 2), ("lost", False, 2)):
        local = Local(epochs=2 // rounds, batch_size=8, lr=0.1)
        client = make_client(net(), *data(8), local, continuous=continuous, span=1 / rounds)
        for number in range(rounds):
            client.progress = number / rounds
            client.train(client.learner.loss)
        ends[kind] = client.flat.storage.clone()
    assert torch.allclose(ends["kept"], ends["whole"], atol=1e-6)
    assert not torch.allclose(ends["lost"], ends["whole"], atol=1e-4)


def test_a_new_stage_starts_without_momentum(make_client: Any) -> None:
    client = make_client(net(), *data(8), Local(epochs=1, batch_size=8, lr=0.1), learner=Halves(), span=0.5)
    client.continuous = True
    client.train(client.learner.loss)
    client.progress, before = 0.5, client.flat.storage.clone()
    client.state["trainer/velocity"].fill_(100.0)
    client.train(client.learner.loss)
    assert (client.flat.storage - before).abs().max() < 1.0


@dataclass(frozen=True)
class TwoRates(Learner):
    """The head at a fifth of the rate, but for its bias."""

    def stages(self) -> tuple[Stage, ...]:
        return (Stage(rates={"head.bias": 1.0, "head.*": 0.2}),)

    def loss(self, site: Site, batch: Batch) -> Tensor:
        return F.cross_entropy(site.model(batch.x), batch.y)


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("SGD", {"momentum": 0.9, "weight_decay": 0.1}),
        ("SGD", {"momentum": 0.9, "nesterov": True}),
        ("SGD", {"momentum": 0.0}),
        ("Adam", {"weight_decay": 0.1}),
    ],
)
def test_rates_of_a_stage_are_those_of_pytorchs_groups(
    make_client: Any, tiny: dict[str, Any], kind: str, keys: dict[str, Any]
) -> None:
    tiny["local"] = {"epochs": 5, "batch_size": 8, "lr": 0.1, "optimizer": kind.lower(), **keys}
    client = make_client(net(), *data(8), load_scenario(tiny).local, learner=TwoRates())
    client.train(client.learner.loss)
    twin = net()
    slow, usual = [twin.head.weight], [*twin.backbone.parameters(), twin.head.bias]
    groups = [{"params": slow, "lr": 0.02}, {"params": usual, "lr": 0.1}]
    reference = getattr(torch.optim, kind)(groups, **keys)
    x, y = (torch.as_tensor(part) for part in data(8))
    for _ in range(5):
        reference.zero_grad()
        F.cross_entropy(twin(x.float()), y).backward()
        reference.step()
    for name, expected in twin.named_parameters():
        assert torch.allclose(client.model.get_parameter(name), expected, atol=1e-5), name


def test_rates_of_one_change_no_bit(make_client: Any) -> None:
    class Ones(TwoRates):
        def stages(self) -> tuple[Stage, ...]:
            return (Stage(rates={"*": 1.0}),)

    ends = []
    for learner in (Ones(), Halves()):
        client = make_client(net(), *data(8), Local(epochs=2, batch_size=4), learner=learner)
        client.train(client.learner.loss)
        ends.append(client.flat.storage.clone())
    assert torch.equal(*ends)


def test_clients_are_not_trained_at_once_at_several_rates(make_client: Any) -> None:
    client = make_client(net(), *data(4), Local())
    assert obstacle(Strategy(), Halves(), client.model, client.flat) == "Halves has a stage on encoded samples"
    assert obstacle(Strategy(), TwoRates(), client.model, client.flat) == "TwoRates has a stage with rates of its own"


def test_a_stages_rates_and_statistics_are_told_where_they_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"'slow' has rates \{'head.\*': 0.0\}; expected numbers above 0"):
        Stage("slow", rates={"head.*": 0.0})
    with pytest.raises(ValueError, match="'late' is on encoded samples, which move no running statistics"):
        Stage("late", only=("head.*",), encoded=True, statistics=True)


# Stages on features ---------------------------------------------------------------------------------------------------


def normed_net() -> Net:
    """A backbone with running statistics."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Unflatten(1, (3, 1, 1)), nn.Conv2d(3, 4, 1), norm("batch", 4), nn.Flatten())
    return Net(layers, nn.Linear(4, 2), 4)


@pytest.mark.parametrize("cached", [True, False])
def test_a_stage_without_the_backbone_leaves_it_wholly_alone(
    make_client: Any, cached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Halves, "cached", cached)
    client = make_client(
        normed_net(), *data(8), Local(epochs=3, batch_size=4), learner=Halves(), progress=0.5, span=0.5
    )
    before = {name: tensor.clone() for name, tensor in client.flat.tensors.items()}
    client.train(client.learner.loss)
    same = {name: torch.equal(before[name], tensor) for name, tensor in client.flat.tensors.items()}
    assert {name for name, equal in same.items() if not equal} == {"head.weight", "head.bias"}
    work = client.trainer.work
    assert (work.samples, work.backward_samples, work.forward_samples) == (24, 0, 8 if cached else 24)


def test_a_stages_statistics_follow_its_samples(make_client: Any) -> None:
    """Not one weight of the backbone moves; its running mean is drawn to that of the balanced samples."""

    class Moving(Halves):
        def stages(self) -> tuple[Stage, ...]:
            return Stage("features", 0.5), Stage("head", 0.5, ("head.*",), samplers.Power(0.0), statistics=True)

    local = Local(epochs=30, batch_size=40)
    rng = np.random.default_rng(0)
    y = np.array([0] * 36 + [1] * 4)
    x = rng.normal(size=(40, 3)) + 10 * y[:, None]
    client = make_client(normed_net(), x, y, local, learner=Moving(), progress=0.5, span=0.5)
    before = {name: tensor.clone() for name, tensor in client.flat.tensors.items()}
    client.train(client.learner.loss)
    same = {name: torch.equal(before[name], tensor) for name, tensor in client.flat.tensors.items()}
    moved = {"head.weight", "head.bias", "backbone.2.running_mean", "backbone.2.running_var"}
    assert {name for name, equal in same.items() if not equal} == moved
    weight, bias = client.model.backbone[1].weight.detach().flatten(1), client.model.backbone[1].bias.detach()
    balanced = torch.as_tensor((x[:36].mean(0) + x[36:].mean(0)) / 2).float()
    assert torch.allclose(client.model.backbone[2].running_mean, weight @ balanced + bias, atol=1.0)
    assert not client.model.backbone.training
    work = client.trainer.work
    assert (work.backward_samples, work.forward_samples) == (0, 1200)


def test_cached_features_give_the_same_training(make_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    for cached in (True, False):
        monkeypatch.setattr(Halves, "cached", cached)
        client = make_client(normed_net(), *data(8), Local(epochs=3, batch_size=4), learner=Halves(), progress=0.5)
        client.train(client.learner.loss)
        ends.append(client.flat.storage.clone())
    assert torch.allclose(*ends, atol=1e-6)


def test_a_stage_on_encoded_samples_may_not_train_the_backbone(make_client: Any) -> None:
    class Wrong(Halves):
        def stages(self) -> tuple[Stage, ...]:
            return (Stage("all", encoded=True),)

    client = make_client(net(), *data(4), Local(), learner=Wrong())
    with pytest.raises(ValueError, match="on encoded samples, so it must leave the backbone"):
        client.train(client.learner.loss)


# Views ----------------------------------------------------------------------------------------------------------------


def test_another_view_has_the_same_rows_and_other_draws(make_client: Any) -> None:
    """One bright pixel in each of 64 images: crops move it, and it keeps the image's own brightness."""
    pixels = torch.zeros(64, 8, 8, 1, dtype=torch.uint8)
    pixels[:, 4, 4, 0] = torch.arange(1, 65).to(torch.uint8)
    client = make_client(net(), *data(64), Local(epochs=1, batch_size=64, augment="crop"))
    client.data = type(client.data)(
        Images(pixels, torch.zeros(1), torch.full((1,), 1 / 255), channels_last=False),
        client.data.targets,
        client.data.index,
    )

    def loss(site: Site, batch: Batch) -> Tensor:
        other, plain = site.view(batch), site.view(batch, "none")
        assert torch.equal(plain.amax((1, 2, 3)).round(), (batch.rows + 1).float())
        assert torch.equal(other.amax((1, 2, 3)).round(), (batch.rows + 1).float())
        assert not torch.equal(other, batch.x)
        more = site.batch(np.array([5, 5, 7]))
        assert more.x.amax((1, 2, 3)).round().tolist() == [6, 6, 8]
        return site.weights().sum()

    client.train(loss)
    assert client.trainer.work.backward_samples == 64 + 64 + 64 + 3
    assert client.trainer.work.samples == 64


# Samplers -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def skewed(make_client: Any) -> Site:
    """90 samples of class 0 and 10 of class 1; a third class is absent."""
    client = make_client(net(), np.zeros((100, 3)), [0] * 90 + [1] * 10, Local())
    client.class_counts = torch.tensor([90, 10, 0])
    return client  # type: ignore[no-any-return]


def share_of_tail(site: Site, sampler: Callable[[Site], NDArray[np.int64]]) -> float:
    drawn = np.concatenate([sampler(site) for _ in range(100)])
    assert len(drawn) == 100 * site.num_samples
    return float((drawn >= 90).mean())


def test_class_shares_by_hand(skewed: Site) -> None:
    counts = np.array([90, 10, 0])
    assert samplers.power_shares(counts, 1.0) == pytest.approx([0.9, 0.1, 0])
    assert samplers.power_shares(counts, 0.5) == pytest.approx([0.75, 0.25, 0])
    assert samplers.power_shares(counts, 0.0) == pytest.approx([0.5, 0.5, 0])
    assert len(samplers.draw(skewed, np.array([1.0, 0, 0]), 7)) == 7


@pytest.mark.parametrize(("power", "expected"), [(1.0, 0.1), (0.5, 0.25), (0.0, 0.5)])
def test_power_samplers_draw_classes_by_their_shares(skewed: Site, power: float, expected: float) -> None:
    assert share_of_tail(skewed, samplers.Power(power)) == pytest.approx(expected, abs=0.02)


def test_samplers_with_a_schedule(skewed: Site) -> None:
    """Progressive at 0, 1/2, 1: 0.1, 0.3, 0.5. Temperature 2 is the square root until half of the run is done."""
    skewed.span, skewed.progress = 0.0, 0.0
    for progress, progressive, cooled in ((0.0, 0.1, 0.25), (0.5, 0.3, 0.1), (1.0, 0.5, 0.1)):
        skewed.progress = progress
        assert share_of_tail(skewed, samplers.Progressive()) == pytest.approx(progressive, abs=0.02)
        assert share_of_tail(skewed, samplers.Cooldown(2.0, 0.5)) == pytest.approx(cooled, abs=0.02)


def test_a_stage_brings_its_sampler(skewed: Site) -> None:
    class Balanced(Halves):
        def stages(self) -> tuple[Stage, ...]:
            return Stage("a", 0.5), Stage("b", 0.5, sampler=samplers.Power(0.0))

    skewed.learner, skewed.span = Balanced(), 0.5
    assert sorted(skewed.positions(100)) == list(range(100))
    skewed.progress = 0.5
    assert (skewed.positions(10_000) >= 90).mean() == pytest.approx(0.5, abs=0.03)


# Hooks, state and prediction in a run ---------------------------------------------------------------------------------

TALLY = '''
from fedlt.learner import Learner, Prediction


@dataclass(frozen=True)
class Tally(Learner):
    """Counts its hooks in the site's state; predicts the class whose number a buffer holds."""

    def build(self, model, task):
        model.register_buffer("favourite", torch.zeros(task.num_classes))

    def begin(self, site):
        site.state.setdefault("tally/hooks", torch.zeros(3))[0] += 1

    def epoch(self, site):
        site.state["tally/hooks"][1] += 1

    def finish(self, site):
        site.state["tally/hooks"][2] += 1
        site.model.favourite[7] = 1.0

    def loss(self, site, batch):
        return torch.nn.functional.cross_entropy(site.model(batch.x), batch.y)

    def predict(self, model, x):
        return Prediction(0 * model(x) + model.favourite)
'''


@pytest.mark.parametrize("strategy", ["fedavg", "centralized", "local", "fedprox", "climb"])
def test_hooks_are_called_and_what_they_keep_is_kept(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path, strategy: str
) -> None:
    """Three rounds of two epochs with all clients; a buffer that `finish` sets decides the predictions."""
    from server.rounds.loop import Rounds
    from server.rounds.progress import Progress

    path = own_file(TALLY, "tally.py")
    changes = ["federation.participation=1", "federation.rounds=3", "local.epochs=2", f"strategy={strategy}"]
    counts: dict[int, list[float]] = {}

    def watched(self: Rounds) -> Progress:
        progress = whole(self)
        states = progress.states.read(progress.states.clients())
        counts.update({client: state["state/tally/hooks"].tolist() for client, state in states.items()})
        return progress

    with pytest.MonkeyPatch.context() as patch:
        whole = Rounds.run
        patch.setattr(Rounds, "run", watched)
        run = fedlt.run(tiny, f"learner={path}:Tally", *changes, out=tmp_path)
    assert len(counts) == (1 if strategy == "centralized" else 6)
    assert set(map(tuple, counts.values())) == {(3.0, 6.0, 3.0)}
    model = "personal" if strategy == "local" else "generic"
    confusion = run.confusion
    assert set(confusion[confusion.model.eq(model) & confusion["round"].eq(3)].pred) == {7}


def test_a_learner_that_works_beyond_a_loss_is_not_trained_together(
    tiny: dict[str, Any], own_file: Callable[..., Path]
) -> None:
    scenario = load_scenario(tiny, [f"learner={own_file(TALLY)}:Tally", "local.together=2"])
    with pytest.raises(ScenarioError, match="Tally works beyond a loss of one batch"):
        assemble(scenario, federate(scenario), torch.device("cpu"))


REFUSING = '''
from fedlt.learner import Learner


@dataclass(frozen=True)
class Shy(Learner):
    """Says where it has no meaning."""

    def obstacle(self, strategy):
        return None if strategy.scope == "centralized" else "it needs the data of all clients in one place"

    def loss(self, site, batch):
        return torch.nn.functional.cross_entropy(site.model(batch.x), batch.y)
'''


def test_a_learner_says_where_it_has_no_meaning(tiny: dict[str, Any], own_file: Callable[..., Path]) -> None:
    from typer.testing import CliRunner

    from fedlt.commands.cli import app

    scenario = own_file("").with_suffix(".yaml")
    scenario.write_text(load_scenario(tiny, [f"learner={own_file(REFUSING)}:Shy"]).to_yaml(), encoding="utf-8")
    refused = CliRunner().invoke(app, ["check", str(scenario)])
    assert refused.exit_code == 2
    assert "Shy has no meaning inside FedAvg: it needs the data of all clients in one place" in refused.output
    assert CliRunner().invoke(app, ["check", str(scenario), "strategy=centralized"]).exit_code == 0


@pytest.mark.parametrize(
    ("strategy", "learner", "reason"),
    [
        ("fedrep", "crt", "trains head and backbone in turns"),
        ("fedbabu", "crt", "trains head and backbone in turns"),
        ("fedrep", "value_of_labels", "trains head and backbone in turns"),
        ("fednh", "ldam", "needs the head for itself, and the learner brings its own, CosineHead"),
        ("fednh", "tau_norm", "normalises the linear head, which the strategy replaces"),
        ("creff", "ldam", "needs the head for itself, and the learner brings its own, CosineHead"),
        ("creff", "ride", "would ignore the learner's"),
        ("fednpc", "posthoc_logit_adjustment", "would ignore the learner's"),
        ("creff", "lws", "needs the head for itself, and the learner brings its own, ScaledHead"),
        ("scaffold", "mislas", "divides by the summed rate of the steps, and the learner's stages have several rates"),
        ("scaffold", "lws", ""),
        ("fedavg_posthoc", "ncm", "would ignore the learner's"),
        ("fedloge", "ldam", "trains by losses of its own and would ignore ldam"),
        ("fednh", "batchformer", ""),
        ("fednh", "posthoc_logit_adjustment", ""),
        ("fedper", "crt", ""),
    ],
)
def test_stages_heads_and_predictions_that_a_strategy_has_of_its_own(
    tiny: dict[str, Any], strategy: str, learner: str, reason: str
) -> None:
    """Where a strategy has them, a learner's would be lost, or fail in the middle of a run: it is refused at once."""
    tiny["model"]["depth"] = 2  # experts need a second layer
    scenario = load_scenario(tiny, [f"strategy={strategy}", f"learner={learner}"])
    federation = federate(scenario)
    if not reason:
        assemble(scenario, federation, torch.device("cpu"))
        return
    with pytest.raises(ScenarioError, match=f"learner: .*{reason}"):
        assemble(scenario, federation, torch.device("cpu"))


def test_what_a_learner_needs_is_told(tiny: dict[str, Any], tmp_path: Path) -> None:
    """In the run's record, and beneath the table."""
    for learner in ("cross_entropy", "ncm"):
        fedlt.run(tiny, f"learner={learner}", "strategy=fedavg", out=tmp_path)
    found = fedlt.compare(tmp_path)
    assert {row.labels: row.needs for row in found.rows} == {
        ("fedavg", "cross_entropy"): (),
        ("fedavg", "ncm"): ("prototypes",),
    }
    assert "fedavg ncm: prototypes" in str(found)


BROKEN = '''
from fedlt.learner import Learner


@dataclass(frozen=True)
class Broken(Learner):
    """Its loss tells that it was called."""

    def loss(self, site, batch):
        raise RuntimeError("the learner's loss was called")
'''


@pytest.mark.parametrize("strategy", trained("strategy"))
def test_strategies_say_whether_they_use_the_learner(
    tiny: dict[str, Any], own_file: Callable[..., Path], strategy: str, tmp_path: Path
) -> None:
    """A learner inside a strategy is used, or it is refused with a sentence; it is never ignored."""
    tiny["model"] = "resnet8"  # some strategies treat normalisation layers apart
    data = ["data.auxiliary=1", "data.validation.per_class=1"]
    scenario = load_scenario(tiny, [f"strategy={strategy}", f"learner={own_file(BROKEN)}:Broken", *data])
    if "loss" not in scenario.strategy.component.load().learner_parts:  # type: ignore[attr-defined]
        with pytest.raises(ScenarioError, match=r"learner: .* trains by losses of its own and would ignore"):
            fedlt.run(scenario, out=tmp_path)
        return
    try:
        fedlt.run(scenario, out=tmp_path)
    except FedLTError as error:
        assert "the learner's loss was called" in str(error)
    else:
        pytest.fail(f"{strategy} ignores the learner: let it call client.learner.loss, or declare learner_parts = ()")


def test_centralized_and_federated_runs_see_the_same_samples(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Class counts and the list of training rows are those of the scenario, whoever trains on them."""
    from clients.context import Exchange
    from clients.worker import Worker
    from fedlt.exchange import UNION, Job

    found: dict[str, tuple[list[int], list[int]]] = {}
    runs: dict[str, Run] = {}
    for strategy in ("fedavg", "centralized", "local"):
        scenario = load_scenario(tiny, [f"strategy={strategy}", "learner=cross_entropy"])
        worker = Worker(scenario, federate(scenario))
        job = Job(scenario.to_dict(), scenario.hash, 1, [], worker.context.flat.shared)
        sites = [UNION] if strategy == "centralized" else range(6)
        exchange = Exchange.on(worker.context.device, job)
        clients = [worker.context.client(number, exchange, "train") for number in sites]
        rows = sorted(row for client in clients for row in client.data.index.tolist())
        counts = torch.stack([client.class_counts for client in clients]).sum(0)
        found[strategy] = rows, counts.tolist()
        runs[strategy] = fedlt.run(scenario, out=tmp_path)
    assert found["fedavg"] == found["centralized"] == found["local"]
    assert len(found["fedavg"][0]) == sum(found["fedavg"][1]) > 0
    hashes = {run.summary["partition_hash"] for run in runs.values()}
    assert len(hashes) == 1
