"""What the tests share: a cache and a working folder of their own, one thread, a tiny scenario, a hand-sized client."""

from __future__ import annotations

import functools
import gc
import importlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import numpy as np
import pytest
import typer.testing
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from torch import Tensor

    from clients.worker import Worker
    from fedlt.config.sections import Local
    from fedlt.exchange import Report
    from fedlt.nn.net import Net
    from fedlt.strategy import Client
    from fedlt.sweeps.grids import Grids

PowerCut = Callable[[int], AbstractContextManager[None]]
MakeClient = Callable[..., "Client"]
TrainOne = Callable[..., "tuple[Worker, Tensor, Report]"]

# `--hypothesis-profile=thorough` tries thousands of new examples; the default tries few, and always the same.
_common = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
settings.register_profile("quick", max_examples=15, derandomize=True, **_common)  # type: ignore[arg-type]
settings.register_profile("thorough", max_examples=1500, **_common)  # type: ignore[arg-type]
settings.load_profile("quick")


def pytest_configure(config: pytest.Config) -> None:
    """xdist would hand out the files with the most tests first, and those that start clusters last."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


ROOT = Path(__file__).resolve().parents[1]
SECONDS = {"grid": 3.0, "slow": 0.7, "unit": 0.03}
"""What a test of each kind takes, roughly: enough to tell long files from short ones."""


RAY, FORKED = ("ray_workers", "ray_session"), ("forked_workers", "from forked")
"""What a file says whose tests share a session of Ray, and one whose tests fork this process for a command."""


def _uses(nodeid: str) -> tuple[bool, bool]:
    """Whether the test's file shares a session of Ray, and whether it forks the process of the tests."""
    text = _text(ROOT / nodeid.split("::")[0])
    return any(word in text for word in RAY), any(word in text for word in FORKED)


def _group(nodeid: str) -> str:
    """What one process takes as a whole: the tests of a file, or all that need Ray or must run before it.

    A fork of a process that has used Ray for long may be aborted by what is left of Ray in it.
    """
    return "ray" if any(_uses(nodeid)) else nodeid.split("::")[0]


