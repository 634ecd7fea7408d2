"""Experts on one stem, evidence and its fusion, RIDE, TLC and BatchFormer, against arithmetic in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from fedlt.config.sections import Local
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Learner, Prediction
from fedlt.learners.batchformer import BatchFormer
from fedlt.learners.ldam import LDAM
from fedlt.learners.ride import RIDE, divergence_from_mean
from fedlt.learners.tlc import TLC
from fedlt.nn import evidence
from fedlt.nn.cosine import CosineHead
from fedlt.nn.experts import ExpertHeads, Experts, Router, add_experts
from fedlt.nn.net import Net
from fedlt.nn.resnet import ResNet8

COUNTS = np.array([6, 3, 1])
Y = np.repeat(np.arange(3), COUNTS)
X = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
TASK = Task("single", 3, (4,))


@pytest.fixture
def make_site(make_client: Any) -> Any:
    """A site with 6, 3 and 1 samples of three classes; two layers, of which the second makes experts."""

    def make(learner: Learner, **fields: Any) -> Site:
        torch.manual_seed(0)
        net = Net(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 8)), nn.Linear(8, 3), 8)
        learner.build(net, TASK)
        site = make_client(net, X, Y, Local(epochs=1, batch_size=10, lr=0.1), learner=learner, **fields)
        return site  # type: ignore[no-any-return]

    return make


def whole(site: Site) -> Batch:
    return site.data.batch(torch.arange(10))


def softmax(scores: NDArray[Any]) -> NDArray[np.float64]:
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)  # type: ignore[no-any-return]


def experts_of(site: Site) -> NDArray[np.float64]:
    """[M, 10, 3] logits of each expert."""
    assert isinstance(site.model.head, ExpertHeads)
    with torch.no_grad():
        return site.model.head.each(site.model.encode(torch.as_tensor(X))).double().numpy()  # type: ignore[no-any-return]


# Experts --------------------------------------------------------------------------------------------------------------


def test_experts_share_the_stem_and_nothing_else() -> None:
    torch.manual_seed(0)
    net = ResNet8(stem_stride=2).build(Task("single", 10, (3, 8, 8)))
    alone = sum(p.numel() for p in net.parameters())
    stem = sum(p.numel() for name, p in net.named_parameters() if "stem" in name or name.startswith("backbone.norm."))
    x, whole = torch.randn(2, 3, 8, 8), net.backbone
    net.eval()
    before = whole(x)
    add_experts(net, 3, lambda dim: nn.Linear(dim, 10))
    net.eval()
    features = net.encode(x)
    assert (net.feature_dim, features.shape) == (192, (2, 192))
    assert torch.allclose(features[:, :64], before, atol=1e-6)  # the first expert is the model as it was
    assert not torch.allclose(features[:, 64:128], features[:, 128:], atol=1e-3)
    assert sum(p.numel() for p in net.parameters()) == 3 * alone - 2 * stem
    assert isinstance(net.head, ExpertHeads)
    assert torch.allclose(net(x), net.head.each(features).mean(0))


def test_a_model_without_a_second_layer_has_no_experts() -> None:
    net = Net(nn.Sequential(nn.Linear(4, 6), nn.ReLU()), nn.Linear(6, 3), 6)
    with pytest.raises(ValueError, match="at least two layers before its head"):
        add_experts(net, 2, lambda dim: nn.Linear(dim, 3))


def test_ride_is_ldam_minus_the_divergence_from_the_mean(make_site: Any) -> None:
    site = make_site(RIDE(experts=2, diversity=0.3, defer=None))
    each, mean = experts_of(site), softmax(experts_of(site).mean(0))
    apart = sum((mean * np.log(mean / softmax(scores))).sum(1).mean() for scores in each)
    assert apart > 0.1
    margins = 30 * 0.5 * COUNTS**-0.25
    losses = sum(
        -np.log(softmax(scores - margins[Y][:, None] * np.eye(3)[Y])[np.arange(10), Y]).mean() for scores in each
    )
    assert float(site.learner.loss(site, whole(site)).detach()) == pytest.approx(losses - 0.3 * apart, rel=1e-4)
    assert float(divergence_from_mean(torch.as_tensor(each))) == pytest.approx(apart, rel=1e-6)


def test_the_router_learns_where_a_later_expert_would_help(make_site: Any) -> None:
    learner = RIDE(experts=3, router=0.25, wanted=7.0)
    site = make_site(learner, progress=0.75)
    each, y = experts_of(site), Y
    with torch.no_grad():
        features = site.model.encode(torch.as_tensor(X))
    router, parts, losses, needs = site.model.get_submodule("router"), features.chunk(3, 1), [], []
    assert isinstance(router, Router)
    for index in (0, 1):
        mean = each[: index + 1].mean(0)
        direction = parts[index].double().numpy()
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        weights = {name: p.detach().double().numpy() for name, p in router.named_parameters()}
        seen = direction @ weights[f"reduce.{index}.weight"].T + weights[f"reduce.{index}.bias"]
        sorted_logits = -np.sort(-mean, 1)
        both = np.concatenate([np.maximum(seen, 0), sorted_logits], 1)
        score = both @ weights[f"decide.{index}.weight"][0] + weights[f"decide.{index}.bias"]
        later = np.any([each[: stop + 1].mean(0).argmax(1) == y for stop in range(index + 1, 3)], 0)
        needed = (mean.argmax(1) != y) & later
        chance = 1 / (1 + np.exp(-score))
        losses.append(-np.where(needed, 7 * np.log(chance), np.log(1 - chance)).mean())
        needs.append(needed)
    assert 0 < needs[0].sum() < 10
    assert float(learner.loss(site, whole(site)).detach()) == pytest.approx(np.mean(losses), rel=1e-4)
    before = {name: tensor.clone() for name, tensor in site.flat.tensors.items()}
    site.train(learner.loss)
    moved = {name.split(".")[0] for name, tensor in site.flat.tensors.items() if not torch.equal(tensor, before[name])}
    assert moved == {"router"}
    assert site.trainer.work.backward_samples == 0
    assert site.trainer.work.forward_samples == 10


def test_a_further_expert_is_wanted_where_a_later_mean_is_right() -> None:
    """y = 0. (0, 3) then (1, 0): the second is right, their mean is not. (0, 3) then (4, 0): both are."""
    each = torch.tensor([[[0.0, 3.0], [0.0, 3.0], [2.0, 0.0]], [[1.0, 0.0], [4.0, 0.0], [1.0, 0.0]]])
    y = torch.tensor([0, 0, 0])
    assert RIDE(experts=2).needed(each, y).tolist() == [[False, True, False]]
    assert RIDE(experts=2, target="experts").needed(each, y).tolist() == [[True, True, False]]


def test_a_routed_prediction_averages_the_experts_that_were_asked(make_site: Any) -> None:
    learner = RIDE(experts=3, router=0.25)
    site = make_site(learner)
    each, router = torch.as_tensor(experts_of(site)), site.model.get_submodule("router")
    with torch.no_grad():
        features = site.model.encode(torch.as_tensor(X)).chunk(3, 1)
        first, second = (router(i, features[i], each[: i + 1].mean(0).float()) for i in (0, 1))
        on = first > first.median()
        further = second > second[on].median()
        router.decide[0].bias -= first.median()
        router.decide[1].bias -= second[on].median()
        found = learner.predict(site.model, torch.as_tensor(X))
    assert isinstance(found, Prediction)
    assert found.extra["experts"] is not None
    asked = 1 + on * (1 + further.int())
    assert sorted(set(asked.tolist())) == [1, 2, 3]
    assert found.extra["experts"].tolist() == asked.tolist()
    expected = torch.stack([each[:count, row].mean(0) for row, count in enumerate(asked.tolist())])
    assert torch.allclose(found.logits.double(), expected, atol=1e-5)
    assert isinstance(RIDE().predict(site.model, torch.as_tensor(X)), torch.Tensor)


# Evidence -------------------------------------------------------------------------------------------------------------

TWO = torch.tensor([[[3.0, 1.0]], [[2.0, 4.0]]]).log()  # evidence (3, 1), then (2, 4), of one sample


def test_fusion_of_two_experts_by_hand() -> None:
    """S = 4 + 2 and 6 + 2: beliefs (1/2, 1/6), (1/4, 1/2), u = 1/3, 1/4. Conflict 1/2 * 1/2 + 1/6 * 1/4 = 7/24."""
    belief, uncertainty = evidence.beliefs(TWO)
    assert belief[:, 0].tolist() == [pytest.approx([1 / 2, 1 / 6]), pytest.approx([1 / 4, 1 / 2])]
    assert uncertainty[:, 0].tolist() == pytest.approx([1 / 3, 1 / 4])
    left = evidence.joint_uncertainty(TWO)[:, 0].tolist()
    assert left == pytest.approx([1, 1 / 3, (1 / 3) * (1 / 4) / (1 - 7 / 24)])
    fused = evidence.fuse(TWO, eta=0.5)
    weights = softmax(np.array([1.0, 1 / 3]) / 0.5)
    assert fused.logits[0].tolist() == pytest.approx(weights @ TWO[:, 0].numpy(), rel=1e-5)
    assert fused.uncertainty is not None
    assert fused.uncertainty.tolist() == pytest.approx(left[2:])


def test_a_prediction_does_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    each = 5 * torch.randn(3, 6, 4)
    together, alone = evidence.fuse(each, 0.2), evidence.fuse(each[:, :1], 0.2)
    assert torch.allclose(together.logits[:1], alone.logits)


def test_the_regulariser_by_quadrature() -> None:
    """Two classes, y = 0, evidence e for class 1: Dir(1, 1 + e) is Beta with density (1 + e) p^e against 1."""
    e = 4.0
    found = evidence.against_none(torch.tensor([[100.0, e]]).log(), torch.tensor([0]))
    p = (np.arange(200_000) + 0.5) / 200_000
    density = (1 + e) * p**e
    assert float(found) == pytest.approx((density * np.log(density)).mean(), rel=1e-4)
    assert float(evidence.against_none(torch.tensor([[5.0, -40.0]]), torch.tensor([0]))) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("score", [-2.0, 5.0, 15.0, 30.0])
def test_the_regulariser_and_its_gradient_at_large_evidence(score: float) -> None:
    """Two classes, y = 0, evidence e = exp(z) for class 1: log(1 + e) - e / (1 + e), whose slope in z is its square."""
    logits = torch.tensor([[0.0, score]], requires_grad=True)
    found = evidence.against_none(logits, torch.tensor([0]))
    found.sum().backward()
    share = 1 / (1 + np.exp(-score))
    assert float(found.detach()) == pytest.approx(np.log1p(np.exp(score)) - share, abs=0.1 if score > 20 else 1e-4)
    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx([0.0, share**2], abs=0.05 if score > 20 else 1e-4)


# TLC ------------------------------------------------------------------------------------------------------------------


def test_an_expert_counts_the_uncertain_samples_only() -> None:
    """Uncertainty left before two experts for three samples: shares of the largest are 1, 1, 1 and 1, 0.6, 0.5."""
    found = TLC(engage=0.54).engaged(torch.tensor([[1.0, 1.0, 1.0], [0.5, 0.3, 0.25]]))
    assert found.tolist() == [[True, True, True], [True, True, False]]
    assert TLC(engage=0.0).engaged(torch.tensor([[1e-9, 1.0]])).all()


@pytest.mark.parametrize("progress", [0.4, 0.9])
def test_the_loss_by_hand(make_site: Any, progress: float) -> None:
    learner = TLC(experts=2, engage=0.9, diversity=0.2, beta=0.9, scale=2.0)
    site = make_site(learner, progress=progress, span=0.0)
    each, late = experts_of(site), progress >= 0.8
    left = evidence.joint_uncertainty(torch.as_tensor(each))[:-1].numpy()
    engaged = left > 0.9 * left.max(1, keepdims=True)
    assert engaged[0].all()
    assert 0 < engaged[1].sum() < 10
    raw = (1 - 0.9) / (1 - 0.9 ** COUNTS.astype(float))
    weights = (raw * 3 / raw.sum())[Y] if late else np.ones(10)
    heat = 0.95 + 0.05 * COUNTS / 10 * 3 if late else np.ones(3)  # of the three columns
    fused = evidence.fuse(torch.as_tensor(each), learner.eta).logits.numpy()
    joint, total = softmax(fused / heat), 0.0
    for scores, counted in zip(each, engaged, strict=True):
        shifted = scores - 2 * 0.5 * COUNTS[Y][:, None] ** -0.25 * np.eye(3)[Y]
        value = -weights * np.log(softmax(shifted)[np.arange(10), Y])
        value += 200 / 13_200 * progress * evidence.against_none(torch.as_tensor(shifted), torch.as_tensor(Y)).numpy()
        apart = (joint * np.log(joint / softmax(scores / heat))).sum(1)
        value -= 0.2 * heat.mean() ** 2 * apart
        total += value[counted].mean()
    assert float(learner.loss(site, whole(site)).detach()) == pytest.approx(total, rel=1e-4)


def test_early_exit_asks_the_next_expert_about_uncertain_samples_only(make_site: Any) -> None:
    site = make_site(TLC(experts=3, scale=4.0))
    each = torch.as_tensor(experts_of(site)).float()
    after_one = evidence.joint_uncertainty(each[:1])[-1]
    threshold = float(after_one.median())
    sure = after_one < threshold
    calls: list[int] = []
    backbone = site.model.backbone
    assert isinstance(backbone, Experts)
    for branch in backbone.branches:
        branch.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0])))
    with torch.no_grad():
        found = TLC(experts=3, exit_below=threshold).predict(site.model, torch.as_tensor(X))
        everyone = TLC(experts=3).predict(site.model, torch.as_tensor(X))
    assert isinstance(found, Prediction)
    assert found.extra["experts"] is not None
    assert calls[:2] == [10, int((~sure).sum())]
    assert sum(calls[:-3]) == found.extra["experts"].sum()
    assert (found.extra["experts"] == 1).tolist() == sure.tolist()
    assert torch.allclose(found.logits[sure], each[0][sure], atol=1e-5)
    last = found.extra["experts"] == 3
    assert torch.allclose(found.logits[last], everyone.logits[last], atol=1e-5)


def test_tlc_with_one_expert_and_nothing_else_is_ldam(make_site: Any) -> None:
    one = make_site(TLC(experts=1, engage=0.0, diversity=0.0), progress=0.0, span=0.0)
    cosine = make_site(LDAM(), progress=0.0, span=0.0)
    head, mine = cosine.model.head, one.model.head
    assert isinstance(head, CosineHead)
    assert isinstance(mine, ExpertHeads)
    mine.heads[0].weight.data.copy_(head.weight)
    assert float(one.learner.loss(one, whole(one)).detach()) == pytest.approx(
        float(cosine.learner.loss(cosine, whole(cosine)).detach()), rel=1e-5
    )


# BatchFormer ----------------------------------------------------------------------------------------------------------


def test_batchformer_adds_the_related_features_under_the_same_labels(make_site: Any) -> None:
    site = make_site(BatchFormer(tau=0.7, dropout=0.0))
    layer = site.model.get_submodule("batchformer")
    seen: list[torch.Tensor] = []
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    found = float(site.learner.loss(site, whole(site)).detach())
    assert seen[0].shape == (10, 1, 8)  # the batch is the sequence
    with torch.no_grad():
        features = site.model.encode(torch.as_tensor(X))
        scores = [site.model.head(part).double().numpy() for part in (features, seen[0][:, 0])]
    prior = 0.7 * np.log(COUNTS / 10)
    losses = [-np.log(softmax(part + prior)[np.arange(10), Y]).mean() for part in scores]
    assert found == pytest.approx(np.mean(losses), rel=1e-4)
    shuffled = -np.log(softmax(scores[1][::-1] + prior)[np.arange(10), Y]).mean()
    assert found != pytest.approx((losses[0] + shuffled) / 2, rel=1e-4)  # rows and labels belong together


def test_batchformers_official_form_is_three_times_the_loss_and_a_tenth_of_the_layers_rate(make_site: Any) -> None:
    """L(f) + L(f') + L(both) is three times the mean over both; the layer's steps are then a tenth of the others'."""
    gradients = []
    for learner in (BatchFormer(dropout=0.0), BatchFormer(dropout=0.0, weight=3.0, layer_rate=0.1)):
        site = make_site(learner)
        loss = learner.loss(site, whole(site))
        loss.backward()
        slopes = {name: p.grad.clone() for name, p in site.model.named_parameters() if p.grad is not None}
        gradients.append((loss.item(), slopes))
    (plain, usual), (official, slow) = gradients
    assert official == pytest.approx(3 * plain, rel=1e-5)
    for name, slope in usual.items():
        assert torch.allclose(slow[name], 3 * slope, atol=1e-5), name
    (stage,) = BatchFormer(layer_rate=0.1).stages()
    assert {name.split(".")[0]: stage.rate(name) for name in usual} == {"backbone": 1, "head": 1, "batchformer": 0.1}


def test_samples_learn_from_one_another(make_site: Any) -> None:
    """The gradient of one sample's related feature reaches the others' inputs; without the layer it does not."""
    site = make_site(BatchFormer(dropout=0.0))
    features = torch.randn(5, 8, requires_grad=True)
    site.model.get_submodule("batchformer")(features[:, None])[0, 0, 0].backward()
    assert features.grad is not None
    assert (features.grad[1:].abs().sum(1) > 1e-6).all()


def test_prediction_is_without_the_layer(make_site: Any) -> None:
    site = make_site(BatchFormer())
    x = torch.as_tensor(X)
    with torch.no_grad():
        before = site.learner.predict(site.model, x)
        for parameter in site.model.get_submodule("batchformer").parameters():
            parameter.fill_(9.0)
        assert torch.equal(site.learner.predict(site.model, x), before)


def test_heads_must_divide_the_features() -> None:
    net = Net(nn.Linear(4, 6), nn.Linear(6, 3), 6)
    with pytest.raises(ValueError, match=r"learner\.heads=4 must divide the 6 features"):
        BatchFormer().build(net, TASK)
