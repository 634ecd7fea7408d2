"""Ray's workers as forks of one process: what that process may hold, and what happens when it is not there."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from benchmarks import processes
from fedlt.process import gpus
from fedlt.sweeps import grids
from server.grids import ray_forks
from server.grids.ray_forks import EARLY, LATE, Forks, variables

pytestmark = pytest.mark.grid

LOADED = """
import sys
from importlib import import_module
for module in sys.argv[1:]:
    import_module(module)
print(open("/proc/self/status").read().partition("Threads:")[2].split()[0])
"""

SESSION = """
import os, signal, sys
from server.grids.ray_forks import forks_here
before = forks_here({shares})
import ray
from server.grids.ray_start import start_ray
start_ray(2, before)

@ray.remote(num_cpus=1)
class Parent:
    def who(self):
        return os.getppid(), "torch" in sys.modules

actors = [Parent.remote() for _ in range(2)]
(forks, loaded), other = ray.get([actor.who.remote() for actor in actors])
print(forks, forks == before.pid, loaded, other == (forks, loaded), flush=True)
sys.stdin.readline()
os.kill(forks, signal.SIGKILL)
ray.kill(actors.pop())
actors.append(Parent.remote())
parent, loaded = ray.get(actors[1].who.remote())
print(parent, loaded, flush=True)
sys.stdin.readline()
"""


def test_what_is_imported_before_a_fork_starts_no_thread() -> None:
    """A thread, and the locks that it holds, would stay behind."""
    command = [sys.executable, "-c", LOADED, *EARLY, *LATE]
    done = subprocess.run(command, env=os.environ | variables(), stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.split() == ["1"]


@pytest.mark.parametrize("shares", [False, True])
def test_workers_are_forks_and_start_by_themselves_where_nobody_forks_them(shares: bool) -> None:
    with _talking(SESSION.replace("{shares}", str(shares))) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        forks, *told = session.stdout.readline().split()
        assert told == ["True", "True", "True"]
        assert ("ray_forks.py" in processes.title(int(forks))) == (not shares)
        print(file=session.stdin, flush=True)
        parent, loaded = session.stdout.readline().split()
        assert Path(processes.title(int(parent)).split()[0]).name == "raylet"
        assert loaded == "False"


ELSEWHERE = """
import os, sys
import ray
from server.grids import ray_forks, ray_start
system, sys.platform = sys.platform, "darwin"
forks = ray_forks.forks_here()
sys.platform = system
ray_start.forks_here = lambda: forks
ray_start.start_ray(1)

@ray.remote
def parent():
    return os.getppid()

