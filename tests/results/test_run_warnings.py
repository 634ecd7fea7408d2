"""What a finished run says when something is off: hand-sized matrices and losses on both sides of each rule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.config.scenario import load_scenario
from fedlt.measures.evaluation import Evaluation
from fedlt.measures.metrics import Confusion
from fedlt.results.run_warnings import at_chance, below_variant, loss_has_risen, one_class, run_warnings
from fedlt.results.runs import RunWriter, open_run
from tests.evaluations import evaluation as evaluated

pytestmark = pytest.mark.slow

NAMES = ("cat", "dog")
FALLING = [2.0, 1.8, 1.2, 1.0, 0.8, 0.7]


def answers(right: tuple[int, int], of: tuple[int, int] = (50, 50)) -> Confusion:
    """Two classes with so many test samples, of which so many are right."""
    true = np.repeat([0, 1], of)
    wrong = np.concatenate([np.arange(n) >= good for n, good in zip(of, right, strict=True)])
    return Confusion.from_predictions(true, np.where(wrong, 1 - true, true), 2)


# At chance: 1 / 2, with 50 samples a class a standard error of .5 * sqrt(2 / 50) / 2 = .05 ----------------------------


@pytest.mark.parametrize(("right", "said"), [((35, 24), True), ((30, 30), True), ((31, 30), False), ((45, 40), False)])
def test_a_mean_recall_within_two_errors_of_a_guess_is_at_chance(right: tuple[int, int], said: bool) -> None:
    assert bool(at_chance("generic", [answers(right)])) == said


def test_chance_is_told_with_figures() -> None:
    assert at_chance("generic", [answers((35, 24))]) == "mean recall 59.0 % is at chance (50.0 % with 2 classes)"
    assert at_chance("personal", [answers((35, 24))]) == "mean accuracy 59.0 % is at chance (50.0 % with 2 classes)"


def test_chance_on_an_unbalanced_test_set_is_that_of_the_recalls() -> None:
    mostly_cats = answers((90, 0), of=(90, 10))  # 90 % accuracy by looking at nothing
    assert at_chance("generic", [mostly_cats]).startswith("mean recall 50.0 % is at chance")
    assert not at_chance("personal", [mostly_cats])


def test_the_clients_accuracies_count_equally_and_small_tests_have_large_errors() -> None:
    large, small = answers((50, 50)), answers((1, 0), of=(2, 2))
    assert not at_chance("personal", [large, large])
    # Mean (1 + .25) / 2 = .625; error .5 * sqrt(1 / 100 + 1 / 4) / 2 = .127, so up to .755 it may be chance.
    assert at_chance("personal", [large, small]).startswith("mean accuracy 62.5 %")
    untested = Confusion.from_predictions([], [], 2)
    assert at_chance("personal", [large, small, untested]) == at_chance("personal", [large, small])


def test_one_class_alone_has_no_chance_level() -> None:
    assert not at_chance("generic", [answers((50, 0), of=(50, 0))])


# One class ------------------------------------------------------------------------------------------------------------


def test_nearly_everything_taken_for_one_class_is_told() -> None:
    found = one_class([answers((5, 50))], NAMES)  # 95 of 100 are taken for a dog
    assert found == "95.0 % of the test samples are taken for class 'dog', which holds 50.0 % of them"
    assert not one_class([answers((6, 50))], NAMES)


def test_a_class_that_holds_nearly_everything_may_be_predicted_always() -> None:
    assert not one_class([answers((90, 0), of=(90, 10))], NAMES)
    assert one_class([answers((80, 0), of=(80, 20))], NAMES)


def test_the_clients_predictions_count_together() -> None:
    of_cats, of_dogs = answers((20, 0), of=(20, 0)), answers((0, 20), of=(0, 20))
    assert not one_class([of_cats, of_dogs], NAMES)
    assert one_class([answers((20, 0), of=(20, 20)), of_cats], NAMES)


# Below a variant: ten points, and three errors of the difference ------------------------------------------------------


def test_a_headline_far_below_its_variant_is_told() -> None:
    good, poor = [answers((460, 400), of=(500, 500))], [answers((400, 350), of=(500, 500))]
    found = below_variant("generic", {"": poor, "psi": [answers((400, 360), of=(500, 500))], "simplex": good})
    assert found == "accuracy 75.0 % is 11.0 points below that of the variant generic[simplex], 86.0 %"
    assert not below_variant("generic", {"": good, "simplex": poor})
    assert not below_variant("generic", {"": poor})
    nearly = [answers((449, 400), of=(500, 500))]  # 9.9 points
    assert not below_variant("generic", {"": poor, "simplex": nearly})


def test_a_gap_within_the_errors_of_a_small_test_set_is_not_told() -> None:
    poor, good = [answers((40, 35))], [answers((46, 41))]  # 12 points, of 100 samples: an error of 5.5 points
    assert not below_variant("generic", {"": poor, "simplex": good})
    assert below_variant("personal", {"": poor * 10, "phi": good * 10})


# The loss: means of tenths, of two rounds at least --------------------------------------------------------------------


def test_a_loss_that_falls_or_stays_says_nothing() -> None:
    assert not loss_has_risen(FALLING)
    assert not loss_has_risen([2.3, 2.3, 2.3, 2.5, 2.7, 2.7])  # nothing learnt, and less than a fifth lost
    assert not loss_has_risen([2.0, 1.8, 0.01, 0.01, 0.03, 0.04])  # many times its lowest, and nothing of the gain
    assert not loss_has_risen([2.0, 2.0, 1.0, 1.0, 1.4, 1.4])  # a term that comes in late
    assert not loss_has_risen([1.0, 5.0, 5.0])  # too short to tell


def test_a_loss_that_ends_above_its_start_is_told() -> None:
    found = loss_has_risen([2.0, 2.0, 2.2, 2.4, 2.5, 2.5])
    assert found == "the training loss rose: 2 in the first 2 rounds, 2 at its lowest, 2.5 in the last 2"
    assert loss_has_risen([-2.0, -2.0, -2.0, -1.5, -1.5])  # control variates may make it negative


def test_a_loss_that_loses_half_of_what_it_had_gained_is_told() -> None:
    found = loss_has_risen([2.0, 2.0, 1.0, 1.0, 1.5, 1.5])
    assert found == "the training loss rose: 2 in the first 2 rounds, 1 at its lowest, 1.5 in the last 2"
    assert not loss_has_risen([2.0, 2.0, 1.1, 1.1, 2.1, 2.1])  # cohorts and decaying steps undo a smaller gain


def test_rounds_in_which_nobody_trained_are_passed_over() -> None:
    nobody = float("nan")
    assert loss_has_risen([nobody, 2.0, 2.0, nobody, 1.0, 1.0, 1.5, nobody, 1.5])
    assert not loss_has_risen([nobody] * 6)


def test_windows_grow_with_the_run() -> None:
    losses = np.linspace(2.0, 1.0, 40)
    losses[-1] = 9.0  # one round of forty: the last tenth has a mean of 3
    assert "last 4" in loss_has_risen(list(losses))


# All of it ------------------------------------------------------------------------------------------------------------


def evaluation(generic: dict[str, Confusion], personal: Confusion | None = None) -> Evaluation:
    return evaluated(5, generic=generic, personal={"": {0: personal or answers((45, 45))}})


def test_a_good_run_says_nothing() -> None:
    assert run_warnings(evaluation({"": answers((45, 40))}), NAMES, FALLING, 0.05) == []


def test_every_rule_says_its_word_with_what_to_try() -> None:
    poor, good = answers((0, 50)), answers((45, 45))
    found = run_warnings(evaluation({"": poor, "psi": good}, answers((25, 25))), NAMES, FALLING[::-1], 0.05)
    assert found == [
        "generic: 100.0 % of the test samples are taken for class 'dog', which holds 50.0 % of them; try a smaller "
        "step, such as local.lr=0.02, or more rounds",
        "generic: accuracy 50.0 % is 40.0 points below that of the variant generic[psi], 90.0 %; look at all of them: "
        "fedlt compare RUN --variants '*'",
        "personal: mean accuracy 50.0 % is at chance (50.0 % with 2 classes); try a smaller step, such as "
        "local.lr=0.02, or more rounds",
        "the training loss rose: 0.75 in the first 2 rounds, 0.75 at its lowest, 1.9 in the last 2; try a smaller "
        "step, such as local.lr=0.02",
    ]


def test_only_the_learners_last_stage_is_looked_at() -> None:
    losses = [0.5, 0.4, 0.3, 0.2, 2.0, 1.8, 1.6, 1.2]  # the second stage has a loss of its own
    fine = evaluation({"": answers((45, 40))})
    assert run_warnings(fine, NAMES, losses, 0.05)
    assert run_warnings(fine, NAMES, losses, 0.05, stage_share=0.5) == []
    assert run_warnings(fine, NAMES, [], 0.05) == []


def test_models_that_were_not_tested_are_passed_over() -> None:
    nothing = Confusion.from_predictions([], [], 2)
    assert run_warnings(evaluated(5, personal={"": {0: nothing}, "phi": {0: nothing}}), NAMES, FALLING, 0.05) == []


# In a run and in a sweep ----------------------------------------------------------------------------------------------

GUESSING = """
class Guess(Strategy):
    def fit(self, client):
        pass

    def generic(self, server, x):
        return torch.eye(10)[torch.zeros(len(x), dtype=torch.long)]
