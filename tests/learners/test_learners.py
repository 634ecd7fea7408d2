"""The classic learners: each formula against arithmetic in NumPy, and every learner in short runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from trained import trained

import fedlt
from fedlt.blocks import priors
from fedlt.config import catalog
from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Local
from fedlt.data.federation import federate
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.learner import Learner
from fedlt.learners.class_balanced import ClassBalanced
from fedlt.learners.crt import CRT
from fedlt.learners.focal import Focal
from fedlt.learners.ldam import LDAM
from fedlt.learners.logit_adjustment import LogitAdjustment
from fedlt.learners.mixup import Mixup
from fedlt.learners.ncm import NCM
from fedlt.learners.posthoc_logit_adjustment import PosthocLogitAdjustment
from fedlt.learners.resampling import Resampling
from fedlt.learners.tau_norm import TauNorm
from fedlt.nn.cosine import CosineHead
from fedlt.nn.net import Net

Array = NDArray[np.float64]
COUNTS = np.array([6, 3, 1])
Y = np.repeat(np.arange(3), COUNTS)
X = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)


@pytest.fixture
def make_site(make_client: Any) -> Any:
    """A site with 6, 3 and 1 samples of three classes; the backbone is the identity, the head linear."""

    def make(learner: Learner, **fields: Any) -> Site:
        torch.manual_seed(0)
        net = Net(nn.Identity(), nn.Linear(4, 3), 4)
        learner.build(net, Task("single", 3, (4,)))
        local = Local(epochs=1, batch_size=5, lr=0.1)
        return make_client(net, X, Y, local, learner=learner, **fields)  # type: ignore[no-any-return]

    return make


def whole(site: Site) -> Batch:
    return site.data.batch(torch.arange(10))


def logits_of(site: Site, x: Array | None = None) -> Array:
    with torch.no_grad():
        return site.model(torch.as_tensor(X if x is None else x).float()).double().numpy()  # type: ignore[no-any-return]


def nll(logits: Array, y: NDArray[np.int64] = Y) -> Array:
    return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y]  # type: ignore[no-any-return]


def value(site: Site) -> float:
    return float(site.learner.loss(site, whole(site)).detach())


# Losses ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_focal(make_site: Any, gamma: float) -> None:
    site = make_site(Focal(gamma))
    losses = nll(logits_of(site))
    assert value(site) == pytest.approx(((1 - np.exp(-losses)) ** gamma * losses).mean(), rel=1e-5)


def test_effective_weights_by_hand() -> None:
    """beta = 1/2: (1/2) / (1 - 1/2^n) is 1/2 / (63/64), 1/2 / (7/8), 1; an absent class has none."""
    raw = np.array([32 / 63, 4 / 7, 1.0])
    expected = [*(raw * 3 / raw.sum()), 0.0]
    assert priors.effective_weights(torch.tensor([6, 3, 1, 0]), 0.5).tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_class_balanced(make_site: Any, gamma: float) -> None:
    site = make_site(ClassBalanced(0.9, gamma))
    raw = (1 - 0.9) / (1 - 0.9 ** COUNTS.astype(float))
    losses = nll(logits_of(site))
    expected = ((raw * 3 / raw.sum())[Y] * (1 - np.exp(-losses)) ** gamma * losses).mean()
    assert value(site) == pytest.approx(expected, rel=1e-5)


def test_logit_adjustment(make_site: Any) -> None:
    site = make_site(LogitAdjustment(1.5))
    assert value(site) == pytest.approx(nll(logits_of(site) + 1.5 * np.log(COUNTS / 10)).mean(), rel=1e-5)
    plain = make_site(LogitAdjustment(0.0))
    assert value(plain) == pytest.approx(nll(logits_of(plain)).mean(), rel=1e-5)


def test_a_class_that_a_site_lacks_is_left_alone(make_site: Any) -> None:
    """Its logit has no part in the loss, and its weights get no gradient."""
    site = make_site(LogitAdjustment(1.0))
    site.class_counts = torch.tensor([7, 3, 0])
    rows = torch.arange(9)
    site.learner.loss(site, site.data.batch(rows)).backward()
    gradient = site.model.head.weight.grad
    assert gradient[:2].abs().min() > 0
    assert gradient[2].abs().max() < 1e-7


def test_ldam_margins_by_hand() -> None:
    """16 and 1 samples: 1/2 and 1, scaled so that the largest is 1/2."""
    assert priors.ldam_margins(torch.tensor([16, 1, 0]), 0.5).tolist() == [0.25, 0.5, 0.0]


@pytest.mark.parametrize(("progress", "weighted"), [(0.79, False), (0.8, True)])
def test_ldam_lowers_the_true_class_and_weighs_late(make_site: Any, progress: float, weighted: bool) -> None:
    site = make_site(LDAM(beta=0.9), progress=progress, span=0.0)
    cosines = X @ site.model.head.weight.detach().numpy().T
    cosines /= np.linalg.norm(X, axis=1)[:, None] * np.linalg.norm(site.model.head.weight.detach().numpy(), axis=1)
    margins = COUNTS**-0.25 / 1.0 * 0.5
    scores = 30 * (cosines - margins[Y][:, None] * np.eye(3)[Y])
    weights = ((1 - 0.9) / (1 - 0.9 ** COUNTS.astype(float)))[Y] if weighted else np.ones(10)
    assert value(site) == pytest.approx((weights * nll(scores)).sum() / weights.sum(), rel=1e-4)
    never = make_site(LDAM(beta=0.9, defer=None), progress=progress, span=0.0)
    assert value(never) == pytest.approx(nll(scores).mean(), rel=1e-4)


def test_a_cosine_head_ignores_norms() -> None:
    head = CosineHead(4, 3, 30.0)
    x = torch.as_tensor(X)
    once = head(x)
    head.weight.data *= torch.tensor([[2.0], [3.0], [4.0]])
    assert torch.allclose(head(5 * x), once, atol=1e-4)
    assert once.abs().max() <= 30.0


def test_mixup_mixes_samples_and_targets_alike(make_site: Any) -> None:
    site = make_site(Mixup(0.5))
    twin = np.random.default_rng(3)
    share, order = twin.beta(0.5, 0.5), twin.permutation(10)
    assert 0.01 < share < 0.99
    site.rng = np.random.default_rng(3)
    scores = logits_of(site, share * X + (1 - share) * X[order])
    expected = (share * nll(scores) + (1 - share) * nll(scores, Y[order])).mean()
    assert value(site) == pytest.approx(expected, rel=1e-5)


# Stages and samplers --------------------------------------------------------------------------------------------------


def test_crt_trains_a_new_head_on_balanced_draws(make_site: Any) -> None:
    site = make_site(CRT(0.5), span=0.25, progress=0.5)
    assert (site.stage.name, site.stage.only) == ("classifier", ("head.*",))
    with torch.no_grad():
        site.learner.begin(site)
    assert not site.model.head.weight.any()
    assert (Y[site.positions(3000)] == 2).mean() == pytest.approx(1 / 3, abs=0.03)
    site.model.head.weight.data.fill_(1.0)
    site.progress = 0.75  # the second round of the stage goes on
    with torch.no_grad():
        site.learner.begin(site)
    assert site.model.head.weight.all()
    site.progress = 0.25
    with torch.no_grad():
        site.learner.begin(site)
    assert site.model.head.weight.all()
    assert (Y[site.positions(3000)] == 2).mean() == pytest.approx(0.1, abs=0.001)


@pytest.mark.parametrize(
    ("learner", "share"),
    [
        (Resampling(), 1 / 3),
        (Resampling(power=0.5), 1 / (1 + np.sqrt(3) + np.sqrt(6))),
        (Resampling("progressive"), (0.1 + 1 / 3) / 2),
        (Resampling("cooldown", temperature=2.0, until=0.6), 1 / (1 + np.sqrt(3) + np.sqrt(6))),
        (Resampling("cooldown", until=0.4), 0.1),
    ],
)
def test_resampling_draws_the_rarest_class_as_often_as_it_says(
    make_site: Any, learner: Resampling, share: float
) -> None:
    site = make_site(learner, progress=0.5, span=0.0)
    assert (Y[site.positions(20_000)] == 2).mean() == pytest.approx(share, abs=0.015)


# Prediction -----------------------------------------------------------------------------------------------------------


def test_posthoc_adjustment_takes_the_prior_off(make_site: Any) -> None:
    site = make_site(PosthocLogitAdjustment(2.0))
    site.class_counts = torch.tensor([7, 3, 0])
    with torch.no_grad():
        site.learner.begin(site)
        found = site.learner.predict(site.model, torch.as_tensor(X))
    expected = logits_of(site) - 2 * np.array([np.log(0.7), np.log(0.3), 0.0])
    assert list(found) == ["adjusted", "plain"]
    assert found["adjusted"].numpy() == pytest.approx(expected, rel=1e-4)
    assert found["plain"].numpy() == pytest.approx(logits_of(site), rel=1e-4)


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_tau_norm(make_site: Any, tau: float) -> None:
    site = make_site(TauNorm(tau))
    weight = site.model.head.weight.detach().numpy()
    with torch.no_grad():
        found = site.learner.predict(site.model, torch.as_tensor(X))["normalised"].numpy()
    assert found == pytest.approx(
        X @ (weight / np.linalg.norm(weight, axis=1, keepdims=True) ** tau).T, rel=1e-4, abs=1e-6
    )


def test_ncm_is_the_nearest_mean_of_unit_features(make_site: Any) -> None:
    site = make_site(NCM())
    with torch.no_grad():
        site.learner.finish(site)
        found = site.learner.predict(site.model, torch.as_tensor(X))["nearest"].numpy()
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    means = np.stack([unit[label == Y].mean(0) for label in range(3)])
    assert found == pytest.approx(unit @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T, rel=1e-4, abs=1e-6)


def test_servers_pool_priors_and_class_means(tiny: dict[str, Any], tmp_path: Path) -> None:
    """One round with all clients: the buffer is the frequency of each class over all samples."""
    from safetensors.torch import load_file

    changes = ["federation.rounds=1", "federation.participation=1"]
    counts = federate(load_scenario(tiny)).class_counts
    run = fedlt.run(tiny, "learner=posthoc_logit_adjustment", *changes, out=tmp_path)
    prior = load_file(run.folder / "model.safetensors")["class_prior"].numpy()
    assert prior == pytest.approx(counts / counts.sum(), rel=1e-5)
    run = fedlt.run(tiny, "learner=ncm", *changes, out=tmp_path)
    sums = load_file(run.folder / "model.safetensors")["class_sums"]
    assert sums.shape == (10, 16)
    assert (sums.norm(dim=1).numpy() <= counts / counts.sum() + 1e-6).all()  # unit vectors, summed by class, over n
    assert "generic[plain]/accuracy" in run.final


# All ------------------------------------------------------------------------------------------------------------------

TWO_LAYERS = (
    "model.depth=2",
    "federation.rounds=3",
    "evaluation.every=3",
    "local.schedule=cosine",
    "data.unlabelled.hidden=0.2",
    "data.parents=[a, a, b, b, c, c, d, d, e, e]",
)


@pytest.mark.parametrize("strategy", ["centralized", "fedavg", "local"])
@pytest.mark.parametrize("learner", trained("learner"))
def test_every_learner_runs_or_says_why_not(tiny: dict[str, Any], learner: str, strategy: str, tmp_path: Path) -> None:
    scenario = load_scenario(tiny, [*TWO_LAYERS, f"learner={learner}", f"strategy={strategy}"])
    made = scenario.learner.create()
    reason = made.obstacle(scenario.strategy.create())
    if reason:
        with pytest.raises(ScenarioError, match="has no meaning inside"):
            fedlt.run(scenario, out=tmp_path)
        return
    run = fedlt.run(scenario, out=tmp_path)
    assert np.isfinite(run.rounds.train_loss).all()
    assert 0 <= run.final["personal/accuracy"] <= 1


@pytest.mark.slow
@pytest.mark.parametrize("learner", [name for name in trained("learner") if name != "cross_entropy"])
def test_no_learner_is_cross_entropy_under_another_name(tiny: dict[str, Any], learner: str, tmp_path: Path) -> None:
    """Its headline predictions differ, in federated training or in what is made of the same model."""
    changes = [*TWO_LAYERS, "federation.rounds=6", "evaluation.every=6"]
    runs = [
        fedlt.run(tiny, *changes, f"learner={name}", "strategy=centralized", out=tmp_path)
        for name in ("cross_entropy", learner)
    ]
    tables = [run.confusion[run.confusion.model == "generic"].groupby("pred")["count"].sum() for run in runs]
    assert not tables[0].equals(tables[1])


def test_learner_files_are_short() -> None:
    """The median without its docstring is under 100 lines; a loss of one batch costs at most 27, its needs included."""
    import ast

    lengths = {}
    for name in catalog.names("learner"):
        path = catalog.ROOT / "fedlt" / "learners" / f"{name}.py"
        text = path.read_text(encoding="utf-8")
        docstring = ast.parse(text).body[0]
        lengths[name] = len(text.splitlines()) - (docstring.end_lineno or 0)
    assert np.median(list(lengths.values())) < 100
    assert (
        max(
            lengths[name]
            for name in ("focal", "logit_adjustment", "class_balanced", "cross_entropy", "asymmetric_loss")
        )
        <= 27
    )


def test_a_class_that_nobody_has_is_neither_learnt_nor_preferred() -> None:
    """Training lowers its logit far, a correction afterwards leaves it where it is."""
    counts = torch.tensor([3, 1, 0])
    assert priors.log_prior(counts)[:2].tolist() == pytest.approx([np.log(0.75), np.log(0.25)])
    assert -100 < priors.log_prior(counts)[2].item() < -20
    assert priors.correction(counts).tolist() == pytest.approx([np.log(0.75), np.log(0.25), 0.0])
