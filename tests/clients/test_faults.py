"""Clients that raise, hang, or return what is not finite: reported by name, or left out without a trace."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import fedlt
from clients.guard import TooLong, alarm, is_out_of_memory
from clients.worker import Worker
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.errors import ClientError, FedLTError
from fedlt.exchange import Job, Report, Work
from fedlt.links.finite import expect_finite
from fedlt.strategy import Update
from tests.evaluations import matrices

pytestmark = pytest.mark.slow

TROUBLE = '''
@dataclass(frozen=True)
class Trouble(Strategy):
    """Client `victim` makes trouble of a kind, when all its work is done."""

    private: ClassVar[tuple[str, ...]] = ("head.bias",)
    frozen: ClassVar[tuple[str, ...]] = ("head.weight",)
    victim: int = 4
    kind: str = "raise"

    def fit(self, client):
        super().fit(client)
        client.state["seen"] = torch.ones(2)
        client.extras["sum"] = torch.full((3,), float(client.id))
        if client.id == self.victim:
            self.trouble(client)

    def trouble(self, client):
        if self.kind == "raise":
            client.model.train()
            client.flat.frozen.fill_(7.0)
            client.flat.shared.fill_(7.0)
            raise RuntimeError("out of luck")
        if self.kind == "nan":
            client.flat.shared[3] = float("nan")
        if self.kind == "large":
            client.flat.shared.fill_(3e38)
        if self.kind == "private":
            client.flat.private[0] = float("inf")
        if self.kind == "extras":
            client.extras["sum"][1] = float("inf")
        if self.kind == "hang":
            while True:
                try:
                    torch.ones(1).sum()
                except Exception:
                    pass
        if self.kind == "memory":
            raise MemoryError("Unable to allocate 7 TiB")

    def personal(self, client, x):
        if client.id == self.victim and self.kind == "test" and len(x) > 3:
            raise RuntimeError("out of luck")
        return super().personal(client, x)
'''

KINDS = {
    "raise": "RuntimeError: out of luck",
    "nan": "FloatingPointError: the trained weights are not finite",
    "large": "FloatingPointError: the trained weights are not finite",
    "private": "FloatingPointError: the trained weights are not finite",
    "extras": r"FloatingPointError: client.extras\['sum'\] is not finite",
    "hang": r"TooLong: the client took longer than federation.timeout, 0.3 s",
}


@pytest.fixture
def trouble(own_file: Callable[..., Path]) -> Callable[..., list[str]]:
    path = own_file(TROUBLE)

    def overrides(kind: str, *more: str) -> list[str]:
        limit = ["federation.timeout=0.3"] if kind == "hang" else []
        return [f"strategy={path}:Trouble", f"strategy.kind={kind}", "federation.participation=1", *limit, *more]

    return overrides


def job(worker: Worker, clients: list[int], **fields: Any) -> Job:
    works = [Work({0: clients}), Work(chunks=[0, 1], personal=clients)]
    return Job({}, "", 1, works, worker.context.flat.shared.clone(), **fields)


def contents(report: Report) -> Any:
    updates = [
        (u.clients, u.weight, u.total.tolist(), {name: value.tolist() for name, value in u.sums.items()})
        for parts in report.updates.values()
        for u in parts
    ]
    states = {c: {name: value.tolist() for name, value in state.items()} for c, state in report.states.items()}
    cells = {key: confusion.encode().tolist() for key, confusion in matrices(report).items()}
    metrics = {key: value for key, value in report.metrics.items() if not key.endswith("seconds")}
    return updates, states, cells, metrics


@pytest.mark.parametrize("kind", KINDS)
def test_a_skipped_client_leaves_no_trace(tiny: dict[str, Any], trouble: Callable[..., list[str]], kind: str) -> None:
    """A block of three, one of which fails, is bit for bit the block of the other two."""
    scenario = load_scenario(tiny, trouble(kind, "federation.on_error=skip", "federation.block=3"))
    worker = Worker(scenario, federate(scenario))
    frozen = worker.context.flat.frozen.clone()
    found = worker.run(job(worker, [1, 4, 5]))
    assert [(f.client, f.purpose, f.memory) for f in found.failures] == [(4, "train", False)]
    assert "in trouble" in found.failures[0].traceback or kind in ("nan", "large", "private", "extras")
    assert torch.equal(worker.context.flat.frozen, frozen)
    worker = Worker(scenario, federate(scenario))
    expected = worker.run(job(worker, [1, 5]))
    updates, states, cells, metrics = contents(found)
    cells = {key: value for key, value in cells.items() if key[1] != 4}
    assert (updates, states, cells, metrics) == contents(expected)
    assert found.updates[0][0].clients == (1, 5)


def test_of_clients_trained_at_once_only_the_failing_one_is_left_out(
    tiny: dict[str, Any], own_file: Callable[..., Path]
) -> None:
    text = (
        "class Poison(Strategy):\n    def weight(self, client):\n"
        "        return float('nan') if client.id == 1 else float(client.num_samples)\n"
    )
    equal = [
        "federation.partition={name: iid}",
        "data.longtail={profile: exponential, imbalance_factor: 1, largest: 30}",
        "local.together=3",
    ]
    changes = [f"strategy={own_file(text)}:Poison", "federation.on_error=skip", "federation.block=3", *equal]
    scenario = load_scenario(tiny, changes)
    worker = Worker(scenario, federate(scenario))
    assert len(set(worker.context.federation.clients.sizes[:3].tolist())) == 1
    found = worker.run(job(worker, [0, 1, 2]))
    assert [failure.client for failure in found.failures] == [1]
    assert found.updates[0][0].clients == (0, 2)
    assert set(found.states) <= {0, 2}
    assert found.metrics["samples"] == worker.context.federation.clients.sizes[[0, 2]].sum()


@pytest.mark.parametrize("kind", KINDS)
def test_a_failing_client_ends_the_run_with_its_name_round_and_reason(
    tiny: dict[str, Any], trouble: Callable[..., list[str]], tmp_path: Path, kind: str
) -> None:
    with pytest.raises(ClientError, match=f"client 4 failed in round 1: .*{KINDS[kind]}"):
        fedlt.run(tiny, *trouble(kind), out=tmp_path)


def test_skipped_clients_are_counted_and_told_of(
    tiny: dict[str, Any], trouble: Callable[..., list[str]], tmp_path: Path
) -> None:
    run = fedlt.run(tiny, *trouble("extras", "federation.on_error=skip"), out=tmp_path)
    assert (run.status, run.summary["skipped"], run.rounds["skipped"].tolist()) == ("finished", 2, [1, 1])
    log = (run.folder / "log.txt").read_text(encoding="utf-8")
    line = "client 4 is left out of round {}: FloatingPointError: client.extras['sum'] is not finite"
    assert all(line.format(round) in log for round in (1, 2))
    assert log.count("Traceback") == 1  # the same one is not repeated


def test_a_client_that_fails_in_a_part_of_its_test_is_left_out_of_all_of_it(
    tiny: dict[str, Any], trouble: Callable[..., list[str]], tmp_path: Path
) -> None:
    """Client 4 fails on batches of more than three of its test rows: in some parts of the test set, not in all."""
    changes = ["federation.on_error=skip", "evaluation.batch_size=16", "federation.rounds=1"]
    run = fedlt.run(tiny, *trouble("test", *changes), out=tmp_path)
    assert sorted(run.clients["client"]) == [0, 1, 2, 3, 5]
    assert 4 not in set(run.confusion["client"])
    assert run.summary["skipped"] == 1
    log = (run.folder / "log.txt").read_text(encoding="utf-8")
    assert "client 4 is left out of the evaluation after round 1: RuntimeError: out of luck" in log


def test_a_machine_without_memory_ends_the_run_with_advice_under_both_policies(
    tiny: dict[str, Any], trouble: Callable[..., list[str]], tmp_path: Path
) -> None:
    for policy in ("fail", "skip"):
        with pytest.raises(FedLTError, match=r"memory ran out for client 4 in round 1: take fewer workers"):
            fedlt.run(tiny, *trouble("memory", f"federation.on_error={policy}"), out=tmp_path)
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("out of luck"))


def test_sums_that_are_too_large_are_not_averaged() -> None:
    large = Update((3, 5), 2.0, torch.tensor([1.0, float("inf")]))
    with pytest.raises(FedLTError, match="the updates of clients 3, 5 in round 7 are too large to be added up"):
        expect_finite(7, [large])
    with pytest.raises(FedLTError, match="clients 3"):
        expect_finite(7, [Update((3,), 2.0, torch.ones(2), {"c": torch.tensor([float("nan")])})])
    expect_finite(7, [Update((3,), 2.0, torch.ones(2), {"c": torch.tensor([4])})])


def test_an_alarm_interrupts_sleep_and_is_silent_afterwards() -> None:
    started = time.monotonic()
    with pytest.raises(TooLong), alarm(0.1):
        time.sleep(30)
    with alarm(0.1):
        pass
    time.sleep(0.2)
    with alarm(None):
        assert time.monotonic() - started < 10
