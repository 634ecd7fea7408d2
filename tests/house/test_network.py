"""While a run goes on, none of its processes listens or talks beyond this machine; nobody reports usage."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fedlt.config.scenario import load_scenario
from fedlt.process.private_by_default import LOOPBACK, NO_REPORTS

pytestmark = pytest.mark.grid

PROC = Path("/proc")
LOCAL = {
    "0100007F",  # 127.0.0.1, as the kernel writes it
    "0000000000000000FFFF00000100007F",  # the same, mapped into IPv6
    "00000000000000000000000001000000",  # ::1
}


def family(root: int) -> set[int]:
    """The process and its descendants."""
    parents = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has ended meanwhile
                continue
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def sockets(pids: set[int]) -> set[tuple[str, str]]:
    """(local, remote) addresses of the processes' network sockets, as hexadecimal numbers without ports."""
    inodes = set()
    for pid in pids:
        try:
            links = [os.readlink(entry) for entry in (PROC / str(pid) / "fd").iterdir()]
        except OSError:
            continue
        inodes |= {link[8:-1] for link in links if link.startswith("socket:[")}
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in (PROC / "net" / table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes:
                found.add((fields[1].partition(":")[0], fields[2].partition(":")[0]))
    return found


@pytest.mark.skipif(not (PROC / "net" / "tcp").is_file(), reason="reads Linux's table of sockets")
@pytest.mark.parametrize("backend", ["inline", "processes", "ray"])
def test_a_run_opens_no_socket_beyond_loopback(tiny: dict[str, Any], tmp_path: Path, backend: str) -> None:
    scenario = tmp_path / "s.yaml"
    scenario.write_text(load_scenario(tiny, ["federation.rounds=10"]).to_yaml(), encoding="utf-8")
    command = [sys.executable, "-c", "from fedlt.commands.cli import main; main()", "run", str(scenario)]
    clean = {key: value for key, value in os.environ.items() if key not in NO_REPORTS | LOOPBACK}
    with subprocess.Popen(
        [*command, "--backend", backend, "--workers", "1"], cwd=tmp_path, env=clean, stdout=subprocess.DEVNULL
    ) as run:
        seen = set()
        while run.poll() is None:
            seen |= sockets(family(run.pid))
            time.sleep(0.05)
    assert run.returncode == 0
    assert {local for local, _ in seen} <= LOCAL
    assert {remote for _, remote in seen if remote.strip("0")} <= LOCAL
    assert bool(seen) == (backend == "ray")  # Ray's processes talk to each other: the test has looked


def test_what_the_user_has_set_is_kept() -> None:
    script = "import os, fedlt; print(os.environ['RAY_USAGE_STATS_ENABLED'], os.environ['FLWR_TELEMETRY_ENABLED'], "
    script += "os.environ.get('RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER'))"
    clean = {key: value for key, value in os.environ.items() if key not in NO_REPORTS | LOOPBACK}
    given = {**clean, "RAY_USAGE_STATS_ENABLED": "1", "RAY_ADDRESS": "auto"}
    shown = [subprocess.check_output([sys.executable, "-c", script], env=env, text=True) for env in (clean, given)]
    assert [text.split() for text in shown] == [["0", "0", "0"], ["1", "0", "None"]]
