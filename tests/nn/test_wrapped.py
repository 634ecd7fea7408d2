"""Ordinary modules as models: the head is found, and what cannot be taken apart is told in a sentence."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

import fedlt
from fedlt.config import catalog
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.nn.net import Net
from fedlt.training.assembly import assemble

NETS = '''
from torch import nn
from torch.nn import functional as F


class Plain(nn.Module):
    """Two layers, the last of which is the head."""

    def __init__(self, num_classes, input_shape, width=16, *, dropout=0):
        super().__init__()
        self.body = nn.Linear(64, width)
        self.drop = nn.Dropout(dropout)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.fc(self.drop(self.body(x.flatten(1)).relu()))


class Two(Plain):
    """An auxiliary head, defined after the one that counts."""

    def __init__(self, num_classes, input_shape, width=16):
        super().__init__(num_classes, input_shape, width)
        self.auxiliary = nn.Linear(width, num_classes)


class Tied(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.one, self.two = nn.Linear(64, 64), nn.Linear(64, 64)
        self.two.weight = self.one.weight
        self.out = nn.Linear(64, num_classes)

    def forward(self, x):
        return self.out(self.two(self.one(x.flatten(1)).relu()).relu())


class Rows(nn.Module):
    """An LSTM over the rows of an image."""

    def __init__(self, num_classes, hidden=16):
        super().__init__()
        self.lstm = nn.LSTM(8, hidden, batch_first=True)
        self.out = nn.Linear(hidden, num_classes)

    def forward(self, x):
        return self.out(self.lstm(x.squeeze(1))[0][:, -1])


class Counting(Plain):
    """Batch normalisation without a momentum, whose counter of batches is a whole number that decides."""

    def __init__(self, num_classes, input_shape):
        super().__init__(num_classes, input_shape)
        self.body = nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16, momentum=None))


class Pooled(nn.Module):
    """No linear head: the logits are means over a map."""

    def __init__(self, num_classes):
        super().__init__()
        self.maps = nn.Conv2d(1, num_classes, 3)

    def forward(self, x):
        return self.maps(x).mean((2, 3))


class TiedHead(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.into, self.one, self.last = nn.Linear(64, 10), nn.Linear(10, 10), nn.Linear(10, num_classes)
        self.last.weight = self.one.weight

    def forward(self, x):
        return self.last(self.one(self.into(x.flatten(1))).relu())


class Deep(Plain):
    """The last layers are a head of their own."""

    def __init__(self, num_classes, input_shape):
        super().__init__(num_classes, input_shape)
        self.fc = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, num_classes))


class AllFrozen(Plain):
    def __init__(self, num_classes, input_shape):
        super().__init__(num_classes, input_shape)
        self.requires_grad_(False)


class LogSoftmax(Plain):
    def forward(self, x):
        return F.log_softmax(super().forward(x), dim=1)


class Softmax(Plain):
    def forward(self, x):
        return super().forward(x).softmax(1)


class Scaled(Plain):
    def forward(self, x):
        return 10 * super().forward(x)


class Seven(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 7)

    def forward(self, x):
        return self.fc(x.flatten(1))


class Pair(Plain):
    def forward(self, x):
        return super().forward(x), x


class AlwaysDrops(Plain):
    def forward(self, x):
        return F.dropout(super().forward(x))


class Squeezed(Plain):
    def forward(self, x):
        return super().forward(x).squeeze()


class Fails(Plain):
    def forward(self, x):
        return self.fc(x)


class Words(Plain):
    def __init__(self, num_classes, vocabulary):
        super().__init__(num_classes, None)


class OwnHead(Plain):
    """An argument of the name of a key that every module has."""

    def __init__(self, num_classes, head: int = 16):
        super().__init__(num_classes, None, head)


def lazily(num_classes, input_shape, width=16):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.Linear(width, num_classes))


def number(num_classes):
    return num_classes


Renamed = Plain
'''


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(NETS, encoding="utf-8")
    return path


def build(nets: Path, name: str, **keys: Any) -> Net:
    component = catalog.find("model", f"{nets}:{name}")
    options = {field.name: field.default for field in component.fields if not field.required}
    torch.manual_seed(0)
    return component.create(options | keys).build(Task("single", 10, (1, 8, 8)))  # type: ignore[no-any-return]


def told(tiny: dict[str, Any], *changes: str) -> str:
    """What is said of a scenario that cannot be assembled."""
    scenario = load_scenario(tiny, changes)
    with pytest.raises(ScenarioError) as caught:
        assemble(scenario, federate(scenario), torch.device("cpu"))
    (problem,) = caught.value.problems
    assert problem.key == "model"
    return problem.message


# Taken apart ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "keys", "head", "features"),
    [
        ("Plain", {}, "fc", 16),
        ("Plain", {"width": 4, "dropout": 0.5}, "fc", 4),
        ("Two", {}, "fc", 16),  # not the auxiliary one, which gives no logits
        ("Tied", {}, "out", 64),
        ("Rows", {}, "out", 16),
        ("Counting", {}, "fc", 16),
        ("lazily", {}, "3", 16),
        ("Deep", {}, "fc.2", 8),
        ("Deep", {"head": "fc"}, "fc", 16),
        ("OwnHead", {"head": 4}, "fc", 4),
        ("Renamed", {"width": 4}, "fc", 4),
    ],
)
def test_both_parts_together_are_the_module(
    nets: Path, name: str, keys: dict[str, Any], head: str, features: int
) -> None:
    net = build(nets, name, **keys).eval()
    x = torch.randn(3, 1, 8, 8)
    assert (net.head_name, net.feature_dim, net.no_head) == (head, features, "")
    assert net.encode(x).shape == (3, features)
    assert not isinstance(net.head, nn.Identity)

    # Put back into the module, the head gives the very logits that both parts give.
    logits = net(x)
    owner, _, attribute = net.head_name.rpartition(".")
    setattr(net.backbone.get_submodule(owner), attribute, net.head)
    assert torch.equal(net.backbone(x), logits)


def test_a_module_is_built_from_the_global_generator_alone(nets: Path) -> None:
    one, two = (build(nets, "Plain").state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Pooled", "it has no linear last layer with 10 outputs that gives its logits"),
        ("Scaled", "it has no linear last layer with 10 outputs that gives its logits"),
        ("TiedHead", "its last layer last shares weights"),
    ],
)
def test_a_module_without_a_head_of_its_own_is_one_whole(nets: Path, name: str, reason: str) -> None:
    net = build(nets, name)
    assert reason in net.no_head
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(net(x), net.backbone(x))
    assert net.head_name == ""


@pytest.mark.parametrize(
    ("change", "asking"),
    [
        *(
            (f"strategy={name}", name)
            for name in ("fedper", "fedrep", "fedbabu", "fedrod", "fedloge", "knnper", "creff")
        ),
        ("strategy={name: fedavg_ft, tune: head}", "take tune=model"),
        *((f"learner={name}", name) for name in ("ldam", "crt", "ncm", "tau_norm", "ride", "batchformer")),
    ],
)
def test_methods_that_need_a_head_are_refused_with_the_reason(
    tiny: dict[str, Any], nets: Path, change: str, asking: str
) -> None:
    message = told(tiny, f"model={nets}:Pooled", change)
    assert asking in message
    assert "net.py:Pooled has no head that can be told from the rest" in message


ASKS_OTHERWISE = {
    "fedavg_ft": "only with tune=head, which its build refuses",
    "fedala": "whatever stands on top is mixed; a head's features are computed once",
    "word_pretraining": "its models are encoders of tokens, with a head of their own",
    "pseudo_labels": "its patterns name the backbone and the head, together all that is trained",
}


@pytest.mark.parametrize("kind", ["strategy", "learner"])
def test_whoever_reads_the_head_declares_it(kind: str) -> None:
    """Else a module without a head would be trained as if its logits were features."""
    signs = ("model.head", '"head.', "feature_dim", 'part("head')
    for name in catalog.names(kind):
        component = catalog.find(kind, name)
        text = (catalog.ROOT / f"{component.target.partition(':')[0].replace('.', '/')}.py").read_text(encoding="utf-8")
        code = ast.unparse(ast.parse(text)).replace("'", '"')
        if any(sign in code for sign in signs) and name not in ASKS_OTHERWISE:
            assert {"head", "linear_head"} & {*component.needs}, name


# Refused --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["model=NET:LogSoftmax"], "net.py:LogSoftmax does not end with its last layer: log_softmax follows"),
        (["model=NET:Softmax"], "does not end with its last layer: softmax follows, and losses take logits"),
        (
            ["model={name: NET:Scaled, head: fc}"],
            "'fc' is no head of net.py:Scaled: its output is not the module's",
        ),
        (["model=NET:Seven"], "got (2, 7); let its constructor take num_classes"),
        (["model=NET:Pair"], "net.py:Pair returns a tuple; return the logits [B, C] alone"),
        (["model=NET:AlwaysDrops"], "gives other logits at each pass in evaluation mode"),
        (["model=NET:Fails"], "net.py:Fails fails on two samples of shape (1, 8, 8): RuntimeError"),
        (["model=NET:number"], "net.py:number gives a int; a model is a class of torch.nn.Module"),
        (["model=NET:Words"], "net.py:Words asks for a vocabulary, and the inputs are images"),
        (["model={name: NET:Plain, head: last}"], "has no layer 'last' for its head; there are: body, drop, fc"),
        (["model={name: NET:Plain, head: body}"], "'body' is no head of net.py:Plain"),
        (["model={name: NET:Plain, head: drop}"], "'drop' is no head of net.py:Plain"),
    ],
)
def test_what_cannot_be_taken_apart_is_told(tiny: dict[str, Any], nets: Path, changes: list[str], message: str) -> None:
    assert message in told(tiny, *(change.replace("NET", str(nets)) for change in changes))


def test_logits_of_one_sample_keep_their_axis(tiny: dict[str, Any], nets: Path, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"gives logits of shape \(10,\) for a batch of one sample"):
        fedlt.run(tiny, f"model={nets}:Squeezed", out=tmp_path / "runs", backend="inline")


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        (["model=NET:Plain", "model.widht=3"], "model.widht", "did you mean 'width'?"),
        (["model=NET:Plain", "model.width=wide"], "model.width", "expected a whole number or a number, got 'wide'"),
        (["model=NET:OwnHead", "model.head=fc"], "model.head", "expected a whole number, got 'fc'"),
        (["model=NET:Plane"], "model", "has no class or function 'Plane'; did you mean 'Plain'?"),
    ],
)
def test_keys_are_checked_without_importing(
    tiny: dict[str, Any], nets: Path, changes: list[str], key: str, message: str
) -> None:
    with pytest.raises(ScenarioError) as caught:
        load_scenario(tiny, [change.replace("NET", str(nets)) for change in changes])
    assert [problem.key for problem in caught.value.problems] == [key]
    assert message in caught.value.problems[0].message


def test_keys_stand_in_the_scenario_but_for_those_of_every_module(tiny: dict[str, Any], nets: Path) -> None:
    written = load_scenario(tiny, [f"model={nets}:Plain"]).to_dict()["model"]
    assert written == {"name": f"{nets}:Plain", "width": 16, "dropout": 0}
    assert load_scenario(tiny, [f"model={nets}:Plain", "model.head=fc"]).to_dict()["model"]["head"] == "fc"


# Run ------------------------------------------------------------------------------------------------------------------


@pytest.mark.grid
@pytest.mark.usefixtures("ray_workers")
@pytest.mark.parametrize("changes", [["strategy=fedavg"], ["strategy=fedper"], ["strategy=fedloge"], ["learner=ldam"]])
def test_a_module_gives_equal_bits_on_every_backend(
    tiny: dict[str, Any], nets: Path, tmp_path: Path, changes: list[str]
) -> None:
    model = f"model={{name: {nets}:Plain, dropout: 0.3}}"
    runs = [
        fedlt.run(tiny, model, *changes, out=tmp_path / name, backend=name, workers=2)
        for name in ("inline", "processes", "ray")
    ]
    assert len({run.summary["model_hash"] for run in runs}) == 1
    line = "the head is fc, a Linear of 170 parameters; 1,040 parameters of net.py:Plain before it give 16 features"
    assert line in (runs[0].folder / "log.txt").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("Tied", ["strategy=fedloge"]),
        ("Rows", ["strategy=fedper"]),
        ("Pooled", ["strategy=scaffold"]),
        ("TiedHead", ["learner=sam"]),
        ("Deep", ["strategy=fedrod", "model.head=fc"]),
        ("Counting", ["strategy=fedavg", "local.last_batch=merge"]),
    ],
)
def test_awkward_modules_train(tiny: dict[str, Any], nets: Path, tmp_path: Path, name: str, changes: list[str]) -> None:
    longer = ["federation.rounds=6", "federation.participation=1", "evaluation.every=6"]
    run = fedlt.run(tiny, f"model={nets}:{name}", *longer, *changes, out=tmp_path / "runs", backend="inline")
    assert run.status == "finished"
    assert run.final["personal/accuracy"] > 0.2


@pytest.mark.slow
def test_the_page_on_models_runs_as_it_stands(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/howto/own-model.md").read_text(encoding="utf-8")
    source, check = (part.partition("```")[0] for part in page.split("```python\n")[1:])
    (tmp_path / "net.py").write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    exec(check, {})

    run = fedlt.run(tiny, "model=./net.py:Net", "model.width=32", out=tmp_path / "runs", backend="inline")
    (shown,) = [line for line in page.splitlines() if line.startswith("the head is fc")]
    assert shown in (run.folder / "log.txt").read_text(encoding="utf-8")


def test_a_file_that_an_option_names_lies_beside_the_scenario(
    tiny: dict[str, Any], nets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the command is given; another file of that name there is not taken."""
    study, elsewhere = tmp_path / "study", tmp_path / "elsewhere"
    for folder in (study, elsewhere):
        folder.mkdir()
        (folder / "pre.pt").write_bytes(b"")
    source = (
        "from torch import nn\n\ndef net(num_classes, weights='', tag='v1.0'):\n    return nn.Linear(3, num_classes)\n"
    )
    (study / "net.py").write_text(source, encoding="utf-8")
    OmegaConf.save({**tiny, "model": {"name": "./net.py:net", "weights": "pre.pt"}}, study / "mine.yaml")
    monkeypatch.chdir(elsewhere)
    options = load_scenario(study / "mine.yaml").model.options
    assert options["weights"] == str(study / "pre.pt")
    assert options["tag"] == "v1.0"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["model=mlp", "model.freeze=true", "strategy=fedper"], "all that the clients of fedper would share is frozen"),
        (["model=mlp", "model.freeze=true", "strategy=fedrep"], "all that the clients of fedrep would share is frozen"),
        (["model=NET:AllFrozen"], "nothing of AllFrozen is left to train"),
    ],
)
def test_a_model_of_which_nothing_would_be_trained_is_refused(
    tiny: dict[str, Any], nets: Path, changes: list[str], message: str
) -> None:
    scenario = load_scenario(tiny, [change.replace("NET", str(nets)) for change in changes])
    with pytest.raises(ScenarioError, match=message) as caught:
        assemble(scenario, federate(scenario), torch.device("cpu"))
    assert caught.value.problems[0].key == "model.freeze"


def test_keys_that_another_one_takes_the_place_of_are_told(tiny: dict[str, Any]) -> None:
    def remarks(*changes: str) -> str:
        scenario = load_scenario(tiny, ["local.momentum=0.9", *changes])
        return "\n".join(assemble(scenario, federate(scenario), torch.device("cpu")).remarks())

    assert "adam does not read them" in remarks("local.optimizer=adam")
    assert "local.epochs is not read" in remarks("local.steps=3")
    assert "read" not in remarks()
