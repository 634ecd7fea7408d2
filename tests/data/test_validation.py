"""Validation data: who is set apart, what is reported of them, and early stopping by them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Validation
from fedlt.data.federation import Federation, federate, plan
from fedlt.data.ragged import Ragged
from fedlt.data.targets import Targets
from fedlt.data.validation import draw_global, draw_local
from fedlt.errors import ScenarioError
from fedlt.measures.glossary import explain

pytestmark = pytest.mark.slow

# Ten rows of class 0, six of class 1 and two of class 2; a long tail that keeps eight, two and two of them.
Y = np.repeat([0, 1, 2], [10, 6, 2])
TARGETS = Targets.of_classes(Y)
KEPT = np.array([0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 16, 17])
ALL = np.arange(18)


def everything(federation: Federation) -> list[int]:
    """Rows of the training source that anybody holds, for whatever purpose."""
    assert federation.validation is not None
    return [
        *federation.clients.values.tolist(),
        *federation.unlabelled.values.tolist(),
        *federation.auxiliary.tolist(),
        *federation.validation.rows.tolist(),
    ]


def test_the_global_set_takes_first_what_the_long_tail_left_out() -> None:
    rows, training, taken = draw_global(TARGETS, KEPT, ALL, Validation(per_class=3), seed=0)
    # Left out are two rows of class 0, four of class 1 and none of class 2; of its two, class 2 keeps one.
    assert np.bincount(Y[rows]).tolist() == [3, 3, 1]
    assert taken.tolist() == [1, 0, 1]
    assert {8, 9} < set(rows.tolist()) and set(rows[3:6].tolist()) <= {12, 13, 14, 15}
    assert np.bincount(Y[training]).tolist() == [7, 2, 1]
    assert not set(rows.tolist()) & set(training.tolist())
    assert sorted({*rows.tolist(), *training.tolist()} & set(KEPT.tolist())) == KEPT.tolist()


def test_a_class_never_loses_more_than_half_of_its_training_rows() -> None:
    _, training, taken = draw_global(TARGETS, ALL, ALL, Validation(per_class=8), seed=0)
    assert taken.tolist() == [5, 3, 1]
    assert np.bincount(Y[training]).tolist() == [5, 3, 1]


def test_a_share_gives_the_global_set_that_share_of_a_class_and_at_most_a_hundred() -> None:
    # 18 rows of 3 classes: 6 a class, of which a third is 2.
    assert np.bincount(Y[draw_global(TARGETS, KEPT, ALL, Validation(share=1 / 3), seed=0)[0]]).tolist() == [2, 2, 1]
    many = np.repeat([0, 1], 1000)
    rows, _, _ = draw_global(Targets.of_classes(many), many[:0], np.arange(2000), Validation(share=0.5), seed=0)
    assert np.bincount(many[rows]).tolist() == [100, 100]


def test_local_sets_follow_the_mix_of_the_client_and_leave_every_class_seen() -> None:
    # Client 0 holds ten, six and one: a fifth of 17 is 3, two of class 0 and one of class 1. Client 1 has one sample.
    y = np.repeat([0, 1, 2, 0], [10, 6, 1, 1])
    clients = Ragged.from_rows([np.arange(17), np.array([17])])
    kept, held = draw_local(clients, Targets.of_classes(y), Validation(share=0.2), seed=0)
    assert held.table(y, 3).tolist() == [[2, 1, 0], [0, 0, 0]]
    assert kept.table(y, 3).tolist() == [[8, 5, 1], [1, 0, 0]]
    assert sorted([*kept.values, *held.values]) == list(range(18))
    assert (
        draw_local(clients, Targets.of_classes(y), Validation(share=0.2, seed=7), seed=0)[1].values.tolist()
        != held.values.tolist()
    )


def test_no_validation_row_is_anybody_elses(tiny: dict[str, Any]) -> None:
    """Clients, unlabelled and auxiliary rows included; class counts are of what is left to train on."""
    plain = federate(load_scenario(tiny, ["data.unlabelled.extra=0.2", "data.auxiliary=2"]))
    overrides = ["data.unlabelled.extra=0.2", "data.auxiliary=2", "data.validation.share=0.25", "federation.held_out=1"]
    federation = federate(load_scenario(tiny, overrides))
    held = federation.validation
    assert plain.validation is None and held is not None
    assert len(set(everything(federation))) == len(everything(federation))
    assert federation.class_counts.tolist() == np.bincount(federation.y_train[federation.clients.values]).tolist()
    newcomers = federate(load_scenario(tiny, overrides), newcomers=True)
    assert newcomers.validation is not None
    assert not set(newcomers.validation.rows[held.size :].tolist()) & set(everything(federation))
    # Every client is tested on what it is tested on without validation, and has seen the classes that it had.
    without = federate(load_scenario(tiny, ["data.auxiliary=2", "federation.held_out=1"]))
    few = federate(load_scenario(tiny, ["data.auxiliary=2", "federation.held_out=1", "data.validation.share=0.25",
                               "data.validation.per_class=0"]))  # fmt: skip
    assert few.tests.values.tolist() == without.tests.values.tolist()
    assert ((few.client_counts() > 0) == (without.client_counts() > 0)).all()


def test_plan_and_federation_agree_and_a_scenario_without_the_key_keeps_its_hash(tiny: dict[str, Any]) -> None:
    apart = load_scenario(tiny, ["data.validation=0.2"])
    assert plan(apart).digest == federate(apart).digest() != plan(load_scenario(tiny)).digest
    assert apart.data.validation == Validation(share=0.2)
    assert "validation" not in load_scenario(tiny).to_dict()["data"]
    assert {"patience", "watch"}.isdisjoint(load_scenario(tiny).to_dict()["evaluation"])
    assert load_scenario(apart.to_dict()).hash == apart.hash != load_scenario(tiny).hash


@pytest.mark.parametrize("strategy", ["fedavg", "fedper", "apfl", "local", "centralized", "fedloge"])
def test_figures_on_validation_data_stand_beside_the_others(
    tiny: dict[str, Any], tmp_path: Path, strategy: str
) -> None:
    """Every figure of the test set has its twin, but for those of features; trained models do not see the set."""
    overrides = [f"strategy={strategy}", "data.validation=0.2"]
    run = fedlt.run(tiny, *overrides, out=tmp_path, backend="inline")
    tested = {name for name in run.final if not name.startswith("validation/")}
    held = {name.removeprefix("validation/") for name in run.final if name.startswith("validation/")}
    features = {f"generic/{name}" for name in ("nc1", "nc2_norms", "nc2_angles", "nc3", "head_norms", "head_angles",
                                               "alignment")}  # fmt: skip
    assert tested - held == features & tested and not held - tested
    assert run.summary["validation"]["per_class"] == [30, 30]
    spread = fedlt.run(tiny, *overrides, out=tmp_path / "spread", backend="processes", workers=2)
    assert spread.summary["model_hash"] == run.summary["model_hash"]
    assert spread.final == pytest.approx(run.final, abs=1e-9, nan_ok=True)


def test_validation_figures_are_those_of_the_rows_set_apart(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Predicted by hand from the kept model: the global set for the generic model, own samples for personal ones."""
    import torch
    from safetensors.torch import load_file

    from fedlt.training.assembly import assemble

    scenario = load_scenario(tiny, ["data.validation=0.2"])
    run = fedlt.run(scenario, out=tmp_path, backend="inline")
    federation = federate(scenario)
    held = federation.validation
    assert held is not None
    parts = assemble(scenario, federation, torch.device("cpu"))
    parts.model.load_state_dict(load_file(run.folder / "model.safetensors"), strict=False)
    inputs = federation.inputs.open(federation.x_train, torch.device("cpu"))
    with torch.no_grad():
        predicted = parts.model.eval()(inputs.take(torch.from_numpy(held.rows))).argmax(1).numpy()
    right = predicted == held.targets.values
    assert run.final["validation/generic/accuracy"] == pytest.approx(right[: held.size].mean())
    clients = [right[rows].mean() for rows in held.clients if len(rows)]
    assert run.final["validation/personal/accuracy"] == pytest.approx(np.mean(clients))


