"""Recording a run: the writer of a run folder. What the folder holds is told in `fedlt.tables`."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedlt.data.groups import by_count, by_mass, sizes
from fedlt.metrics import GROUPS, Confusion, generic_metrics, mean_of_last, named, personal_columns, personal_summary
from fedlt.tables import TABLES, replace_file, rows_to_table, to_table, write_json, write_table

if TYPE_CHECKING:
    import pyarrow as pa

_Columns = Mapping[str, NDArray[Any]]

LAST = 5
"""Evaluations that `last_five` averages. The best one is never reported: it is chosen on the test set."""


class Rows(Protocol):
    """Lists of row numbers, one per client: client k's are `values[offsets[k]:offsets[k + 1]]`."""

    @property
    def values(self) -> NDArray[np.int64]: ...
    @property
    def offsets(self) -> NDArray[np.int64]: ...


class Split(Protocol):
    """What the record needs of `fedlt.data.federation.Federation`."""

    @property
    def class_names(self) -> Sequence[str]: ...
    @property
    def class_counts(self) -> NDArray[np.int64]: ...
    @property
    def y_train(self) -> NDArray[np.int64]: ...
    @property
    def y_test(self) -> NDArray[np.int64]: ...
    @property
    def clients(self) -> Rows: ...
    @property
    def tests(self) -> Rows: ...
    def counts(self, k: int, /) -> NDArray[np.int64]: ...


@dataclass(frozen=True)
class Evaluation:
    """The confusion matrices of one evaluation. Outer keys are variants of a model; "" is the headline.

    generic: on the global test set. personal: client -> on its own test set. personal_masked: the same, with the
    classes that the client never saw in training excluded from its predictions. skipped: clients that failed in it.
    """

    round: int
    generic: dict[str, Confusion] = field(default_factory=dict)
    personal: dict[str, dict[int, Confusion]] = field(default_factory=dict)
    personal_masked: dict[str, dict[int, Confusion]] = field(default_factory=dict)
    skipped: int = 0


