"""Jobs and reports (`fedlt.exchange`) in Flower's records: the one module of the server that clients know.

Tensors travel as flat arrays in an ArrayRecord, everything else as one JSON text in a ConfigRecord.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any, cast

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray
from torch import Tensor

from fedlt.exchange import Failure, Job, Report, States, Work
from fedlt.statistic import Arrays
from fedlt.strategy import Update
from server.arrays import pack_tensors, unpack_tensors, with_room

LETTER = "letter/"  # begins the names of a client's letter, among those of what clients keep

__all__ = [
    "pack_common",
    "pack_job",
    "pack_report",
    "pack_states",
    "unpack_job",
    "unpack_report",
    "with_room",
]


def pack_common(shared: Tensor, outbox: dict[str, Tensor], in_place: bool = False) -> ArrayRecord:
    """What every worker receives in a round.

    Args:
        in_place: see `pack_tensors`.
    """
    return pack_tensors({"shared": shared, **{f"outbox/{name}": t for name, t in outbox.items()}}, in_place)


def pack_states(states: States, letters: States) -> ArrayRecord:
    """What the clients of a job keep, and the letters to them."""
    own = {f"{client}/{name}": t for client, state in states.items() for name, t in state.items()}
    own |= {f"{LETTER}{client}/{name}": t for client, letter in letters.items() for name, t in letter.items()}
    return pack_tensors(own)


def pack_job(job: Job, common: ArrayRecord, states: ArrayRecord) -> RecordDict:
    """Records of a job.

    `common` (see `pack_common`) and, where jobs name the same clients, `states` (see `pack_states`) are the same
    objects in several jobs of a round, so that a grid may move them once.

    Args:
        job: whose works, keys and weights are packed.
        common: what every worker receives.
        states: what the job's clients have kept.
    """
    works = [asdict(work) for work in job.works]
    head = {"scenario": job.scenario, "key": job.key, "inputs": job.inputs, "round": job.round, "works": works}
    config = ConfigRecord({"json": json.dumps(head), "cost": job.cost})
    records = {"common": common, "states": states, "job": config}
    return RecordDict(records)  # type: ignore[arg-type]


def unpack_job(content: RecordDict) -> Job:
    """The job that `pack_job` packed."""
    head = json.loads(str(_config(content, "job")["json"]))
    common = unpack_tensors(_arrays(content, "common"))
    works = [Work(**work) for work in head["works"]]
    for work in works:
        work.blocks = {int(number): clients for number, clients in work.blocks.items()}
    outbox = {name.removeprefix("outbox/"): t for name, t in common.items() if name.startswith("outbox/")}
    own = unpack_tensors(_arrays(content, "states"))
    states = _by_client({name: t for name, t in own.items() if not name.startswith(LETTER)})
    letters = _by_client({name.removeprefix(LETTER): t for name, t in own.items() if name.startswith(LETTER)})
    named = head["scenario"], head["key"], head["round"], works
    return Job(*named, common["shared"], outbox, states, letters, inputs=head["inputs"])


def pack_report(report: Report, in_place: bool = False) -> RecordDict:
    """Records of a report, whose metrics get the seconds that it took.

    Args:
        in_place: see `pack_tensors`.
    """
    tensors: dict[str, Tensor] = {}
    updates = []
    for block, parts in report.updates.items():
        for index, update in enumerate(parts):
            tensors[f"update/{block}/{index}"] = update.total
            for name, value in update.sums.items():
                tensors[f"sum/{block}/{index}/{name}"] = value
            for name, value in update.values.items():
                tensors[f"value/{block}/{index}/{name}"] = value
            names = list(update.sums), list(update.values)
            updates.append([block, index, list(update.clients), update.weight, *names])

    for client, state in report.states.items():
        tensors.update({f"state/{client}/{name}": value for name, value in state.items()})
    measured, packed = _pack_statistics(report.statistics)
    tensors.update(packed)

    started = time.perf_counter()
    arrays = pack_tensors(tensors, in_place)
    report.metrics["move_seconds"] = report.metrics.get("move_seconds", 0.0) + time.perf_counter() - started
    head = {
        "updates": updates,
        "statistics": measured,
        "failures": [asdict(failure) for failure in report.failures],
        "metrics": report.metrics,
        "apart": report.apart,
        "losses": report.losses,
        "spent": report.spent,
    }

    return RecordDict({"arrays": arrays, "report": ConfigRecord({"json": json.dumps(head)})})


def unpack_report(content: RecordDict) -> Report:
    """The report that `pack_report` packed."""
    head = json.loads(str(_config(content, "report")["json"]))
    tensors = unpack_tensors(_arrays(content, "arrays"))
    failures = [Failure(**failure) for failure in head["failures"]]
    report = Report(metrics=head["metrics"], failures=failures, apart=head["apart"])

    report.losses, report.spent = (
        {int(client): told for client, told in head[name].items()} for name in ("losses", "spent")
    )  # JSON's keys are texts
    for block, index, clients, weight, sum_names, value_names in head["updates"]:
        sums = {name: tensors[f"sum/{block}/{index}/{name}"] for name in sum_names}
        values = {name: tensors[f"value/{block}/{index}/{name}"] for name in value_names}
        update = Update(tuple(clients), weight, tensors[f"update/{block}/{index}"], sums, values)
        report.updates.setdefault(block, []).append(update)

    report.statistics = _unpack_statistics(head["statistics"], tensors)
    prefix = "state/"
    report.states = _by_client({n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)})

    return report


Lengths = dict[str, list[tuple[str, dict[str, int]]]]
"""By the statistic's name: the models in order, each with the lengths of its arrays."""


