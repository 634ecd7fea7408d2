"""Jobs and reports (`fedlt.exchange`) in Flower's records: the one module of the server that clients know.

Tensors travel as flat arrays in an ArrayRecord, everything else as one JSON text in a ConfigRecord.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import cast

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from torch import Tensor

from fedlt.exchange import Failure, Job, Report, States, Work
from fedlt.measures import collapse
from fedlt.measures.collapse import Moments
from fedlt.measures.confidence import Confidence
from fedlt.measures.metrics import Confusion
from fedlt.measures.sums import Key
from fedlt.strategy import Update
from server.arrays import pack_tensors, unpack_tensors, with_room

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
    """What every worker receives in a round. in_place: see `pack_tensors`."""
    return pack_tensors({"shared": shared, **{f"outbox/{name}": t for name, t in outbox.items()}}, in_place)


def pack_states(states: States) -> ArrayRecord:
    """What the clients of a job keep."""
    return pack_tensors({f"{client}/{name}": t for client, state in states.items() for name, t in state.items()})


def pack_job(job: Job, common: ArrayRecord, states: ArrayRecord) -> RecordDict:
    """Records of a job. `common` (see `pack_common`) and, where jobs name the same clients, `states` (see
    `pack_states`) are the same objects in several jobs of a round, so that a grid may move them once."""
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
    states = _by_client(unpack_tensors(_arrays(content, "states")))
    named = head["scenario"], head["key"], head["round"], works
    return Job(*named, common["shared"], outbox, states, inputs=head["inputs"])


def pack_report(report: Report, in_place: bool = False) -> RecordDict:
    """Records of a report, whose metrics get the seconds that it took. in_place: see `pack_tensors`."""
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
    keys = [[model, client, confusion.num_classes] for (model, client), confusion in report.confusions.items()]
    cells = [confusion.encode() for confusion in report.confusions.values()]
    if cells:  # one array for all: a thousand clients must not cost a thousand records
        tensors["confusions"] = torch.from_numpy(np.concatenate(cells))

    if report.confidences:
        tensors["confidence/cells"] = torch.from_numpy(np.stack([c.cells for c in report.confidences.values()]))
        tensors["confidence/clients"] = torch.from_numpy(
            np.concatenate([c.clients for c in report.confidences.values()])
        )

    for chunk, moments in report.moments.items():
        for name in collapse.NAMES:
            tensors[f"moments/{chunk}/{name}"] = torch.from_numpy(getattr(moments, name))

    places: dict[int, list[Key]] = {}
    for key in report.own:
        places.setdefault(key[0], []).append(key)
    for place, keys_of in places.items():  # one array for each name, however many clients there are
        for name in report.own[keys_of[0]]:
            stacked = np.stack([report.own[key][name] for key in keys_of])
            tensors[f"own/{place}/{name}"] = torch.from_numpy(stacked)

    started = time.perf_counter()
    arrays = pack_tensors(tensors, in_place)
    report.metrics["move_seconds"] = report.metrics.get("move_seconds", 0.0) + time.perf_counter() - started
    head = {
        "updates": updates,
        "confusions": [[*key, len(part)] for key, part in zip(keys, cells, strict=True)],
        "confidences": {model: len(found.clients) for model, found in report.confidences.items()},
        "moments": list(report.moments),
        "own": [[key[1:] for key in places.get(place, [])] for place in range(len(places))],
        "failures": [asdict(failure) for failure in report.failures],
        "metrics": report.metrics,
    }

    return RecordDict({"arrays": arrays, "report": ConfigRecord({"json": json.dumps(head)})})


def unpack_report(content: RecordDict) -> Report:
    """The report that `pack_report` packed."""
    head = json.loads(str(_config(content, "report")["json"]))
    tensors = unpack_tensors(_arrays(content, "arrays"))
    report = Report(metrics=head["metrics"], failures=[Failure(**failure) for failure in head["failures"]])

    for block, index, clients, weight, sum_names, value_names in head["updates"]:
        sums = {name: tensors[f"sum/{block}/{index}/{name}"] for name in sum_names}
        values = {name: tensors[f"value/{block}/{index}/{name}"] for name in value_names}
        update = Update(tuple(clients), weight, tensors[f"update/{block}/{index}"], sums, values)
        report.updates.setdefault(block, []).append(update)

    start = 0
    for model, client, num_classes, length in head["confusions"]:
        cells = tensors["confusions"][start : start + length].numpy()
        report.confusions[model, client] = Confusion.decode(cells, num_classes)
        start += length

    start = 0
    for index, (model, length) in enumerate(head["confidences"].items()):
        rows = tensors["confidence/clients"][start : start + length].numpy()
        report.confidences[model] = Confidence(tensors["confidence/cells"][index].numpy(), rows)
        start += length

    for chunk in head["moments"]:
        report.moments[chunk] = Moments(*(tensors[f"moments/{chunk}/{name}"].numpy() for name in collapse.NAMES))
    for place, keys in enumerate(head["own"]):
        named = {
            n.removeprefix(f"own/{place}/"): t.numpy() for n, t in tensors.items() if n.startswith(f"own/{place}/")
        }
        for number, (model, client, first) in enumerate(keys):
            report.own[place, model, client, first] = {name: values[number] for name, values in named.items()}

    prefix = "state/"
    report.states = _by_client({n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)})

    return report


def _arrays(content: RecordDict, name: str) -> ArrayRecord:
    """Not by `content.array_records`: that view refers to itself, so that all records of a message would stay in memory
    until the garbage collector looks for cycles, which it seldom does."""
    return cast(ArrayRecord, content[name])


def _config(content: RecordDict, name: str) -> ConfigRecord:
    return cast(ConfigRecord, content[name])


def _by_client(tensors: dict[str, Tensor]) -> States:
    states: States = {}
    for key, value in tensors.items():
        client, _, name = key.partition("/")
        states.setdefault(int(client), {})[name] = value
    return states
