"""`fedlt.run` from end to end: the run folder, what is done once only, evaluations, and clients that fail."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.errors import ClientError, FedLTError, ScenarioError
from fedlt.results.runs import open_run


def only_run(out: Path) -> dict[str, Any]:
    (folder,) = out.iterdir()
    found: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return found


def test_the_run_folder_holds_everything(tiny: dict[str, Any], tmp_path: Path) -> None:
    scenario, before = load_scenario(tiny), time.time()
    run = fedlt.run(tiny, out=tmp_path)
    assert run.folder == tmp_path / scenario.run_name
    assert {path.name for path in run.folder.iterdir()} == {
        "run.json",
        "scenario.yaml",
        "log.txt",
        "model.json",
        "partition.npz",
        "model.safetensors",
        "checkpoints",  # that of the end, for going on with more rounds
        *(f"{table}.parquet" for table in ("rounds", "clients", "classes", "calibration", "metrics", "confusion")),
    }
    summary = run.summary
    assert (summary["status"], summary["seed"], summary["rounds"], summary["final_round"]) == ("finished", 0, 2, 2)
    assert (summary["scenario"], summary["strategy"], summary["learner"], summary["model"]) == (
        "scenario",
        "fedavg",
        "cross_entropy",
        "mlp",
    )
    assert (summary["scenario_hash"], len(summary["model_hash"]), len(summary["partition_hash"])) == (
        scenario.hash,
        64,
        64,
    )
    assert summary["timings"]["total_seconds"] > 0
    assert (before <= run.rounds.ended - run.rounds.seconds).all()
    assert (run.rounds.ended <= time.time()).all()
    assert run.rounds.ended.is_monotonic_increasing
    assert {"torch", "flwr", "fedlt"} <= set(summary["versions"])
    assert len((run.folder / "log.txt").read_text(encoding="utf-8").splitlines()) == 2
    assert load_scenario(run.folder / "scenario.yaml").hash == scenario.hash
    assert run.scenario == scenario.to_dict()
    assert open_run(run.folder).summary == summary


def test_the_final_figures_name_model_and_test_set(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, out=tmp_path)
    both = {"accuracy", "balanced_accuracy", "macro_f1", "many", "medium", "few", "ece", "nll", "brier"}
    both.add("failure_auroc")
    generic = both | {"mass_many", "mass_medium", "mass_few", "nc1", "nc2_norms", "nc2_angles", "nc3"}
    generic |= {"head_norms", "head_angles", "alignment"}
    personal = both | {"std", "worst_decile", "clients"}
    expected = {f"generic/{name}" for name in generic}
    expected |= {f"{model}/{name}" for model in ("personal", "personal_masked") for name in personal}
    assert set(run.final) == set(run.last_five) == expected
    assert 0 < run.final["generic/accuracy"] < 1
    assert run.final["personal_masked/accuracy"] >= run.final["personal/accuracy"]
    assert run.final["personal/clients"] == 6
    last = run.classes.query("round == 2")
    assert last["recall"].mean() == pytest.approx(run.final["generic/balanced_accuracy"])
    assert int(last["test_count"].sum()) == 300  # the whole test set, each class 30 times
    mean = run.metrics.query("metric == 'generic/accuracy'")["value"].mean()
    assert mean == pytest.approx(run.last_five["generic/accuracy"])


@pytest.mark.slow
def test_a_run_learns(tiny: dict[str, Any], tmp_path: Path) -> None:
    long = fedlt.run(tiny, "federation.rounds=12", "federation.participation=1", "local.epochs=4", out=tmp_path)
    assert long.final["generic/accuracy"] > 0.7  # chance is 0.1
    assert long.rounds["train_loss"].iloc[-1] < 0.5 * long.rounds["train_loss"].iloc[0]


def test_what_is_finished_is_not_run_again_unless_forced(
    tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = fedlt.run(tiny, out=tmp_path, quiet=False)
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == str(first.folder)
    stamp = (first.folder / "run.json").stat().st_mtime_ns
    again = fedlt.run(tiny, out=tmp_path, quiet=False)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "already finished; --force runs it again"
    assert said[-1] == str(first.folder)
    assert again.summary == first.summary
    assert (first.folder / "run.json").stat().st_mtime_ns == stamp
    forced = fedlt.run(tiny, out=tmp_path, force=True)
    assert (first.folder / "run.json").stat().st_mtime_ns > stamp
    assert forced.summary["model_hash"] == first.summary["model_hash"]
    assert capsys.readouterr().out == ""  # quiet is the default
    other = fedlt.run(tiny, "seed=1", out=tmp_path)
    assert other.folder != first.folder


def test_an_unfinished_folder_is_run_again(tiny: dict[str, Any], tmp_path: Path) -> None:
    first = fedlt.run(tiny, out=tmp_path)
    (first.folder / "run.json").write_text(json.dumps({**first.summary, "status": "running"}), encoding="utf-8")
    assert fedlt.run(tiny, out=tmp_path).status == "finished"


@pytest.mark.slow
def test_the_scenario_may_be_a_dictionary_a_path_a_name_or_checked(tiny: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(load_scenario(tiny).to_yaml(), encoding="utf-8")
    hashes = {
        fedlt.run(scenario, out=tmp_path / "runs").summary["model_hash"]
        for scenario in (tiny, path, str(path), load_scenario(tiny))
    }
    assert len(hashes) == 1
    assert "mine-fedavg-s0-" in str(sorted(p.name for p in (tmp_path / "runs").iterdir()))


def test_a_dictionary_is_left_as_it_was(tiny: dict[str, Any], tmp_path: Path) -> None:
    import copy

    before = copy.deepcopy(tiny)
    fedlt.run(tiny, "seed=1", "strategy=fedprox", "strategy.mu=1", "~local.lr", "federation.rounds=1", out=tmp_path)
    assert tiny == before


def test_a_name_that_the_library_lacks_is_told() -> None:
    with pytest.raises(AttributeError, match="no attribute 'rum'"):
        _ = fedlt.rum


# Evaluations ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rounds", "every", "evaluated"), [(5, 2, [2, 4, 5]), (4, 2, [2, 4]), (3, 9, [3]), (1, 1, [1]), (3, 1, [1, 2, 3])]
)
def test_evaluations_come_every_so_often_and_after_the_last_round(
    tiny: dict[str, Any], tmp_path: Path, rounds: int, every: int, evaluated: list[int]
) -> None:
    run = fedlt.run(tiny, f"federation.rounds={rounds}", f"evaluation.every={every}", out=tmp_path)
    assert sorted(run.metrics["round"].unique()) == evaluated
    assert run.summary["evaluations"] == len(evaluated)
    assert run.rounds["round"].tolist() == list(range(1, rounds + 1))


@pytest.mark.slow
def test_evaluating_changes_nothing_and_an_evaluation_shows_that_rounds_model(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    often = fedlt.run(tiny, "federation.rounds=3", out=tmp_path)
    seldom = fedlt.run(tiny, "federation.rounds=3", "evaluation.every=3", out=tmp_path)
    short = fedlt.run(tiny, "federation.rounds=2", out=tmp_path)
    assert often.summary["model_hash"] == seldom.summary["model_hash"]
    assert often.final == pytest.approx(seldom.final, nan_ok=True)
    second = often.metrics.query("round == 2").set_index("metric")["value"]
    assert second.to_dict() == pytest.approx(short.final, nan_ok=True)


@pytest.mark.slow
def test_fewer_clients_may_be_evaluated_always_the_same_ones(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, "evaluation.clients=2", out=tmp_path)
    by_round = run.clients.groupby("round")["client"].apply(list).tolist()
    assert len(by_round) == 2
    assert by_round[0] == by_round[1]
    assert len(by_round[0]) == 2
    assert run.final["personal/clients"] == 2
    everyone = fedlt.run(tiny, "evaluation.clients=99", out=tmp_path)
    assert sorted(everyone.clients["client"].unique()) == list(range(6))
    drawn = {
        tuple(fedlt.run(tiny, "evaluation.clients=2", f"seed={seed}", out=tmp_path).clients["client"].unique())
        for seed in (1, 2, 3)
    }
    assert len(drawn | {tuple(by_round[0])}) > 1


@pytest.mark.slow
def test_cohorts_are_drawn_anew_in_each_round(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, "federation.rounds=6", out=tmp_path)
    assert run.rounds["clients"].tolist() == [3] * 6
    assert run.rounds["samples"].nunique() > 1
    one = fedlt.run(tiny, "federation.participation=0.01", out=tmp_path)
    assert one.rounds["clients"].tolist() == [1, 1]


# Clients that fail ----------------------------------------------------------------------------------------------------

FAILING = '''
@dataclass(frozen=True)
class Failing(Strategy):
    """Client `victim` fails in a round of its own choice, or in its evaluation."""

    victim: int = 0
    where: str = "fit"

    def fit(self, client):
        super().fit(client)
        if client.id == self.victim and self.where == "fit":
            raise RuntimeError("out of luck")
        if client.id == self.victim and self.where == "nan":
            client.flat.shared[3] = float("nan")
        if client.id == self.victim and self.where == "private":
            client.flat.private[3] = float("inf")

    def personal(self, client, x):
        if client.id == self.victim and self.where == "personal":
            raise RuntimeError("out of luck")
        return super().personal(client, x)


@dataclass(frozen=True)
class FailingHead(Failing):
    private: ClassVar[tuple[str, ...]] = ("head.*",)


@dataclass(frozen=True)
class Exploding(Strategy):
    def aggregate(self, server, updates):
        server.weights = server.weights * float("inf")
'''


@pytest.fixture
def failing(own_file: Callable[..., Path]) -> Callable[..., list[str]]:
    path = own_file(FAILING)

    def overrides(where: str, *more: str, name: str = "Failing") -> list[str]:
        chosen = [
            "federation.participation=1",
            f"strategy={path}:{name}",
            "strategy.victim=4",
            f"strategy.where={where}",
        ]
        return [*chosen, *more]

    return overrides


@pytest.mark.slow
def test_a_failing_client_ends_the_run_with_its_name(
    tiny: dict[str, Any], failing: Callable[..., list[str]], tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    with pytest.raises(ClientError, match="client 4 failed in round 1: RuntimeError: out of luck") as caught:
        fedlt.run(tiny, *failing("fit"), out=out)
    assert (caught.value.client, caught.value.round) == (4, 1)
    assert 'raise RuntimeError("out of luck")' in caught.value.remote_traceback
    assert "Traceback" not in str(caught.value)
    summary = only_run(out)
    assert summary["status"] == "failed"
    assert "client 4 failed in round 1" in summary["error"]


@pytest.mark.slow
def test_a_client_that_fails_in_its_evaluation_ends_the_run_too(
    tiny: dict[str, Any], failing: Callable[..., list[str]], tmp_path: Path
) -> None:
    with pytest.raises(ClientError, match=r"client 4 failed in round \d: RuntimeError: out of luck"):
        fedlt.run(tiny, *failing("personal"), out=tmp_path / "runs")
    assert only_run(tmp_path / "runs")["status"] == "failed"


@pytest.mark.slow
@pytest.mark.parametrize(("where", "name"), [("nan", "Failing"), ("private", "FailingHead")])
def test_weights_that_are_not_finite_are_never_averaged(
    tiny: dict[str, Any], failing: Callable[..., list[str]], tmp_path: Path, where: str, name: str
) -> None:
    with pytest.raises(ClientError, match=r"client 4 failed in round 1: FloatingPointError.*a smaller local\.lr"):
        fedlt.run(tiny, *failing(where, name=name), out=tmp_path)


@pytest.mark.slow
def test_a_generic_model_that_is_not_finite_ends_the_run(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(
        FedLTError,
        match=r"the server failed in round 1: Exploding.aggregate gave 1210 of 1210 weights that are not finite",
    ):
        fedlt.run(tiny, f"strategy={own_file(FAILING)}:Exploding", out=tmp_path / "runs")
    assert only_run(tmp_path / "runs")["status"] == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("where", ["fit", "nan"])
def test_failing_clients_may_be_skipped_and_are_counted(
    tiny: dict[str, Any], failing: Callable[..., list[str]], tmp_path: Path, where: str
) -> None:
    run = fedlt.run(tiny, *failing(where, "federation.on_error=skip"), out=tmp_path)
    assert run.status == "finished"
    assert run.summary["skipped"] == 2
    assert run.rounds["skipped"].tolist() == [1, 1]
    assert run.rounds["clients"].tolist() == [5, 5]
    assert np.isfinite(run.final["generic/accuracy"])


@pytest.mark.slow
def test_failures_in_evaluations_are_counted_in_the_last_one_as_well(
    tiny: dict[str, Any], failing: Callable[..., list[str]], tmp_path: Path
) -> None:
    run = fedlt.run(tiny, *failing("personal", "federation.on_error=skip"), out=tmp_path)
    assert run.final["personal/clients"] == 5
    assert run.summary["skipped"] == 2  # two evaluations


@pytest.mark.slow
def test_a_round_in_which_everyone_fails_leaves_the_model_as_it_is(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path
) -> None:
    path = own_file("class Bad(Strategy):\n    def fit(self, client):\n        raise OSError\n")
    run = fedlt.run(tiny, f"strategy={path}:Bad", "federation.on_error=skip", out=tmp_path)
    assert run.rounds["clients"].tolist() == [0, 0]
    assert run.summary["skipped"] == 6
    assert run.status == "finished"


# Before anything starts -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["federation.clients=5000"], "federation.clients: 5000 clients cannot share"),
        (["strategy={head}:Heat"], r"the private pattern 'heat\.\*' matches no tensor.*head\.weight"),
        (["model=cnn", "data.name={rows}"], r"model: cnn needs images.*use model=mlp"),
        (["data.name={rows}", "local.augment=flip"], "local.augment: flip is for images; use none"),
        (["strategy=flower:FedTrimmedAvg", "strategy.beta=0.7"], r"\[0, 0\.5\)"),
    ],
)
def test_what_does_not_fit_together_is_found_before_there_is_a_folder(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path, overrides: list[str], message: str
) -> None:
    head = own_file('class Heat(Strategy):\n    private: ClassVar[tuple[str, ...]] = ("heat.*",)\n', "head.py")
    rows = tmp_path / "rows.npz"
    x, y = np.random.default_rng(0).normal(size=(600, 5)).astype(np.float32), np.arange(600) % 10
    np.savez(rows, x_train=x, y_train=y, x_test=x, y_test=y)
    with pytest.raises(ScenarioError, match=message):
        fedlt.run(tiny, *[text.format(head=head, rows=rows) for text in overrides], out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_cannot_be_written_is_named(tiny: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"--out: cannot write to .*/file/runs; give another folder"):
        fedlt.run(tiny, out=tmp_path / "file" / "runs")


def test_rows_of_features_run_like_images(tiny: dict[str, Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(600) % 3
    x = (rng.normal(size=(600, 5)) + 3 * np.eye(3, 5)[y]).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x_train=x, y_train=y, x_test=x[:90], y_test=y[:90])
    longer = ["~data.longtail", "federation.participation=1", "federation.rounds=4"]
    run = fedlt.run(tiny, f"data.name={tmp_path / 'rows.npz'}", *longer, out=tmp_path)
    assert run.final["generic/accuracy"] > 0.6  # chance is 0.33
