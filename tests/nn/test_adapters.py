"""Adapters: what is trained and travels, where they start, and what the mean of several clients' is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fedlt
from fedlt.config import catalog
from fedlt.config.module_source import COMMON, YOUNG
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.nn.model import Model
from fedlt.nn.net import Net
from fedlt.training import trial
from fedlt.training.assembly import assemble

pytestmark = pytest.mark.slow  # peft takes seconds to import

SHAPE = (1, 8, 8)

LAYERS = '''
import torch
from torch import nn


class Rows(nn.Module):
    """A transformer over the rows of an image, with a first token of its own."""

    def __init__(self, num_classes):
        super().__init__()
        self.first = nn.Parameter(torch.zeros(1, 1, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.blocks = nn.Sequential(layer)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x):
        x = torch.cat([self.first.expand(len(x), -1, -1), x.squeeze(1)], 1)
        return self.fc(self.blocks(x)[:, 0])


class Pooled(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.maps = nn.Conv2d(1, num_classes, 3)

    def forward(self, x):
        return self.maps(x).mean((2, 3))
'''


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    path = tmp_path / "layers.py"
    path.write_text(LAYERS, encoding="utf-8")
    return path


def build(model: dict[str, Any] | str, tiny: dict[str, Any]) -> Net:
    choice = load_scenario({**tiny, "model": model}).model
    torch.manual_seed(0)
    return trial.build(choice.create(), Task("single", 10, SHAPE), choice.name)


def trained(net: Net) -> set[str]:
    return {name for name, parameter in net.named_parameters() if parameter.requires_grad}


HEAD = {"head.weight", "head.bias"}
LORA = {f"backbone.blocks.0.linear{i}.lora_{part}.default.weight" for i in (1, 2) for part in "AB"}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"adapter": "lora"}, LORA | HEAD),
        ({"adapter": {"name": "lora", "freeze_a": True}}, {name for name in LORA if "lora_B" in name} | HEAD),
        ({"adapter": {"name": "lora", "layers": ["*.linear1"]}}, {name for name in LORA if "linear1" in name} | HEAD),
        (
            {"adapter": "mlp"},
            {f"backbone.{part}.{what}" for part in ("down", "up") for what in ("weight", "bias")} | HEAD,
        ),
        ({"adapter": "vpt"}, {"backbone.blocks.0.layer.prompts"} | HEAD),
        ({"freeze": True}, HEAD),
    ],
)
def test_only_the_adapter_and_the_head_are_trained(
    tiny: dict[str, Any], layers: Path, keys: dict[str, Any], expected: set[str]
) -> None:
    assert trained(build({"name": f"{layers}:Rows", **keys}, tiny)) == expected


def test_bitfit_trains_biases(tiny: dict[str, Any], layers: Path) -> None:
    names = trained(build({"name": f"{layers}:Rows", "adapter": "bitfit"}, tiny))
    assert names - HEAD
    assert all(name.endswith("bias") for name in names - {"head.weight"})


def test_freezing_is_said_by_patterns_and_for_every_model(tiny: dict[str, Any], layers: Path) -> None:
    whole = trained(build(f"{layers}:Rows", tiny))
    some = trained(build({"name": f"{layers}:Rows", "freeze": ["blocks.*"]}, tiny))
    assert some == {name for name in whole if not name.startswith("backbone.blocks.")} != whole
    assert trained(build({"name": "mlp", "freeze": True}, tiny)) == HEAD
    everything = trained(build({"name": f"{layers}:Rows", "adapter": "lora", "freeze": False}, tiny))
    assert {"backbone.first", *LORA} < everything


@pytest.mark.parametrize("adapter", ["lora", "mlp", "bitfit"])
def test_a_model_starts_as_it_arrived(tiny: dict[str, Any], layers: Path, adapter: str) -> None:
    x = torch.randn(3, *SHAPE)
    plain = build(f"{layers}:Rows", tiny).train()(x)
    adapted = build({"name": f"{layers}:Rows", "adapter": adapter}, tiny).train()(x)
    assert torch.allclose(adapted, plain, atol=1e-5)  # to the bit on some processors


def test_prompts_join_and_leave(tiny: dict[str, Any], layers: Path) -> None:
    net = build({"name": f"{layers}:Rows", "adapter": {"name": "vpt", "tokens": 3}}, tiny).train()
    lengths: list[int] = []
    inner = net.backbone.blocks[0].layer.layer  # type: ignore[index,union-attr]
    inner.register_forward_hook(lambda _, given, output: lengths.append(given[0].shape[1]))  # type: ignore[union-attr]
    tokens = net.backbone.blocks(torch.randn(2, 9, 8))  # type: ignore[operator]
    assert lengths == [12]
    assert tokens.shape == (2, 9, 8)


def test_low_rank_changes_count_in_evaluation_mode_too(tiny: dict[str, Any], layers: Path) -> None:
    """PyTorch's fused transformer layer reads the weights of its linear layers, and would pass adapters by."""
    net = build({"name": f"{layers}:Rows", "adapter": "lora"}, tiny)
    x = torch.randn(3, *SHAPE)
    with torch.no_grad():
        before = net.eval()(x)
        for name, parameter in net.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.5)
        after = net.eval()(x)
        assert not torch.allclose(before, after)
        assert torch.allclose(after, net.train()(x), atol=1e-5)


def change(net: Net) -> Tensor:
    """What LoRA adds to the weight of the first linear layer: scale B A."""
    layer: Any = net.backbone.get_submodule("blocks.0.linear1")
    return layer.get_delta_weight("default").detach()  # type: ignore[no-any-return]


