"""Weights to begin with: which tensors are taken, what is said of it, and that every backend begins alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.errors import ScenarioError
from fedlt.nn.names import plain_in_file
from fedlt.results.runs import Run
from fedlt.training.assembly import Assembly, assemble

CPU = torch.device("cpu")


def assembled(tiny: dict[str, Any], *overrides: str) -> Assembly:
    scenario = load_scenario(tiny, overrides)
    return assemble(scenario, federate(scenario), CPU)


@pytest.fixture
def weights(tiny: dict[str, Any], tmp_path: Path) -> Path:
    """The tiny model's weights, all of them 0.5, as a state dict."""
    named = {name: torch.full_like(t, 0.5) for name, t in assembled(tiny).model.state_dict().items()}
    torch.save(named, tmp_path / "half.pt")
    return tmp_path / "half.pt"


def test_what_is_not_given_is_drawn_as_ever(tiny: dict[str, Any], weights: Path, tmp_path: Path) -> None:
    plain = assembled(tiny)
    parts = assembled(tiny, f"init_from={weights}", "init_from.without=[head.*]")
    assert parts.initial is not None
    assert parts.initial.text() == "init_from half.pt: 2 of 4 tensors taken; head.weight, head.bias begin anew"
    assert parts.initial.text() in parts.remarks()
    for name, tensor in parts.flat.tensors.items():
        expected = plain.flat.tensors[name] if name.startswith("head.") else torch.full_like(tensor, 0.5)
        assert torch.equal(tensor, expected)

    # A file of some tensors only, under the usual key.
    held = torch.load(weights, weights_only=True)
    torch.save({"state_dict": {"head.bias": held["head.bias"]}, "epoch": 3}, tmp_path / "part.pt")
    some = assembled(tiny, f"init_from={tmp_path / 'part.pt'}").initial
    assert some is not None
    assert some.text().endswith("1 of 4 tensors taken; backbone.1.weight, backbone.1.bias, head.weight begin anew")


def test_copies_that_strategies_make_begin_alike(tiny: dict[str, Any], weights: Path) -> None:
    own = assembled(tiny, f"init_from={weights}", "strategy=apfl").flat.tensors
    assert torch.equal(own["own.backbone.1.weight"], own["backbone.1.weight"])
    assert own["own.backbone.1.weight"].eq(0.5).all()


NET = """
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.BatchNorm1d(5), nn.ReLU())
        self.fc = nn.Linear(5, num_classes)

    def forward(self, x):
        return self.fc(self.body(x))
"""


def test_a_state_dict_of_ones_own_module_fits_under_its_own_names(tiny: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    names: dict[str, Any] = {}
    exec(NET, names)
    net = names["Net"](10)
    net.body[2].running_mean.fill_(3.0)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    tiny["model"], tiny["local"]["last_batch"] = f"{tmp_path}/net.py:Net", "drop"
    parts = assembled(tiny, f"init_from={tmp_path / 'net.pt'}")
    assert parts.initial is not None
    assert parts.initial.text() == "init_from net.pt: 8 of 8 tensors taken"
    assert torch.equal(parts.flat.tensors["head.weight"], net.fc.weight)
    assert torch.equal(parts.flat.tensors["backbone.body.2.running_mean"], torch.full((5,), 3.0))


@pytest.mark.slow
@pytest.mark.parametrize("first", ["null", "mlp", "lora", "bitfit"])
def test_a_trained_backbone_is_taken_under_any_adapter(first: str, tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, f"model.adapter={first}", "federation.rounds=5", out=tmp_path)
    held = load_file(run.folder / "model.safetensors")
    longer = {"mlp": "backbone.encoder.1.", "lora": "backbone.1.base_layer."}
    for second in ("null", "mlp", "lora", "bitfit"):
        own = assembled(tiny, f"init_from={run.folder}", f"model.adapter={second}")
        for kind in ("weight", "bias"):
            there = held[longer.get(first, "backbone.1.") + kind]
            assert torch.equal(own.flat.tensors[longer.get(second, "backbone.1.") + kind], there), (second, kind)
            assert torch.equal(own.flat.tensors[f"head.{kind}"], held[f"head.{kind}"])
        assert own.initial is not None
        added = first in longer and first != second
        assert ("for which there is no place" in own.initial.text()) is added

    # Where the first had no adapter of its own, the second starts as the first ended.
    if first not in longer:
        adapted = fedlt.run(tiny, f"init_from={run.folder}", "model.adapter=mlp", "local.lr=1e-9", out=tmp_path)
        assert adapted.final["generic/accuracy"] == run.final["generic/accuracy"]


def test_names_tell_where_prompts_were() -> None:
    parts = [f"{at}.{name}" for at in ("0.layer", "1", "10.layer") for name in ("norm.weight", "fc.layer.bias")]
    names = ["blocks.0.prompts", "stem.layer.weight", *(f"blocks.{part}" for part in parts)]
    assert plain_in_file(names) == {
        "blocks.0.prompts": None,
        "stem.layer.weight": "stem.layer.weight",
        "blocks.0.layer.norm.weight": "blocks.0.norm.weight",
        "blocks.0.layer.fc.layer.bias": "blocks.0.fc.layer.bias",
        "blocks.1.norm.weight": "blocks.1.norm.weight",
        "blocks.1.fc.layer.bias": "blocks.1.fc.layer.bias",
        "blocks.10.layer.norm.weight": "blocks.10.norm.weight",
        "blocks.10.layer.fc.layer.bias": "blocks.10.fc.layer.bias",
    }
    single = ["blocks.0.layer.prompts", "blocks.0.layer.layer.weight"]
    assert plain_in_file(single) == {single[0]: None, single[1]: "blocks.0.weight"}


ROWS = """
from torch import nn


class Rows(nn.Module):
    def __init__(self, num_classes, depth=2):
        super().__init__()
        self.blocks = nn.Sequential(
            *(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True) for _ in range(depth))
        )
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.fc(self.blocks(x.squeeze(1))[:, 0])
"""


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2])
def test_prompts_go_around_trained_layers(depth: int, tiny: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "rows.py").write_text(ROWS, encoding="utf-8")
    tiny["model"] = {"name": f"{tmp_path}/rows.py:Rows", "depth": depth}
    names: dict[str, Any] = {}
    exec(ROWS, names)
    net = names["Rows"](10, depth)
    torch.save(net.state_dict(), tmp_path / "rows.pt")
    for adapter in ("vpt", "mlp", "lora"):
        own = assembled(tiny, f"init_from={tmp_path / 'rows.pt'}", f"model.adapter={adapter}")
        count = len(net.state_dict())
        assert own.initial is not None
        assert sum(own.initial.taken.values()) == count, own.initial.text()
        save_file({n: t.contiguous() for n, t in own.model.state_dict().items()}, tmp_path / "own.safetensors")
        for other in ("null", "mlp", "vpt", "lora"):
            back = assembled(tiny, f"init_from={tmp_path / 'own.safetensors'}", f"model.adapter={other}")
            assert back.initial is not None
            assert sum(back.initial.taken.values()) == (len(own.flat.tensors) if other == adapter else count)