"""


@pytest.fixture
def scenario(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Four rounds of the tiny scenario, which learn, as a file in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    changes = ["federation.rounds=4", "federation.participation=1", "local.epochs=4"]
    Path("small.yaml").write_text(load_scenario(tiny, changes).to_yaml(), encoding="utf-8")
    return "small.yaml"


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(app, [*arguments])
    assert result.exit_code == 0, result.output
    return result


WORD = "100.0 % of the test samples are taken for class '0', which holds 10.0 % of them; try a smaller step, such as"


def test_a_run_says_it_below_the_table_and_keeps_it(scenario: str, own_file: Callable[..., Path]) -> None:
    own_file(GUESSING)
    lines = call("run", scenario, "strategy=./mine.py:Guess").stdout.splitlines()
    run = open_run(lines[-1])
    assert run.warnings[0] == f"generic: {WORD} local.lr=0.02, or more rounds"
    assert run.summary["warnings"] == run.warnings
    assert lines[-2].startswith("next: ")
    told = [line for line in lines if line.startswith("warning: ")]
    assert told == [f"warning: {word}" for word in run.warnings]
    assert lines[-2 - len(told) : -2] == told
    assert told[0] in call("run", scenario, "strategy=./mine.py:Guess").stdout.splitlines()  # already finished
    good = call("run", scenario)
    assert "warning: " not in good.stdout
    assert open_run(good.stdout.splitlines()[-1]).warnings == []


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.parametrize("parallel", ["1", "2"])
def test_a_sweep_says_it_at_its_end_in_a_line_for_each_run(
    scenario: str, own_file: Callable[..., Path], parallel: str
) -> None:
    own_file(GUESSING)
    words = [scenario, "strategy=./mine.py:Guess,fedavg", "--seeds", "0-1", "--parallel", parallel]
    lines = call("sweep", *words).stdout.splitlines()
    told = [line for line in lines if line.startswith("warning: ")]
    assert lines[-3:-1] == told  # above what to do next
    assert [line.partition(f": generic: {WORD}")[0] for line in told] == [
        "warning: strategy=./mine.py:Guess seed 0",
        "warning: strategy=./mine.py:Guess seed 1",
    ]


RISING = """
class Rising(Strategy):
    def loss(self, client, batch):
        return super().loss(client, batch) + 5.0 * client.progress
