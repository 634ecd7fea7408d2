"""What a federation knows of each of its clients that it knows from nobody else: memorization, client by client.

Feldman: Does Learning Require Memorization? A Short Tale about a Long Tail. STOC 2020, whose leave-one-out difference
is taken here of whole clients. The run's scenario is trained again without each client (`federation.left_out`), with
the draws and the data of all others as they were, and

    mem(client) = accuracy on its training samples with the client - without it

in points, of the generic model's headline variant. Beside it: what the same client is worth to the other clients'
training samples, and to the test set, as the mean of its class recalls. Each difference is of two trainings, and has
their noise; that of the others' samples tells how large it is where little is at stake.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedlt.config.scenario import Scenario, load_scenario
from fedlt.data.groups import SHOTS, Grouping
from fedlt.data.provenance import inputs_now, refuse_changed
from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.plots.chart import Axis, Chart, Shades
from fedlt.plots.measured import recalls
from fedlt.process.files import replace_file

if TYPE_CHECKING:
    from fedlt.results.features import KeptFeatures
    from fedlt.results.runs import Run
    from fedlt.sweeps.view import View

PLACE = "left_out"
"""Folder in the run's: what models without a client make of the samples, `client-3.npz`; and runs under way."""
SAMPLES = "memorization_by_client.parquet"


@dataclass(frozen=True, eq=False)
class Without:
    """A model that was trained without a client.

    Attributes:
        right: bool [n] which training samples of the whole run it has right.
        recalls: float64 [C] on the test set.
    """

    right: NDArray[np.bool_]
    recalls: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LeftOut:
    """What became of a run's samples without each of some clients.

    Attributes:
        clients: [m] who was left out.
        owners: int64 [n] whose training sample it is.
        labels: int64 [n] of the training samples, as clients see them.
        right: bool [n] which of them the model of all clients has right.
        without: [m] the models without a client.
        recalls: float64 [C] on the test set, of the model of all clients.
        groups: int8 [C], 0, 1 and 2 for head, medium and tail.
    """

    clients: tuple[int, ...]
    owners: NDArray[np.int64]
    labels: NDArray[np.int64]
    right: NDArray[np.bool_]
    without: tuple[Without, ...]
    recalls: NDArray[np.float64]
    groups: NDArray[np.int8]

    def samples(self, rows: NDArray[np.int64]) -> pd.DataFrame:
        """A row for each sample of the clients: row, client, label, group, right, right_without.

        Args:
            rows: [n] numbers of the samples in the data set.
        """
        parts = []
        for client, other in zip(self.clients, self.without, strict=True):
            own = self.owners == client
            labels = self.labels[own]
            groups = np.array(SHOTS)[self.groups[labels]]
            columns = {"row": rows[own], "client": client, "label": labels, "group": groups}
            parts.append(pd.DataFrame(columns | {"right": self.right[own], "right_without": other.right[own]}))
        return pd.concat(parts, ignore_index=True)

    def table(self) -> pd.DataFrame:
        """Clients, the most memorised first, then all of their samples, and these by head, medium and tail.

        Columns:

        - of: `client 3`, `all`, `head`, ... - samples: how many. - with_it, without_it: share of its samples that is
        right. - memorization: their difference. - others: by how much less of the others' samples is right without it.
        - test, test_tail: likewise of the test set, as means over all classes and over the tail's.
        """
        rows = []
        for client, other in zip(self.clients, self.without, strict=True):
            own, lost = self.owners == client, self.right.astype(float) - other.right
            worth = self.recalls - other.recalls
            row = _row(f"client {client}", self.right[own], other.right[own])
            beside = {"others": _mean(lost[~own]), "test": _mean(worth), "test_tail": _mean(worth[self.groups == 2])}
            rows.append(row | beside)
        clients = pd.DataFrame(rows).sort_values("memorization", ascending=False, kind="stable")

        every = self.samples(np.zeros(len(self.owners), np.int64))
        parts = {"all": every} | {shot: every[every["group"] == shot] for shot in SHOTS}
        whole = [_row(name, mine["right"], mine["right_without"]) for name, mine in parts.items() if len(mine)]
        return pd.concat([clients, pd.DataFrame(whole)], ignore_index=True)

    def influence(self) -> NDArray[np.float64]:
        """[m, K] by how many points less of each client's samples is right without a client; NaN: it has no sample."""
        size = int(self.owners.max()) + 1
        lost = np.full((len(self.clients), size), np.nan)
        for place, other in enumerate(self.without):
            for client in range(size):
                mine = self.owners == client
                lost[place, client] = 100 * _mean(self.right[mine].astype(float) - other.right[mine])
        return lost

    def chart(self) -> Chart:
        """The same as a map, which is white where nothing is lost."""
        lost = self.influence()
        values = np.where(lost > 0, lost, np.nan)
        word = "points of accuracy on a client's samples that are lost without a client"
        return Chart(
            name="left-out",
            title="Who needs whom",
            x=Axis("client", title="client whose samples are tested (white: nothing lost)", whole=True),
            y=Axis("client", title="client that is left out", whole=True, names=tuple(map(str, self.clients))),
            marks=(Shades(values, word, 0, max(float(np.nanmax(lost)), 1)),),
        )