def test_a_frozen_tensor_that_is_not_given_is_refused(tiny: dict[str, Any], tmp_path: Path) -> None:
    save_file({"head.bias": torch.ones(10)}, tmp_path / "w.safetensors")
    words = f"init_from={tmp_path / 'w.safetensors'}", "model.freeze=true"
    with pytest.raises(
        ScenarioError, match=r"keeps backbone\.1\.weight, backbone\.1\.bias frozen, and w\.safe.* no such"
    ):
        assembled(tiny, *words)
    with pytest.raises(ScenarioError, match=r"or say that it is meant: init_from\.without=\[backbone\.\*\]$"):
        assembled(tiny, *words)
    assert assembled(tiny, *words, "init_from.without=[backbone.*]").flat.tensors["head.bias"].eq(1).all()


def test_what_begins_anew_is_named_either_way(tiny: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    names: dict[str, Any] = {}
    exec(NET, names)
    torch.save(names["Net"](10).state_dict(), tmp_path / "net.pt")
    tiny["model"], tiny["local"]["last_batch"] = f"{tmp_path}/net.py:Net", "drop"
    for pattern in ("fc.*", "head.*"):
        initial = assembled(tiny, f"init_from={tmp_path / 'net.pt'}", f"init_from.without=[{pattern}]").initial
        assert initial is not None
        assert initial.anew == ["head.weight", "head.bias"]


@pytest.mark.parametrize(
    ("tensors", "words", "message"),
    [
        (
            {"head.weight": (3, 16)},
            (),
            r"init_from: head\.weight is \[3, 16\] in w\.safetensors and \[10, 16\] in this",
        ),
        ({"head.weight": (3, 16)}, (), r"init_from\.without=\[head\.\*\] begins them anew"),
        ({"backbon.1.weight": (3, 16)}, (), r"no tensor .*; nearest: backbon\.1\.weight for backbone\.1\.weight"),
        ({"q": (1,)}, (), r"no tensor .* of one of the model's; there: q; here: backbone\.1\.weight"),
        ({"head.bias": (10,)}, ("init_from.without=[hat.*]",), r"init_from\.without: 'hat\.\*' matches no tensor"),
    ],
)
def test_what_does_not_fit_is_refused(
    tensors: dict[str, tuple[int, ...]], words: tuple[str, ...], message: str, tiny: dict[str, Any], tmp_path: Path
) -> None:
    save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, tmp_path / "w.safetensors")
    with pytest.raises(ScenarioError, match=message):
        assembled(tiny, f"init_from={tmp_path / 'w.safetensors'}", *words)


