"""Models written to files: graphs that torch alone reads and that give the run's figures, and weights by name."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.errors import FedLTError, ScenarioError
from fedlt.results.runs import Run

pytestmark = pytest.mark.slow

SCRIPT = """
import sys, torch

for model_file, test_file in zip(sys.argv[1::2], sys.argv[2::2]):
    extra = {"fedlt.json": ""}
    model = torch.export.load(model_file, extra_files=extra).module()
    x, y = torch.load(test_file)
    with torch.no_grad():
        right = sum(int((model(part).argmax(-1) == true).sum()) for part, true in zip(x.split(100), y.split(100)))
        assert model(x[:1]).shape[0] == 1
    print(right / len(y), extra["fedlt.json"])
assert not [name for name in sys.modules if name.partition(".")[0] in ("fedlt", "strategies", "clients", "server")]
"""


def outside(folder: Path, *tests: tuple[Path, Any, Any]) -> list[tuple[float, dict[str, Any]]]:
    """Accuracies of exported graphs in a process that imports only torch, and what the files say of the models."""
    words = []
    for model_file, x, y in tests:
        test_file = model_file.with_suffix(".test")
        torch.save((torch.from_numpy(np.array(x)), torch.from_numpy(np.array(y))), test_file)
        words += [str(model_file), str(test_file)]
    (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, "-I", str(folder / "script.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    lines = (line.partition(" ") for line in done.stdout.splitlines())
    return [(float(accuracy), json.loads(about)) for accuracy, _, about in lines]


def exported(run: Run, file: Path, *options: str) -> Path:
    done = CliRunner().invoke(app, ["export", str(run.folder), "-o", str(file), *options])
    assert done.exit_code == 0, done.output
    assert str(file) in done.output
    return file


def test_a_graph_reproduces_the_figures_of_the_run_with_torch_alone(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, "strategy=fedloge", "model=cnn", "federation.participation=1", out=tmp_path)
    federation = federate(load_scenario(run.scenario))
    x, y = federation.x_test, federation.y_test

    own = federation.tests[3]
    generic = exported(run, tmp_path / "model.pt2")
    personal = exported(run, tmp_path / "psi.pt2", "--client", "3", "--variant", "psi")
    (accuracy, about), (psi, about_psi) = outside(tmp_path, (generic, x, y), (personal, x[own], y[own]))

    assert accuracy == run.final["generic/accuracy"]
    assert about["class_names"] == [str(digit) for digit in range(10)]
    assert about["scenario_hash"] == run.summary["scenario_hash"]
    assert (about["model"], about["strategy"]) == ("cnn", "fedloge")
    assert (about["variant"], about["client"]) == ("realigned", None)
    assert about["inputs"] == {"kind": "images", "size": [1, 8, 8]}

    table = run.client_variants
    rows = table[(table["round"] == 2) & (table["variant"] == "psi")].set_index("client")
    assert psi == rows.loc[3, "accuracy"]
    assert (about_psi["client"], about_psi["variant"]) == (3, "psi")
    assert not list(tmp_path.glob(".*.part"))


def test_neighbours_are_part_of_the_graph(tiny: dict[str, Any], tmp_path: Path) -> None:
    model = fedlt.run(tiny, "strategy=knnper", "federation.participation=1", out=tmp_path).client(0)
    model.export(tmp_path / "near.pt2")
    graph = torch.export.load(tmp_path / "near.pt2").module()
    x = torch.randint(0, 256, (60, 8, 8, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for part in (x, x[:1], x[:26]):
        assert torch.allclose(graph(part), model(part), atol=1e-5)
    assert torch.equal(graph(x), model(x))


NET = """
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes, input_shape, width=12):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.BatchNorm1d(width), nn.ReLU())
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.fc(self.body(x))
"""


def test_weights_fit_the_module_of_ones_own(tiny: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    tiny["local"]["last_batch"] = "drop"
    run = fedlt.run({**tiny, "model": f"{tmp_path}/net.py:Net"}, out=tmp_path)
    file = exported(run, tmp_path / "net.safetensors")
    with safe_open(file, "pt") as held:
        about = held.metadata()
    assert json.loads(about["inputs"]) == {"kind": "images", "size": [1, 8, 8]}
    assert about["scenario_hash"] == run.summary["scenario_hash"]
    assert about["model"] == "net.py:Net"
    assert str(tmp_path) not in str(about)

    names: dict[str, Any] = {}
    exec(NET, names)
    net = names["Net"](10, (1, 8, 8))
    net.load_state_dict(load_file(file))
    mean, std = (np.float32(json.loads(about["arrays"])[name]["values"]) for name in ("mean", "std"))
    x = federate(load_scenario(run.scenario)).x_test
    ready = torch.from_numpy((x.transpose(0, 3, 1, 2) / np.float32(255) - mean) / std)
    assert torch.allclose(net.eval()(ready), run.model().logits(x), atol=1e-5)


@pytest.mark.parametrize(
    ("words", "client", "beside", "enough"),
    [
        (("strategy=fedavg",), None, set(), True),
        (("strategy=ditto",), None, set(), True),
        (("strategy=ditto",), 1, set(), True),
        (("strategy=fedloge",), None, {"beside/simplex.weight", "beside/head.mean", "beside/head.square"}, False),
        (
            ("model.adapter=mlp",),
            None,
            {f"beside/backbone.{a}.{b}" for a in ("down", "up") for b in ("weight", "bias")},
            False,
        ),
    ],
)
def test_weights_alone_are_said_to_predict_or_not(
    words: tuple[str, ...], client: int | None, beside: set[str], enough: bool, tiny: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    tiny["local"]["last_batch"] = "drop"
    keys = "federation.participation=1", "local.lr=0.2"
    run = fedlt.run({**tiny, "model": f"{tmp_path}/net.py:Net"}, *words, *keys, out=tmp_path)
    file = tmp_path / "net.safetensors"
    options = () if client is None else ("--client", str(client))
    done = CliRunner().invoke(app, ["export", str(run.folder), "-o", str(file), *options])
    assert done.exit_code == 0, done.output
    with safe_open(file, "pt") as held:
        said = held.metadata()["prediction"]
    assert said == ("head of the features, by these weights" if enough else "needs more than these weights: take .pt2")
    assert ("take .pt2" in done.output) is not enough

    tensors = load_file(file)
    assert {name for name in tensors if name.startswith("beside/")} == beside
    names: dict[str, Any] = {}
    exec(NET, names)
    net = names["Net"](10, (1, 8, 8))
    net.load_state_dict({name: tensor for name, tensor in tensors.items() if name not in beside})
    model = run.model() if client is None else run.client(client)
    x = model.kind.example(16, torch.Generator().manual_seed(1))
    assert torch.allclose(net.eval()(x), model.of_prepared(x), atol=1e-5) is enough
    assert oct(file.stat().st_mode)[-3:] == oct((run.folder / "run.json").stat().st_mode)[-3:]


def test_no_path_of_the_machine_is_in_a_graph(tiny: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    tiny["local"]["last_batch"] = "drop"
    run = fedlt.run({**tiny, "model": f"{tmp_path}/net.py:Net"}, "strategy=fedloge", out=tmp_path)
    with zipfile.ZipFile(exported(run, tmp_path / "model.pt2")) as held:
        content = {name: held.read(name) for name in held.namelist()}
    for told in (str(tmp_path), str(Path(fedlt.__file__).parents[1]), "site-packages", ", line "):
        assert not [name for name, part in content.items() if told.encode() in part]


def test_weights_are_those_that_predict(tiny: dict[str, Any], tmp_path: Path) -> None:
    everyone = "federation.participation=1"
    creff = fedlt.run(tiny, "strategy=creff", everyone, out=tmp_path)
    names = set(load_file(exported(creff, tmp_path / "creff.safetensors")))
    assert names == {"backbone.1.weight", "backbone.1.bias", "head.weight", "head.bias", "beside/head"}
    loge = fedlt.run(tiny, "strategy=fedloge", everyone, out=tmp_path)
    assert not [n for n in load_file(exported(loge, tmp_path / "l.safetensors")) if n.startswith("local_head")]
    own = load_file(exported(loge, tmp_path / "l.safetensors", "--client", "1"))
    assert torch.equal(own["local_head.weight"], loge.client(1).net.part("local_head").weight)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "model.onnx"], "expected a file that ends with .pt2 (the graph"),
        (["-o", "nowhere/model.pt2"], "there is no folder nowhere"),
        (["-o", "model.pt2", "--client", "6"], "has no client 6; its clients are 0 to 5"),
        (["-o", "model.pt2", "--variant", "psi"], "has no variant 'psi' of this model"),
        (["-o", "model.pt2"], "is running, not finished"),
        (["-o", "model.pt2"], "is not a run folder"),
        (["-o", "model.pt2"], "local has no generic model; clients have their own: --client 0"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(
    words: list[str], message: str, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    strategy = "local" if "generic" in message else "fedavg"
    folder = fedlt.run(tiny, f"strategy={strategy}", "federation.rounds=1").folder
    if "running" in message:
        content = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**content, "status": "running"}))
    if "run folder" in message:
        folder = folder.parent
    done = CliRunner().invoke(app, ["export", str(folder), *words])
    assert done.exit_code == 2
    assert message in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_what_follows_from_the_samples_is_not_traced(tiny: dict[str, Any], own_file: Any, tmp_path: Path) -> None:
    path = own_file(
        "@dataclass(frozen=True)\nclass Moody(Strategy):\n"
        "    def generic(self, server, x):\n"
        "        logits = super().generic(server, x)\n"
        "        return logits if logits.mean() > 0 else -logits\n"
    )
    model = fedlt.run(tiny, f"strategy={path}:Moody", out=tmp_path).model()
    with pytest.raises(FedLTError, match=r"cannot be traced \(.*\); its weights can be .* \.safetensors"):
        model.export(tmp_path / "moody.pt2")
    assert not list(tmp_path.glob("*.pt2")) + list(tmp_path.glob(".*part"))
    model.export(tmp_path / "moody.safetensors")
    with pytest.raises(ScenarioError, match="expected a file that ends with"):
        model.export(tmp_path / "moody.onnx")


TABLE = {"x": np.array([[1.0, np.nan], [3.0, 5.0], [2.0, 7.0], [0.0, 1.0]] * 6, np.float32)}
IDS = {"x": np.array([[3, 1, 4], [1, 2, 0], [0, 2, 0], [2, 2, 2]] * 6), "mask": np.array([[1, 1, 1], [1, 0, 0]] * 12)}

BAG = """
import torch
from torch import nn


