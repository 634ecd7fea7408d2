"""A statistic of a user's own, of twenty lines: measured like those built in, with equal bits on every backend."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.data.kinds.single import Single
from fedlt.errors import ScenarioError
from fedlt.learner import Prediction
from fedlt.measures.collect import Collector
from fedlt.measures.defaults import statistics
from fedlt.measures.evaluation import known, merged
from fedlt.statistic import NOBODY, Predicted, Subject
from fedlt.training.assembly import assemble
from tests.same_figures import assert_equal

pytestmark = pytest.mark.slow

TAIL = '''
import numpy as np
from fedlt import Statistic

@dataclass
class TailError(Statistic):
    """Share of the samples of small classes that are predicted wrongly, over all clients together."""

    below: int = 20

    def start(self):
        self.wrong, self.seen = (np.zeros(self.task.num_classes, np.int64) for _ in range(2))

    def add(self, batch):
        y = batch.targets.numpy(force=True)
        np.add.at(self.seen, y, 1)
        np.add.at(self.wrong, y, batch.logits.argmax(1).numpy(force=True) != y)

    def merge(self, other):
        self.wrong += other.wrong
        self.seen += other.seen

    def to_arrays(self):
        return {"wrong": self.wrong, "seen": self.seen}

    def figures(self, known):
        tail = known.class_counts < self.below
        return {"tail_error": float(self.wrong[tail].sum() / self.seen[tail].sum())}

    def rows(self, known):
        if self.subject.kind != "generic":
            return {}
        return {"classes": {"class": np.arange(self.task.num_classes), "wrong": self.wrong}}
'''


class _Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def tail(own_file: Callable[..., Path]) -> str:
    return f"{own_file(TAIL, 'tail.py')}:TailError"


def test_it_stands_beside_the_others_for_every_model(tiny: dict[str, Any], tmp_path: Path, tail: str) -> None:
    """Its figures follow from the confusion matrices that the run keeps."""
    chosen = [f"evaluation.metrics=[{{name: {tail}, below: 30}}]", "data.validation=0.2"]
    run = fedlt.run(tiny, *chosen, out=tmp_path, backend="inline")
    small = np.flatnonzero(federate(load_scenario(run.scenario)).class_counts < 30)
    for model in ("generic", "personal", "personal_masked"):
        held = run.confusion[(run.confusion.model == model) & run.confusion["round"].eq(2)]
        held = held[held.true.isin(small)]
        expected = held[held.true != held.pred]["count"].sum() / held["count"].sum()
        assert run.final[f"{model}/tail_error"] == expected > 0
        assert f"validation/{model}/tail_error" in run.final
    assert run.metrics[run.metrics.metric == "generic/tail_error"]["round"].tolist() == [1, 2]
    shown = str(fedlt.compare(run, metrics=["generic/tail_error"]))
    assert "tail_error" in shown and f"{100 * run.final['generic/tail_error']:.1f}" in shown


def test_its_rows_join_those_of_the_table(tiny: dict[str, Any], tmp_path: Path, tail: str) -> None:
    run = fedlt.run(tiny, f"evaluation.metrics=[{tail}]", out=tmp_path, backend="inline")
    plain = fedlt.run(tiny, out=tmp_path, backend="inline")
    assert list(run.classes.columns) == [*plain.classes.columns, "wrong"]
    assert run.classes.wrong.tolist() == pytest.approx((run.classes.test_count * (1 - run.classes.recall)).tolist())
    assert run.classes.drop(columns="wrong").equals(plain.classes)
    assert run.summary["model_hash"] == plain.summary["model_hash"]


@pytest.mark.usefixtures("ray_workers")
@pytest.mark.parametrize("backend", ["processes", "ray"])
def test_equal_bits_on_every_backend(tiny: dict[str, Any], tmp_path: Path, tail: str, backend: str) -> None:
    changes = [f"evaluation.metrics=[{tail}]", "evaluation.batch_size=16"]
    inline = fedlt.run(tiny, *changes, out=tmp_path / "inline", backend="inline")
    spread = fedlt.run(tiny, *changes, out=tmp_path / backend, backend=backend, workers=2)
    assert json.dumps(spread.final) == json.dumps(inline.final)
    for name in ("metrics", "classes", "clients", "confusion"):
        assert getattr(spread, name).equals(getattr(inline, name)), name


def test_a_run_that_was_stopped_goes_on_to_the_same_figures(
    tiny: dict[str, Any], tmp_path: Path, tail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after its first round, as if it had been killed there."""
    changes = [f"evaluation.metrics=[{tail}]", "resources.checkpoint=1"]
    whole = fedlt.run(tiny, *changes, out=tmp_path / "whole", backend="inline")
    from server.state.keeper import Keeper

    kept = Keeper.after_round

    def stop(keeper: Keeper, *arguments: Any) -> None:
        kept(keeper, *arguments)
        raise _Killed

    with monkeypatch.context() as patch, pytest.raises(_Killed):
        patch.setattr(Keeper, "after_round", stop)
        fedlt.run(tiny, *changes, out=tmp_path / "stopped", backend="inline")
    resumed = fedlt.run(tiny, *changes, out=tmp_path / "stopped", backend="inline")
    assert resumed.summary["resumed"]
    assert_equal(resumed, whole)


