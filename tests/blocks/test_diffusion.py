"""Noise put into images and taken out again, with numbers by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fedlt.blocks.diffusion import Denoiser, denoised, noisy, signal_shares


def image(value: float) -> Tensor:
    return torch.full((2, 1, 3, 3), value, dtype=torch.float64)


def test_levels_go_from_almost_all_signal_to_almost_none() -> None:
    """Squared cosines of 1/8, 3/8, 5/8 and 7/8 of a right angle."""
    assert signal_shares(4).tolist() == pytest.approx([0.96194, 0.69134, 0.30866, 0.03806], abs=1e-5)


def test_an_image_with_noise_and_what_is_asked_for() -> None:
    """With shares 0.64 and 0.36 the factors are 0.8 and 0.6, and the other way round."""
    given, wanted = noisy(image(2.0), image(1.0), torch.tensor([0.64, 0.36], dtype=torch.float64))
    assert given[:, 0, 0, 0].tolist() == pytest.approx([0.8 * 2 + 0.6 * 1, 0.6 * 2 + 0.8 * 1])
    assert wanted[:, 0, 0, 0].tolist() == pytest.approx([0.8 * 1 - 0.6 * 2, 0.6 * 1 - 0.8 * 2])


def test_steps_by_hand() -> None:
    """Told nothing: 0.6 x is clean and 0.8 x is left, which makes 0.96 x at the next level, of which 0.8 is clean."""
    shares = torch.tensor([0.64, 0.36], dtype=torch.float64)
    found = denoised(lambda x, level: torch.zeros_like(x), image(1.0), shares, 2)
    assert found[0, 0, 0, 0] == pytest.approx(0.8 * (0.8 * 0.6 + 0.6 * 0.8))


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_whoever_knows_the_image_gets_it(steps: int) -> None:
    shares, truth, asked = signal_shares(10).double(), image(3.0), []

    def tell(x: Tensor, level: Tensor) -> Tensor:
        asked.append(int(level[0]))
        a = shares[level][:, None, None, None]
        noise = (x - a.sqrt() * truth) / (1 - a).sqrt()
        return a.sqrt() * noise - (1 - a).sqrt() * truth

    noise = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(denoised(tell, noise, shares, steps), truth)
    assert asked == {1: [9], 3: [9, 4, 0], 10: [*range(9, -1, -1)]}[steps]


def test_it_is_told_class_and_features_and_keeps_the_size() -> None:
    """Sides that four does not divide are padded inside; every part of the condition changes what it says."""
    torch.manual_seed(0)
    net, level = Denoiser(2, 3, 4, 4, 10), torch.tensor([5])
    x, y, features = torch.randn(1, 2, 5, 7), torch.tensor([0]), torch.zeros(1, 4)
    said = net(x, level, y, features)
    assert said.shape == x.shape
    for other in (net(x, level + 1, y, features), net(x, level, y + 1, features), net(x, level, y, features + 1)):
        assert not torch.allclose(said, other)
    with pytest.raises(ValueError, match=r"a multiple of 4 channels, and learner\.width is 6"):
        Denoiser(2, 3, 4, 6, 10)