@functools.cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadfile` Ray is started once: its services and idle workers cost each process that starts them."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return Files(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is marked neither `grid` nor `slow` is a unit test: `pytest -m unit` is the quick half of the suite.

    The longest groups come first, so that processes which share them end together; in the group of Ray what forks and
    does not use it.
    """
    seconds: dict[str, float] = defaultdict(float)
    for item in items:
        if not any(item.get_closest_marker(name) for name in ("grid", "slow")):
            item.add_marker(pytest.mark.unit)
        marked = next(each for name, each in SECONDS.items() if item.get_closest_marker(name))
        seconds[_group(item.nodeid)] += marked

    def place(item: pytest.Item) -> tuple[float, bool, bool]:
        with_ray, forks = _uses(item.nodeid)
        return -seconds[_group(item.nodeid)], with_ray, not forks

    items.sort(key=place)


@pytest.fixture(scope="module", autouse=True)
def _imports_are_never_garbage() -> None:
    """What is imported by now stays: to look through it again and again takes a fifth of the time of quick tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _no_power_cuts() -> Iterator[None]:
    """Files are not forced onto the disk, which takes a tenth of a short run and which no test can see."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_tree_of_commands() -> Iterator[None]:
    """Typer reads the signatures of all commands at each invocation, which takes longer than most commands do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded data sets are shared by the tests of a session, and a user's own data are out of sight."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDLT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("FEDLT_DATA", raising=False)
        yield


@pytest.fixture
def tiny() -> dict[str, Any]:
    """Digits under a long tail over six unequal clients, three of them a round: two rounds, 0.1 s."""
    return {
        "data": {"name": "digits", "longtail": {"profile": "exponential", "imbalance_factor": 10, "largest": 60}},
        "federation": {
            "clients": 6,
            "participation": 0.5,
            "rounds": 2,
            "partition": {"name": "dirichlet_per_class", "alpha": 0.5},
            "empty": "redraw",
            "block": 2,
        },
        "local": {"epochs": 1, "batch_size": 16, "lr": 0.05},
        "model": {"name": "mlp", "width": 16, "depth": 1},
        "evaluation": {"every": 1},
    }


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Ray on this machine, started once in each process of the session; grids join it.

    Two of its four cores are for the workers of `ray_workers`.
    """
    import ray

    from server.grids.ray_grid import start_ray

    start_ray(4)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def _kept_grids(ray_session: None) -> Iterator[Grids]:
    from fedlt.sweeps.grids import Grids

    class Kept(Grids):
        def __exit__(self, *exception: object) -> None:
            self._end_forked()

    kept = Kept()
    yield kept
    kept._end_ray()


@pytest.fixture
def ray_workers(_kept_grids: Grids, monkeypatch: pytest.MonkeyPatch) -> Grids:
    """`fedlt.run(..., backend="ray", workers=2)` finds two workers that all tests share, as the runs of a sweep do:
    each start of a worker imports torch, which takes longer than a tiny run.
    """
    monkeypatch.setattr(importlib.import_module("fedlt.sweeps.run"), "Grids", lambda: _kept_grids)
    return _kept_grids


@pytest.fixture
def power_cut(monkeypatch: pytest.MonkeyPatch) -> PowerCut:
    """`with power_cut(2): run()` ends the run, as a crash would, before what came of its third round is taken over."""
    from server.rounds.loop import Rounds

    take = Rounds.take

    @contextmanager
    def cut(after: int) -> Iterator[None]:
        def failing(self: Rounds, reports: Any) -> Any:
            if self.progress.round == after:
                raise RuntimeError("power cut")
            return take(self, reports)

        with monkeypatch.context() as patch:
            patch.setattr(Rounds, "take", failing)
            with pytest.raises(RuntimeError, match="power cut"):
                yield

    return cut


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of sweeps that are forks of the test's process, and need not import PyTorch."""
    from forked import in_place_of_subprocess

    monkeypatch.setattr("fedlt.sweeps.workers.subprocess", in_place_of_subprocess())


@pytest.fixture
def own_file(tmp_path: Path) -> Callable[[str], Path]:
    """Writes the text of a user's file, with the usual imports above it, and gives its path."""

    def write(text: str, name: str = "mine.py") -> Path:
        head = (
            "from dataclasses import dataclass\nfrom typing import Annotated, ClassVar\n\n"
            "import torch\n\nfrom fedlt import Strategy, combine\n\n\n"
        )
        path = tmp_path / name
        path.write_text(head + text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def make_client() -> MakeClient:
    """A client of a model, given its features and labels: `make_client(net, x, y, local, private=..., ...)`."""
    import torch

    from fedlt.data.inputs import shaped
    from fedlt.data.site import Rows
    from fedlt.data.task import Task
    from fedlt.learners.cross_entropy import CrossEntropy
    from fedlt.nn.flat import Flat
    from fedlt.strategy import Client
    from fedlt.training.trainer import Trainer

    def make(
        net: Net,
        x: Any,
        y: Any,
        local: Local,
        *,
        private: tuple[str, ...] = (),
        frozen: tuple[str, ...] = (),
        precision: str = "float32",
        **fields: Any,
    ) -> Client:
        rows = np.asarray(x, np.float32)
        inputs = shaped((rows.shape[1],)).open(rows, torch.device("cpu"))
        targets = torch.as_tensor(np.asarray(y, np.int64))
        counts = torch.bincount(targets, minlength=2)
        flat = Flat(net, private, frozen)
        settings: dict[str, Any] = {
            "learner": CrossEntropy(),
            "data": Rows(inputs, targets, torch.arange(len(rows))),
            "epoch_size": len(rows),
            "progress": 0.0,
            "rng": np.random.default_rng(0),
        }
        return Client(
            model=net,
            flat=flat,
            task=Task("single", len(counts), tuple(rows.shape[1:]), counts.numpy()),
            class_counts=counts,
            trainer=Trainer(flat, local, torch.device("cpu"), precision),
            start=flat.shared[: flat.num_trainable].clone(),
            **{**settings, **fields},
        )

    return make


@pytest.fixture
def train_one(tiny: dict[str, Any]) -> TrainOne:
    """One client's round on the tiny scenario, as a worker does it: `train_one(client, *overrides, round=..., ...)`.

    The worker (whose model is the client's afterwards), the weights before, and the report with update and state.
    Every call starts from the same weights and the server's first outbox, with the same generators.
    """
    from clients.worker import Worker
    from fedlt.config.scenario import load_scenario
    from fedlt.data.federation import federate
    from fedlt.exchange import Job, Work
    from fedlt.strategy import Server

    def train(client: int, *overrides: str, round: int = 1, **job: Any) -> tuple[Worker, Tensor, Report]:
        scenario = load_scenario(tiny, list(overrides))
        worker = Worker(scenario, federate(scenario))
        start = worker.context.flat.shared.clone()
        server = Server(
            worker.context.model,
            worker.context.flat,
            worker.context.parts.task,
            num_clients=scenario.federation.clients or 0,
        )
        worker.context.strategy.setup(server)
        job = {"shared": start, "outbox": server.outbox, **job}
        report = worker.run(Job(scenario.to_dict(), scenario.hash, round, [Work(blocks={0: [client]})], **job))
        assert not report.failures, report.failures[0].traceback
        return worker, start, report

    return train
