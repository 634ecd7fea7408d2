"""The same scenario gives the same bits in this process and on Ray; messages; how work is cut and spread."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from remembering import REMEMBERING

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.errors import ClientError
from fedlt.exchange import Failure, Job, Report, Work
from fedlt.results.console import Console
from fedlt.results.runs import Run
from fedlt.strategy import Update
from fedlt.sweeps.grids import Grids
from fedlt.sweeps.run import run_scenario
from server.grids.local import InlineGrid, set_identity
from server.grids.parcels import FREE
from server.records import pack_common, pack_job, pack_report, pack_states, unpack_job, unpack_report
from server.rounds.schedule import Unit, cost_of_adapting, cut, deal, evaluation_units, train_units

pytestmark = pytest.mark.grid

# One machine, many numbers of workers ---------------------------------------------------------------------------------

Figures = tuple[str, list[Any], list[Any]]

GRIDS = {"inline": "InlineGrid", "processes": "ProcessGrid", "ray": "RayGrid"}


def figures(run: Run) -> Figures:
    metrics = run.metrics.fillna(-1.0)[["round", "metric", "value"]].to_numpy().tolist()
    cells = run.confusion.sort_values(["round", "model", "client", "true", "pred"])
    return run.summary["model_hash"], metrics, cells[["round", "client", "true", "pred", "count"]].to_numpy().tolist()


@pytest.mark.usefixtures("ray_session")
def test_the_result_depends_on_neither_grid_nor_workers(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path
) -> None:
    """Two strategies, one after the other on the same workers; 30 % of unequal clients stay out of each round."""
    changes = ["federation.rounds=3", "federation.participation=0.7", "evaluation.batch_size=32"]
    names = {"fedavg": "fedavg", "own": REMEMBERING}
    bad = own_file("class Bad(Strategy):\n    def fit(self, client):\n        raise OSError('no luck')\n", "bad.py")
    found: dict[str, list[Figures]] = {"fedavg": [], "own": []}
    files: dict[str, set[bytes]] = {}
    hosts: dict[int, list[list[Any]]] = {}
    for backend, workers in (("inline", 1), ("processes", 1), ("processes", 2), ("ray", 1), ("ray", 2)):
        out = tmp_path / f"{backend}{workers}"
        with Grids() as grids:
            for key, name in names.items():
                where = [f"strategy={name}", f"resources.backend={backend}", f"resources.workers={workers}"]
                run = run_scenario(load_scenario(tiny, [*changes, *where]), out, Console(quiet=True), False, "", grids)
                assert run.summary["grid"] == GRIDS[backend]
                if grids._ray is not None:
                    hosts.setdefault(workers, []).append(list(grids._ray[1].result()._pool.workers))
                assert run.rounds["clients"].tolist() == [4, 4, 4]
                found[key].append(figures(run))
                for path in run.folder.glob("*.safetensors"):
                    files.setdefault(f"{key} {path.name}", set()).add(path.read_bytes())
            if workers == 2:
                with pytest.raises(ClientError, match="failed in round 1: OSError: no luck") as caught:
                    run_scenario(
                        load_scenario(tiny, [f"strategy={bad}:Bad", *where[1:]]),
                        out,
                        Console(quiet=True),
                        False,
                        "",
                        grids,
                    )
                assert "in fit" in caught.value.remote_traceback
    assert {workers: len(one) for workers, (one, other) in hosts.items() if one == other} == {1: 1, 2: 2}
    # Nobody's garbage ends the workers of the next session, which have the same ids:
    assert all(host._ray_weak_ref for handles in hosts.values() for host in handles[0])
    for each in found.values():
        assert len(each) == 5
        assert all(one == each[0] for one in each)
    assert {name: len(contents) for name, contents in files.items()} == {
        "fedavg model.safetensors": 1,
        "own model.safetensors": 1,
        "own clients.safetensors": 1,
        "own outbox.safetensors": 1,
    }
    assert found["own"][0][0] != found["fedavg"][0][0]
    assert len(set(federate(load_scenario(tiny)).clients.sizes.tolist())) > 3


@pytest.mark.usefixtures("ray_session")
def test_on_one_machine_rays_store_carries_no_model(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models and updates are files, which are used again; with the grid they go."""
    import ray

    put: list[Any] = []
    store = ray.put
    monkeypatch.setattr(ray, "put", lambda value: put.append(value) or store(value))
    large = load_scenario(tiny, ["model.width=256", "resources.backend=ray", "resources.workers=1"])
    with Grids() as grids:
        over_ray = run_scenario(large, tmp_path / "ray", Console(quiet=True), False, "", grids)
        assert grids._ray is not None
        folder = grids._ray[1].result()._folder.path
        gc.collect()
        left = [path.name for path in folder.iterdir()]
        assert left
        assert all(name.startswith(FREE) for name in left)
    assert not folder.exists()
    assert [type(value) for value in put] == [tuple]  # scenario and federation
    inline = fedlt.run(large, out=tmp_path / "inline", backend="inline")
    assert over_ray.summary["model_hash"] == inline.summary["model_hash"]


