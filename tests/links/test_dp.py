"""Client-level privacy: clipping, noise and the adaptive norm against NumPy, epsilon against dp-accounting itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fedlt
from fedlt.errors import ScenarioError
from fedlt.links.accounting import epsilon
from fedlt.links.dp import DP
from fedlt.links.link import Memory
from fedlt.process import seeding
from tests.hand_sized import arrival, make_setting, sending

pytestmark = pytest.mark.slow

LINK = "federation.links=[{{name: dp, {}}}]"


def begun(link: DP) -> Memory:
    memory = Memory()
    link.setup(make_setting(2, 2), memory)
    return memory


# The client's side ----------------------------------------------------------------------------------------------------


def test_a_long_change_is_scaled_to_the_norm_and_a_short_one_is_left_alone() -> None:
    """From [1, 1] to [4, 5]: the change [3, 4] has the norm 5."""
    long = sending([1.0, 1.0], [4.0, 5.0])
    DP(clip=2.5).send(long)
    assert long.change.tolist() == [1.5, 2.0]
    assert long.sums["clipped"].tolist() == [1.0]
    short = sending([1.0, 1.0], [4.0, 5.0])
    vector = short.vector
    DP(clip=5.0).send(short)
    assert short.vector is vector
    assert short.sums["clipped"].tolist() == [0.0]


def test_the_norm_in_force_comes_from_the_server_where_it_is_adaptive() -> None:
    found = sending([0.0, 0.0], [3.0, 4.0], received={"clip": torch.tensor([1.0], dtype=torch.float64)})
    DP(clip=9.0, quantile=0.5).send(found)
    np.testing.assert_allclose(found.change.numpy(), [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "weight"),
    [({}, 20.0), ({"largest": 15.0}, 15.0), ({"largest": 50.0}, 20.0), ({"weights": "uniform"}, 1.0)],
)
def test_weights_are_bounded(options: dict[str, Any], weight: float) -> None:
    found = sending([0.0, 0.0], [0.0, 0.0])
    DP(**options).send(found)
    assert found.weight == weight


def test_what_else_a_client_would_send_is_a_failure() -> None:
    found = sending([0.0, 0.0], [0.0, 0.0])
    found.client.extras["travel"] = torch.ones(1)
    with pytest.raises(ValueError, match="travel would leave the client beside its weights"):
        DP().send(found)


# The server's side ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "largest"), [({}, 40.0), ({"weights": "uniform"}, 1.0), ({"largest": 5.0}, 5.0)])
def test_the_noise_of_the_sum_is_noise_times_norm_times_weight(options: dict[str, Any], largest: float) -> None:
    """Two clients of the weights 1 and 3; the mean gets the sum's noise over 4. Drawn from (seed, purpose, round)."""
    link = DP(clip=2.0, noise=0.5, **options)
    found = arrival([1.0, 1.0], [(0, 1.0, [2.0, 1.0]), (2, 3.0, [0.0, 1.0])], memory=begun(link))
    link.receive(found)
    (whole,) = found.updates
    drawn = seeding.generator(0, "link dp", 1).standard_normal(2)
    np.testing.assert_allclose(whole.mean.numpy(), [0.5, 1.0] + 0.5 * 2 * largest * drawn / 4, rtol=1e-5)
    assert (whole.clients, whole.weight) == ((0, 2), 4.0)


def test_noise_has_the_spread_that_is_asked_for() -> None:
    link = DP(clip=2.0, noise=0.5, weights="uniform")
    zeros = [0.0] * 20_000
    found = arrival(zeros, [(0, 1.0, zeros)], memory=begun(link))
    link.receive(found)
    assert abs(float(found.updates[0].total.std()) - 1.0) < 0.02


def test_a_client_that_failed_counts_as_one_that_changed_nothing() -> None:
    """Client 3 (40 samples) was asked and has sent nothing; the mean of [1 | 10 samples] and [0 | 40] is 0.2."""
    link = DP(clip=2.0, noise=0.0)
    found = arrival([0.0, 0.0], [(0, 10.0, [1.0, 0.0])], memory=begun(link))
    found.server.cohort = (0, 3)
    link.receive(found)
    np.testing.assert_allclose(found.updates[0].mean.numpy(), [0.2, 0.0], rtol=1e-6)
    assert found.updates[0].clients == (0, 3)


