"""ProCo: the normaliser against SciPy's Bessel functions, the closed form against draws, and means over all clients."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from few_images import Y, site_of
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy.special import ive
from scipy.stats import vonmises_fisher

import fedlt
from fedlt.learners.proco import GATHERED, SUMS, USED, ProCo, contrast_logits
from fedlt.nn.von_mises import concentration, log_inverse_normaliser

Array = NDArray[np.float64]


def inverse(kappa: Array, dim: int) -> Array:
    """log I(kappa) - nu log kappa, by SciPy."""
    nu = dim / 2 - 1
    return np.log(ive(nu, kappa)) + kappa - nu * np.log(kappa)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("dim", "error"), [(128, 1e-9), (16, 1e-5), (8, 1e-3)])
def test_the_normaliser_and_its_slope_are_those_of_the_bessel_functions(dim: int, error: float) -> None:
    kappa = torch.tensor([0.01, 0.5, 3.0, 20.0, 606.3, 1e5], dtype=torch.float64, requires_grad=True)
    found = log_inverse_normaliser(kappa, dim)
    k = kappa.detach().numpy()
    assert np.abs(found.detach().numpy() - inverse(k, dim)).max() < error
    found.sum().backward()
    assert kappa.grad is not None
    assert kappa.grad.numpy() == pytest.approx(ive(dim / 2, k) / ive(dim / 2 - 1, k), abs=error)
    assert torch.isfinite(log_inverse_normaliser(torch.zeros(1, dtype=torch.float64), dim)).all()


def test_the_concentration_at_the_start_is_that_of_the_authors_code() -> None:
    lengths = torch.tensor([0.9, 0.0, 1.0], dtype=torch.float64)
    assert concentration(lengths, 128).tolist() == pytest.approx([606.316, 0.0, 1e5], abs=1e-3)


def test_the_closed_form_is_the_log_of_a_mean_over_draws() -> None:
    """z against 100,000 samples of a class on the sphere in ten dimensions, whose mean has length 1/2."""
    mean = np.zeros(10)
    mean[0] = 0.5
    kappa = float(concentration(torch.tensor(0.5), 10))
    drawn = vonmises_fisher(mean / 0.5, kappa, seed=0).rvs(100_000)
    z = np.zeros((2, 10))
    z[0, 0] = z[1, 3] = 1
    sums = torch.as_tensor(np.append(4 * mean, 4.0))[None]
    found = contrast_logits(torch.as_tensor(z), sums, 0.5)[:, 0].numpy()
    assert found == pytest.approx(np.log(np.exp(drawn @ z.T / 0.5).mean(0)), abs=0.02)
    assert abs(found[0] - found[1]) > 0.3


@pytest.fixture
def make_site(make_client: Any) -> Any:
    return partial(site_of, make_client, features=5)


def test_the_loss_is_adjusted_cross_entropy_and_that_of_the_closed_form(make_site: Any) -> None:
    site = make_site(ProCo(contrast=0.4, temperature=0.5, projection=12, tau=0.7))
    site.learner.begin(site)
    site.learner.epoch(site)
    before = site.state[USED].clone()
    seen: dict[str, torch.Tensor] = {}
    for name in ("projection", "head"):
        site.model.get_submodule(name).register_forward_hook(
            lambda m, i, output, at=name: seen.update({at: output.detach().double()})
        )
    site.generator = torch.Generator().manual_seed(3)
    found = site.learner.loss(site, site.trainer.batch(site, torch.arange(6)))

    z = (seen["projection"] / seen["projection"].norm(dim=1, keepdim=True)).numpy()
    y, prior = np.tile(Y, 2), 0.7 * np.log([4 / 6, 2 / 6])
    sums = before.double().numpy()
    for vector, label in zip(z, y, strict=True):
        sums[label] += np.append(vector, 1.0)
    means = sums[:, :-1] / sums[:, -1:]
    length = np.linalg.norm(means, axis=1)
    kappa = 12 * length / (1 - length**2)
    joint = np.linalg.norm((kappa / length)[:, None] * means + z[:, None] / 0.5, axis=2)
    expected = 0.0
    for scores, labels, weight in (
        (seen["head"].numpy(), Y, 1.0), (inverse(joint, 12) - inverse(kappa, 12), y, 0.4),
    ):  # fmt: skip
        scores = scores + prior
        expected += weight * (np.log(np.exp(scores).sum(1)) - scores[np.arange(len(labels)), labels]).mean()
    assert found.item() == pytest.approx(expected, rel=1e-4)
    assert site.trainer.work.backward_samples == 12  # of the two views; the loop counts the first

    found.backward()
    assert site.model.get_parameter("projection.2.weight").grad.norm() > 1e-4


def test_means_are_those_of_the_last_epoch_until_new_ones_come(make_site: Any) -> None:
    site = make_site(ProCo(projection=8))
    site.learner.begin(site)
    assert torch.allclose(site.state[GATHERED][:, :-1].norm(dim=1) / site.state[GATHERED][:, -1], torch.tensor(0.9))
    site.state[GATHERED] = torch.cat([3 * torch.eye(2, 8), torch.tensor([[4.0], [8.0]])], 1)
    site.learner.epoch(site)
    assert site.state[USED][:, -1].tolist() == [4, 8]
    assert torch.allclose(site.state[GATHERED], torch.cat([torch.eye(2, 8) * torch.tensor([[0.75], [0.375]]),
                                                           torch.ones(2, 1)], 1) * 1e-6)  # fmt: skip
    site.state[GATHERED][0] += torch.tensor([0.0, 5.0, 0, 0, 0, 0, 0, 0, 10.0])
    site.learner.finish(site)
    sums = site.model.get_buffer(SUMS)
    assert (sums[0, :-1] / sums[0, -1])[:2].tolist() == pytest.approx([0, 0.5], abs=1e-5)  # the new samples alone
    assert (sums[1, :-1] / sums[1, -1])[:2].tolist() == pytest.approx([0, 0.375])  # no new ones: as it was
    assert not site.state


def test_the_server_has_the_means_over_all_clients(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Two passes of two views over all samples: the numbers are twice the class shares of the federation."""
    from fedlt.config.scenario import load_scenario
    from fedlt.data.federation import federate

    changes = ["federation.rounds=1", "federation.participation=1", "local.epochs=2"]
    counts = federate(load_scenario(tiny)).class_counts
    run = fedlt.run(tiny, "learner=proco", *changes, out=tmp_path, backend="inline")
    sums = load_file(run.folder / "model.safetensors")[SUMS]
    assert sums[:, -1].numpy() == pytest.approx(2 * counts / counts.sum(), rel=1e-4)
    assert (sums[:, :-1].norm(dim=1) <= sums[:, -1] + 1e-6).all()


def test_the_head_alone_predicts(make_site: Any) -> None:
    site = make_site(ProCo())
    with torch.no_grad():
        expected = site.model.head(site.model.encode(site.data.x()))
        assert torch.equal(site.learner.predict(site.model, site.data.x()), expected)