@pytest.mark.usefixtures("ray_session")
def test_on_one_node_a_mapped_file_travels_by_its_name(tmp_path: Path) -> None:
    """A data set of gigabytes is neither copied nor held twice; parts and copies of it travel as they are."""
    import ray

    from server.grids.ray_grid import _mapped_by_name

    np.save(tmp_path / "x.npy", np.arange(60, dtype=np.float32).reshape(20, 3))
    array = np.load(tmp_path / "x.npy", mmap_mode="r")
    for on in (True, False):
        with _mapped_by_name(on):
            stored = ray.put([array, array[5:], array[[4, 2]]])
        whole, part, copy = ray.get(stored)
        assert getattr(whole, "filename", None) == (str(tmp_path / "x.npy") if on else None)
        assert np.array_equal(whole, array)
        assert np.array_equal(part, array[5:])
        assert np.array_equal(copy, array[[4, 2]])


def test_the_hash_tells_other_results_apart(tiny: dict[str, Any], tmp_path: Path) -> None:
    hashes = [fedlt.run(tiny, out=tmp_path / str(k)).summary["model_hash"] for k in range(2)]
    others = [
        fedlt.run(tiny, change, out=tmp_path).summary["model_hash"]
        for change in ("seed=1", "federation.rounds=1", "local.lr=0.04", "resources.precision=bfloat16")
    ]
    assert hashes[0] == hashes[1]
    assert len({hashes[0], *others}) == 5