def test_the_norm_follows_a_quantile_of_the_changes() -> None:
    """One of two clients was clipped: with quantile 0.25 and rate 0.2 the norm shrinks by exp(-0.2 (0.5 - 0.25)).

    Of the noise 0.6, as much goes to the sum as leaves (2 * 0.4)^-2 for the count.
    """
    link = DP(clip=2.0, noise=0.6, weights="uniform", quantile=0.25, count_noise=0.4)
    memory = begun(link)
    found = arrival([0.0, 0.0], [(0, 1.0, [0.0, 0.0]), (1, 1.0, [0.0, 0.0])], memory=memory)
    found.sums["clipped"] = torch.ones(1)
    link.receive(found)
    draw = seeding.generator(0, "link dp count", 1).standard_normal()
    expected = 2.0 * math.exp(-0.2 * ((1 + 0.4 * draw) / 2 - 0.25))
    assert abs(float(memory.outbox["clip"]) - expected) < 1e-12
    assert found.columns["clip"] == 2.0
    scale = 2.0 * (0.6**-2 - 0.8**-2) ** -0.5
    drawn = seeding.generator(0, "link dp", 1).standard_normal(2)
    np.testing.assert_allclose(found.updates[0].total.numpy(), scale * drawn, rtol=1e-5)


def test_the_adaptive_norm_settles_at_the_median(tiny: dict[str, Any], tmp_path: Path) -> None:
    keys = "noise: 0, clip: 0.01, quantile: 0.5, rate: 1.5, weights: uniform"
    changes = ["federation.rounds=25", "federation.participation=1", "evaluation.every=25"]
    run = fedlt.run(tiny, LINK.format(keys), *changes, out=tmp_path)
    assert run.rounds["clipped"].iloc[0] == 6
    assert 2 <= run.rounds["clipped"].tail(8).mean() <= 4
    assert run.rounds["clip"].iloc[-1] > 0.1


# Epsilon --------------------------------------------------------------------------------------------------------------


def direct(clients: int, counts: dict[int, int], noise: float, delta: float) -> float:
    """What the library says of so many rounds with cohorts of each size; the sum's sensitivity is 2 clip."""
    import dp_accounting
    from dp_accounting import rdp

    accountant = rdp.RdpAccountant(neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_ONE)
    for cohort, rounds in counts.items():
        gaussian = dp_accounting.GaussianDpEvent(noise / 2)
        accountant.compose(dp_accounting.SampledWithoutReplacementDpEvent(clients, cohort, gaussian), rounds)
    return float(accountant.get_epsilon(delta))


def test_epsilon_is_that_of_the_library() -> None:
    rounds = [0] * 31
    rounds[30], rounds[24] = 40, 3
    assert abs(epsilon(rounds, 200, 2.0, 1e-3) - direct(200, {30: 40, 24: 3}, 4.0, 1e-3)) < 1e-9
    assert epsilon([5, 0], 200, 2.0, 1e-3) == 0.0


