"""Components are read from their source; what is read must be what Python sees."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flwr.serverapp.strategy as flower
import pytest

from fedlt.config import catalog
from fedlt.config.schema import check
from fedlt.config.source import source_of
from fedlt.errors import ScenarioError
from fedlt.strategy import Strategy

DATACLASSES = [kind for kind in catalog.KINDS if kind not in ("optimizer", "schedule")]  # PyTorch's own classes
COMPONENTS = [(kind, name) for kind in DATACLASSES for name in catalog.names(kind)]


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_the_fields_in_the_source_are_those_of_the_class(kind: str, name: str) -> None:
    found = catalog.find(kind, name)
    real = {field.name: field for field in dataclasses.fields(found.load())}
    assert sorted(field.name for field in found.fields) == sorted(real)
    for read in found.fields:
        actual = real[read.name]
        made = actual.default if actual.default_factory is dataclasses.MISSING else actual.default_factory()
        assert read.required is (made is dataclasses.MISSING)
        if not read.required:
            assert read.default == made
            assert check(read.annotation, read.default) == read.default  # defaults obey their own bounds
        assert read.annotation.replace('"', "'") == str(actual.type).replace('"', "'")
    assert found.summary
    assert found.load().__dataclass_params__.frozen  # type: ignore[attr-defined]


def test_there_is_something_of_each_kind() -> None:
    assert {"fedavg", "fedprox", "local", "centralized"} <= set(catalog.names("strategy"))
    assert "cross_entropy" in catalog.names("learner")
    assert {"mlp", "cnn", "resnet8", "resnet18"} <= set(catalog.names("model"))
    assert {"iid", "dirichlet", "natural", "shards"} <= set(catalog.names("partition"))


def test_comments_become_documentation() -> None:
    fields = {field.name: field for field in catalog.find("model", "cnn").fields}
    assert fields["hidden"].doc == "units of the hidden layer, and the feature dimension"
    assert fields["channels_last"].doc.startswith(
        "memory order of images and 4-d weights"
    )  # behind a mark for type checkers
    bracketed = next(field for field in catalog.find("learner", "rcal").fields if field.name == "ridge")
    assert bracketed.doc.startswith("added to a rare class's variances")
    (mu,) = catalog.find("strategy", "fedprox").fields
    assert (mu.doc, mu.default, mu.annotation) == ("weight of the proximal term", 0.01, "Annotated[float, '>= 0']")


@pytest.mark.slow
@pytest.mark.parametrize("import_line", ["from strategies.fedprox import FedProx", "import strategies.fedprox"])
def test_a_users_class_inherits_the_fields_of_a_built_in_one(own_file: Callable[..., Path], import_line: str) -> None:
    base = import_line.removeprefix("import ") + ".FedProx" if import_line.startswith("import") else "FedProx"
    path = own_file(
        f"{import_line}\n\n\n@dataclass(frozen=True)\nclass Mine({base}):\n"
        '    """Prox with a schedule.\n\n    More about it.\n    """\n\n'
        "    foldable: ClassVar[bool] = False\n"
        '    decay: Annotated[float, "> 0", "<= 1"] = 0.9  # of the pull\n'
        "    label: str = 'x'\n"
    )
    found = catalog.find("strategy", f"{path}:Mine")
    assert [(field.name, field.default, field.doc) for field in found.fields] == [
        ("mu", 0.01, "weight of the proximal term"),
        ("decay", 0.9, "of the pull"),
        ("label", "x", ""),
    ]
    assert found.summary == "Prox with a schedule."
    made = found.create({"mu": 2.0, "decay": 0.5, "label": "y"})
    assert isinstance(made, Strategy)
    assert (made.mu, made.decay) == (2.0, 0.5)  # type: ignore[attr-defined]
    assert [field.name for field in dataclasses.fields(made)] == [field.name for field in found.fields]  # type: ignore[arg-type]


def test_a_subclass_may_change_a_default_and_a_class_may_stand_on_one_in_its_file(
    own_file: Callable[..., Path],
) -> None:
    path = own_file(
        "from strategies.fedprox import FedProx as Prox\n\n\n"
        "@dataclass(frozen=True)\nclass Base(Prox):\n    steps: int = 1\n\n\n"
        "@dataclass(frozen=True)\nclass Mine(Base):\n    mu: float = 5.0  # strong\n"
    )
    found = catalog.find("strategy", f"{path}:Mine")
    assert [(field.name, field.default) for field in found.fields] == [("mu", 5.0), ("steps", 1)]
    assert [field.name for field in dataclasses.fields(found.load())] == ["mu", "steps"]


def test_a_base_class_from_the_package_itself_is_followed(own_file: Callable[..., Path]) -> None:
    path = own_file("@dataclass(frozen=True)\nclass Mine(Strategy):\n    must: int\n    may: list[int] = (1, 2)\n")
    found = catalog.find("strategy", f"{path}:Mine")
    assert [(field.name, field.required) for field in found.fields] == [("must", True), ("may", False)]


def test_a_users_file_is_looked_for_in_the_given_folder(own_file: Callable[..., Path]) -> None:
    path = own_file("class Mine(Strategy):\n    pass\n")
    assert catalog.find("strategy", "./mine.py:Mine", path.parent).name == f"{path}:Mine"
    with pytest.raises(ScenarioError, match=r"strategy: there is no file .*give the path from the folder you run in"):
        catalog.find("strategy", "./yours.py:Mine", path.parent)
    with pytest.raises(ScenarioError, match=r"has no class 'Mime'; did you mean 'Mine'\?"):
        catalog.find("strategy", "./mine.py:Mime", path.parent)


@pytest.mark.slow
def test_a_file_is_imported_anew_when_its_text_changes(own_file: Callable[..., Path]) -> None:
    """As in a notebook, where the kernel goes on; also within the same second, and with a text of the same length."""
    values = []
    for value in (1, 2, 1):
        path = own_file(f"class Mine(Strategy):\n    value: ClassVar[int] = {value}\n")
        values.append(catalog.find("strategy", f"{path}:Mine").load().value)  # type: ignore[attr-defined]
    assert values == [1, 2, 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "import nothing_like_it\nclass Mine(Strategy): pass\n",
            "ModuleNotFoundError: No module named 'nothing_like_it'",
        ),
        ("class Mine(Strategy): pass\nprint(1 / 0)\n", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named_each_time(
    own_file: Callable[..., Path], text: str, message: str
) -> None:
    component = catalog.find("strategy", f"{own_file(text)}:Mine")
    for _ in range(2):
        with pytest.raises(ScenarioError, match=r"strategy: .*mine\.py cannot be imported: " + message):
            component.load()


def test_a_base_that_is_no_dataclass_hands_no_field_down(own_file: Callable[..., Path]) -> None:
    """As in Python: its annotations are those of attributes."""
    text = "class Plain(Strategy):\n    told: int\n\n@dataclass(frozen=True)\nclass Mine(Plain):\n    mu: float = 0.5\n"
    assert [field.name for field in catalog.find("strategy", f"{own_file(text)}:Mine").fields] == ["mu"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class Mine(Strategy:\n", "is not readable Python"),
        ("class Mine(Strategy):\n    x: int = len('ab')\n", "the default of Mine.x must be a plain literal"),
    ],
)
def test_source_that_cannot_be_read_is_refused(own_file: Callable[..., Path], text: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        catalog.find("strategy", f"{own_file(text)}:Mine")


def test_unknown_names_come_with_the_nearest_or_with_all() -> None:
    for kind, name, message in (
        (
            "strategy",
            "fedprx",
            r"unknown strategy 'fedprx'; did you mean 'fedprox'\? \(your own: './file.py:Strategy'\)",
        ),
        ("model", "resnet19", r"unknown model 'resnet19'; did you mean 'resnet18'\?"),
        ("partition", "zzz", "unknown partition 'zzz'; known: class_blocks, dirichlet, dirichlet_capped"),
        ("learner", "zzz", "known: .*batchformer.*your own: './file.py:Learner'"),
        ("strategy", "flower:Krun", r"Flower has no strategy 'Krun'; did you mean 'Krum'\?"),
    ):
        with pytest.raises(ScenarioError, match=message):
            catalog.find(kind, name)


@pytest.mark.slow
def test_what_a_constructor_refuses_is_a_scenario_error(own_file: Callable[..., Path]) -> None:
    from fedlt.config.scenario import load_scenario

    path = own_file(
        "@dataclass(frozen=True)\nclass Mine(Strategy):\n    even: int = 2\n\n"
        "    def __post_init__(self):\n        if self.even % 2:\n            raise ValueError('odd')\n"
    )
    chosen = load_scenario({}, [f"strategy={path}:Mine", "strategy.even=3"]).strategy
    with pytest.raises(ScenarioError, match=r"strategy: .*mine\.py:Mine cannot be built: odd"):
        chosen.create()
    flawed = load_scenario({}, ["strategy=flower:FedTrimmedAvg", "strategy.beta=0.7"]).strategy
    with pytest.raises(ScenarioError, match=r"flower:FedTrimmedAvg cannot be built: .*\[0, 0\.5\)"):
        flawed.create()


# Flower's strategies --------------------------------------------------------------------------------------------------

SET_BY_US = {"fraction_train", "fraction_evaluate", "min_train_nodes", "min_evaluate_nodes", "min_available_nodes"}
NO_PARAMETERS = {"strategy", "num_sampled_clients", "selection_rule", "accountant"}  # objects and functions
KEYS = {"weighted_by_key", "arrayrecord_key", "configrecord_key"}


@pytest.mark.parametrize("name", catalog.flower_names())
def test_the_fields_of_flowers_strategies_are_those_of_their_constructors(name: str) -> None:
    bare = name.removeprefix("flower:")
    real = inspect.signature(getattr(flower, bare)).parameters
    found = {field.name: field for field in catalog.find("strategy", name).fields}
    for key, field in found.items():
        assert field.required is (real[key].default is inspect.Parameter.empty)
        if not field.required:
            assert field.default == real[key].default
    left_out = set(real) - set(found) - SET_BY_US - KEYS
    assert all(key.endswith("_fn") or key in NO_PARAMETERS for key in left_out), left_out


def test_the_strategies_of_the_field_are_among_flowers() -> None:
    names = set(catalog.flower_names())
    wanted = "FedAvg FedAvgM FedAdam FedAdagrad FedYogi FedMedian FedTrimmedAvg Krum MultiKrum Bulyan"
    assert {f"flower:{name}" for name in wanted.split()} <= names
    assert not any("Xgb" in name or "ClientSide" in name for name in names)
    assert "flower:FedProx" not in names  # its one parameter is for clients of Flower's, and would do nothing here
    assert names <= {f"flower:{name}" for name in flower.__all__}


@pytest.mark.slow
@pytest.mark.parametrize("name", catalog.flower_names())
def test_flowers_strategies_can_be_built_and_take_a_round(name: str) -> None:
    import numpy as np
    import torch
    from torch import nn

    from fedlt.data.task import Task
    from fedlt.nn.flat import Flat
    from fedlt.nn.net import Net
    from fedlt.strategy import Server, Update
    from server.grids.local import set_identity

    set_identity(1)
    found = catalog.find("strategy", name)
    required: dict[str, Any] = {"noise_multiplier": 0.01, "clipping_norm": 5.0, "q": 0.2}
    made = found.create(
        {field.name: required[field.name] if field.required else field.default for field in found.fields}
    )
    net = Net(nn.Identity(), nn.Linear(3, 1, bias=False), 3)
    server = Server(net, Flat(net), Task("single", 2, (3,), np.ones(2, np.int64)), round=1)
    before = server.weights.clone()
    made.aggregate(server, [Update((k,), 4.0, 4.0 * torch.full((3,), float(k))) for k in range(7)])
    assert torch.isfinite(server.weights).all()
    assert not torch.equal(server.weights, before)


def test_source_files_are_found_without_importing() -> None:
    assert source_of("fedlt.nn") == catalog.ROOT / "fedlt" / "nn" / "__init__.py"
    assert source_of("strategies.fedprox") == catalog.ROOT / "strategies" / "fedprox.py"
    with pytest.raises(ScenarioError, match=r"'nowhere_at_all\.x' is not installed"):
        source_of("nowhere_at_all.x")


@pytest.mark.parametrize(
    ("kind", "name", "remedy"),
    [
        ("strategy", "./mine.py", "; name the class, too: ./mine.py:Mine or ./mine.py:Other"),
        ("model", "mine.py", "; name the class, too: mine.py:Mine or mine.py:Other or mine.py:made"),
        ("strategy", "mine", "; name the class, too: ./mine.py:Mine or ./mine.py:Other"),
        ("strategy", "mine:Mine", "; a class of your own is named by its file: ./mine.py:Mine"),
        ("strategy", "mine:Mien", "; ./mine.py has no class 'Mien'; did you mean 'Mine'?"),
        ("strategy", "inner.deep:Deep", "; a class of your own is named by its file: ./inner/deep.py:Deep"),
        ("strategy", "Other", "; your own is ./mine.py:Other"),
        ("strategy", "fedavgg", "; did you mean 'fedavg'? (your own: './file.py:Strategy')"),
        ("metric", "./none.py", "; there is none built in (your own: './file.py:Metric')"),
    ],
)
def test_a_name_that_is_nearly_that_of_an_own_class_is_told_how_it_is_written(
    own_file: Callable[..., Path], tmp_path: Path, kind: str, name: str, remedy: str
) -> None:
    (tmp_path / "inner").mkdir()
    own_file("class Mine(Strategy): pass\nclass Other(Strategy): pass\nclass _Base: pass\ndef made(): pass\n")
    own_file("class Deep(Strategy): pass\n", "inner/deep.py")
    with pytest.raises(ScenarioError) as error:
        catalog.find(kind, name, tmp_path)
    assert error.value.problems[0].message == f"unknown {kind} {name!r}{remedy}"