def test_the_size_of_a_block_is_part_of_the_result_and_the_pieces_of_a_test_set_are_not_visible(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    usual = fedlt.run(tiny, out=tmp_path)
    pieces = fedlt.run(tiny, "evaluation.batch_size=7", out=tmp_path)
    assert pieces.summary["model_hash"] == usual.summary["model_hash"]
    rounded = {name for name in usual.final if name.endswith(("/nll", "/brier"))}  # in parts of 2^-24 for each sample
    for name, value in usual.final.items():
        limit = 2**-24 if name in rounded else 1e-9
        assert pieces.final[name] == pytest.approx(value, abs=limit, nan_ok=True), name
    assert fedlt.run(tiny, "federation.block=6", out=tmp_path).folder != usual.folder


# Messages -------------------------------------------------------------------------------------------------------------


def test_a_job_survives_its_journey() -> None:
    works = [Work({0: [3, 1], 2: [5]}, 90, [0, 4], [2]), Work(personal=[3], span=(10, 20))]
    shared, outbox = torch.tensor([1.5, -2.0]), {"control/variate": torch.ones(2, 2), "step": torch.tensor([3])}
    states = {3: {"private": torch.zeros(2), "state/a/b": torch.arange(3)}, 12: {"private": torch.ones(1)}}
    letters = {3: {"a/b": torch.ones(1)}, 7: {"head": torch.arange(2)}}
    sent = Job({"seed": 3, "model": {"name": "mlp"}}, "abc", 7, works, shared)
    found = unpack_job(pack_job(sent, pack_common(shared, outbox), pack_states(states, letters)))
    assert (found.scenario, found.key, found.round) == (sent.scenario, "abc", 7)
    assert [(work.blocks, work.samples, work.chunks, work.personal) for work in found.works] == [
        ({0: [3, 1], 2: [5]}, 90, [0, 4], [2]),
        ({}, 0, [], [3]),
    ]
    assert [work.span and tuple(work.span) for work in found.works] == [None, (10, 20)]
    assert torch.equal(found.shared, shared)
    assert same(found.outbox, outbox)
    assert list(found.states) == [3, 12]
    assert all(same(found.states[client], states[client]) for client in states)
    assert list(found.letters) == [3, 7] and all(same(found.letters[client], letters[client]) for client in letters)


def test_messages_that_were_read_leave_the_memory_at_once() -> None:
    """Without the garbage collector: it comes so seldom that tens of models would wait for it."""
    shared = torch.zeros(5)
    gc.collect()
    gc.disable()
    try:
        job = pack_job(Job({}, "", 1, [], shared), pack_common(shared, {}), pack_states({}, {}))
        report = pack_report(Report({0: [Update((1,), 1.0, shared)]}))
        left = [weakref.ref(record) for content in (job, report) for record in content.values()]
        read = unpack_job(job), unpack_report(report)
        del job, report, read
        assert [record() for record in left] == [None] * len(left)
    finally:
        gc.enable()


def test_a_report_survives_its_journey() -> None:
    statistics = {
        ("one", "generic:"): {"cells": np.array([[0, 1], [2, 3]]), "total": np.array([0.5])},
        ("one", "personal:a"): {"cells": np.zeros((0, 2), np.int64), "total": np.array([1.5])},
        ("one", "validation/personal:b"): {"cells": np.array([[4, 5]]), "total": np.array([2.5])},
        ("own.0", "generic:"): {"cells": np.ones((2, 1, 3), np.float32)},
    }
    sent = Report(
        {
            1: [Update((4, 2), 7.5, torch.tensor([1.0, 2.0]), {"c": torch.ones(2)})],
            0: [Update((9,), 1.0, torch.tensor([3.0, 4.0])), Update((3,), 2.0, torch.tensor([5.0, 6.0]))],
        },
        losses={5: 1.25},
        spent={4: [8.0, 2.0, 0.0, 4.0]},
        states={4: {"private": torch.ones(3), "state/n": torch.tensor([2.0])}},
        statistics=statistics,
        failures=[Failure(8, "Traceback\nValueError: ü")],
        metrics={"samples": 12, "loss_sum": 0.5},
    )
    found = unpack_report(pack_report(sent))
    assert {
        block: [(u.clients, u.weight, u.total.tolist()) for u in parts] for block, parts in found.updates.items()
    } == {
        1: [((4, 2), 7.5, [1.0, 2.0])],
        0: [((9,), 1.0, [3.0, 4.0]), ((3,), 2.0, [5.0, 6.0])],
    }
    assert same(found.updates[1][0].sums, {"c": torch.ones(2)})
    assert same(found.states[4], sent.states[4])
    assert list(found.statistics) == list(statistics)
    for key, arrays in statistics.items():
        assert list(found.statistics[key]) == list(arrays)
        for name, value in arrays.items():
            assert found.statistics[key][name].dtype == value.dtype
            assert found.statistics[key][name].tolist() == value.tolist()
    assert (found.failures, found.metrics) == (sent.failures, sent.metrics)
    assert (found.losses, found.spent) == (sent.losses, sent.spent)


def test_statistics_of_many_models_cost_no_further_records() -> None:
    """One array for each name of a statistic, since each record costs more than the numbers in it."""
    few, many = ({("one", f"personal:{n}"): {"a": np.arange(n)} for n in range(count)} for count in (1, 200))
    sizes = [len(pack_report(Report(statistics=found))["arrays"]) for found in (few, many)]
    assert sizes == [1, 1]


def test_an_empty_report_survives_too() -> None:
    found = unpack_report(pack_report(Report()))
    assert (found.updates, found.states, found.statistics, found.failures) == ({}, {}, {}, [])


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a)