def test_epsilon_stands_in_the_rounds_and_in_the_summary(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Six clients, delta 6^-1.1; dropout makes some cohorts smaller, and one that is empty costs nothing."""
    changes = ["federation.dropout=0.4", "federation.rounds=5", "federation.participation=0.34", "evaluation.every=5"]
    run = fedlt.run(tiny, LINK.format("noise: 8, weights: uniform"), *changes, out=tmp_path)
    sizes, found = run.rounds["clients"].tolist(), run.rounds["epsilon"].tolist()
    assert set(sizes) > {2}
    for round in range(1, 6):
        counts = {size: sizes[:round].count(size) for size in set(sizes[:round]) - {0}}
        expected = direct(6, counts, 8.0, 6**-1.1) if counts else 0.0
        assert abs(found[round - 1] - expected) < 1e-9
    assert run.summary["epsilon"] == found[-1]


# Whole runs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["fedavg", "fedavgm", "ditto", "fedper"])
def test_without_noise_and_with_a_huge_norm_it_is_the_plain_run(
    tiny: dict[str, Any], tmp_path: Path, strategy: str
) -> None:
    plain = fedlt.run(tiny, f"strategy={strategy}", out=tmp_path)
    run = fedlt.run(tiny, f"strategy={strategy}", LINK.format("clip: 1.0e+9, noise: 0"), out=tmp_path)
    assert run.summary["model_hash"] == plain.summary["model_hash"]
    assert run.rounds["epsilon"].tolist() == [math.inf, math.inf]


def test_noise_is_equal_on_all_backends_and_after_a_crash(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.rounds.loop import Rounds

    keys = "{name: top_k, share: 0.2}, quantise, {name: dp, clip: 0.5, noise: 0.6, quantile: 0.5, count_noise: 1}"
    changes = [f"federation.links=[{keys}]", "federation.rounds=4", "resources.checkpoint=1"]
    whole = fedlt.run(tiny, *changes, out=tmp_path / "whole", backend="inline")
    take = Rounds.take
    left = [3]

    def taking(self: Rounds, reports: Any) -> Any:
        if left and self.progress.round == left[0]:
            left.clear()
            raise RuntimeError("power cut")
        return take(self, reports)

    monkeypatch.setattr(Rounds, "take", taking)
    with pytest.raises(RuntimeError, match="power cut"):
        fedlt.run(tiny, *changes, out=tmp_path / "cut", backend="inline")
    again = fedlt.run(tiny, *changes, out=tmp_path / "cut", backend="processes", workers=2)
    assert again.summary["resumed"] == [3]
    assert again.summary["model_hash"] == whole.summary["model_hash"]
    for column in ("clip", "clipped", "epsilon", "bytes_up"):
        assert again.rounds[column].tolist() == whole.rounds[column].tolist()
    assert again.summary["epsilon"] == whole.summary["epsilon"]


def test_a_failing_client_does_not_end_a_round_that_is_all_failures(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path
) -> None:
    text = (
        "@dataclass(frozen=True)\nclass Failing(Strategy):\n    def fit(self, client):\n"
        "        raise RuntimeError('out of luck')\n"
    )
    changes = [f"strategy={own_file(text)}:Failing", "federation.on_error=skip", LINK.format("noise: 1")]
    run = fedlt.run(tiny, *changes, out=tmp_path)
    assert run.rounds["skipped"].tolist() == [3, 3]
    assert run.rounds["epsilon"].iloc[1] > run.rounds["epsilon"].iloc[0] > 0


def test_clients_trained_at_once_are_clipped_alike(tiny: dict[str, Any], tmp_path: Path) -> None:
    equal = [
        "federation.partition={name: iid}", "federation.participation=1", "federation.rounds=1", "federation.block=6",
        "data.longtail={profile: exponential, imbalance_factor: 1, largest: 30}", LINK.format("noise: 0, clip: 0.2"),
    ]  # fmt: skip
    alone = fedlt.run(tiny, *equal, out=tmp_path)
    together = fedlt.run(tiny, *equal, "local.together=6", out=tmp_path)
    assert alone.rounds["clipped"].tolist() == together.rounds["clipped"].tolist() == [6]
    assert abs(alone.final["generic/nll"] - together.final["generic/nll"]) < 1e-4


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([LINK.format("clip: 0")], r"federation\.links\.0\.clip: expected a number > 0"),
        ([LINK.format("clop: 1")], r"federation\.links\.0\.clop: unknown key of dp; did you mean 'clip'"),
        ([LINK.format("rate: 1")], r"dp cannot be built: rate and count_noise are of adaptive clipping"),
        ([LINK.format("weights: uniform, largest: 3")], r"largest has no effect with weights=uniform"),
        ([LINK.format("noise: 1, quantile: 0.5, count_noise: 0.5")], r"links\.0: the count alone would spend"),
        (["federation.links=[dp, dp]"], r"links\.0: dp stands twice"),
        (["federation.links=[dp, top_k]"], r"links\.0: TopK comes after it, and could undo the clipping; put dp last"),
        (["federation.links=[dp]", "federation.late.chance=0.1"], r"links\.0: Lateness looks at single updates"),
        (["federation.links=[dp]", "strategy=centralized"], r"links\.0: Centralized has one site"),
        (["federation.links=[dp]", "strategy=local"], r"links\.0: Local sends nothing"),
        (["federation.links=[dp]", "strategy=flower:FedMedian"], r"links\.0: FlowerStrategy looks at each client's"),
        (["federation.links=[dp]", "strategy=fednova"], r"links\.0: FedNova sends client\.extras beside its weights"),
        (["federation.links=[dp]", "strategy=climb"], r"links\.0: CLIMB sends client\.values beside"),
        (["federation.links=[dp]", "strategy=fedavg_la"], r"links\.0: FedAvgLA lets the server know the number of"),
        (["federation.links=[dp]", "model=resnet8"], r"links\.0: buffers travel unclipped"),
        (["federation.links=[top_k]", "strategy=centralized"], r"links\.0: Centralized has one site"),
        (["federation.links=[nothing]"], r"links\.0: unknown link 'nothing'"),
    ],
)  # fmt: skip
def test_what_would_not_be_private_or_change_nothing_is_refused(
    tiny: dict[str, Any], tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(ScenarioError, match=message):
        fedlt.run(tiny, *overrides, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_library_is_told_with_what_to_install(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedlt.links.dp.installed", lambda: False)
    with pytest.raises(ScenarioError, match=r"pip install 'fedlt\[privacy\]'"):
        fedlt.run(tiny, "federation.links=[dp]", out=tmp_path)
    fedlt.run(tiny, LINK.format("noise: 0"), out=tmp_path)  # needs no accountant
