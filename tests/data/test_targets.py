"""Kinds of targets, with hand-sized numbers: what they read, count, deal by and lose."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Data, LongTail, Validation
from fedlt.data import localtest, sources
from fedlt.data.auxiliary import set_apart
from fedlt.data.federation import federate, plan
from fedlt.data.kinds.multilabel import MultiLabel
from fedlt.data.kinds.ordinal import Ordinal
from fedlt.data.kinds.single import Single
from fedlt.data.kinds.tags import Tags
from fedlt.data.longtail import select
from fedlt.data.ragged import Ragged
from fedlt.data.targets import Targets
from fedlt.data.validation import draw_local
from fedlt.errors import ScenarioError

# Class 0 occurs five times, 1 three times, 2 once, 3 three times; one entry is unknown.
HOT = np.array(
    [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [1, 0, 1, 0],
        [1, 0, 0, 1],
        [1, 1, -1, 1],
        [0, 1, 0, 1],
    ],
    np.int8,
)
# Padded tags: class 0 occurs five times, 1 twice, 2 once.
TAGS = np.array([[0, 0, 1], [0, -100, -100], [2, 0, 0], [1, -100, -100]])


def hot(groups: dict[str, Any] | None = None) -> Targets:
    return Targets(HOT, 4, MultiLabel(), groups or {})


def refusal(config: Data, call: Any = sources.labels) -> str:
    with pytest.raises(ScenarioError) as caught:
        call(config)
    assert len(caught.value.problems) == 1
    return str(caught.value.problems[0])


def write(path: Path, y: Any, test: Any = None, **arrays: Any) -> Data:
    """A file of feature rows with these labels; the test set is the training set unless given."""
    other = y if test is None else test
    x, x_test = np.arange(2.0 * len(y)).reshape(-1, 2), np.arange(2.0 * len(other)).reshape(-1, 2)
    np.savez(path, x_train=x, y_train=y, x_test=x_test, y_test=other, **arrays)
    return Data(name=str(path))


# Counts, and the class that a row follows -----------------------------------------------------------------------------


def test_a_row_counts_for_all_its_labels() -> None:
    assert hot().counts().tolist() == [5, 3, 1, 3]
    assert hot().counts(np.array([2, 5])).tolist() == [1, 1, 1, 1]
    assert Targets(TAGS, 3, Tags()).counts().tolist() == [5, 2, 1]
    assert Targets.of_classes(np.array([1, 0, 1])).counts().tolist() == [1, 2]
    clients = Ragged.from_rows([np.array([0, 1]), np.array([4])])
    assert hot().table(clients).tolist() == [[2, 1, 0, 0], [1, 1, 0, 1]]
    assert Targets(TAGS, 3, Tags()).table(clients.split(1)[0]).tolist() == [[3, 1, 0]]


def test_a_row_follows_its_rarest_label_and_of_equally_rare_ones_the_first() -> None:
    assert hot().lead.tolist() == [0, 1, 2, 3, 1, 1]  # rows 4 and 5 have 1 and 3, three times each
    assert Targets(TAGS, 3, Tags()).lead.tolist() == [1, 0, 2, 1]
    assert [rows.tolist() for rows in hot().by_class()] == [[0], [1, 4, 5], [2], [3]]
    assert [rows.tolist() for rows in hot().by_class(np.array([5, 3, 1]))] == [[], [5, 1], [], [3]]
    clients = Ragged.from_rows([np.array([0, 1, 2]), np.array([4, 5])])
    assert hot().led(clients).tolist() == [[1, 1, 1, 0], [0, 2, 0, 0]]


def test_what_is_rare_is_told_by_the_whole_training_set() -> None:
    """Among rows 4 and 1 alone, 3 is rarer than 1; among all they are equal, and rows of the test set ask these."""
    part = hot({"site": np.arange(6)}).select(np.array([4, 1]))
    assert part.lead.tolist() == [1, 1]
    assert part.groups["site"].tolist() == [4, 1]
    tested = Targets(np.array([[1, 0, 0, 1]], np.int8), 4, MultiLabel(), frequency=np.array([1, 9, 9, 2]))
    assert tested.lead.tolist() == [0]


def test_targets_become_tensors_of_their_own_type() -> None:
    assert hot().take(np.array([4])).tolist() == [[1, 1, -1, 1]]
    assert hot().take().dtype == torch.int8
    assert Targets(TAGS, 3, Tags()).take(np.array([1])).tolist() == [[0, -100, -100]]


# What is dealt by them ------------------------------------------------------------------------------------------------


def test_a_long_tail_is_cut_by_the_classes_that_rows_follow() -> None:
    """Rows follow 0, 1, 2 and 3 once, three times, once and once; the third class keeps one row of three."""
    kept = select(hot(), LongTail(profile="counts", counts=[1, 1, 1, 1]), seed=0)
    assert hot().lead[kept].tolist() == [0, 1, 2, 3]
    assert select(hot(), LongTail(), seed=0).tolist() == [0, 1, 4, 5, 2, 3]


def test_a_class_that_no_row_follows_is_told() -> None:
    together = Targets(np.ones((3, 2), np.int8), 2, MultiLabel())  # equally rare: all rows follow 0
    assert select(together, LongTail(), seed=0).tolist() == [0, 1, 2]
    with pytest.raises(ScenarioError, match=r"data.longtail.profile: class 1 is never the rarest label of a row"):
        select(together, LongTail(profile="exponential", imbalance_factor=2), seed=0)


def test_server_and_validation_sets_are_drawn_by_the_classes_that_rows_follow() -> None:
    twice = Targets(np.concatenate([HOT, HOT]), 4, MultiLabel())
    rows, others = set_apart(twice, 1, seed=0)
    assert twice.lead[rows].tolist() == [0, 1, 2, 3] and len(others) == 8
    kept, held = draw_local(Ragged.from_rows([np.arange(12)]), twice, Validation(share=0.3), seed=0)
    assert len(held.values) == 4 and set(twice.lead[kept.values]) == {0, 1, 2, 3}


# Reading --------------------------------------------------------------------------------------------------------------


def test_a_matrix_of_ones_is_multilabel(tmp_path: Path) -> None:
    names = np.array(["dog", "cat", "owl", "emu"])
    found = sources.labels(write(tmp_path / "a.npz", HOT, site_train=np.arange(6), class_names=names))
    assert found.train_targets.kind == MultiLabel() and found.class_names == ("dog", "cat", "owl", "emu")
    assert found.y_train.tolist() == HOT.tolist() and found.y_train.dtype == np.int8
    assert found.train_targets.groups["site"].tolist() == [0, 1, 2, 3, 4, 5]
    assert sources.labels(write(tmp_path / "t.npz", HOT, HOT[[4, 1]])).test_targets.lead.tolist() == [1, 1]
    decimal = np.where(HOT == -1, np.nan, HOT)
    assert sources.labels(write(tmp_path / "b.npz", decimal)).y_train.tolist() == HOT.tolist()


def test_what_the_file_names_or_the_scenario_goes_before_what_labels_look_like(tmp_path: Path) -> None:
    y = np.array([0, 2, 1, 0])
    config = write(tmp_path / "a.npz", y, targets="ordinal")
    assert sources.labels(config).train_targets.kind == Ordinal()
    assert sources.labels(replace(config, targets=Single())).train_targets.kind == Single()
    one_hot = write(tmp_path / "b.npz", np.eye(3, dtype=int))
    assert sources.labels(replace(one_hot, targets=MultiLabel())).train_targets.lead.tolist() == [0, 1, 2]
    assert "unknown kind 'tag'; did you mean 'tags'?" in refusal(write(tmp_path / "c.npz", y, targets="tag"))


def test_the_cache_keeps_the_kind(tmp_path: Path) -> None:
    config = write(tmp_path / "a.npz", HOT)
    for _ in range(2):
        found = sources.load(config, tmp_path / "cache")
        assert found.train_targets.kind == MultiLabel() and found.train_targets.lead.tolist() == [0, 1, 2, 3, 1, 1]
        assert found.test_targets.frequency is not None and found.test_targets.frequency.tolist() == [5, 3, 1, 3]


@pytest.mark.parametrize(
    ("labels", "change", "said"),
    [
        (np.eye(3, dtype=int), {}, "every row of the labels has exactly one 1: one class a sample, or any number"),
        (HOT * 0, {}, "6 rows of the training set (row 0 first) have no label; leave them out"),
        (HOT * 2, {}, "no matrix of 0 and 1 with a column for each class; set data.targets=tags if"),
        (HOT * 2, {"targets": MultiLabel()}, "training labels must be 0, 1 or -1 (unknown), got 2; mend them"),
        (np.array([0, 1]), {"targets": MultiLabel()}, "needs a column of 0 and 1 for each class"),
        (np.array([0, 1]), {"targets": Tags()}, "tags needs class numbers [N, L], padded with -100"),
        (TAGS - 3, {"targets": Tags()}, "training tags must lie in 0..0, or -100 for padding, got -3"),
        (np.array(["low", "high"]), {"targets": Ordinal()}, "which class is lowest? Texts have no order"),
        (np.array(["low", "high"]), {"targets": Ordinal(["low"])}, "name each class once; 'high' is missing in it"),
        (np.array(["low"]), {"targets": Ordinal(["low", "high"])}, "'high' is in no training row"),
    ],
)
def test_labels_of_another_kind_are_refused_with_the_remedy(
    tmp_path: Path, labels: Any, change: dict[str, Any], said: str
) -> None:
    found = refusal(replace(write(tmp_path / "a.npz", labels), **change))
    assert said in found and found.startswith("data.targets"), found


def test_test_rows_need_labels_of_known_classes_too(tmp_path: Path) -> None:
    assert "1 rows of the test set (row 0 first) have no label" in refusal(write(tmp_path / "a.npz", HOT, HOT[:1] * 0))
    short = refusal(write(tmp_path / "b.npz", HOT, HOT[:, :3]))
    assert "one column for each class, got 4 (training), 3 (test)" in short
    high = refusal(write(tmp_path / "c.npz", TAGS, TAGS + (TAGS == 2)))
    assert "labels of the test set hold 3, and those of the training set end at 2; leave those rows out" in high


def test_ordinal_names_have_the_order_that_is_given(tmp_path: Path) -> None:
    config = write(tmp_path / "a.npz", np.array(["severe", "none", "mild", "none"]))
    found = sources.labels(replace(config, targets=Ordinal(["none", "mild", "severe"])))
    assert found.y_train.tolist() == [2, 0, 1, 0] and found.class_names == ("none", "mild", "severe")
    grades = sources.labels(replace(write(tmp_path / "b.npz", np.array(["10", "9", "2"])), targets=Ordinal()))
    assert grades.class_names == ("2", "9", "10")
    named = write(tmp_path / "c.npz", np.array([0, 1]), class_names=np.array(["low", "high"]))
    assert sources.labels(replace(named, targets=Ordinal())).class_names == ("low", "high")
    said = refusal(replace(named, targets=Ordinal(["high", "low"])))
    assert said.startswith("data.targets.order: ") and "the data name the classes in another order (low, high)" in said


def test_tables_have_lists_of_classes_or_a_column_for_each(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    x = [0.1, 0.2, 0.3]
    lists = pa.table({"x": x, "label": [["joy"], ["joy", "fear"], ["anger"]]})
    columns = pa.table({"x": x, "joy": [1, 1, 0], "fear": [0, 1, None], "anger": [0, 0, 1]})
    for name, table in (("lists", lists), ("columns", columns)):
        (tmp_path / name).mkdir()
        for split in ("train", "test"):
            pa.parquet.write_table(table, tmp_path / name / f"{split}.parquet")

    config = Data(name=str(tmp_path / "lists"), input_column=["x"])
    assert "a list of classes for each row" in refusal(config)
    found = sources.load(replace(config, targets=MultiLabel()), tmp_path / "cache")
    assert found.class_names == ("anger", "fear", "joy")
    assert found.y_train.tolist() == [[0, 0, 1], [0, 1, 1], [1, 0, 0]]
    tags = sources.load(replace(config, targets=Tags()), tmp_path / "cache")
    assert tags.y_train.tolist() == [[2, -100], [2, 1], [0, -100]]

    config = Data(name=str(tmp_path / "columns"), target_column=["joy", "fear", "anger"])
    found = sources.load(config, tmp_path / "cache")
    assert found.class_names == ("joy", "fear", "anger") and found.x_train.shape == (3, 1)
    assert found.y_train.tolist() == [[1, 0, 0], [1, 1, 0], [0, -1, 1]]


def test_a_share_for_the_test_set_is_taken_by_the_classes_that_rows_follow(tmp_path: Path) -> None:
    y = np.repeat(HOT[[0, 2]], 5, axis=0)
    np.savez(tmp_path / "a.npz", x=np.ones((10, 2)), y=y[:, [0, 2]])
    found = sources.labels(Data(name=str(tmp_path / "a.npz"), test_share=0.4))
    assert found.test_targets.lead.tolist() == [0, 0, 1, 1]


# The whole deal -------------------------------------------------------------------------------------------------------


def scenario(path: Path, *overrides: str) -> Any:
    """Thirty times the rows of `HOT`, over three clients."""
    data = write(path, np.tile(HOT, (30, 1)))
    content = {"data": {"name": data.name}, "federation": {"clients": 3, "partition": "dirichlet_per_class"}}
    return load_scenario(content, list(overrides))


def test_rows_of_several_labels_are_dealt_and_tested(tmp_path: Path) -> None:
    case = scenario(tmp_path / "a.npz", "data.validation=0.2", "data.unlabelled.hidden=0.2")
    made, planned = federate(case), plan(case)
    assert planned.digest == made.digest() and made.kind == "multilabel"
    assert sum(map(len, (made.clients.values, made.unlabelled.values, made.validation.rows))) == 180  # type: ignore[union-attr]
    assert made.class_counts.tolist() == made.client_counts().sum(axis=0).tolist()
    assert planned.client_sizes.tolist() == made.clients.sizes.tolist()
    assert planned.client_counts.tolist() == made.client_counts().tolist()
    assert planned.test_class_counts.tolist() == [150, 90, 30, 90]
    for client in range(3):
        led = np.unique(made.train_targets.lead[made.clients[client]])
        assert np.isin(led, made.test_targets.lead[made.tests[client]]).all()  # a test row of each class it follows


def test_local_tests_match_the_classes_that_a_client_s_rows_follow(tmp_path: Path) -> None:
    """Not their labels, of which a row has several: a client with all of them would get more rows than there are."""
    made = federate(scenario(tmp_path / "a.npz"))
    followed = made.train_targets.led(made.clients)
    wanted = localtest.test_counts("matched", followed, made.test_targets.by_class().sizes)
    assert made.test_targets.led(made.tests).tolist() == wanted.tolist()
    assert followed.sum() == 180 and wanted.sum() >= 180


def test_noise_that_replaces_the_one_class_is_refused(tmp_path: Path) -> None:
    case = scenario(tmp_path / "a.npz", "data.noise.kind=symmetric", "data.noise.rate=0.5")
    with pytest.raises(ScenarioError, match=r"data.noise.kind: symmetric replaces the one class of a sample"):
        federate(case)


def test_the_key_is_young_and_its_file_is_part_of_the_hash(tmp_path: Path) -> None:
    assert "targets" not in load_scenario("digits_lt").to_dict()["data"]
    file = tmp_path / "mine.py"
    head = "from dataclasses import dataclass\nfrom fedlt.data.kinds.single import Single\n\n\n"
    file.write_text(f"{head}@dataclass(frozen=True)\nclass Mine(Single):\n    pass\n")
    mine = load_scenario("digits_lt", [f"data.targets={file}:Mine"])
    before = mine.hash
    assert json.dumps(mine.to_dict()["data"]["targets"]) == json.dumps({"name": f"{file}:Mine"})
    assert federate(mine).kind == "mine"
    file.write_text(file.read_text() + "\n")
    assert load_scenario("digits_lt", [f"data.targets={file}:Mine"]).hash != before
    for value, said in (("tag", "did you mean 'tags'?"), ("[tags]", "expected the name of a target")):
        with pytest.raises(ScenarioError, match=rf"data.targets: .*{said[:12]}"):
            load_scenario("digits_lt", [f"data.targets={value}"])


# Losses ---------------------------------------------------------------------------------------------------------------


def test_losses_by_hand() -> None:
    logits = torch.tensor([[0.0, 2.0], [1.0, -1.0]])
    y = torch.tensor([[1, -1], [0, 0]], dtype=torch.int8)
    binary = [np.log(2), np.log(1 + np.exp(1)), np.log(1 + np.exp(-1))]  # -log of 1/2, 1 - s(1), 1 - s(-1)
    assert float(MultiLabel().loss(logits, y)) == pytest.approx(np.mean(binary), rel=1e-6)
    assert float(MultiLabel().loss(logits, torch.full_like(y, -1))) == 0

    single = Single().loss(logits, torch.tensor([1, 0]))
    assert float(single) == pytest.approx(np.log(1 + np.exp(-2)), rel=1e-6)
    tags = Tags().loss(logits[None], torch.tensor([[1, -100]]))
    assert float(tags) == pytest.approx(np.log(1 + np.exp(-2)), rel=1e-6)


# Methods that have no meaning -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["strategy=fedloge", "strategy=knnper", "learner=ldam", "learner=pseudo_labels"])
def test_what_reads_one_class_a_sample_is_refused_before_any_work(tmp_path: Path, method: str) -> None:
    case = scenario(tmp_path / "a.npz", method)
    key, _, name = method.partition("=")
    said = rf"{key}: {name} reads one class a sample, and the data set's targets are multilabel; take another"
    with pytest.raises(ScenarioError, match=said):
        fedlt.run(case, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
