"""Label noise and samples without labels: what changes, what must not, and which options are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clients.worker import Worker
from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Noise, Unlabelled
from fedlt.data.federation import Federation, federate, plan
from fedlt.data.kinds.multilabel import MultiLabel
from fedlt.data.noise import noisy_labels, seen_labels
from fedlt.data.ragged import Ragged
from fedlt.data.targets import Targets
from fedlt.data.unlabelled import extra_rows
from fedlt.errors import ScenarioError
from fedlt.exchange import Job, Work
from fedlt.training.assembly import assemble

COUNTS = np.array([6000, 3000, 1000])
TRUE = np.repeat(np.arange(3), COUNTS)
ALL = np.arange(len(TRUE))
TARGETS = Targets.of_classes(TRUE)


def flips(config: Noise, seed: int = 0) -> np.ndarray[Any, Any]:
    """[C, C] share of the samples of each true class that are seen as each class."""
    seen = noisy_labels(TARGETS, ALL, config, seed).values
    return np.stack([np.bincount(seen[label == TRUE], minlength=3) for label in range(3)]) / COUNTS[:, None]


def test_symmetric_noise_goes_to_all_other_classes_alike() -> None:
    expected = np.full((3, 3), 0.15) + np.diag([0.55] * 3)
    assert flips(Noise("symmetric", 0.3)) == pytest.approx(expected, abs=0.03)


def test_frequency_noise_goes_where_the_samples_are() -> None:
    """From class 2: 6/9 of the flips to class 0, 3/9 to class 1; from class 0: 3/4 to class 1, 1/4 to class 2."""
    expected = np.array([[0.7, 0.225, 0.075], [0.3 * 6 / 7, 0.7, 0.3 / 7], [0.2, 0.1, 0.7]])
    assert flips(Noise("frequency", 0.3)) == pytest.approx(expected, abs=0.03)


def test_noise_is_seeded_and_leaves_other_rows_alone() -> None:
    first, again, other = (noisy_labels(TARGETS, ALL[::2], Noise("symmetric", 0.3), seed).values for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()
    assert (first[1::2] == TRUE[1::2]).all()
    assert (noisy_labels(TARGETS, ALL[::2], Noise("symmetric", 0.3, seed=1), 0).values == other).all()


def test_labels_from_a_file_replace_those_of_the_clients_rows(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    np.savez(path, people=np.full(len(TRUE), 1), short=np.zeros(3, np.int64), far=np.full(len(TRUE), 9))
    seen = noisy_labels(TARGETS, ALL[:5], Noise("file", file=f"{path}:people"), 0).values
    assert (seen[:5] == 1).all()
    assert (seen[5:] == TRUE[5:]).all()
    for name, message in (
        ("short", r"10000 whole numbers, one for each training row of the source, got int64 \[3\]"),
        ("far", r"classes 0\.\.2, got 9\.\.9"),
        ("none", r"no array 'none'; it has: people, short, far"),
    ):
        with pytest.raises(ScenarioError, match=message):
            noisy_labels(TARGETS, ALL, Noise("file", file=f"{path}:{name}"), 0)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ScenarioError, match="not a readable"):
        noisy_labels(TARGETS, ALL, Noise("file", file=f"{tmp_path / 'broken.npz'}:a"), 0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Noise("symmetric"), r"data\.noise\.rate: symmetric noise needs"),
        (Noise("file"), r"data\.noise\.file: kind file needs"),
        (Noise(rate=0.1), r"data\.noise\.rate: has no effect with kind none"),
        (Noise("symmetric", 0.1, file="a"), r"data\.noise\.file: has no effect with kind symmetric"),
        (Noise("file", file="a", seed=0), r"data\.noise\.seed: has no effect with kind file"),
        (Noise("file", file="a.npz"), r"data\.noise\.file: expected FILE\.npz:NAME"),
    ],
)
def test_senseless_noise_is_refused(config: Noise, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        noisy_labels(TARGETS, ALL, config, 0)


# Missing positives ----------------------------------------------------------------------------------------------------

# Class 0 occurs five times, 1 three times, 2 once; the entry of the last row is unknown.
HOT = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 1, 0], [1, 0, 0], [0, 1, -1]], np.int8)
SEVERAL = Targets(HOT, 3, MultiLabel())


def test_every_class_loses_the_same_share_of_its_positives_and_keeps_one() -> None:
    """Half of 5, 3 and 1, rounded down; nothing is added, and what is unknown stays so."""
    seen = noisy_labels(SEVERAL, np.arange(6), Noise("missing", 0.5), 0).values
    assert (seen == 1).sum(axis=0).tolist() == [3, 2, 1]
    assert ((seen == HOT) | ((HOT == 1) & (seen == 0))).all()
    most = noisy_labels(SEVERAL, np.arange(6), Noise("missing", 0.999), 0).values
    assert (most == 1).sum(axis=0).tolist() == [1, 1, 1]


def test_missing_positives_are_seeded_and_leave_other_rows_alone() -> None:
    twice = Targets(np.concatenate([HOT] * 20), 3, MultiLabel())
    rows = np.arange(60)
    first, again, other = (noisy_labels(twice, rows, Noise("missing", 0.5), seed).values for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any()
    assert (first[60:] == twice.values[60:]).all() and (first[:60] != twice.values[:60]).any()
    assert (noisy_labels(twice, rows, Noise("missing", 0.5, seed=1), 0).values == other).all()


def test_other_kinds_of_targets_have_no_positives_to_miss() -> None:
    said = r"data\.noise\.kind: missing hides positives among several labels .* are single; take symmetric or frequency"
    with pytest.raises(ScenarioError, match=said):
        noisy_labels(TARGETS, ALL, Noise("missing", 0.5), 0)
    with pytest.raises(ScenarioError, match=r"data\.noise\.rate: missing noise needs the share of positives"):
        noisy_labels(SEVERAL, np.arange(6), Noise("missing"), 0)


def test_a_client_without_a_positive_and_a_row_that_follows_no_class_are_told() -> None:
    clients = Ragged.from_rows([np.arange(5), np.array([5])])
    seen = seen_labels(SEVERAL, clients, Noise("missing", 0.5), 0)
    assert seen.table(clients).sum(axis=1).tolist() == [5, 1]
    half, rows = Noise("missing", 0.5), np.arange(6)
    lost = next(seed for seed in range(20) if not noisy_labels(SEVERAL, rows, half, seed).values[5, 1])
    with pytest.raises(ScenarioError, match=r"data\.noise\.rate: client 1 would have no positive label left; lower it"):
        seen_labels(SEVERAL, clients, half, lost)
    bare = noisy_labels(SEVERAL, rows, half, lost)
    with pytest.raises(ScenarioError, match=r"data\.noise: \d of 6 samples have no label left, so that they follow no"):
        _ = bare.lead


def test_positives_of_validation_and_test_rows_stay(tiny: dict[str, Any], tmp_path: Path) -> None:
    y = np.concatenate([HOT] * 20).clip(min=0)
    np.savez(tmp_path / "several.npz", x_train=np.random.rand(120, 4), y_train=y, x_test=np.zeros((120, 4)), y_test=y)
    tiny["data"] = {"name": str(tmp_path / "several.npz"), "validation": 0.2}
    tiny["federation"] |= {"clients": 2, "partition": "iid"}
    clean = federation_of(tiny)
    half = federation_of(tiny, "data.noise.kind=missing", "data.noise.rate=0.5")
    assert (half.seen_counts() <= clean.seen_counts() // 2 + 1).all()
    assert (half.class_counts == clean.class_counts).all() and (half.y_test == y).all()
    assert half.validation is not None and (half.validation.targets.values == y[half.validation.rows]).all()
    assert "missing" not in str(load_scenario(tiny).to_dict())


def test_learners_that_draw_by_class_refuse_rows_without_a_label_before_the_run(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    y = np.concatenate([HOT] * 20).clip(min=0)
    np.savez(tmp_path / "several.npz", x_train=np.random.rand(120, 4), y_train=y, x_test=np.zeros((120, 4)), y_test=y)
    tiny["data"] = {"name": str(tmp_path / "several.npz")}
    tiny["federation"] |= {"clients": 2, "partition": "iid"}
    half = {"noise": {"kind": "missing", "rate": 0.5}}

    for learner in ("crt", "lws", "resampling"):
        said = rf"data\.noise\.rate: {learner} draws samples by class, and \d+ of 120 samples have no label left"
        with pytest.raises(ScenarioError, match=said):
            assembled(tiny, f"learner={learner}", data={**tiny["data"], **half})
    assembled(tiny, "learner=crt")
    assembled(tiny, data={**tiny["data"], **half})


def assembled(tiny: dict[str, Any], *overrides: str, **changed: Any) -> None:
    """Everything that a run has before it starts."""
    scenario = load_scenario({**tiny, **changed}, overrides)
    assemble(scenario, federate(scenario), torch.device("cpu"))


def federation_of(tiny: dict[str, Any], *overrides: str) -> Federation:
    return federate(load_scenario(tiny, overrides))


def test_noise_changes_labels_and_nothing_else_of_a_federation(tiny: dict[str, Any]) -> None:
    clean = federation_of(tiny)
    noisy = federation_of(tiny, "data.noise.kind=frequency", "data.noise.rate=0.4")
    for name in ("clients", "tests"):
        assert (getattr(clean, name).values == getattr(noisy, name).values).all()
    assert (clean.class_counts == noisy.class_counts).all()  # class groups follow the true labels
    assert (clean.y_test == noisy.y_test).all()
    rows = noisy.union()
    assert 0.25 < (clean.y_train[rows] != noisy.y_train[rows]).mean() < 0.55
    assert (clean.seen_counts() == clean.class_counts).all()
    assert (noisy.seen_counts() == sum(noisy.counts(client) for client in range(6))).all()
    assert clean.digest() != noisy.digest()
    shown = plan(load_scenario(tiny, ["data.noise.kind=frequency", "data.noise.rate=0.4"]))
    assert shown.digest == noisy.digest()
    assert (shown.client_counts == noisy.client_counts()).all()


def test_hidden_labels_move_a_share_of_each_clients_samples(tiny: dict[str, Any]) -> None:
    clean, half = federation_of(tiny), federation_of(tiny, "data.unlabelled.hidden=0.5")
    for client in range(6):
        assert set(half.clients[client]) | set(half.unlabelled[client]) == set(clean.clients[client])
        assert len(half.unlabelled[client]) == len(clean.clients[client]) // 2
    assert (half.tests.values == clean.tests.values).all()
    assert len(clean.unlabelled.values) == 0
    most = federation_of(tiny, "data.unlabelled.hidden=0.999")
    assert most.clients.sizes.min() == 1


def test_extra_samples_have_an_imbalance_of_their_own_and_were_nobodys(tiny: dict[str, Any]) -> None:
    """60 labelled samples of the largest class, 241 in all; half as many more, the smallest class a quarter of it."""
    clean = federation_of(tiny)
    more = federation_of(tiny, "data.unlabelled.extra=0.5", "data.unlabelled.imbalance_factor=4")
    assert (more.clients.values == clean.clients.values).all()
    extra = more.unlabelled.values
    assert len(set(extra)) == len(extra) == pytest.approx(len(clean.clients.values) / 2, abs=5)
    assert not set(extra) & set(clean.clients.values)
    counts = np.bincount(more.y_train[extra], minlength=10)
    assert (np.diff(counts) <= 0).all()
    assert counts[0] / counts[-1] == pytest.approx(4, rel=0.2)
    with pytest.raises(ScenarioError, match=r"data\.unlabelled\.extra: asks for .* use at most \d"):
        federation_of(tiny, "data.unlabelled.extra=50")


def test_extra_rows_keep_the_ranks_of_the_labelled_classes() -> None:
    """Labelled 1, 2 and 4 samples; 14 more with a factor of 4 are 2, 4 and 8."""
    y = np.repeat(np.arange(3), 20)
    labelled = np.array([0, 20, 21, 40, 41, 42, 43])
    found = extra_rows(
        Targets.of_classes(y),
        np.setdiff1d(np.arange(60), labelled),
        labelled,
        Unlabelled(extra=2, imbalance_factor=4),
        0,
    )
    assert np.bincount(y[found]).tolist() == [2, 4, 8]


@pytest.mark.slow
def test_a_site_gets_its_unlabelled_samples_without_their_labels(
    tiny: dict[str, Any], own_file: Callable[..., Path]
) -> None:
    path = own_file(
        "class Look(Strategy):\n    foldable: ClassVar[bool] = False\n    def fit(self, client):\n"
        "        other, own = client.unlabelled, client.data\n"
        "        batch = other.batch(torch.arange(len(other)))\n"
        "        client.extras['rows'] = other.index.clone()\n"
        "        client.extras['targets'] = batch.y.clone()\n"
        "        client.extras['pixels'] = batch.x.sum()[None] - own.inputs.take(other.index).sum()[None]\n"
    )
    scenario = load_scenario(tiny, [f"strategy={path}:Look", "data.unlabelled.hidden=0.5"])
    federation = federate(scenario)
    worker = Worker(scenario, federation)
    job = Job(scenario.to_dict(), scenario.hash, 1, [Work({0: [0, 3]})], worker.context.flat.shared.clone())
    report = worker.run(job)
    assert not report.failures
    for client, update in zip((0, 3), report.updates[0], strict=True):
        assert update.sums["rows"].tolist() == federation.unlabelled[client].tolist()
        assert set(update.sums["targets"].tolist()) == {-1}
        assert update.sums["pixels"].item() == 0