class Bag(nn.Module):
    def __init__(self, num_classes, vocabulary):
        super().__init__()
        self.table = nn.Embedding(vocabulary, 4)
        self.out = nn.Linear(4, num_classes)

    def forward(self, ids, mask):
        return self.out((self.table(ids) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
"""


@pytest.mark.parametrize(("given", "model"), [(TABLE, "mlp"), (IDS, "bag.py:Bag")], ids=["rows with holes", "tokens"])
def test_other_inputs_are_prepared_in_the_graph(given: dict[str, Any], model: str, tmp_path: Path) -> None:
    (tmp_path / "bag.py").write_text(BAG, encoding="utf-8")
    y = np.arange(24) % 2
    arrays = {f"{name}_{split}": part for name, part in given.items() for split in ("train", "test")}
    np.savez(tmp_path / "mine.npz", y_train=y, y_test=y, **arrays)
    scenario = {
        "data": {"name": str(tmp_path / "mine.npz")},
        "federation": {"clients": 2, "participation": 1.0, "rounds": 2, "partition": "iid"},
        "model": model if model == "mlp" else f"{tmp_path}/{model}",
    }
    run = fedlt.run(scenario, out=tmp_path)
    trained = run.model()
    mask = given.get("mask")
    assert float((trained.predict(given["x"], names=False, mask=mask) == y).mean()) == run.final["generic/accuracy"]
    trained.export(tmp_path / "model.pt2")
    graph, x = (
        torch.export.load(tmp_path / "model.pt2").module(),
        torch.from_numpy(trained.stored(given["x"], mask=mask)),
    )
    assert torch.equal(graph(x), trained(x))
    assert torch.allclose(graph(x[3:4]), trained(x[3:4]), atol=1e-6)
