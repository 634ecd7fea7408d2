"""Recording a run: the writer of a run folder. What the folder holds is told in `fedlt.results.tables`."""

from __future__ import annotations

import math
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.callback import Callback, RunState
from fedlt.data.groups import by_mass, sizes, untested
from fedlt.data.ragged import Ragged
from fedlt.measures.evaluation import Derived, Evaluation, Split, mass_counts
from fedlt.measures.metrics import mean_of_last
from fedlt.process.files import flush, replace_file
from fedlt.results.pieces import FOLDER, Growing, read_pieces, read_table
from fedlt.results.tables import named_as_today, rows_to_table, to_table, write_json
from fedlt.results.trackers import TensorBoard

if TYPE_CHECKING:
    import pyarrow as pa

LAST = 5
"""Evaluations that `last_five` averages. The best one is never reported: it is chosen on the test set."""


RESULTS = (
    "model.safetensors", "model.json", "clients.safetensors", "outbox.safetensors", "letters.safetensors", "join.json",
    "training.json",
)  # fmt: skip
"""What a finished run leaves beside its record."""

_SUMMED = ("skipped", "dropped", "late", "arrived", "backward_samples", "forward_samples")
"""Columns of the round table whose sums stand in `run.json`."""

_LATEST = ("epsilon",)
"""Columns of the round table whose last values stand in `run.json`, where a run has them."""

_COUNTERS = ("started", *_SUMMED, *_LATEST, "rounds", "evaluations", "final_round", "resumed", "early_stopping")