def test_what_cannot_be_read_is_refused(tiny: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "torn.pt").write_bytes(b"no")
    (tmp_path / "names.txt").write_text("no")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pt")
    for name, message in (
        ("nowhere", "there is neither a finished run nor a file at .*nowhere"),
        ("torn.pt", r"torn\.pt cannot be read: \w+"),
        ("whole.pt", r"whole\.pt holds more than tensors by name.*torch\.save\(model\.state_dict\(\), path\)$"),
        ("list.pt", "holds no tensors by name; save them by"),
        ("names.txt", r"ends with \.safetensors or \.pt, got names\.txt"),
    ):
        with pytest.raises(ScenarioError, match=f"init_from: .*{message}"):
            assembled(tiny, f"init_from={tmp_path / name}")
    with pytest.raises(ScenarioError, match=r"init_from\.without: has no effect without init_from\.name"):
        load_scenario(tiny, ["init_from.without=[head.*]"])


def test_paths_start_at_the_file_that_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inside").mkdir()
    file = tmp_path / "inside" / "mine.yaml"
    file.write_text("init_from: {name: w.pt, without: [head.*]}\n", encoding="utf-8")
    assert load_scenario(file).init_from.name == str(tmp_path / "inside" / "w.pt")
    monkeypatch.chdir(tmp_path)
    assert load_scenario(file, ["init_from=w.pt"]).init_from.name == str(tmp_path / "w.pt")
    plain = load_scenario("digits_lt")
    assert "init_from" not in plain.to_dict()
    assert load_scenario("digits_lt", ["init_from=w.pt"]).hash != plain.hash


@pytest.mark.slow
def test_a_run_begins_where_another_ended(tiny: dict[str, Any], tmp_path: Path) -> None:
    first = fedlt.run(tiny, "strategy=fedper", "federation.rounds=3", out=tmp_path)
    second = fedlt.run(tiny, f"init_from={first.folder}", "federation.rounds=1", out=tmp_path)
    assert second.summary["init_from"] == {
        "source": first.folder.name,
        "taken": 2,
        "anew": ["head.weight", "head.bias"],
    }
    assert list(second.summary["inputs"]["init_from"]) == [f"{first.folder.name}/model.safetensors"]
    assert "2 of 4 tensors taken; head.weight, head.bias begin anew" in (second.folder / "log.txt").read_text()
    began = assembled(tiny, f"init_from={first.folder}").flat.tensors
    held = load_file(first.folder / "model.safetensors")
    assert torch.equal(began["backbone.1.weight"], held["backbone.1.weight"])  # the head is each client's own
    assert torch.equal(began["head.weight"], assembled(tiny).flat.tensors["head.weight"])

    # The figures of round 0 are not those of random weights, and the new run's model is known without the old one.
    whole = fedlt.run(tiny, f"init_from={second.folder}", "strategy=fedloge", "federation.rounds=1", out=tmp_path)
    (second.folder / "model.safetensors").unlink()
    assert np.isfinite(whole.model().probabilities(federate(load_scenario(tiny)).x_test[:2])).all()

    alone = fedlt.run(tiny, "strategy=local", "federation.rounds=1", out=tmp_path)
    with pytest.raises(ScenarioError, match=r"init_from: the clients of .* share no weights: under local each keeps"):
        assembled(tiny, f"init_from={alone.folder}")


@pytest.mark.slow
def test_edited_weights_are_refused(tiny: dict[str, Any], weights: Path, tmp_path: Path) -> None:
    run = fedlt.run(tiny, f"init_from={weights}", out=tmp_path)
    assert fedlt.run(tiny, f"init_from={weights}", out=tmp_path).summary["started"] == run.summary["started"]
    torch.save({name: t + 1 for name, t in torch.load(weights, weights_only=True).items()}, weights)
    with pytest.raises(ScenarioError, match=r"init_from: half\.pt changed since the run in .* was made; --force runs"):
        fedlt.run(tiny, f"init_from={weights}", out=tmp_path)


@pytest.mark.slow
def test_the_command_line_begins_with_weights(tiny: dict[str, Any], weights: Path, tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    OmegaConf.save(OmegaConf.create(tiny), tmp_path / "tiny.yaml")
    words = ["run", str(tmp_path / "tiny.yaml"), "--init-from", str(weights), "--out", str(tmp_path)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "init_from half.pt: 4 of 4 tensors taken" in done.output
    done = CliRunner().invoke(app, [*words[:3], str(tmp_path / "gone.pt"), *words[4:]])
    assert done.exit_code == 2
    assert len(list(tmp_path.glob("tiny-*"))) == 1


@pytest.mark.grid
@pytest.mark.slow
def test_every_backend_begins_alike(tiny: dict[str, Any], weights: Path, tmp_path: Path) -> None:
    def run(backend: str) -> Run:
        words = f"init_from={weights}", "strategy=fedloge"
        return fedlt.run(tiny, *words, backend=backend, workers=2, out=tmp_path / backend)

    hashes = {backend: run(backend).summary["model_hash"] for backend in ("inline", "processes", "ray")}
    assert len(set(hashes.values())) == 1, hashes
    assert fedlt.run(tiny, "strategy=fedloge", out=tmp_path).summary["model_hash"] not in hashes.values()