"""


def test_the_losses_of_a_run_are_looked_at(tiny: dict[str, Any], tmp_path: Path, own_file: Callable[..., Path]) -> None:
    words = f"strategy={own_file(RISING)}:Rising", "federation.rounds=6", "evaluation.every=4"
    run = fedlt.run(tiny, *words, out=tmp_path / "runs")
    assert "the training loss rose: " in run.warnings[-1]
    first, last = run.rounds.train_loss[:2].mean(), run.rounds.train_loss[-2:].mean()
    assert f"{first:.3g} in the first 2 rounds" in run.warnings[-1]
    assert f"{last:.3g} in the last 2; try a smaller step, such as local.lr=0.02" in run.warnings[-1]


TWO_STAGES = """
from fedlt import Stage
from fedlt.learners.cross_entropy import CrossEntropy

class Two(CrossEntropy):
    def stages(self):
        return Stage("first", share=0.5), Stage("second", share=0.5)

    def loss(self, site, batch):
        return super().loss(site, batch) + 5.0 * (site.stage.name == "second")
"""


def test_a_stage_with_a_larger_loss_is_no_rise(tiny: dict[str, Any], tmp_path: Path, own_file: Any) -> None:
    words = f"learner={own_file(TWO_STAGES)}:Two", "federation.rounds=8", "federation.participation=1"
    run = fedlt.run(tiny, *words, out=tmp_path / "runs")
    assert run.rounds.train_loss.iloc[-1] > 2 * run.rounds.train_loss.iloc[0]
    assert not any("loss rose" in word for word in run.warnings)


def test_losses_from_before_a_resume_count(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    first = RunWriter(tmp_path / "run", "seed: 0\n", {})
    first.start()
    first.round({"round": 1, "train_loss": 2.0})
    head = first.save(kept)
    first.round({"round": 2, "train_loss": 9.0})  # after the checkpoint, so not a part of the run that goes on
    second = RunWriter(tmp_path / "run", "seed: 0\n", {})
    second.resume(kept, head)
    second.round({"round": 2, "train_loss": 1.0})
    second.round({"round": 3, "train_loss": None})
    assert second.losses() == pytest.approx([2.0, 1.0, float("nan")], nan_ok=True)