class RunWriter(Callback):
    """Writes one run folder. Order of calls: start, partition, then round and evaluation, then finish or fail.

    Attributes:
        folder: where the run is kept.
        scenario_text: the resolved scenario as YAML.
        meta: further fields of `run.json`, such as command, scenario, strategy, learner, model, seed, scenario_hash and
            partition_hash.
    """

    def __init__(self, folder: str | Path, scenario_text: str, meta: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self._scenario_text = scenario_text
        self._split: Split | None = None
        self._rounds: list[dict[str, Any]] = []  # that are not on disk yet
        self._history: list[dict[str, float]] = []  # the last evaluations
        self._tables = Growing(self.folder)
        self._started = False
        self.summary: dict[str, Any] = {
            "status": "running", **meta, "versions": _versions(), "host": _host(), "started": _now(), "ended": None,
            "timings": {}, "resumed": [], **dict.fromkeys(_SUMMED, 0), "rounds": 0, "evaluations": 0,
             "final_round": None, "final": {}, "last_five": {}, "warnings": [],
        }  # fmt: skip

    def start(self) -> None:
        """Creates the folder. Nothing is on disk before. Files of an earlier run in the same folder are removed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("run.json", "log.txt", "partition.npz", *RESULTS):
            (self.folder / name).unlink(missing_ok=True)
        shutil.rmtree(self.folder / TensorBoard.folder, ignore_errors=True)  # else two runs make one jagged curve
        self._tables.clear()
        replace_file(self.folder / "scenario.yaml", lambda path: path.write_text(self._scenario_text, encoding="utf-8"))
        self._started = True
        self._write_summary()

    def save(self, folder: Path) -> dict[str, Any]:
        """Keep the tables so far in `folder`, and return what else `resume` needs."""
        self._write_rounds()
        self._tables.save(folder)
        return {name: self.summary[name] for name in _COUNTERS if name in self.summary}

    def resume(self, folder: Path, kept: Mapping[str, Any]) -> None:
        """In place of `start`: go on from what `save` kept in `folder` and returned. The log goes on, too."""
        self.summary |= {named_as_today(name): value for name, value in kept.items()}
        self.summary["resumed"] = [*kept.get("resumed", []), kept["rounds"]]
        self._tables.restore(folder)
        self._rounds = []
        self._history = list(_by_round(read_pieces(folder, "metrics")).values())[-LAST:]
        if self._history:
            self.summary |= {"final": self._history[-1], "last_five": mean_of_last(self._history, LAST)}
        self._started = True
        self._write_summary()

    def log(self, line: str) -> None:
        """Appends one line to `log.txt`."""
        with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def on_start(self, run: RunState) -> None:
        self.partition(run.federation)
        for line in run.remarks:
            self.log(line)

    def on_round(self, run: RunState) -> None:
        self.round(run.row)

    def on_evaluation(self, run: RunState) -> None:
        assert run.evaluation is not None
        run.figures = self.evaluation(run.evaluation)

    def partition(self, split: Split) -> None:
        """Writes who holds what, as `partition.npz`, and keeps the split for the evaluations."""
        arrays: dict[str, Any] = {"class_names": np.array(list(split.class_names)), "class_counts": split.class_counts}
        sides = (("clients", split.clients, split.train_targets), ("tests", split.tests, split.test_targets))
        for name, rows, targets in sides:
            arrays[f"{name}_values"], arrays[f"{name}_offsets"] = rows.values, rows.offsets
            arrays[f"{name}_labels"] = targets.values[rows.values]
            if not targets.kind.one_label:  # of one label the counts follow
                arrays[f"{name}_counts"] = targets.table(Ragged(rows.values, rows.offsets))

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.savez_compressed(file, **arrays)

        replace_file(self.folder / "partition.npz", write)
        self._split = split
        tested, groups = split.test_targets.counts(), split.grouping(split.class_counts)
        self.summary |= {
            "clients": len(split.clients.offsets) - 1,
            "num_classes": len(split.class_names),
            "groups_rule": list(split.grouping.words),
            "groups_count": list(sizes(groups)),
            "groups_mass": list(sizes(by_mass(mass_counts(split)))),
            "test_per_class": _range(tested),
            "groups_untested": list(untested(groups, tested)),
        }
        if split.validation is not None:
            self.summary["validation"] = split.validation.summary()
        self._write_summary()

    def round(self, row: Mapping[str, Any]) -> None:
        """Keeps one row of the round table: flat, with the key "round". It is on disk after the next evaluation."""
        self._rounds.append(dict(row))
        self.summary["rounds"] = max(self.summary["rounds"], row["round"])
        for name in _SUMMED:
            self.summary[name] += row.get(name, 0)
        self.summary |= {name: row[name] for name in _LATEST if name in row}

    def evaluation(self, evaluation: Evaluation) -> dict[str, float]:
        """Derives the metrics, adds them to the tables and to `run.json`, and returns them."""
        if self._split is None:
            raise RuntimeError("partition() comes before evaluation(): class groups follow from who holds what")
        derived = Derived(evaluation, self._split)
        metrics = derived.metrics
        kinds = {name: statistic for (name, _), statistic in evaluation.statistics.items()}
        own = [asdict(figure) for statistic in kinds.values() for figure in statistic.describe()]
        if own:
            self.summary["figures"] = own
        for line in derived.told:
            self.log(f"round {evaluation.round}: {line}")
        chunks: dict[str, list[pa.Table]] = {}
        for table, columns in derived.rows():
            chunks.setdefault(table, []).append(to_table(table, columns))
        for table, parts in chunks.items():
            self._tables.append(table, parts)

        self._write_rounds()
        self._history = [*self._history, metrics][-LAST:]
        self.summary["skipped"] += evaluation.skipped
        self.summary |= {
            "evaluations": self.summary["evaluations"] + 1,
            "final_round": evaluation.round,
            "final": metrics,
            "last_five": mean_of_last(self._history, LAST),
        }

        self._write_summary()
        return metrics

    def keep(self, round: int) -> None:
        """Make the evaluation of this round the run's last one, as that of the models which it keeps.

        The tables of rounds and of metrics go on to the end of the training, so that curves show what was waited for.
        """
        by_round = _by_round(read_table(self.folder, "metrics"))
        until = [metrics for number, metrics in by_round.items() if number <= round]
        self.summary |= {"final": until[-1], "last_five": mean_of_last(until, LAST), "final_round": round}
        for table in ("clients", "classes", "calibration", "confusion"):
            self._tables.cut(table, round)

    def losses(self) -> list[float]:
        """The mean training loss of every round so far, NaN where nobody trained; also of those before a resume."""
        self._write_rounds()
        rounds = read_pieces(self.folder / FOLDER, "rounds")
        return [math.nan if loss is None else loss for loss in rounds["train_loss"].to_pylist()]

    def finish(self, status: str = "finished", **fields: Any) -> None:
        """Ends the run.

        Args:
            fields: what is known only now, such as model_hash and timings (seconds).
        """
        self.summary |= {**fields, "status": status, "ended": _now()}
        self._write_rounds()
        self._tables.finish()
        for path in self.folder.iterdir():  # all is on the disk before it says that the run has ended
            if path.is_file():
                flush(path)
        self._write_summary()
        flush(self.folder)

    def fail(self, error: BaseException | str) -> None:
        """Ends the run as failed, with the error's message; what was measured until then is kept."""
        if self._started:
            self.finish("failed", error=str(error) or type(error).__name__)

    def _write_rounds(self) -> None:
        if self._rounds:
            self._tables.append("rounds", [rows_to_table(self._rounds)])
            self._rounds = []

    def _write_summary(self) -> None:
        write_json(self.folder / "run.json", self.summary)


def _by_round(metrics: pa.Table) -> dict[int, dict[str, float]]:
    """Metrics by name for each evaluated round, of the table of metrics."""
    found: dict[int, dict[str, float]] = {}
    for row in metrics.to_pylist():
        found.setdefault(row["round"], {})[row["metric"]] = row["value"]
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _host() -> dict[str, Any]:
    """Without the host's name: a run folder is made to be shown to others."""
    return {"cpus": os.cpu_count(), "machine": platform.machine(), "platform": platform.platform()}


@cache
def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in ("fedlt", "torch", "flwr", "ray", "numpy"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def _range(counts: NDArray[np.int64]) -> list[int]:
    """The smallest and the largest of some counts."""
    return [int(counts.min()), int(counts.max())]
