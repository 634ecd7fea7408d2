"""What server and workers say to each other, and how it lies in Flower's records.

One exchange a round: a `Job` names blocks of clients to train and models to evaluate, its `Report` answers both.
Tensors travel as flat arrays in an ArrayRecord, everything else as one JSON text in a ConfigRecord.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from torch import Tensor

from fedlt.measures import collapse
from fedlt.measures.collapse import Moments
from fedlt.measures.confidence import Confidence
from fedlt.metrics import Confusion
from fedlt.strategy import Update
from server.arrays import pack_tensors, unpack_tensors

States = dict[int, dict[str, Tensor]]

UNION = -1
"""The id of the one site that holds all clients' data."""


@dataclass
class Work:
    """A piece of a round that one worker does as a whole.

    blocks: clients to train, by block number. images: training images of the union's one site (0: train clients).
    chunks: pieces of the global test set for the generic model. personal: clients whose models are tested; `span`
    limits them to the test rows from the first to before the second number (None: all rows of theirs, of the test and
    of the validation set). validation: whether chunks and span are of the validation set instead.
    """

    blocks: dict[int, list[int]] = field(default_factory=dict)
    images: int = 0
    chunks: list[int] = field(default_factory=list)
    personal: list[int] = field(default_factory=list)
    span: tuple[int, int] | None = None
    validation: bool = False


@dataclass
class Job:
    """A message to a worker. scenario: as `Scenario.to_dict` gives it. shared: [S]. states: of the clients it names.
    cost: of its works, for the schedule alone. inputs: digest of the files that the run is made of; empty: any."""

    scenario: dict[str, Any]
    key: str
    round: int
    works: list[Work]
    shared: Tensor
    outbox: dict[str, Tensor] = field(default_factory=dict)
    states: States = field(default_factory=dict)
    cost: float = 1.0
    inputs: str = ""

    def pack(self, common: ArrayRecord, states: ArrayRecord) -> RecordDict:
        """Records of this job. `common` (see `pack_common`) and, where jobs name the same clients, `states` (see
        `pack_states`) are the same objects in several jobs of a round, so that a grid may move them once."""
        works = [asdict(work) for work in self.works]
        head = {
            "scenario": self.scenario, "key": self.key, "inputs": self.inputs, "round": self.round, "works": works
        }  # fmt: skip
        job = ConfigRecord({"json": json.dumps(head), "cost": self.cost})
        records = {"common": common, "states": states, "job": job}
        return RecordDict(records)  # type: ignore[arg-type]

    @staticmethod
    def unpack(content: RecordDict) -> Job:
        """The job that `pack` packed."""
        head = json.loads(str(_config(content, "job")["json"]))
        common = unpack_tensors(_arrays(content, "common"))
        works = [Work(**work) for work in head["works"]]
        for work in works:
            work.blocks = {int(number): clients for number, clients in work.blocks.items()}
        outbox = {name.removeprefix("outbox/"): t for name, t in common.items() if name.startswith("outbox/")}
        states = _by_client(unpack_tensors(_arrays(content, "states")))
        named = head["scenario"], head["key"], head["round"], works
        return Job(*named, common["shared"], outbox, states, inputs=head["inputs"])


def pack_common(shared: Tensor, outbox: dict[str, Tensor], in_place: bool = False) -> ArrayRecord:
    """What every worker receives in a round. in_place: see `pack_tensors`."""
    return pack_tensors({"shared": shared, **{f"outbox/{name}": t for name, t in outbox.items()}}, in_place)


def pack_states(states: States) -> ArrayRecord:
    """What the clients of a job keep."""
    return pack_tensors({f"{client}/{name}": t for client, state in states.items() for name, t in state.items()})


@dataclass
class Failure:
    """A client that raised, took too long, or returned something that must not be averaged.

    purpose: what it failed in, "train" or "evaluate". memory: whether the machine had no memory left for it.
    """

    client: int
    traceback: str
    purpose: str = "train"
    memory: bool = False

    @property
    def reason(self) -> str:
        """The last line of the traceback."""
        return self.traceback.strip().splitlines()[-1] if self.traceback.strip() else "unknown error"


@dataclass
class Report:
    """A worker's answer.

    updates: by block number. confusions: (model, client or -1) -> statistic; names of models that were tested on the
    validation set begin with `validation/`. confidences: by model, all clients together. moments: of features, by the
    first chunk of the piece of the test set.
    """

    updates: dict[int, list[Update]] = field(default_factory=dict)
    states: States = field(default_factory=dict)
    confusions: dict[tuple[str, int], Confusion] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    confidences: dict[str, Confidence] = field(default_factory=dict)
    moments: dict[int, Moments] = field(default_factory=dict)

    def pack(self, in_place: bool = False) -> RecordDict:
        """Records of this report. in_place: see `pack_tensors`."""
        tensors: dict[str, Tensor] = {}
        updates = []
        for block, parts in self.updates.items():
            for index, update in enumerate(parts):
                tensors[f"update/{block}/{index}"] = update.total
                for name, value in update.sums.items():
                    tensors[f"sum/{block}/{index}/{name}"] = value
                for name, value in update.values.items():
                    tensors[f"value/{block}/{index}/{name}"] = value
                names = list(update.sums), list(update.values)
                updates.append([block, index, list(update.clients), update.weight, *names])
        for client, state in self.states.items():
            tensors.update({f"state/{client}/{name}": value for name, value in state.items()})
        keys = [[model, client, confusion.num_classes] for (model, client), confusion in self.confusions.items()]
        cells = [confusion.encode() for confusion in self.confusions.values()]
        if cells:  # one array for all: a thousand clients must not cost a thousand records
            tensors["confusions"] = torch.from_numpy(np.concatenate(cells))
        if self.confidences:
            tensors["confidence/cells"] = torch.from_numpy(np.stack([c.cells for c in self.confidences.values()]))
            tensors["confidence/clients"] = torch.from_numpy(
                np.concatenate([c.clients for c in self.confidences.values()])
            )
        for chunk, moments in self.moments.items():
            for name in collapse.NAMES:
                tensors[f"moments/{chunk}/{name}"] = torch.from_numpy(getattr(moments, name))
        started = time.perf_counter()
        arrays = pack_tensors(tensors, in_place)
        self.metrics["move_seconds"] = self.metrics.get("move_seconds", 0.0) + time.perf_counter() - started
        head = {
            "updates": updates,
            "confusions": [[*key, len(part)] for key, part in zip(keys, cells, strict=True)],
            "confidences": {model: len(found.clients) for model, found in self.confidences.items()},
            "moments": list(self.moments),
            "failures": [asdict(failure) for failure in self.failures],
            "metrics": self.metrics,
        }
        return RecordDict({"arrays": arrays, "report": ConfigRecord({"json": json.dumps(head)})})

    @staticmethod
    def unpack(content: RecordDict) -> Report:
        """The report that `pack` packed."""
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