class RunWriter:
    """Writes one run folder. Order of calls: start, partition, then round and evaluation, then finish or fail.

    folder: where the run is kept. scenario_text: the resolved scenario as YAML. meta: further fields of `run.json`,
    such as command, scenario, strategy, learner, model, seed, scenario_hash and partition_hash.
    """

    def __init__(self, folder: str | Path, scenario_text: str, meta: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self._scenario_text = scenario_text
        self._split: Split | None = None
        self._mass_counts = np.zeros(0, dtype=np.int64)
        self._rounds: list[dict[str, Any]] = []
        self._history: list[dict[str, float]] = []
        self._chunks: dict[str, list[pa.Table]] = {name: [] for name in TABLES if name != "rounds"}
        self._started = False
        self.summary: dict[str, Any] = {
            "status": "running", **meta, "versions": _versions(), "host": _host(), "started": _now(), "ended": None,
            "timings": {}, "skipped": 0, "rounds": 0, "evaluations": 0, "final_round": None,
            "final": {}, "last_five": {},
        }  # fmt: skip

    def start(self) -> None:
        """Creates the folder. Nothing is on disk before. Files of an earlier run in the same folder are removed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("run.json", "log.txt", "partition.npz", *(f"{table}.parquet" for table in TABLES)):
            (self.folder / name).unlink(missing_ok=True)
        replace_file(self.folder / "scenario.yaml", lambda path: path.write_text(self._scenario_text, encoding="utf-8"))
        self._started = True
        self._write_summary()

    def log(self, line: str) -> None:
        """Appends one line to `log.txt`."""
        with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def partition(self, split: Split) -> None:
        """Writes who holds what, as `partition.npz`, and keeps the split for the evaluations."""
        arrays: dict[str, Any] = {"class_names": np.array(list(split.class_names)), "class_counts": split.class_counts}
        for name, rows, labels in (("clients", split.clients, split.y_train), ("tests", split.tests, split.y_test)):
            arrays[f"{name}_values"], arrays[f"{name}_offsets"] = rows.values, rows.offsets
            arrays[f"{name}_labels"] = labels[rows.values]

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.savez_compressed(file, **arrays)

        replace_file(self.folder / "partition.npz", write)
        self._split = split
        self._mass_counts = np.bincount(arrays["tests_labels"], minlength=len(split.class_names))
        self.summary |= {
            "clients": len(split.clients.offsets) - 1,
            "num_classes": len(split.class_names),
            "groups_count": list(sizes(by_count(split.class_counts))),
            "groups_mass": list(sizes(by_mass(self._mass_counts))),
        }
        self._write_summary()

    def round(self, row: Mapping[str, Any]) -> None:
        """Keeps one row of the round table: flat, with the key "round". It is on disk after the next evaluation."""
        self._rounds.append(dict(row))
        self.summary["rounds"] = max(self.summary["rounds"], row["round"])
        self.summary["skipped"] += row.get("skipped", 0)

    def evaluation(self, evaluation: Evaluation) -> dict[str, float]:
        """Derives the metrics, writes all tables and `run.json`, and returns the metrics.

        Metric names of a variant carry it in brackets: `generic[psi]/accuracy`, `personal_masked[psi]/few`.
        """
        if self._split is None:
            raise RuntimeError("partition() comes before evaluation(): class groups follow from who holds what")
        metrics: dict[str, float] = {}
        for variant, confusion in evaluation.generic.items():
            model = named("generic", variant)
            metrics |= generic_metrics(confusion, self._split.class_counts, self._mass_counts, model)
            self._add_classes(evaluation.round, model, confusion)
            self._add_confusions(evaluation.round, model, {-1: confusion})
        columns = {}
        for kind, variants in (("personal", evaluation.personal), ("personal_masked", evaluation.personal_masked)):
            for variant, confusions in variants.items():
                model = named(kind, variant)
                columns[model] = personal_columns(confusions, self._split.counts)
                metrics |= personal_summary(columns[model], model)
                self._add_confusions(evaluation.round, model, confusions)
        for variant in evaluation.personal:
            masked = columns.get(named("personal_masked", variant))
            self._add_clients(evaluation.round, variant, columns[named("personal", variant)], masked)
        self._add("metrics", {"round": evaluation.round, "metric": list(metrics), "value": list(metrics.values())})
        self._history.append(metrics)
        self.summary["skipped"] += evaluation.skipped
        self.summary |= {
            "evaluations": len(self._history),
            "final_round": evaluation.round,
            "final": metrics,
            "last_five": mean_of_last(self._history, LAST),
        }
        self._write_rounds()
        for name, chunks in self._chunks.items():
            if chunks:
                write_table(self.folder / f"{name}.parquet", chunks)
        self._write_summary()
        return metrics

    def finish(self, status: str = "finished", **fields: Any) -> None:
        """Ends the run. fields: what is known only now, such as model_hash and timings (seconds)."""
        self.summary |= {**fields, "status": status, "ended": _now()}
        self._write_rounds()
        self._write_summary()

    def fail(self, error: BaseException | str) -> None:
        """Ends the run as failed, with the error's message; what was measured until then is kept."""
        if self._started:
            self.finish("failed", error=str(error) or type(error).__name__)

    def _add_classes(self, round: int, model: str, confusion: Confusion) -> None:
        assert self._split is not None
        names = np.array(GROUPS)
        self._add("classes", {
            "round": round,
            "model": model,
            "class": np.arange(confusion.num_classes),
            "name": list(self._split.class_names),
            "train_count": self._split.class_counts,
            "test_count": confusion.support,
            "recall": confusion.recall(),
            "group_count": names[by_count(self._split.class_counts)].tolist(),
            "group_mass": names[by_mass(self._mass_counts)].tolist(),
        })  # fmt: skip

    def _add_clients(self, round: int, variant: str, columns: _Columns, masked: _Columns | None) -> None:
        assert self._split is not None
        with_mask = dict(zip(masked["client"].tolist(), masked["accuracy"].tolist(), strict=True)) if masked else {}
        clients = columns["client"]
        self._add("clients", {
            "round": round,
            "variant": variant,
            "client": clients,
            "train_samples": np.diff(self._split.clients.offsets)[clients],
            "test_samples": columns["test_samples"],
            "accuracy": columns["accuracy"],
            "accuracy_masked": [with_mask.get(client, float("nan")) for client in clients.tolist()],
            **{name: columns[name] for name in GROUPS},
        })  # fmt: skip

    def _add_confusions(self, round: int, model: str, confusions: Mapping[int, Confusion]) -> None:
        if confusions:
            clients = np.repeat(list(confusions), [len(confusion.count) for confusion in confusions.values()])
            cells = np.concatenate([confusion.encode() for confusion in confusions.values()])
            columns = {"true": cells[:, 0], "pred": cells[:, 1], "count": cells[:, 2]}
            self._add("confusion", {"round": round, "model": model, "client": clients, **columns})

    def _add(self, table: str, columns: Mapping[str, Any]) -> None:
        self._chunks[table].append(to_table(table, columns))

    def _write_rounds(self) -> None:
        if self._rounds:
            write_table(self.folder / "rounds.parquet", [rows_to_table(self._rounds)])

    def _write_summary(self) -> None:
        write_json(self.folder / "run.json", self.summary)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _host() -> dict[str, Any]:
    """Without the host's name: a run folder is made to be shown to others."""
    return {"cpus": os.cpu_count(), "machine": platform.machine(), "platform": platform.platform()}


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in ("fedlt", "torch", "flwr", "ray", "numpy"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions
