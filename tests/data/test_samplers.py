"""One pass of a sampler is one pass, whatever it leaves out or repeats; what never ends can be ended."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forked import Forked
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Local
from fedlt.data.site import Batch, Site
from fedlt.errors import ClientError, HookError
from fedlt.learner import Learner, Stage
from fedlt.nn.net import Net

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Order(Learner):
    """Uses the first `used` samples of a fixed order, over and over where there are fewer."""

    used: int = 3

    def sampler(self, site: Site, stage: Stage) -> NDArray[np.int64]:
        return np.resize(np.arange(site.num_samples), self.used)

    def loss(self, site: Site, batch: Batch) -> Tensor:
        return cross_entropy(site.model(batch.x), batch.y)


def client_of(make_client: Any, used: int, **local: Any) -> Any:
    settings = Local(**{"epochs": 1, "batch_size": 2, "lr": 0.1, "momentum": 0.0, **local})
    return make_client(Net(nn.Linear(3, 4), nn.Linear(4, 2), 4), np.ones((8, 3)), np.arange(8) % 2, settings,
                       learner=Order(used))  # fmt: skip


@pytest.mark.parametrize(
    ("used", "count", "expected"),
    [
        (3, 8, [0, 1, 2]),  # undersampling: one pass, not filled up
        (8, 8, list(range(8))),
        (10, 8, [*range(8), 0, 1]),  # oversampling: the whole pass
        (8, 12, [*range(8), *range(4)]),  # the one site of centralized training: one pass and a half
        (3, 12, [0, 1, 2, 0, 1]),  # half of three, rounded up
        (8, 2, [0, 1]),
        (3, 0, []),
    ],
)
def test_passes_by_hand(make_client: Any, used: int, count: int, expected: list[int]) -> None:
    assert client_of(make_client, used).positions(count).tolist() == expected


@pytest.mark.parametrize(("used", "samples", "steps"), [(3, 6, 4), (8, 16, 8), (10, 20, 10)])
def test_an_epoch_is_one_pass(make_client: Any, used: int, samples: int, steps: int) -> None:
    client = client_of(make_client, used, epochs=2)
    client.train(client.learner.loss)
    assert client.trainer.work.samples == samples
    assert client.num_steps == client.trainer.work.steps == steps


def test_the_schedule_follows_the_steps_that_are_taken(make_client: Any) -> None:
    """Two passes of two batches each: elapsed 0, 1/4, 2/4, 3/4 at the steps, though a client of 8 would take eight."""
    client, seen = client_of(make_client, 3, epochs=2, schedule="cosine"), []

    def loss(site: Site, batch: Batch) -> Tensor:
        seen.append(site.elapsed)
        return cross_entropy(site.model(batch.x), batch.y)

    client.train(loss)
    assert seen == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("given", [False, True])
def test_an_empty_pass_is_an_error_that_names_the_sampler(make_client: Any, given: bool) -> None:
    client = client_of(make_client, 8 if given else 0)

    def nothing(site: Site) -> NDArray[np.int64]:
        return np.empty(0, np.int64)

    with pytest.raises(HookError, match=f"{'nothing' if given else 'Order.sampler'} gave an empty pass over 8 samples"):
        client.train(client.learner.loss, sampler=nothing if given else None)


OWN = """
import numpy as np
from torch.nn.functional import cross_entropy

from fedlt import Learner


@dataclass(frozen=True)
class Under(Learner):
    cap: int = 2

    def sampler(self, site, stage):
        y, order = site.data.y.numpy(), super().sampler(site, stage)
        return np.concatenate([order[y[order] == c][: self.cap] for c in np.unique(y)])

    def loss(self, site, batch):
        return cross_entropy(site.model(batch.x), batch.y)


@dataclass(frozen=True)
class Full(Under):
    def sampler(self, site, stage):
        order = Learner.sampler(self, site, stage)
        return order[: len(order) // 16 * 16]  # as drop_last does: nothing of a client with fewer than 16


@dataclass(frozen=True)
class Stuck(Strategy):
    folder: str = ""
    stubborn: bool = False

    def fit(self, client):
        open(f"{self.folder}/stuck", "w").close()
        while True:
            try:
                while True:
                    pass
            except BaseException:
                if not self.stubborn:
                    raise
"""


@pytest.mark.parametrize("strategy", ["fedavg", "centralized"])
def test_a_run_trains_what_the_sampler_gives(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path, strategy: str
) -> None:
    from fedlt.data.federation import federate

    changes = [f"learner={own_file(OWN)}:Under", f"strategy={strategy}", "federation.participation=1"]
    run = fedlt.run(tiny, *changes, out=tmp_path, backend="inline")
    split = federate(load_scenario(tiny))
    counts = np.stack([split.counts(k) for k in range(6)])
    expected = np.minimum(counts, 2).sum() if strategy == "fedavg" else np.minimum(counts.sum(0), 2).sum()
    assert run.rounds["samples"].tolist() == [expected, expected]


def test_a_client_with_an_empty_pass_is_named(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(
        ClientError, match=r"client \d+ failed in round 1: Full.sampler gave an empty pass over \d+ samples"
    ):
        fedlt.run(tiny, f"learner={own_file(OWN)}:Full", "federation.clients=30", out=tmp_path, backend="inline")


# What never ends ------------------------------------------------------------------------------------------------------

COMMAND = """
import sys

import server.state.interrupts as interrupts

interrupts.GRACE, interrupts.LAST = float(sys.argv.pop(1)), 0.5

from fedlt.commands.cli import main

main()
"""


@pytest.mark.parametrize(
    ("backend", "signals", "grace", "stubborn"),
    [
        ("inline", 2, 100.0, "false"),
        ("inline", 1, 0.5, "false"),
        ("inline", 2, 100.0, "true"),
        ("processes", 2, 100.0, "true"),
        ("processes", 1, 0.5, "false"),
    ],
)
def test_nothing_outlives_the_signals(
    tiny: dict[str, Any],
    own_file: Callable[..., Path],
    tmp_path: Path,
    backend: str,
    signals: int,
    grace: float,
    stubborn: str,
) -> None:
    """The second signal ends a client's endless loop; after a long time without an answer the first one does.

    Workers go with their parent.
    """
    path = tmp_path / "mine.yaml"
    own = [f"strategy={own_file(OWN)}:Stuck", f"strategy.folder={tmp_path}", f"strategy.stubborn={stubborn}"]
    path.write_text(load_scenario(tiny, own).to_yaml(), encoding="utf-8")
    options = ["--backend", backend, "--workers", "2", "--out", str(tmp_path / "runs")]
    command = [sys.executable, "-c", COMMAND, str(grace), "run", str(path), *options]
    process = Forked(command, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "stuck").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        for _ in range(signals):
            process.terminate()
            time.sleep(0.3)
        assert process.wait(30) in (130, 143)
        assert members(process.pid, 10.0) == []
    finally:
        for pid in members(process.pid, 0.0):
            os.kill(pid, signal.SIGKILL)


def members(session: int, seconds: float) -> list[int]:
    """Living processes of a session; waits for their end."""
    deadline = time.monotonic() + seconds
    while True:
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = status.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] not in "ZX":
                found.append(int(status.parent.name))
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)
