"""Runs a scenario under Flower's own runtime: what `fedlt run --backend flower` does.

A local SuperLink of our own is started on free loopback ports, in a folder of its own, and stopped afterwards, so
that neither a user's SuperLink nor their Flower settings are touched.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fedlt.config.catalog import ROOT
from fedlt.config.scenario import Scenario
from fedlt.errors import FedLTError
from fedlt.results.runs import Run, finished_run
from server.grids.flower_private import runtime_variables, superlink_options

START_SECONDS = 60.0


def run_under_flower(
    scenario: Scenario, out: Path, echo: bool, track: Sequence[str], force: bool, resume_from: int | None
) -> Run:
    """Run the scenario with `flwr run` on a local SuperLink.

    Args:
        out: absolute parent of the run folder.
        echo: show Flower's lines while it runs.
        track: names of trackers.
        force, resume_from: see `server.app.serve`.
    """
    if not (ROOT / "pyproject.toml").is_file():
        raise FedLTError("Flower's runtime bundles the project, so it needs a checkout: pip install -e . in one")

    # The SuperLink and all that it writes end with the block.
    with tempfile.TemporaryDirectory(prefix="fedlt-flower-") as home:
        copy = Path(home) / f"{scenario.name}.yaml"
        copy.write_text(scenario.to_yaml(), encoding="utf-8")
        ports = _free_port(), _free_port()
        environment = _environment(Path(home), *ports)
        with _superlink(environment, Path(home), *ports):
            options = f'track="{" ".join(track)}" force={str(force).lower()} resume={resume_from or 0}'
            config = f'scenario="{copy}" out="{out}" cwd="{Path.cwd()}" {options}'
            _flwr(["run", str(ROOT), "--stream", "--run-config", config], environment, echo)

    run = finished_run(out / scenario.run_name)
    if run is None:
        raise FedLTError(f"the run under Flower did not finish; see {out / scenario.run_name} and the lines above")
    return run


def _environment(home: Path, port: int, control_port: int) -> dict[str, str]:
    """Own folder, own ports, no re-installation of what is installed already.

    And a Ray of its own unless `RAY_ADDRESS` names one: a cluster that was killed leaves its address in Ray's folder,
    and Flower's simulation (1.42) would wait for it without end.

    Args:
        home: folder of the SuperLink.
        port, control_port: of its two APIs.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {"RAY_ADDRESS": "local", **os.environ, "PATH": path, **runtime_variables(home / "flwr", port, control_port)}


@contextmanager
def _superlink(environment: dict[str, str], home: Path, port: int, control_port: int) -> Iterator[None]:
    """A SuperLink of its own, ready for `flwr run`, within the block.

    Args:
        environment: of the process.
        home: folder for its log and database.
        port, control_port: of its two APIs.
    """
    command = [_script("flower-superlink"), *superlink_options(port, control_port)]
    log = home / "superlink.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(command, env=environment, stdout=sink, stderr=sink, cwd=home, start_new_session=True)

    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise FedLTError(f"Flower's SuperLink did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)

        yield
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the SuperLink and, as they are in its session, the executors that it started."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=10)
    except ProcessLookupError:
        pass
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _flwr(arguments: list[str], environment: dict[str, str], echo: bool) -> None:
    """Run Flower's command line; with `echo` its lines are passed on as they come.

    Args:
        arguments: of the command.
        environment: of its process.
        echo: print what it says.
    """
    command = [_script("flwr"), *arguments]
    lines: list[str] = []
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            lines.append(line.rstrip())
            if echo:
                print(lines[-1], flush=True)

    if child.returncode:
        shown = "" if echo else "\n" + "\n".join(lines[-20:])
        raise FedLTError(f"flwr run ended with exit code {child.returncode}{shown}")


def _script(name: str) -> str:
    """The path of a program that is installed beside this Python."""
    path = Path(sys.executable).parent / name
    return str(path) if path.exists() else name


def _free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    """Whether something listens on the port."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