def test_explain_knows_the_figures_of_validation_data() -> None:
    (entry,) = explain("validation/personal_masked[phi]/few")
    assert "tail classes" in entry.text and "set apart" in entry.text and "Masked" in entry.text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["evaluation.patience=2"], r"evaluation\.patience: needs validation data.*data\.validation=0\.2"),
        (["evaluation.watch=validation/generic/few"], r"evaluation\.watch: has no effect without evaluation\.patience"),
        (["data.validation=0.2", "evaluation.patience=1", "evaluation.watch=generic/few"],
         r"evaluation\.watch: expected validation/\.\.\., as nothing is chosen on the test set"),
        (["data.validation=1.5"], r"data\.validation\.share: expected a number >= 0 and < 1"),
        (["data.validation=0.2", "data.validation.per_class=3"], r"data\.validation: is 0\.2 already.*share=0\.2"),
        (["data.validation.seed=3"], r"data\.validation\.seed: has no effect"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(tiny: dict[str, Any], overrides: list[str], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        load_scenario(tiny, overrides)


# The figure of six evaluations: after rounds 1 to 6.
FIGURES = [0.3, 0.5, 0.5, 0.4, 0.6, 0.7]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """What early stopping reads, by the round."""

    def given(evaluation: Any, split: Any) -> dict[str, float]:
        return {"validation/generic/accuracy": FIGURES[evaluation.round - 1]}

    monkeypatch.setattr("server.rounds.stopping.validation_figures", given)


def stopping(tiny: dict[str, Any], out: Path, patience: int, *more: str, rounds: int = 6) -> fedlt.results.Run:
    watch = [f"evaluation.patience={patience}", "data.validation=0.2", f"federation.rounds={rounds}"]
    where = ["strategy=fedrod", "resources.backend=inline", "resources.checkpoint=1"]
    return fedlt.run(tiny, *where, *watch, *more, out=out)


def test_a_run_without_a_better_evaluation_stops_and_keeps_the_best(
    tiny: dict[str, Any], tmp_path: Path, figures: None
) -> None:
    """Round 2 is the best; 3 (a tie) and 4 are no better, so with a patience of 2 round 5 is never taken over."""
    run = stopping(tiny, tmp_path / "two", 2)
    assert run.summary["early_stopping"] == {
        "figure": "validation/generic/accuracy", "round": 2, "value": 0.5, "waited": 2
    }  # fmt: skip
    assert run.summary["final_round"] == 2 and len(run.rounds) == 4
    until = fedlt.run(tiny, "strategy=fedrod", "data.validation=0.2", "federation.rounds=6", out=tmp_path / "all",
                      backend="inline")  # fmt: skip
    at = until.metrics[until.metrics["round"] == 2].set_index("metric").value
    assert run.final == pytest.approx(at.to_dict(), nan_ok=True)
    assert run.clients["round"].max() == run.classes["round"].max() == run.confusion["round"].max() == 2
    assert run.metrics["round"].max() == 4
    # Clients' own heads are kept with it: the very files of a run that is cut off after round 2.
    cut = stopping(tiny, tmp_path / "one", 1)
    assert cut.summary["final_round"] == 2 and len(cut.rounds) == 3
    assert cut.summary["model_hash"] == run.summary["model_hash"] != until.summary["model_hash"]


def test_a_run_that_goes_on_to_its_end_keeps_the_best_too(tiny: dict[str, Any], tmp_path: Path, figures: None) -> None:
    run = stopping(tiny, tmp_path, 3)
    assert run.summary["early_stopping"]["round"] == run.summary["final_round"] == 6 and len(run.rounds) == 6
    assert run.summary["early_stopping"]["waited"] == 0


@pytest.mark.parametrize("round", [2, 3, 4, 5])
def test_early_stopping_goes_on_exactly_after_a_kill(
    tiny: dict[str, Any], tmp_path: Path, figures: None, monkeypatch: pytest.MonkeyPatch, round: int
) -> None:
    """The best models outlive the checkpoints between them and the end, of which only two are kept."""
    from server.rounds.loop import Rounds

    whole = stopping(tiny, tmp_path / "whole", 2)
    run: Callable[[], fedlt.results.Run] = partial(stopping, tiny, tmp_path / "killed", 2)
    take = Rounds.take

    def failing(self: Rounds, reports: Any) -> Any:
        if self.progress.round + 1 == round:
            raise RuntimeError("power cut")
        return take(self, reports)

    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "take", failing)
        if round < 5:  # the fifth round is trained in vain: the run stops before it is taken over
            with pytest.raises(RuntimeError, match="power cut"):
                run()
    again = run()
    assert again.summary["model_hash"] == whole.summary["model_hash"]
    assert again.summary["early_stopping"] == whole.summary["early_stopping"]
    assert again.final == pytest.approx(whole.final, abs=0, rel=0, nan_ok=True)
    assert again.last_five == pytest.approx(whole.last_five, abs=0, rel=0, nan_ok=True)
    assert len(again.rounds) == len(whole.rounds) and again.metrics.equals(whole.metrics)
    assert not (again.folder / "checkpoints").exists()


def test_an_unknown_figure_to_watch_ends_the_run_with_the_nearest_name(tiny: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"no figure 'validation/generic/fewer'.*did you mean"):
        stopping(tiny, tmp_path, 2, "evaluation.watch=validation/generic/fewer")


def test_without_a_generic_model_personal_ones_are_watched(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = stopping(tiny, tmp_path, 1, "strategy=local", rounds=2)
    assert run.summary["early_stopping"]["figure"] == "validation/personal/accuracy"