@pytest.mark.parametrize(("freeze_a", "exact"), [(True, True), (False, False)])
def test_the_mean_is_exact_where_a_stays(tiny: dict[str, Any], layers: Path, freeze_a: bool, exact: bool) -> None:
    model = {"name": f"{layers}:Rows", "adapter": {"name": "lora", "rank": 2, "freeze_a": freeze_a}}
    one, two, mean = (build(model, tiny) for _ in range(3))
    for seed, net in enumerate((one, two)):
        torch.manual_seed(seed)
        for parameter in net.parameters():
            if parameter.requires_grad:
                nn.init.normal_(parameter)

    # What FedAvg does to two clients with equally many samples.
    with torch.no_grad():
        for middle, a, b in zip(mean.parameters(), one.parameters(), two.parameters(), strict=True):
            middle.copy_((a + b) / 2)
    assert torch.allclose(change(mean), (change(one) + change(two)) / 2, atol=1e-6) == exact


def test_the_mean_of_equal_clients_is_each_of_them(tiny: dict[str, Any], layers: Path) -> None:
    net = build({"name": f"{layers}:Rows", "adapter": "lora"}, tiny)
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    before = change(net).clone()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_((parameter + parameter) / 2)
    assert torch.equal(change(net), before)


@pytest.mark.parametrize(
    ("model", "key", "message"),
    [
        (
            {"name": "NET:Pooled", "adapter": "lora"},
            "model",
            "lora finds no linear layer before the head; name convolutions",
        ),
        (
            {"name": "NET:Pooled", "adapter": "mlp"},
            "model",
            "the adapter mlp works on features: layers.py:Pooled has no",
        ),
        ({"name": "NET:Pooled", "freeze": True}, "model", "model.freeze leaves nothing to train"),
        (
            {"name": "NET:Pooled", "adapter": "vpt"},
            "model",
            "vpt finds no layers of a transformer by their usual names",
        ),
        ({"name": "NET:Rows", "adapter": {"name": "vpt", "at": "bloks"}}, "model", "no list of layers 'bloks'"),
        ({"name": "NET:Rows", "adapter": {"name": "lora", "layers": ["q*"]}}, "model", "'q*' matches no linear layer"),
        ({"name": "NET:Rows", "freeze": ["stem.*"]}, "model", "model.freeze: 'stem.*' matches no parameter"),
        ({"name": "NET:Rows", "adapter": "lorra"}, "model.adapter", "unknown adapter 'lorra'; did you mean 'lora'?"),
        ({"name": "NET:Rows", "adapter": {"name": "lora", "rnk": 2}}, "model.adapter.rnk", "did you mean 'rank'?"),
        ({"name": "mlp", "adapter": {"rank": 2}}, "model.adapter", "expected the name of a adapter"),
    ],
)
def test_what_does_not_fit_is_told(
    tiny: dict[str, Any], layers: Path, model: dict[str, Any], key: str, message: str
) -> None:
    with pytest.raises(ScenarioError) as caught:
        build({**model, "name": model["name"].replace("NET", str(layers))}, tiny)
    (problem,) = caught.value.problems
    assert problem.key == key
    assert message in problem.message


def test_keys_of_every_model_stand_in_one_place(tiny: dict[str, Any]) -> None:
    """Those of recipes are read from `Model`, those of modules from a table: both must say the same."""
    found = {field.name: field for field in catalog.find("model", "mlp").fields}
    for field in COMMON:
        assert found[field.name].annotation.replace('"', "'") == field.annotation
    assert Model.young == tuple(field.name for field in COMMON) == YOUNG[: len(COMMON)]
    assert load_scenario(tiny).to_dict()["model"] == {"name": "mlp", "width": 16, "depth": 1}
    written = load_scenario(tiny, ["model.adapter=lora"]).to_dict()["model"]["adapter"]
    assert written == {"name": "lora", "rank": 8, "alpha": None, "dropout": 0.0, "layers": [], "freeze_a": False}


def test_a_recipe_with_fields_of_the_same_names_keeps_their_meaning(tiny: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from dataclasses import dataclass\nfrom fedlt.nn.mlp import MLP\n\n"
        "@dataclass(frozen=True)\nclass Mine(MLP):\n    freeze: int = 3  # rounds\n",
        encoding="utf-8",
    )
    assert len(trained(build({"name": f"{path}:Mine", "width": 4}, tiny))) == 6


@pytest.mark.grid
def test_adapters_and_head_alone_travel(tiny: dict[str, Any], layers: Path, tmp_path: Path) -> None:
    model = f"model={{name: {layers}:Rows, adapter: lora}}"
    scenario = load_scenario(tiny, [model])
    parts = assemble(scenario, federate(scenario), torch.device("cpu"))
    numbers = 2 * 8 * (8 + 16) + 10 * 8 + 10  # A and B of two layers of rank 8, and the head
    assert len(parts.flat.shared) == parts.flat.num_trainable == numbers

    runs = [fedlt.run(tiny, model, out=tmp_path / name, backend=name) for name in ("inline", "processes", "ray")]
    assert len({run.summary["model_hash"] for run in runs}) == 1
    rounds = runs[0].rounds
    assert (rounds["bytes_up"] == 3 * 4 * numbers).all()
    assert (rounds["bytes_down"] >= 3 * 4 * numbers).all()
    assert (rounds["bytes_down"] < 3 * 4 * (numbers + 100)).all()