print(forks, ray.get(parent.remote()), flush=True)
sys.stdin.readline()
"""


def test_workers_start_by_themselves_elsewhere_than_on_linux() -> None:
    with _talking(ELSEWHERE) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        forks, parent = session.stdout.readline().split()
        assert (forks, Path(processes.title(int(parent)).split()[0]).name) == ("None", "raylet")


SHARING = """
import gc, signal, sys, threading
from server.grids.ray_forks import forks_here
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *what: None)
kept = open("/proc/self/status")
print("written once")
forks = forks_here(shares=True)
print(forks.pid, flush=True)
sys.stdin.readline()
print(gc.get_freeze_count() > 0)
forks.end()
print(gc.get_freeze_count())
waits = threading.Event()
threading.Thread(target=waits.wait).start()
other = forks_here(shares=True)
print(type(other._process).__name__, flush=True)
other.end()
waits.set()
import ray
other = forks_here(shares=True)
print(type(other._process).__name__, flush=True)
other.end()
other.end()
"""


def test_a_fork_of_this_process_has_its_modules_and_nothing_else_of_it() -> None:
    """Neither its output, nor its open files, nor what it does on signals; and none is made beside threads or Ray."""
    with _talking(SHARING) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        assert parent.stdout.readline() == "written once\n"
        forks = int(parent.stdout.readline())
        assert "torch" in Path(f"/proc/{forks}/maps").read_text()
        assert processes.title(forks) == processes.title(parent.pid)

        # Its standard streams, the socket on which it listens, and nothing of the parent's.
        _wait_until(lambda: len(os.listdir(f"/proc/{forks}/fd")) == 4)
        shared = {os.readlink(f"/proc/{parent.pid}/fd/{number}") for number in (0, 1)}
        assert not shared & {os.readlink(f"/proc/{forks}/fd/{number}") for number in (0, 1)}
        os.kill(forks, signal.SIGTERM)  # which the parent's handler would ignore
        _wait_for_the_end(forks)

        rest, _ = parent.communicate("\n")
        assert rest.split() == ["True", "0", "Popen", "Popen"]
        assert parent.returncode == 0


@pytest.mark.parametrize(
    ("device", "driver", "shares"), [("auto", False, True), ("auto", True, False), ("cpu", True, True)]
)
def test_a_fork_of_this_process_is_made_where_no_gpu_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, driver: bool, shares: bool
) -> None:
    """A GPU that this process has begun to use is lost to its forks. A driver shows as a file."""
    asked: list[bool] = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_forks, "forks_here", lambda shares: asked.append(shares))
    monkeypatch.setattr(gpus, "DRIVERS", (str(tmp_path if driver else tmp_path / "none"),))
    grids.forks_for(device)
    assert asked == [shares]
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert grids.forks_for(device) is None
    assert len(asked) == 1  # a cluster has its workers elsewhere


@pytest.mark.parametrize("shares", [False, True])
def test_the_process_that_forks_does_not_outlive_its_parent(shares: bool) -> None:
    text = f"from server.grids.ray_forks import forks_here\nprint(forks_here({shares}).pid, flush=True)\ninput()\n"
    with _talking(text) as parent:
        assert parent.stdout is not None
        forks = int(parent.stdout.readline())
        assert processes.alive(forks)
        os.kill(parent.pid, signal.SIGKILL)
    _wait_for_the_end(forks)


def test_a_caller_from_another_environment_is_sent_away(tmp_path: Path) -> None:
    """A fork knows what Ray has read from the first one's."""
    worker = tmp_path / "worker.py"
    text = "import os, sys\nprint(os.getppid(), sys.argv[1], os.getcwd(), os.environ['FIRST'], flush=True)\n"
    worker.write_text(text)
    forks, output = Forks(), tmp_path / "output.txt"
    first = os.environ | variables() | {"FIRST": "1"}
    with output.open("w") as file:
        assert _call(forks, [str(worker), "a"], first, tmp_path, file)
        assert _call(forks, [str(worker), "b"], first, tmp_path, file)
        assert not _call(forks, [str(worker), "c"], first | {"FIRST": "2"}, tmp_path, file)
    lines = sorted(line.split()[1:] for line in output.read_text().splitlines())
    assert lines == [["a", str(tmp_path), "1"], ["b", str(tmp_path), "1"]]
    pid = int(output.read_text().split()[0])
    assert processes.alive(pid)
    forks.end()
    assert not processes.alive(pid)


def _talking(script: str) -> subprocess.Popen[str]:
    """A process that runs the script, and is written to and read from."""
    command = [sys.executable, "-c", script]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=os.environ | variables(), stdin=pipe, stdout=pipe, text=True)


def _call(forks: Forks, arguments: list[str], environment: dict[str, str], folder: Path, output: IO[str]) -> bool:
    """Whether a worker was forked, once it has ended."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(60)
        caller.connect(f"\0{forks.address}")
        said = json.dumps([arguments, environment, str(folder)]).encode()
        assert socket.send_fds(caller, [said], [output.fileno()] * 2) == len(said)
        caller.shutdown(socket.SHUT_WR)
        forked = bool(caller.recv(1))
        return forked and caller.recv(1) == b""


def _wait_for_the_end(pid: int) -> None:
    _wait_until(lambda: not processes.alive(pid))


def _wait_until(true: Callable[[], bool]) -> None:
    for _ in range(300):
        if true():
            return
        time.sleep(0.1)
    pytest.fail("waited for 30 seconds")
