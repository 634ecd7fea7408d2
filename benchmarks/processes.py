"""The processes that descend from one: which there are, what they are called, how much memory they hold (Linux)."""

from __future__ import annotations

import os
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


def tree(root: int) -> dict[int, list[str]]:
    """The process, all that descend from it and all that stayed in its session: the fields of their `stat`."""
    stats = {int(entry): fields for entry in os.listdir("/proc") if entry.isdigit() and (fields := _stat(int(entry)))}
    children: dict[int, list[int]] = {}
    for process, fields in stats.items():
        children.setdefault(int(fields[1]), []).append(process)
    found, wanted = {}, [root, *(process for process, fields in stats.items() if int(fields[3]) == root)]
    while wanted:
        process = wanted.pop()
        if process in stats and process not in found:
            found[process] = stats[process]
            wanted += children.get(process, [])
    return found


def alive(process: int) -> bool:
    """Whether it runs; what has ended and was not waited for does not."""
    fields = _stat(process)
    return bool(fields) and fields[0] != "Z"


def title(process: int) -> str:
    """Its command line, as it may have been changed by itself."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""


def resident(process: int) -> int:
    """Bytes of its resident set, shared pages included; 0 where it has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0


def proportional(process: int) -> int:
    """Bytes of its proportional set: a page that several processes share counts once in their sum."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _stat(process: int) -> list[str]:
    """Its `stat` behind the command's name: state, parent, group, session, ...; [] where it has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