def test_the_examples_of_the_page_run(tiny: dict[str, Any], tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/howto/own-metric.md").read_text(encoding="utf-8")
    written = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, re.DOTALL)
    assert [name for name, _ in written] == ["topk.py", "topk.py", "tail.py"]  # the second one tells of its figure
    for name, text in written:
        (tmp_path / name).write_text(text, encoding="utf-8")
    chosen = f"evaluation.metrics=[{tmp_path}/topk.py:TopK, {{name: {tmp_path}/tail.py:TailAUC, below: 30}}]"
    run = fedlt.run(tiny, chosen, out=tmp_path / "runs", backend="inline")
    assert 0 < run.final["generic/tail_auc"] < 1
    assert run.final["generic/top_3"] > run.final["generic/accuracy"]
    assert "personal_masked/tail_auc" in run.final
    assert run.figures["top_3"].unit == "fraction"


# What every statistic must do -----------------------------------------------------------------------------------------


def batches(classes: int = 10) -> list[tuple[Subject, Predicted]]:
    """Twelve batches of three models, of unequal sizes."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for number in range(12):
        kind = ("generic", "personal", "personal_masked")[number % 3]
        client = NOBODY if kind == "generic" else number // 6
        size = 3 + number
        said = Prediction(
            torch.randn(size, classes, generator=generator), extra={"experts": torch.randint(1, 4, (size,))}
        )
        y = torch.randint(classes, (size,), generator=generator)
        found.append((Subject(kind), Predicted(said, y, torch.arange(100 * number, 100 * number + size), client)))
    return found


def test_any_dealing_of_batches_gives_the_same_arrays(tiny: dict[str, Any], tail: str) -> None:
    scenario = load_scenario(tiny, [f"evaluation.metrics=[{tail}]"])
    federation = federate(scenario)
    parts = assemble(scenario, federation, torch.device("cpu"))
    everything = batches()
    seen = []
    for hands in ([everything], [everything[::-1]], [everything[2::3], everything[::3], everything[1::3]]):
        reports = []
        for hand in hands:
            collector = Collector(parts.statistics, parts.task)
            for subject, batch in hand:
                collector.add(subject, batch)
            reports.append(collector.arrays())
        found = merged(reports, parts.statistics, parts.task)
        seen.append({key: {n: a.tobytes() for n, a in one.to_arrays().items()} for key, one in found.items()})
    assert len(seen[0]) == 13  # four statistics of three models, and one of the generic model
    assert seen[0] == seen[1] == seen[2]


def test_the_users_stand_above_the_features_in_tables() -> None:
    assert list(statistics(Single())) == ["confusion", "confidence", "experts", "own_rows", "features"]
    assert list(statistics(Single(), [statistics(Single())["experts"]]))[-2:] == ["own.0", "features"]


# What is refused ------------------------------------------------------------------------------------------------------

BAD = {
    "raises": ("self.seen, y, 1)", "self.seen, y + 99, 1)", "failed on made-up logits: IndexError"),
    "a number for an array": ('"seen": self.seen}', '"seen": 1}', "expected an array of numbers"),
    "shapes that change": ('"seen": self.seen}', '"seen": np.zeros((1, self.seen.sum()))}', "other types or shapes"),
    "an order that matters": ("self.wrong += other.wrong", "self.wrong = other.wrong", "and in the other order"),
    "a name that is taken": ('"tail_error"', '"nll"', "'nll' is taken"),
    "a frozen class": ("@dataclass\n", "@dataclass(frozen=True)\n", "write @dataclass without frozen=True"),
    "an unknown table": ('{"classes": {', '{"labels": {', "expected a table with its key: clients (client)"),
    "a column that is taken": ('"wrong": self.wrong}}', '"recall": self.wrong}}', "the table classes has already"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_statistic_that_cannot_work_is_refused_before_any_work(
    tiny: dict[str, Any], tmp_path: Path, own_file: Callable[..., Path], case: str
) -> None:
    right, wrong, message = BAD[case]
    text = TAIL.replace(right, wrong)
    assert text != TAIL
    with pytest.raises(ScenarioError, match=r"evaluation\.metrics\.0") as error:
        fedlt.run(tiny, f"evaluation.metrics=[{own_file(text)}:TailError]", out=tmp_path / "r", backend="inline")
    assert message in str(error.value)
    assert not (tmp_path / "r").exists()


def test_what_figures_are_set_against(tiny: dict[str, Any]) -> None:
    federation = federate(load_scenario(tiny))
    about = known(federation)
    assert about.class_counts.tolist() == federation.class_counts.tolist()
    assert about.train_samples.tolist() == federation.clients.sizes.tolist()
    assert about.client_counts(3).tolist() == federation.counts(3).tolist()
    assert about.mass_counts.sum() == federation.tests.sizes.sum()
