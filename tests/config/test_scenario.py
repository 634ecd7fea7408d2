"""Scenarios: where they come from, overrides, errors, and what their hash depends on."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedlt.config.catalog import names
from fedlt.config.scenario import Scenario, load_scenario
from fedlt.config.scenario_file import as_yaml, scenario_names
from fedlt.errors import Problem, ScenarioError


def problems(scenario: Any, *overrides: str) -> dict[str, str]:
    with pytest.raises(ScenarioError) as caught:
        load_scenario(scenario, overrides)
    assert len({problem.key for problem in caught.value.problems}) == len(caught.value.problems)
    return {problem.key: problem.message for problem in caught.value.problems}


# Sources --------------------------------------------------------------------------------------------------------------


def test_a_scenario_comes_by_name_path_or_dictionary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = load_scenario("digits_lt")
    assert (named.name, named.federation.clients, named.model.options["width"]) == ("digits_lt", 20, 16)
    path = tmp_path / "mine.yaml"
    path.write_text(named.to_yaml(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for source in (path, str(path), "mine.yaml", "./mine.yaml"):
        found = load_scenario(source)
        assert (found.name, found.to_dict()) == ("mine", named.to_dict())
    assert load_scenario(named.to_dict()).name == "scenario"
    assert load_scenario(named.to_dict()).to_dict() == named.to_dict()


def test_yaml_is_that_of_omegaconf() -> None:
    """Texts that look like something else are quoted, and what stands there twice is written twice."""
    from omegaconf import OmegaConf

    twice = [0.5, 1e-07, 3, True, None]
    words = ["on", "y", "N", "1e-3", "1_000", "0x1f", "nan", "-.inf", "null", "~", "", "a: b", "#", " a", "ü", "a\nb"]
    content = {"words": words, "one": twice, "other": {"again": twice, "none": [], "empty": {}}, "12": "1.50"}
    assert as_yaml(content) == OmegaConf.to_yaml(OmegaConf.create(content))
    for name in scenario_names():
        found = load_scenario(name)
        assert found.to_yaml() == OmegaConf.to_yaml(OmegaConf.create(found.to_dict()))


def test_an_empty_scenario_has_the_documented_defaults() -> None:
    found = load_scenario({})
    assert (found.strategy.name, found.learner.name, found.model.name) == ("fedavg", "cross_entropy", "cnn")
    assert (found.data.name, found.federation.partition.name) == ("digits", "dirichlet_per_class")
    assert (found.federation.clients, found.federation.participation, found.seed) == (40, 0.3, 0)
    assert (found.local.epochs, found.local.batch_size, found.local.momentum) == (5, 32, 0.9)


@pytest.mark.slow
@pytest.mark.parametrize("name", scenario_names())
def test_shipped_scenarios_are_valid_and_say_how_to_run_them(name: str) -> None:
    from fedlt.config.scenario_file import FOLDER

    found = load_scenario(name)
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert any("fedlt run" in line for line in lines[:4])
    assert found.name == name
    assert load_scenario(found.to_dict()).hash == found.hash


def test_unknown_scenarios_are_named_with_the_nearest_one(tmp_path: Path) -> None:
    assert problems("digits_lf") == {
        "": "there is no scenario 'digits_lf'; did you mean 'digits_lt'? (a name, or the path of a .yaml file)"
    }
    missing = tmp_path / "no.yaml"
    assert problems(missing) == {"": f"there is no scenario file {missing}"}


@pytest.mark.parametrize("text", ["federation: {clients: 3", "a: b: c", "\tx: 1", "seed: ${", b"\xff\xfe\x00"])
def test_unreadable_yaml_is_refused_with_the_files_name(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ScenarioError, match=r"bad\.yaml\n  unreadable YAML: "):
        load_scenario(path)


def test_a_file_without_keys_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n- 2\n", encoding="utf-8")
    assert problems(path) == {"": "expected keys and values at the top of the file"}


# Overrides ------------------------------------------------------------------------------------------------------------


def test_overrides_are_applied_in_order() -> None:
    found = load_scenario(
        "digits_lt",
        [
            "strategy=fedprox",
            "strategy.mu=0.1",
            "federation.rounds=5",
            "~local.lr",
            "seed=1",
            "seed=2",
            "local.lr=1e-3",
        ],
    )
    assert (found.strategy.name, found.strategy.options) == ("fedprox", {"mu": 0.1})
    assert (found.federation.rounds, found.seed, found.local.lr) == (5, 2, 0.001)
    assert load_scenario("digits_lt", ["local.lr=1", "~local.lr"]).local.lr == 0.03  # the schema's, not the file's
    assert load_scenario("digits_lt", ["~data.longtail.imbalance_factor"]).data.longtail.imbalance_factor is None
    assert load_scenario("digits_lt", ["~federation"]).federation.clients == 40


def test_a_component_named_anew_forgets_the_fields_of_the_old_one() -> None:
    assert load_scenario("digits_lt").model.options["width"] == 16
    assert load_scenario("digits_lt", ["model=cnn"]).model.options["width"] == 32
    assert load_scenario("digits_lt", ["model=mlp", "model.width=7"]).model.written() == {
        "name": "mlp",
        "width": 7,
        "depth": 2,
    }
    assert load_scenario("digits_lt", ["model={name: mlp, depth: 3}"]).model.options["depth"] == 3
    assert load_scenario("digits_lt", ["federation.partition.alpha=9"]).federation.partition.options["alpha"] == 9.0


def test_fields_of_a_component_that_the_scenario_leaves_to_the_default_can_be_set() -> None:
    """A scenario without a `strategy`, `model` or `partition` has the default one, and its fields."""
    found = load_scenario({}, ["model.width=7", "federation.partition.alpha=2"])
    assert (found.model.name, found.model.options["width"]) == ("cnn", 7)
    assert (found.federation.partition.name, found.federation.partition.options["alpha"]) == (
        "dirichlet_per_class",
        2.0,
    )


def test_values_are_yaml() -> None:
    found = load_scenario(
        "digits_lt", ["data.longtail.counts=[1, 2]", "resources.workers=3", "evaluation.clients=null", "data.name=a=b"]
    )
    assert (found.data.longtail.counts, found.resources.workers, found.evaluation.clients) == ([1, 2], 3, None)
    assert found.data.name == "a=b"


def test_interpolations_follow_the_key_they_name(tmp_path: Path) -> None:
    path = tmp_path / "follow.yaml"
    path.write_text(
        "federation: {partition: {name: dirichlet_per_class, seed: '${seed}'}, clients: 4}\n", encoding="utf-8"
    )
    assert load_scenario(path).federation.partition.options["seed"] == 0
    assert load_scenario(path, ["seed=7"]).federation.partition.options["seed"] == 7
    assert (
        load_scenario(path, ["federation.partition.seed=${federation.clients}"]).federation.partition.options["seed"]
        == 4
    )
    key, message = next(iter(problems(path, "local.lr=${locale.lr}").items()))
    assert key == "local.lr"
    assert "'locale.lr' not found" in message


def test_the_given_dictionary_and_list_are_left_alone(tiny: dict[str, Any]) -> None:
    import copy

    before, overrides = copy.deepcopy(tiny), ["seed=3", "model.width=3"]
    load_scenario(tiny, overrides)
    assert tiny == before
    assert overrides == ["seed=3", "model.width=3"]


# Errors ---------------------------------------------------------------------------------------------------------------


def test_all_problems_are_found_at_once_with_key_and_nearest_spelling(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(
        "federation: {clientz: 3, participation: 30, rounds: two, partition: {name: dirichlet_per_class, alpha: -1}}\n"
        "local: {lr: .nan, epochs: 1.5, augment: crop_flp}\n"
        "strategy: {name: fedprox, muu: 1, mu: -0.5}\n"
        "model: resnet9\n"
        "learner: [cross_entropy]\n"
        "sed: 1\n"
        "seed: -1\n",
        encoding="utf-8",
    )
    found = problems(path, "~data", "evaluation")
    assert found == {
        "data": "nothing to delete; known: federation, learner, local, model, sed, seed, strategy",
        "evaluation": "an override is written key=value, or ~key to go back to the default",
        "sed": "unknown key; did you mean seed=1?",
        "seed": "expected a whole number >= 0, got -1",
        "federation.clientz": "unknown key; did you mean federation.clients=3?",
        "federation.participation": "expected a number > 0 and <= 1, got 30.0",
        "federation.rounds": "expected a whole number, got 'two'",
        "federation.partition.alpha": "expected a number > 0, got -1.0",
        "local.lr": "expected a number, got nan",
        "local.epochs": "expected a whole number, got 1.5",
        "local.augment": "expected one of none, crop, flip, crop_flip, crop_flip_cutout, crop_cutout, strong, shift, "
        "shift_flip, views, got 'crop_flp'; did you mean 'crop_flip'?",
        "strategy.muu": "unknown key of fedprox; did you mean 'mu'?",
        "strategy.mu": "expected a number >= 0, got -0.5",
        "model": "unknown model 'resnet9'; did you mean 'resnet8'? (your own: './file.py:Model')",
        "learner": f"expected the name of a learner ({', '.join(names('learner'))}), got ['cross_entropy']",
    }


def test_errors_read_well(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError) as caught:
        load_scenario({"seed": -1, "local": 3})
    assert str(caught.value) == (
        "2 problems in scenario\n  local: expected keys and values, got 3\n  seed: expected a whole number >= 0, got -1"
    )
    assert str(ScenarioError(Problem("", "there is none"))) == "1 problem\n  there is none"
    assert str(Problem("a\r\u202e.b", "is strange")) == "a\\r\\u202e.b: is strange"


@pytest.mark.parametrize(
    ("overrides", "key", "message"),
    [
        (["federation.clients=null"], "federation.clients", "null is for the partitions natural and given"),
        (["federation.local_test=natural"], "federation.local_test", "natural needs federation.partition=natural"),
        (["federation.partition=natural"], "federation.partition.column", "natural needs it"),
        (["strategy.mu=1"], "strategy.mu", "unknown key of fedavg, which has none"),
        (["strategy={mu: 1}"], "strategy.mu", "unknown key of fedavg, which has none"),
        (["strategy=3"], "strategy", "expected the name of a strategy ("),
        (["strategy={name: 3}"], "strategy", "expected the name of a strategy"),
        (["=3"], "=3", "an override is written key=value"),
        (["~seed=3"], "~seed=3", "an override is written key=value"),
        (["local.lr={"], "local.lr", "cannot read the value '{'"),
        (["~local.mometum"], "local.mometum", "nothing to delete; did you mean 'momentum'?"),
        (["~a.b.c"], "a.b.c", "nothing to delete"),
        (["strategy=flower:FedAdm"], "strategy", "did you mean 'FedAdam'?"),
        (["strategy=./none.py:Mine"], "strategy", "there is no file"),
        (["resources.workers=0"], "resources.workers", "expected a whole number >= 1 or one of auto"),
    ],
)
def test_single_problems(overrides: list[str], key: str, message: str) -> None:
    found = problems("digits_lt", *overrides)
    assert list(found) == [key]
    assert message in found[key]


def test_the_natural_partition_finds_its_clients() -> None:
    natural = ["federation.partition={name: natural, column: site}", "federation.clients=null"]
    found = load_scenario("digits_lt", [*natural, "federation.local_test=natural"])
    assert found.federation.clients is None


# Identity -------------------------------------------------------------------------------------------------------------


def changed(*overrides: str) -> Scenario:
    return load_scenario("digits_lt", overrides)


def test_a_resolved_scenario_loads_back_to_the_same(tmp_path: Path) -> None:
    original = changed("strategy=fedprox", "strategy.mu=0.1", "local.lr=1e-7", "data.longtail.counts=[3,2]", "seed=5")
    path = tmp_path / "again.yaml"
    path.write_text(original.to_yaml(), encoding="utf-8")
    again = load_scenario(path)
    assert again.to_dict() == original.to_dict()
    assert again.hash == original.hash


def test_a_tuple_is_written_as_a_list_and_read_as_a_tuple(own_file: Callable[..., Path], tmp_path: Path) -> None:
    text = "@dataclass(frozen=True)\nclass Mine(Strategy):\n    sizes: tuple[int, ...] = (2, 3)  # some sizes\n"
    original = changed(f"strategy={own_file(text)}:Mine")
    path = tmp_path / "again.yaml"
    path.write_text(original.to_yaml(), encoding="utf-8")
    assert "  sizes:\n  - 2\n  - 3\n" in path.read_text(encoding="utf-8")
    again = load_scenario(path)
    assert again.strategy.options == original.strategy.options == {"sizes": (2, 3)}
    assert again.hash == original.hash
    assert load_scenario(path, ["strategy.sizes=[4]"]).strategy.create().sizes == (4,)


def test_the_hash_is_of_what_the_result_depends_on() -> None:
    base = changed().hash
    assert len(base) == 64
    for same in (
        "resources.backend=ray",
        "resources.workers=7",
        "resources.device=cpu",
        "seed=0",
        "strategy={name: fedavg}",
    ):
        assert changed(same).hash == base, same
    others = [
        changed(other).hash
        for other in (
            "seed=1",
            "resources.precision=bfloat16",
            "federation.block=4",
            "federation.rounds=41",
            "local.lr=0.051",
            "model.width=15",
            "strategy=fedprox",
            "strategy=local",
            "evaluation.every=6",
            "federation.partition.seed=0",
        )
    ]
    assert len({base, *others}) == 11


def test_a_young_field_of_a_component_is_left_out_at_its_default() -> None:
    """FedRoD's `absent` came later than runs of it; FedETF's changed what its runs give, so their hashes change."""
    found, other = changed("strategy=fedrod"), changed("strategy=fedrod", "strategy.absent=1")
    assert found.to_dict()["strategy"] == {"name": "fedrod"}
    assert other.to_dict()["strategy"] == {"name": "fedrod", "absent": 1.0}
    assert changed("strategy=fedrod", "strategy.absent=0").hash == found.hash != other.hash
    assert load_scenario(other.to_dict()).strategy.options == {"absent": 1.0}
    assert load_scenario(found.to_dict()).strategy.options == {"absent": 0.0}
    assert changed("strategy=fedetf").to_dict()["strategy"]["absent"] == 1.0


def test_the_hash_does_not_depend_on_the_files_name(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yml"):
        (tmp_path / name).write_text(changed().to_yaml(), encoding="utf-8")
        assert load_scenario(tmp_path / name).hash == changed().hash


def test_the_hash_covers_the_text_of_a_users_file(own_file: Callable[..., Path]) -> None:
    text = "@dataclass(frozen=True)\nclass Mine(Strategy):\n    rate: float = 0.5  # a rate\n"
    first = changed(f"strategy={own_file(text)}:Mine").hash
    again = changed(f"strategy={own_file(text)}:Mine", "strategy.rate=0.5").hash
    other = changed(f"strategy={own_file(text + '# another line')}:Mine").hash
    assert first == again != other


def test_a_users_file_is_found_beside_the_scenario_or_from_here(
    own_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_file("@dataclass(frozen=True)\nclass Mine(Strategy):\n    rate: float = 0.5\n")
    (tmp_path / "s.yaml").write_text("strategy: {name: './mine.py:Mine', rate: 2}\n", encoding="utf-8")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert load_scenario(tmp_path / "s.yaml").strategy.options == {"rate": 2.0}
    monkeypatch.chdir(tmp_path)
    found = load_scenario("digits_lt", ["strategy=./mine.py:Mine"])
    assert found.strategy.name == f"{tmp_path / 'mine.py'}:Mine"
    monkeypatch.chdir(elsewhere)
    assert load_scenario(found.to_dict()).hash == found.hash  # absolute from then on, so a worker finds it too


def test_relative_paths_start_at_the_file_or_at_the_current_folder(
    own_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_file("@dataclass(frozen=True)\nclass Mine(Strategy):\n    rate: float = 0.5\n")
    content = """
        data: {name: ./d.npz, longtail: {profile: counts, counts: c.npz:places}, noise: {kind: file, file: n.npz:y}}
        strategy: {name: ./mine.py:Mine, rate: 2}
    """
    (tmp_path / "s.yaml").write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    here = load_scenario("s.yaml")
    assert (here.data.name, here.data.longtail.counts, here.data.noise.file) == ("./d.npz", "c.npz:places", "n.npz:y")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    there = load_scenario("../s.yaml")
    expected = [str(tmp_path / name) for name in ("d.npz", "c.npz:places", "n.npz:y")]
    assert [there.data.name, there.data.longtail.counts, there.data.noise.file] == expected
    assert there.strategy.name == here.strategy.name == f"{tmp_path / 'mine.py'}:Mine"
    moved = load_scenario("../s.yaml", ["strategy=fedavg"], base=elsewhere)
    assert moved.data.name == "./d.npz"  # a copy that lies elsewhere than its paths start
    (tmp_path / "run.json").write_text("{}")
    assert load_scenario("../s.yaml", ["strategy=fedavg"]).data.name == "./d.npz"  # the record of a run
    (tmp_path / "run.json").unlink()
    assert load_scenario("../s.yaml", ["data.name=./d.npz"]).data.name == "./d.npz"  # as everything on the command line
    with pytest.raises(ScenarioError, match=rf"strategy: there is no file {elsewhere / 'mine.py'}"):
        load_scenario("../s.yaml", ["strategy=./mine.py:Mine"])
    assert load_scenario(there.to_dict()).hash == there.hash  # a worker finds the files too


@pytest.mark.parametrize(
    ("name", "is_path"),
    [
        ("digits", False), ("cifar10", False), ("someone/pets", False), ("pets", True), ("../pets", True),
        ("x.csv", True), ("./x${seed}.csv", True), ("/data/x.npz", True),
    ],
)  # fmt: skip
def test_names_of_data_sets_are_no_paths(
    name: str, is_path: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "scenarios"
    for folder in ("pets", "cifar10", "digits"):  # a folder beside the file does not shadow a well-known name
        (base / folder).mkdir(parents=True)
    (base / "s.yaml").write_text(f"data: {{name: '{name}'}}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    found = load_scenario(base / "s.yaml").data.name
    name = name.replace("${seed}", "0")
    assert found == (str((base / name).resolve()) if is_path else name)


def test_run_names_tell_runs_apart(own_file: Callable[..., Path]) -> None:
    base = changed()
    assert base.run_name == f"digits_lt-fedavg-s0-{base.hash[:8]}"
    prox = changed("strategy=flower:FedAdam", "seed=3")
    assert prox.run_name == f"digits_lt-fedadam-s3-{prox.hash[:8]}"
    mine = changed(f"strategy={own_file('class Mine(Strategy): pass')}:Mine")
    assert mine.run_name == f"digits_lt-mine-s0-{mine.hash[:8]}"
    learner = own_file("from fedlt import Learner\nclass Slow(Learner): pass\n", "learner.py")
    slow = changed(f"learner={learner}:Slow")
    assert slow.run_name == f"digits_lt-fedavg-slow-s0-{slow.hash[:8]}"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["data.longtail=none"], ("none", None)),
        (["data.longtail=step", "data.longtail.imbalance_factor=5"], ("step", 5.0)),
        (["data.longtail.imbalance_factor=5"], ("exponential", 5.0)),  # on top of what the file says
    ],
)
def test_a_long_tail_may_be_named_by_its_profile_alone(
    overrides: list[str], expected: tuple[str, float | None]
) -> None:
    found = load_scenario("digits_lt", overrides).data.longtail
    assert (found.profile, found.imbalance_factor) == expected


def test_the_scenario_for_ones_own_data_leaves_them_as_they_are() -> None:
    assert load_scenario("own").data.longtail.profile == "none"
    assert (
        load_scenario("own").to_dict()["data"]["longtail"]
        == load_scenario({"data": {"name": "digits"}}).to_dict()["data"]["longtail"]
    )


def test_every_kind_of_component_travels_to_other_processes(tmp_path: Path) -> None:
    """A sweep sends scenarios to its workers as they are."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\ndef net(num_classes): ...\n\nmade = nn.Linear\n", encoding="utf-8"
    )
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text("{}", encoding="utf-8")
    models = f"{tmp_path}/net.py:net", f"{tmp_path}/net.py:made", f"transformers:{tmp_path}/tiny", "timm:vit", "mlp"
    for model in models:
        changes = [f"model={model}", "model.adapter=lora", "local.optimizer=adamw", "local.schedule=StepLR"]
        missing = ["local.schedule.step_size=3"] + (
            ["model.in_features=3", "model.out_features=2"] if "made" in model else []
        )
        scenario = load_scenario("digits_lt", [*changes, *missing])
        assert pickle.loads(pickle.dumps(scenario)).to_dict() == scenario.to_dict()