def test_an_inline_grid_answers_each_message_once() -> None:
    from flwr.app import Message
    from flwr.clientapp import ClientApp

    app = ClientApp()

    @app.train()
    def train(message: Message, context: Any) -> Message:
        return Message(message.content, reply_to=message)

    grid = InlineGrid(app)
    set_identity(1)
    (node,) = grid.get_node_ids()
    one = torch.zeros(1)
    common, states = pack_common(one, {}), pack_states({}, {})
    jobs = [pack_job(Job({}, str(number), 1, [], one), common, states) for number in range(3)]
    ids = list(grid.push_messages([Message(content, node, "train", group_id="1") for content in jobs]))
    assert len(set(ids)) == 3
    keys = [unpack_job(reply.content).key for reply in grid.pull_messages(ids[::-1])]
    assert keys == ["2", "1", "0"]
    assert list(grid.pull_messages(ids)) == []


# Cutting and spreading ------------------------------------------------------------------------------------------------


def test_blocks_are_neighbours_in_the_cohort_whatever_the_workers() -> None:
    sizes = np.array([5, 10, 20, 1, 7, 9, 3])
    units = train_units((0, 2, 3, 5, 6), sizes, block=2, epochs=3)
    assert [unit.work.blocks for unit in units] == [{0: [0, 2]}, {1: [3, 5]}, {2: [6]}]
    assert [unit.cost for unit in units] == [3 * 3 * 25, 3 * 3 * 10, 3 * 3 * 3]
    assert [unit.clients for unit in units] == [[0, 2], [3, 5], [6]]
    for workers in (1, 2, 3, 8):
        blocks: dict[int, list[int]] = {}
        for unit in chain(*deal(units, workers)):
            assert not blocks.keys() & unit.work.blocks.keys()
            blocks |= unit.work.blocks
        assert dict(sorted(blocks.items())) == {0: [0, 2], 1: [3, 5], 2: [6]}


def test_evaluation_covers_every_row_and_client_once() -> None:
    """95 rows in chunks of 10: ten chunks, in four parts of 3, 3, 2 and 2. Five clients of nine are evaluated."""
    sizes, clients = np.arange(9), [1, 3, 4, 6, 8]
    units = evaluation_units(95, 10, True, clients, sizes, shared=True)
    assert [unit.work.chunks for unit in units] == [[0, 1, 2], [3, 4, 5], [6, 7], [8, 9]]
    assert [unit.work.span for unit in units] == [(0, 30), (30, 60), (60, 80), (80, 95)]
    assert all(unit.work.personal == unit.clients == clients for unit in units)
    assert [unit.cost for unit in units] == [30, 30, 20, 15]
    apart = evaluation_units(95, 10, True, clients, sizes, shared=False)
    assert [unit.work.chunks for unit in apart] == [[0, 1, 2], [3, 4, 5], [6, 7], [8, 9], *[[]] * 5]
    assert [unit.work.personal for unit in apart[4:]] == [[1], [3], [4], [6], [8]]
    assert all(unit.work.span is None for unit in apart)
    assert [unit.cost for unit in apart[4:]] == [1, 3, 4, 6, 8]
    many = evaluation_units(0, 10, False, range(200), np.ones(200), shared=False)  # of them, groups
    assert list(chain(*(unit.work.personal for unit in many))) == list(range(200))
    assert {len(unit.work.personal) for unit in many} == {3, 4}
    personal = evaluation_units(95, 10, False, clients, sizes, shared=True)
    assert [(unit.work.chunks, unit.work.span) for unit in personal] == [([], unit.work.span) for unit in units]
    assert evaluation_units(95, 10, False, [], sizes, shared=True) == []
    assert [unit.work.chunks for unit in evaluation_units(15, 10, True, [], sizes, shared=False)] == [[0], [1]]