def _row(name: str, right: NDArray[np.bool_] | pd.Series, without: NDArray[np.bool_] | pd.Series) -> dict[str, object]:
    known, unknown = float(np.mean(right)), float(np.mean(without))
    return {"of": name, "samples": len(right), "with_it": known, "without_it": unknown, "memorization": known - unknown}


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def left_out(run: Run, clients: Sequence[int] = (), parallel: int | str = "auto", view: View | None = None) -> LeftOut:
    """Train a finished run's federation again without each of some clients, one training a client.

    What is finished is kept in the run folder, so that the same call goes on after an interruption. Writes
    `memorization_by_client.parquet` and `memorization_by_client.png`.

    Args:
        run: a finished run, whose scenario and seed the trainings share.
        clients: their numbers; none: all.
        parallel: trainings side by side, or `auto`, as in a sweep.
        view: hears of the trainings; None: nobody does.

    Raises:
        ScenarioError: for what has no meaning.
        FedLTError: where a training fails.
    """
    kept = run.features()
    chosen = _chosen(kept, clients)
    missing = [client for client in chosen if _kept(run, client) is None]
    if missing:
        _train(run, kept, missing, parallel, view)
    without = [model for client in chosen if (model := _kept(run, client)) is not None]

    labels, groups = np.asarray(kept.train.labels), Grouping.of_run(run.scenario)(kept.class_counts)
    right = np.asarray(kept.train.logits).argmax(1) == labels
    owners = np.asarray(kept.train.clients)
    found = LeftOut(tuple(chosen), owners, labels, right, tuple(without), recalls(run), groups)

    samples = found.samples(np.asarray(kept.train.rows))
    replace_file(run.folder / SAMPLES, lambda draft: samples.to_parquet(draft, index=False))
    _draw(found, (run.folder / SAMPLES).with_suffix(".png"))
    return found


def _chosen(kept: KeptFeatures, clients: Sequence[int]) -> list[int]:
    """The clients to leave out, ascending; those that hold samples unless some are given."""
    if kept.train.labels.ndim > 1:
        raise ScenarioError(Problem("--clients", "is of samples with one class, and here they have several"))
    there = np.unique(np.asarray(kept.train.clients)).tolist()
    if len(there) < 2:
        raise ScenarioError(Problem("--clients", "leaves out one of several clients, and the run has one"))
    if gone := sorted(set(clients) - set(there)):
        message = f"{', '.join(map(str, gone))}: no such client with samples; there are {there[0]} to {there[-1]}"
        raise ScenarioError(Problem("--client", message))
    return sorted(set(clients)) or there


def _kept(run: Run, client: int) -> Without | None:
    """What is in the run folder of the training without a client; None where it is not there, or is another model's."""
    path = run.folder / PLACE / f"client-{client}.npz"
    if not path.is_file():
        return None
    with np.load(path) as arrays:
        if str(arrays["model_hash"]) != run.summary["model_hash"]:
            return None
        return Without(arrays["right"], arrays["recalls"])


def _train(run: Run, kept: KeptFeatures, clients: Sequence[int], parallel: int | str, view: View | None) -> None:
    """Train without each of the clients as a sweep does, and keep what comes of it in place of the runs' folders."""
    from fedlt.sweeps.grid import Job
    from fedlt.sweeps.sweep import run_jobs
    from fedlt.sweeps.view import Quiet

    made_of, whole = run.summary.get("inputs") or {}, load_scenario(run.folder / "scenario.yaml")
    refuse_changed(made_of, inputs_now(whole, made_of), "the run was made", "put it back, or run again with --force")
    command = f"fedlt analyse {run.folder} --memorization --clients"
    jobs = {client: Job(f"without client {client}", _without(whole, client), command) for client in clients}
    place = run.folder / PLACE
    swept = run_jobs([*jobs.values()], place, parallel, False, view or Quiet())

    trained = {again.folder.name: again for again in swept.runs}
    rows, labels = np.asarray(kept.train.rows), np.asarray(kept.train.labels)
    for client, job in jobs.items():
        if again := trained.get(job.scenario.run_name):
            right = again.on_rows(rows).logits.argmax(1) == labels
            _write(place / f"client-{client}.npz", right, recalls(again), run.summary["model_hash"])
            shutil.rmtree(again.folder)
    if swept.failures:
        name, reason = next(iter(swept.failures.items()))
        raise FedLTError(f"{name}: {reason}")


def _without(scenario: Scenario, client: int) -> Scenario:
    """The scenario without a client, and without evaluations that nobody reads."""
    federation, evaluation = scenario.federation, scenario.evaluation
    fewer = replace(federation, left_out=[*federation.left_out, client])
    every = federation.rounds if evaluation.patience is None else evaluation.every
    return replace(scenario, federation=fewer, evaluation=replace(evaluation, every=every, clients=1, metrics=[]))


def _write(path: Path, right: NDArray[np.bool_], found: NDArray[np.float64], model_hash: str) -> None:
    def write(draft: Path) -> None:
        with draft.open("wb") as file:
            np.savez_compressed(file, right=right, recalls=found, model_hash=model_hash)

    replace_file(path, write)


def _draw(found: LeftOut, path: Path) -> None:
    from fedlt.plots.figure import maps_of, save
    from fedlt.plots.style import style

    with style():
        figure = maps_of([found.chart()], 3.6, 1.6 + 0.09 * len(found.clients))
        if found.clients != tuple(range(len(found.clients))):  # rows of a map are numbered from 0 otherwise
            figure.axes[0].set_yticks(np.arange(len(found.clients)), map(str, found.clients))
    save(figure, path)
