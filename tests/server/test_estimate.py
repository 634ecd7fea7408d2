"""What `fedlt check` says a run will take: from a little of its work, without a trace of it."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.errors import ClientError
from fedlt.exchange import UNION
from fedlt.process.memory import high_water
from fedlt.results import long_runs
from fedlt.results.estimate import Estimate
from fedlt.sweeps.rehearse import rehearse
from fedlt.training.assembly import assemble, pick_device
from server import estimate as estimates
from server.rounds.loop import Rounds
from server.rounds.schedule import Unit


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[Unit]]:
    """The units of each rehearsal, which takes a second for every 1,000 forward passes of a sample."""
    found: list[list[Unit]] = []
    real = Rounds.rehearse

    def timed(loop: Rounds, number: int, units: list[Unit]) -> float:
        real(loop, number, units)
        found.append(units)
        return sum(unit.cost for unit in units) / 1000

    monkeypatch.setattr(Rounds, "rehearse", timed)
    return found


def of(content: dict[str, Any], *overrides: str) -> Estimate:
    scenario = load_scenario(content, list(overrides))
    federation = federate(scenario)
    return rehearse(scenario, federation, assemble(scenario, federation, pick_device("cpu")))


def test_what_is_small_is_done_as_a_whole(tiny: dict[str, Any], sent: list[list[Unit]]) -> None:
    found = of(tiny, "federation.rounds=7", "evaluation.every=3", "federation.participation=1", "resources.workers=1")
    federation = federate(load_scenario(tiny))
    samples = len(federation.clients.values)

    assert (found.rounds, found.evaluations) == (7, 3)  # after rounds 3, 6 and 7
    assert (found.every, found.models) == (3, len(federation.clients))
    assert found.round == pytest.approx(3 * samples / 1000)  # one epoch, and a backward pass is two forward passes
    assert found.evaluation == pytest.approx(300 / 1000)  # the features of 300 test images
    assert found.seconds == pytest.approx(7 * found.round + 3 * found.evaluation)
    assert (found.tested, found.steps, found.clients, found.workers) == (1, None, 2, 1)

    # Clients of about the usual size: neither the smallest nor the largest.
    trained = [client for units in sent for unit in units for client in unit.clients if unit.work.blocks]
    sizes = federation.clients.sizes
    assert len(set(trained)) == 3
    assert sizes.min() < np.median(sizes[sorted(set(trained))]) < sizes.max()


def test_what_is_large_is_cut(tiny: dict[str, Any], sent: list[list[Unit]], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = of(tiny, "evaluation.batch_size=40", "federation.participation=1")
    sent.clear()
    monkeypatch.setattr(estimates, "QUICK", 1.0)
    found = of(tiny, "evaluation.batch_size=40", "federation.participation=1")
    assert found.steps == 2
    assert found.tested == pytest.approx(40 / 300)
    assert (found.round, found.evaluation) == (pytest.approx(whole.round), pytest.approx(whole.evaluation))
    costs = {sum(unit.cost for unit in units) for units in sent}
    assert costs == {40, 3 * 2 * 16, 2 * 3 * 2 * 16}  # a chunk of rows; two steps of one client, and of two


def test_of_many_clients_a_few_are_tested(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    tested: list[tuple[float, int]] = []

    def timed(loop: Rounds, number: int, units: list[Unit]) -> float:
        """A second for every 1,000 rows, and one for every ten clients in a unit of an evaluation."""
        clients = sum(len(unit.work.personal) for unit in units)
        tested.append((sum(unit.cost for unit in units), clients))
        return sum(unit.cost for unit in units) / 1000 + clients / 10

    monkeypatch.setattr(Rounds, "rehearse", timed)
    words = "federation.clients=12", "federation.participation=1", "evaluation.batch_size=100"
    whole = of(tiny, *words)
    assert whole.evaluation == pytest.approx(0.3 + 3 * 12 / 10)  # three parts of 100 rows, each with all the clients

    tested.clear()
    monkeypatch.setattr(estimates, "VISITS", 35)
    found = of(tiny, *words)
    assert tested[:3] == [(100, 4), (100, 4), (100, 12)]
    assert found.evaluation == pytest.approx(whole.evaluation)
    assert found.tested == pytest.approx(1 / 3)


def test_personal_models_with_backbones_of_their_own_are_tested_on_two_clients(
    tiny: dict[str, Any], sent: list[list[Unit]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimates, "QUICK", 1.0)
    found = of(tiny, "strategy=fedbn", "model={name: resnet8}")
    assert [unit.clients for units in sent for unit in units if not unit.work.blocks] == [[0], [0], [1]]
    rows = federate(load_scenario(tiny)).tests.sizes
    assert found.evaluation == pytest.approx(rows.sum() / 1000)


def test_the_busiest_of_several_workers_counts(tiny: dict[str, Any], sent: list[list[Unit]]) -> None:
    words = "federation.participation=1", "resources.backend=processes"
    one, two = (of(tiny, *words, f"resources.workers={number}") for number in (1, 2))
    assert two.workers == 2
    assert one.round / 2 < two.round < one.round  # three blocks of two clients for two workers
    assert of(tiny, "resources.workers=2", "resources.backend=inline").workers == 1


def test_a_centralized_run_trains_its_one_site_on_part_of_the_data(
    tiny: dict[str, Any], sent: list[list[Unit]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimates, "QUICK", 1.0)
    found = of(tiny, "strategy=centralized", "local.epochs=4")
    work = [unit.work for units in sent for unit in units if unit.work.blocks]
    assert [(each.blocks, each.samples) for each in work] == [({0: [UNION]}, 32)] * 2
    assert (found.steps, found.clients) == (2, 1)
    samples = len(federate(load_scenario(tiny)).clients.values)
    cohort = 0.5  # of the clients, whose number of samples the site passes in a round
    assert found.round == pytest.approx(cohort * 3 * 4 * samples / 1000, rel=0.5)


def test_a_client_that_fails_is_found_and_nothing_is_left_behind(
    tiny: dict[str, Any], own_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own_file("class Bad(Strategy):\n    def fit(self, client):\n        raise OSError('no luck')\n")
    with pytest.raises(ClientError, match="OSError: no luck"):
        of(tiny, "strategy=./mine.py:Bad")
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".py" or path.is_dir()] == ["mine.py"]


def test_the_words_of_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_runs, "available_cores", lambda: 4)
    short = Estimate(1, 2.0, 1, 0.5, 1, 40, 1, clients=1, steps=None, tested=1.0, held=300_000_000, copies=50_000_000)
    assert short.lines(8, "cpu") == [
        "time: about 2.5 s, 1 round of 2.0 s and 1 evaluation of 0.5 s on 1 worker; from a round of 1 client and an "
        "evaluation, timed now",
        "memory: about 350 MB",
    ]
    long = Estimate(100, 300.0, 10, 60.0, 10, 40, 2, clients=2, steps=3, tested=0.034, held=10**9, copies=2 * 10**8)
    time, memory, hours = long.lines(8, "cpu")
    assert time.startswith("time: about 8 h 30 min, 100 rounds of 5 min and 10 evaluations of 60 s on 2 workers; ")
    assert time.endswith("3 steps of 2 clients and 3 % of an evaluation, timed now")
    assert memory == "memory: about 1.4 GB, 200 MB of it for each of 2 workers"
    assert hours.startswith("A run takes about 8 h 30 min. Shorter: fewer rounds (federation.rounds=25 for a first")


def test_an_estimate_tells_of_tests_that_take_longer_than_training() -> None:
    told = Estimate(40, 2.0, 20, 12.0, 2, 100, 1, clients=1, steps=None, tested=1.0, held=0, copies=0).lines(8, "cpu")
    said = "75 % of the workers' time goes into evaluations; evaluation.every=8 or evaluation.clients=25"
    assert told[2:] == [f"{said} makes them cheaper"]


def test_the_most_memory_of_a_block_is_seen() -> None:
    with high_water() as found, mmap.mmap(-1, 30_000_000) as held:  # new pages, whatever the process holds free
        for page in range(0, len(held), mmap.PAGESIZE):
            held[page] = 1
    assert 25e6 < found.peak - found.before < 80e6