def test_tests_cost_what_fine_tuning_before_them_took() -> None:
    """40 forward passes took 2 s, and adapting three clients with 8 samples 1.2 s: 24 passes, or 3 for a sample."""
    trained, tested = Unit(Work(blocks={0: [0]}), 40.0, [0]), Unit(Work(personal=[1, 2, 3]), 6.0, [1, 2, 3])
    measured = [{"train_seconds": 2.0, "adapt_seconds": 0.5}, {"train_seconds": 0.0, "adapt_seconds": 0.7}, {}]
    sizes = np.array([9, 1, 2, 5])
    assert cost_of_adapting([trained, tested], sizes, measured) == pytest.approx(3.0)
    assert cost_of_adapting([trained], sizes, measured) == cost_of_adapting([tested], sizes, [{}]) == 0.0


def test_a_run_learns_what_its_tests_cost(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fine-tuning takes longer than the test behind it, which alone is known before the first one."""
    costs: list[Any] = []

    def noted(rows: int, chunk: int, generic: bool, clients: Any, each: Any, shared: bool) -> list[Unit]:
        costs.append(each)
        return evaluation_units(rows, chunk, generic, clients, each, shared)

    monkeypatch.setattr("server.rounds.schedule.evaluation_units", noted)
    words = "strategy=fedavg_ft", "federation.rounds=2", "evaluation.every=1"
    run = fedlt.run(tiny, *words, backend="inline", out=tmp_path)
    split = federate(load_scenario(run.scenario))
    first, second = costs
    np.testing.assert_array_equal(first, split.tests.sizes)
    each = (second - first)[split.clients.sizes > 0] / split.clients.sizes[split.clients.sizes > 0]
    assert each.min() == pytest.approx(each.max())
    assert each.min() > 0.1  # about 2 by milliseconds that were measured, which other processes may stretch


def test_a_deal_loses_nothing_and_balances() -> None:
    """The longest first, each to the least loaded: 9 | 7 | 6, then 5 to 6, 4 to 7, 3 to 9: 12, 11 and 11."""
    units = [Unit(Work(blocks={k: [k]}), float(cost), [k]) for k, cost in enumerate((3, 9, 4, 7, 5, 6))]
    hands = deal(units, 3)
    assert [[unit.cost for unit in hand] for hand in hands] == [[9, 3], [7, 4], [6, 5]]
    assert sorted(client for unit in chain(*hands) for client in unit.clients) == list(range(6))
    assert [[unit.cost for unit in hand] for hand in deal(units, 9)] == [[9], [7], [6], [5], [4], [3]]
    assert deal([], 3) == []
    rng = np.random.default_rng(0)
    many = [Unit(Work(chunks=[k]), float(cost)) for k, cost in enumerate(rng.integers(1, 20, 200))]
    loads = [sum(unit.cost for unit in hand) for hand in deal(many, 7)]
    assert max(loads) - min(loads) <= 19
    assert sum(loads) == sum(unit.cost for unit in many)


@pytest.mark.parametrize(
    ("seconds", "pieces"),
    [
        (10.0, [1] * 16),
        (2.0, [2, 2, 2, 2, 2, 2, 2, 1, 1]),  # not more than a quarter of a second
        (0.4, [8, 4, 2, 1, 1]),
        (0.1, [8, 4, 3, 1]),  # 25 ms are left for the last four, and a piece has not less than 20 ms
        (0.2, [8, 4, 2, 2]),
        (0.02, [16]),
        (None, [4, 4, 4, 2, 1, 1]),  # as one second
    ],
)
def test_pieces_of_a_hand_get_shorter_within_bounds(seconds: float | None, pieces: list[int]) -> None:
    hand = [Unit(Work(chunks=[k]), 3.0) for k in range(16)]
    found = cut(hand, None if seconds is None else seconds / 48)
    assert [len(piece) for piece in found] == pieces
    assert list(chain(*found)) == hand
    assert cut([Unit(Work(personal=[1]), 0.0)], None) == [[Unit(Work(personal=[1]), 0.0)]]
