"""Overviews of what there is and of what was measured: families of methods, the tables of equal trials, speed."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Iterable, Mapping

from benchmarks.quoted import families, lists, measured
from benchmarks.strategies import summary
from benchmarks.systems import BARE
from benchmarks.tables import RESULTS
from fedlt.config import catalog

REFERENCE = "fedavg"
GENERIC, TAIL, MASKED = "generic/balanced_accuracy", "generic/few", "personal_masked/accuracy"
COLUMNS = {"generic": GENERIC, "tail": TAIL, "masked": MASKED}

TITLES = {
    "cifar100_lt_pretrained": "CIFAR-100-LT, 40 clients",
    "ham10000_sites_pretrained": "HAM10000, 4 clinics",
    "mnist_writers": "MNIST, 539 writers",
    "cifar10_lt": "CIFAR-10-LT, 40 clients",
}
WORKLOADS = {
    "tiny": "1,000 clients of 20 images, small CNN",
    "cifar-cnn": "100 clients, CNN of the FedAvg paper",
    "cifar-resnet8": "100 clients, ResNet-8",
    "large": "4 clients, ResNet-18",
}
SYSTEMS = {
    "fedlt-processes": "FedLT, processes",
    "fedlt-ray": "FedLT, Ray",
    "fedlt-bf16": "FedLT, bfloat16",
    "pfl-2": "pfl",
    "fluke": "fluke",
    "flower": "Flower",
}

Lines = dict[str, dict[str, str]]


def methods(kind: str, docs: str = "") -> str:
    """Every strategy or learner by family, linked to its page. docs: where the pages lie, seen from this one."""
    grouped, folder = (families.STRATEGIES, "strategies") if kind == "strategy" else (families.LEARNERS, "learners")
    _complete(kind, [name for _, names in grouped.values() for name in names])
    lines = [f"| {len(catalog.names(kind))} {folder} | |", "| :-- | :-- |"]
    for title, names in grouped.values():
        linked = (f"[{name}]({docs}{folder}/{name.partition(':')[0]}.md)" for name in names)
        lines.append(f"| {title} | {', '.join(linked)} |")
    return "\n".join(lines)


def family(key: str, *settings: str) -> str:
    """The strategies of a family: the idea, points to FedAvg in each table of equal trials, and what is needed.

    A cell has the generic model over the personal ones, and the tail beside it where a table has one. With FedAvg among
    them the figures themselves. The first figure orders the rows; who has none stands last.
    """
    names = families.STRATEGIES[key][1]
    tables = {setting: summary.read(setting) for setting in settings}
    told = measured.mean if REFERENCE in names else _points
    shown = {
        setting: [
            (column, metric)
            for column, metric in COLUMNS.items()
            if any(told(tables[setting].get(name, {}).get(metric)) for name in names)
        ]
        for setting in settings
    }
    titles = {setting: TITLES[setting].partition(",")[0] for setting in settings}
    heads = [
        f"{titles[setting]}<br>{_stacked({column: column for column, _ in shown[setting]})}" for setting in settings
    ]
    lines = [f"| | {' | '.join([*heads, 'needs'])} |", f"| :-- |{' --: |' * len(shown)} :-- |"]

    places = [(tables[setting], metric) for setting in settings for _, metric in shown[setting]]
    for name in sorted(names, key=lambda name: _order(name, places)):
        cells = (
            _stacked({column: told(tables[setting].get(name, {}).get(metric)) for column, metric in shown[setting]})
            for setting in settings
        )
        lines.append(f"| {' | '.join([lists.strategy(name), *cells, lists.needs(name)])} |")
    return "\n".join(lines)


def _stacked(figures: Mapping[str, str]) -> str:
    """What is told of the generic model and its tail, and beneath it of the personal models; a dash for what is not."""
    above = ", ".join(figures[column] for column in ("generic", "tail") if figures.get(column))
    told = [above or "-"] * ("generic" in figures) + [figures.get("masked") or "-"] * ("masked" in figures)
    return "<br>".join(told) if any(figures.values()) else ""


def learners(table: str) -> str:
    """The learners of a table of two hosts, best inside FedAvg first: the generic model and its tail at one site with
    the union of the data, and inside FedAvg.
    """
    rows = measured.rows(table)
    found = {method.partition(", ")[2] for method, _ in rows if "[" not in method}
    places = [(host, metric) for host in ("centralized", REFERENCE) for metric in ("generic/accuracy", TAIL)]
    lines = [
        "| | one site generic | one site tail | FedAvg generic | FedAvg tail |",
        f"| :-- |{' --: |' * len(places)}",
    ]

    for name in sorted(found, key=lambda name: -_mean(rows.get((f"{REFERENCE}, {name}", "generic/accuracy")))):
        cells = (measured.mean(rows.get((f"{host}, {name}", metric))) for host, metric in places)
        lines.append(f"| [`{name}`](learners/{name}.md) | {' | '.join(cells)} |")
    return "\n".join(lines)


def agreed(*settings: str) -> str:
    """Who is better or worse than FedAvg in all of the tables but one, and in none the other way round, by intervals
    that exclude zero; in bold, who is so in all.
    """
    tables = [summary.read(setting) for setting in settings]
    common = [name for name in tables[0] if all(name in table for table in tables)]
    lines = ["| | better | worse |", "| :-- | :-- | :-- |"]
    for title, metric in (("generic model", GENERIC), ("personal models, masked", MASKED)):
        marks = {name: _marks(tables, name, metric) for name in common}
        cells = []
        for mark, opposite in ("1-", "-1"):
            often = [
                name for name in common if marks[name].count(mark) >= len(tables) - 1 and opposite not in marks[name]
            ]
            cells.append(", ".join(f"**`{name}`**" if set(marks[name]) == {mark} else f"`{name}`" for name in often))
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def leaders(*settings: str) -> str:
    """The yardsticks of each table of equal trials, and what leads by each of its headlines."""
    shown = {"generic": GENERIC, "tail": TAIL, "personal": "personal/accuracy", "masked": MASKED}
    lines = [f"| | | {' | '.join(shown)} |", f"| :-- | :-- |{' --: |' * len(shown)}"]
    for setting in settings:
        table = summary.read(setting)
        best = [_best(table, metric) for metric in (GENERIC, MASKED)]
        for number, name in enumerate(dict.fromkeys(["local", REFERENCE, *best])):
            cells = (measured.mean(table[name].get(metric)) for metric in shown.values())
            lines.append(f"| {'' if number else TITLES[setting]} | `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def speed(*workloads: str) -> str:
    """Images per second of each system over those of the faster bare loop: medians of the committed results."""
    lines = [f"| x bare loop | {' | '.join(SYSTEMS.values())} |", f"| :-- |{' --: |' * len(SYSTEMS)}"]
    for workload in workloads:
        rates = _rates(workload)
        bare = max(rate for system, rate in rates.items() if system in BARE)
        cells = [f"{rates[system] / bare:.2f}" if system in rates else "" for system in SYSTEMS]
        lines.append(f"| {WORKLOADS[workload]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _complete(kind: str, named: Iterable[str]) -> None:
    """Raises `ValueError` where a built-in component stands in no family, in two, or is not there."""
    built_in = sorted(name for name in named if ":" not in name)
    if built_in != catalog.names(kind):
        wrong = sorted({*built_in} ^ {*catalog.names(kind)}) or sorted({n for n in built_in if built_in.count(n) > 1})
        raise ValueError(f"benchmarks/quoted/families.py: each {kind} stands in one family: {', '.join(wrong)}")


def _best(table: dict[str, Lines], metric: str) -> str:
    """What leads a table by a metric, the yardsticks aside."""
    methods = [name for name in table if name not in families.STRATEGIES["yardsticks"][1]]
    return max(methods, key=lambda name: _mean(table[name].get(metric)))


def _points(row: Mapping[str, str] | None) -> str:
    """`+7.4 ↑`: points to FedAvg, with an arrow where the interval excludes zero."""
    if row is None or not row["difference"]:
        return ""
    return f"{100 * float(row['difference']):+.1f}{measured.arrow(dict(row))}"


def _order(name: str, places: list[tuple[dict[str, Lines], str]]) -> tuple[float, ...]:
    return tuple(-_mean(table.get(name, {}).get(metric)) for table, metric in places)


def _mean(row: Mapping[str, str] | None) -> float:
    return float(row["mean"]) if row and row["mean"] else -math.inf


def _marks(tables: list[dict[str, Lines]], name: str, metric: str) -> list[str]:
    """The first signs of the marks of a method in all tables: 1, 0 or -; "" where a table has no such figure."""
    return [table[name].get(metric, {}).get("mark", "")[:1] for table in tables]


def _rates(workload: str) -> dict[str, float]:
    lines = (RESULTS / f"{workload}.csv").read_text(encoding="utf-8").splitlines()
    found: dict[str, list[float]] = {}
    for row in csv.DictReader(line for line in lines if not line.startswith("# ")):
        found.setdefault(row["system"], []).append(float(row["images_per_second"]))
    return {system: statistics.median(rates) for system, rates in found.items()}
