"""Folders of files in memory: one for each owner, deleted by whoever comes next where the owner was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from server.state import memory_folder
from server.state.memory_folder import PREFIX, MemoryFolder

OWNER = (
    "import sys, time\nfrom pathlib import Path\nfrom server import memory_folder\n"
    "memory_folder.MEMORY = Path(sys.argv[1])\nfolder = memory_folder.MemoryFolder()\n"
    "print(folder.path, flush=True)\ntime.sleep(600)\n"
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory_folder, "MEMORY", tmp_path)
    return tmp_path


def test_a_folder_is_empty_and_goes_with_what_is_in_it(home: Path) -> None:
    one, other = MemoryFolder(), MemoryFolder()
    assert {one.path, other.path} == set(home.iterdir())
    (one.path / "parcel").write_bytes(b"x")
    assert not list(other.path.iterdir())
    one.delete()
    assert list(home.iterdir()) == [other.path]
    other.delete()


def test_the_folder_of_a_killed_process_is_deleted_by_the_next_and_no_other(home: Path) -> None:
    (home / "fedlt-of-somebody-else").mkdir()
    owner = subprocess.Popen([sys.executable, "-c", OWNER, home], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    theirs = Path(owner.stdout.readline().strip())
    MemoryFolder().delete()
    assert theirs.is_dir()
    owner.kill()
    owner.wait()
    assert theirs.is_dir()
    MemoryFolder().delete()
    assert [path.name for path in home.iterdir()] == ["fedlt-of-somebody-else"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
def test_a_forked_worker_holds_the_folder_of_its_killed_parent(home: Path) -> None:
    """It deletes the folder itself when it notices (see `ProcessGrid`); until then it may read there."""
    ours = MemoryFolder()
    fork = os.fork()
    if not fork:
        signal.pause()
    assert ours._held is not None
    os.close(ours._held)  # as the system does when this process is killed
    try:
        MemoryFolder().delete()
        assert ours.path.is_dir()
    finally:
        os.kill(fork, signal.SIGKILL)
        os.waitpid(fork, 0)
    MemoryFolder().delete()
    assert not ours.path.exists()


@pytest.mark.parametrize("lacking", ["missing", "small"])
def test_without_room_in_memory_it_lies_among_the_temporary_files(
    home: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    memory = home / "memory"
    if lacking == "small":
        memory.mkdir()
        monkeypatch.setattr(memory_folder, "ROOM", 2**80)
    monkeypatch.setattr(memory_folder, "MEMORY", memory)
    monkeypatch.setattr("tempfile.tempdir", str(home))
    folder = MemoryFolder()
    assert folder.path.parent == home
    assert folder.path.name.startswith(PREFIX)
    folder.delete()
