"""Tables on the screen, and the same figures as JSON and CSV with the machine, the versions and the command."""

from __future__ import annotations

import csv
import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

PACKAGES = ("fedlt", "torch", "numpy", "flwr", "ray", "pfl", "fluke-fl")

Row = Mapping[str, Any]


def provenance() -> dict[str, Any]:
    """The command, the machine and the versions."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    module = sys.modules["__main__"].__spec__
    command = ["python", "-m", module.name.removesuffix(".__main__") if module else sys.argv[0], *sys.argv[1:]]
    return {"command": shlex.join(command), "machine": _machine(), "versions": versions}


def write(
    rows: Sequence[Row], json_path: Path | None, csv_path: Path | None, about: Mapping[str, str] = MappingProxyType({})
) -> None:
    """All rows into the files that were asked for. The CSV file opens with comment lines (#), `about` among them."""
    source = {**provenance(), **about}
    rows = [{key: float(f"{v:.6g}") if isinstance(v, float) else v for key, v in row.items()} for row in rows]
    for path in (json_path, csv_path):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)

    if json_path is not None:
        json_path.write_text(json.dumps({**source, "rows": rows}, indent=1) + "\n", encoding="utf-8")

    if csv_path is not None:
        with csv_path.open("w", encoding="utf-8", newline="") as file:
            for key, value in source.items():
                text = value if isinstance(value, str) else ", ".join(f"{k} {v}" for k, v in value.items())
                file.write(f"# {key}: {text}\n")
            writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
            writer.writeheader()
            writer.writerows(rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row in (head, *rows):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "memory_gib": round(memory, 1)}