def _pack_statistics(statistics: dict[tuple[str, str], Arrays]) -> tuple[Lengths, dict[str, Tensor]]:
    """What was measured, as one tensor for each statistic and name of an array, whatever the number of models: many
    records would cost more than what is in them.
    """
    lengths: Lengths = {}
    arrays_of: dict[str, list[NDArray[Any]]] = {}
    for (name, model), arrays in statistics.items():
        lengths.setdefault(name, []).append((model, {array: len(value) for array, value in arrays.items()}))
        for array, value in arrays.items():
            arrays_of.setdefault(f"statistic/{name}/{array}", []).append(value)
    return lengths, {name: torch.from_numpy(np.concatenate(each)) for name, each in arrays_of.items()}


def _unpack_statistics(lengths: Lengths, tensors: dict[str, Tensor]) -> dict[tuple[str, str], Arrays]:
    """Inverse of `_pack_statistics`.

    Args:
        lengths: of each array along its first axis, by statistic and model.
        tensors: the arrays of all models, joined.
    """
    statistics: dict[tuple[str, str], Arrays] = {}
    starts: dict[str, int] = {}

    for name, models in lengths.items():
        for model, sizes in models:
            arrays = statistics[name, model] = {}
            for array, size in sizes.items():
                key = f"statistic/{name}/{array}"
                start = starts.get(key, 0)

                # Arrays of all models lie one behind the other.
                arrays[array] = tensors[key][start : start + size].numpy()
                starts[key] = start + size
    return statistics


def _arrays(content: RecordDict, name: str) -> ArrayRecord:
    """Not by `content.array_records`: that view refers to itself, so that all records of a message would stay in memory
    until the garbage collector looks for cycles, which it seldom does.
    """
    return cast(ArrayRecord, content[name])


def _config(content: RecordDict, name: str) -> ConfigRecord:
    return cast(ConfigRecord, content[name])


def _by_client(tensors: dict[str, Tensor]) -> States:
    """Tensors that are named `CLIENT/NAME`, by client and name."""
    states: States = {}
    for key, value in tensors.items():
        client, _, name = key.partition("/")
        states.setdefault(int(client), {})[name] = value
    return states
