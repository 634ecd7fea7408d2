"""What there is to choose from, and what this machine has. Nothing heavy is imported."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
from pathlib import Path
from textwrap import fill

from fedlt.config import catalog, keys
from fedlt.config.scenario_file import FOLDER, scenario_names

KINDS = (
    "scenarios", "strategies", "learners", "models", "adapters", "encoders", "tokenizers", "generators", "partitions",
    "targets", "optimizers", "schedules", "selections", "clocks", "links", "datasets", "keys",
)  # fmt: skip
_KIND = {
    "strategies": "strategy",
    "learners": "learner",
    "models": "model",
    "adapters": "adapter",
    "partitions": "partition",
    "targets": "target",
    "encoders": "encoder",
    "tokenizers": "tokenizer",
    "generators": "generator",
    "optimizers": "optimizer",
    "schedules": "schedule",
    "selections": "selection",
    "clocks": "clock",
    "links": "link",
}
TESTED = Path(__file__).with_name("tested.json")
"""Versions with which FedLT was tested, by package and for Python; benchmarks/compat.py writes it."""


def listing(what: str) -> list[dict[str, str]]:
    """Rows with `name` and `summary` of one of `KINDS`.

    Components also list their keys under `fields`, strategies, learners and selections under `needs` what they
    need beyond the model.
    """
    if what == "scenarios":
        return [{"name": name, "summary": _first_comment(FOLDER / f"{name}.yaml")} for name in scenario_names()]
    if what == "datasets":
        return [{"name": name, "summary": summary} for name, summary in _datasets().items()]
    if what == "keys":
        return [
            {"name": key.name, "summary": f"[{json.dumps(key.default)}] {key.doc}", "type": key.annotation}
            for key in keys.scenario_keys()
        ]
    rows, declare = [], what in ("strategies", "learners", "selections")

    for name in catalog.names(_KIND[what]):
        found = catalog.find(_KIND[what], name)
        options = ", ".join(f"{f.name}={'?' if f.required else f.default}" for f in found.fields)
        row = {"name": name, "summary": found.summary, "fields": options}
        rows.append({**row, "needs": ", ".join(found.needs)} if declare else row)

    if what == "strategies":
        for name in catalog.flower_names():
            found = catalog.find("strategy", name)
            options = ", ".join(f"{f.name}={'?' if f.required else f.default}" for f in found.fields)
            summary = f"Flower, on the server: {found.summary}"
            rows.append({"name": name, "summary": summary, "fields": options, "needs": ""})

    return rows


def explained_names() -> dict[str, str]:
    """All that `fedlt explain` knows by its full name, with a word about it."""
    from fedlt.measures import glossary

    found = {figure.name: figure.title for figure in glossary.entries()}
    found |= dict(keys.section_names())
    found |= {key.name: key.doc for key in keys.scenario_keys()}
    found |= {name: kind for kind in catalog.KINDS for name in catalog.names(kind)}
    return found | dict.fromkeys(catalog.flower_names(), "strategy") | dict.fromkeys(scenario_names(), "scenario")


def rows_text(rows: list[dict[str, str]], indent: str, width: int | None) -> str:
    """Names and summaries in two columns.

    A name that is far longer than the others, or that would take half the width, has its summary beneath it.

    Args:
        width: at which summaries are broken; None: not at all.
    """
    if not rows:
        return ""
    lengths = sorted(len(row["name"]) for row in rows)
    column = lengths[-1] if width is None else max((n for n in lengths if n <= width // 3), default=width // 4)
    gap = " " * (len(indent) + column + 2)

    lines = []
    for row in rows:
        name, summary = row["name"], row["summary"]
        head = f"{indent}{name:<{column}}  "
        if width is None or not summary:
            lines.append(f"{head}{summary}".rstrip())
            continue
        if len(name) > column:
            lines.append(f"{indent}{name}")
            head = gap
        lines.append(fill(summary, width, initial_indent=head, subsequent_indent=gap, break_on_hyphens=False))
    return "\n".join(lines)


def doctor_report() -> dict[str, dict[str, str]]:
    """Versions, those that were tested, machine and data sets, as text."""
    found = json.loads(TESTED.read_text(encoding="utf-8"))
    versions = {"python": platform.python_version()}
    for package in ("fedlt", *(name for name in found if name != "python")):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "missing: pip install -e ."
    import torch

    from fedlt.process.cores import available_cores

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    machine = {
        "cores": str(available_cores()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "gpus": ", ".join(gpus) or "none",
    }
    tested = {name: versions_tested(found[name], versions[name]) for name in found}
    return {"versions": versions, "tested": tested, "machine": machine, "data": _datasets()}


def versions_tested(tested: list[str], installed: str) -> str:
    """The tested versions, ascending, and a word where the installed one is older or newer than all of them.

    Major and minor numbers count: patches are not told apart.
    """
    known = ", ".join(tested) or "none"
    ends, here = [_numbers(version)[:2] for version in tested], _numbers(installed)[:2]
    return f"{known}; not {installed}" if ends and here and not ends[0] <= here <= ends[-1] else known


def _numbers(version: str) -> list[int]:
    """[2, 13, 0] of `2.13.0+cpu`."""
    return [int(number) for number in re.findall(r"\d+", version.partition("+")[0])]


def _datasets() -> dict[str, str]:
    """Known data sets and where each was found."""
    from fedlt.data.known import EMBEDDED, GLYPHS, KNOWN
    from fedlt.data.published import PUBLISHED

    folder = os.environ.get("FEDLT_DATA")
    found = dict.fromkeys(EMBEDDED, "embedded") | {GLYPHS: "characters, drawn from a font: data.glyphs"}
    for name, known in KNOWN.items():
        found[name] = f"hub: {known.hub} (or $FEDLT_DATA/{name}.npz)"
    for name, published in PUBLISHED.items():
        found[name] = f"$FEDLT_DATA: {published.layout}; see docs/howto/known-sets.md"
    for path in sorted(Path(folder).expanduser().glob("*")) if folder else ():
        if path.suffix == ".npz" or path.is_dir():
            found[path.name.removesuffix(".npz")] = f"found: {path}"
    return found


def _first_comment(path: Path) -> str:
    line = path.read_text(encoding="utf-8").splitlines()[0]
    return line.lstrip("# ").rstrip() if line.startswith("#") else ""
