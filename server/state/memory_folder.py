"""A folder of files in memory that lasts no longer than its process, however that ends."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

MEMORY = Path("/dev/shm")  # a file system in memory, where there is one
ROOM = 2**30  # bytes that must be free there: containers often have 64 MB, too little for the models of a round
PREFIX = "fedlt-parcels-"


class MemoryFolder:
    """`path`: an empty folder, in memory where that is possible, else among the temporary files.

    The owner holds it locked, until it and what it has forked have ended. Whoever makes another one deletes those that
    nobody holds any more: a process that is killed cannot do it.
    """

    def __init__(self) -> None:
        home = MEMORY if _has_room(MEMORY) else Path(tempfile.gettempdir())
        for left in home.glob(f"{PREFIX}*"):
            _delete_unless_held(left)
        draft = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=home))  # a name that is not looked for before it is held
        self._held: int | None = os.open(draft, os.O_RDONLY)
        fcntl.flock(self._held, fcntl.LOCK_EX)
        self.path = draft.rename(home / draft.name.removeprefix("."))

    def delete(self) -> None:
        """Delete it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._held is not None:
            os.close(self._held)
            self._held = None


def _has_room(home: Path) -> bool:
    return os.access(home, os.W_OK) and shutil.disk_usage(home).free >= ROOM


def _delete_unless_held(folder: Path) -> None:
    """Delete a folder of a process that has ended; one that lives holds a lock on it."""
    with suppress(OSError):  # it is gone by now, or somebody else's, or held
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)
