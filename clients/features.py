"""Features, logits and labels of a finished run's samples under one of its models, as `fedlt.results.features` keeps.

Every sample passes the model once, without augmentation, in chunks of `evaluation.batch_size`: the logits of the global
test set are bit for bit those of the run's last evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clients.trained import federation_of, generic_model, personal_model, scenario_of
from fedlt.data.federation import Federation
from fedlt.data.inputs import Chosen
from fedlt.data.inputs.features import Encoded
from fedlt.data.inputs.on_disk import opened
from fedlt.errors import Problem, ScenarioError
from fedlt.process.threads import one_thread
from fedlt.results.features import KeptFeatures, Split
from fedlt.results.trained import Trained

NOBODY = -1


def features(
    folder: Path,
    summary: Mapping[str, Any],
    client: int | None = None,
    variant: str = "",
    device: str = "cpu",
    anew: bool = False,
) -> KeptFeatures:
    """Those of the generic model of a finished run, or of a client's personal one, as `Run.features` gives them.

    Args:
        folder: of the run.
        summary: its `run.json`.
        client: whose personal model; None: the generic one.
        variant: whose logits; empty: the headline's.
        device: where they are computed.
        anew: make them again.
    """
    whose = "generic" if client is None else f"client-{client}"
    place = folder / "features" / (f"{whose}-{variant}" if variant else whose)
    if summary["status"] == "finished" and "model_hash" in summary and not anew:
        kept = KeptFeatures.kept(place, summary["model_hash"])
        if kept is not None:
            return kept

    if client is None:
        model = generic_model(folder, summary, variant, device)
    else:
        model = personal_model(folder, summary, client, variant, device=device)
    federation = federation_of(scenario_of(folder, summary, device), summary, "features are of the run's samples")
    if federation.train_targets.kind.axes:
        message = f"targets of kind {federation.kind} have a label for every step; features are kept of whole samples"
        raise ScenarioError(Problem("data.targets", message))

    splits = {name: _split(model, federation, name, rows, clients) for name, rows, clients in _rows(federation, client)}
    about = {"model_hash": summary["model_hash"], "client": client, "variant": model.variant}
    named = {"class_names": federation.class_names, "class_counts": federation.class_counts.tolist()}
    return KeptFeatures.write(place, splits, about | named)


def of_rows(
    folder: Path, summary: Mapping[str, Any], rows: NDArray[np.int64], variant: str = "", device: str = "cpu"
) -> Split:
    """Training rows of the data set under the generic model of a finished run, whether it has trained on them or not.

    Labels are those that clients see.

    Args:
        folder: of the run.
        summary: its `run.json`.
        rows: [n] numbers of training rows.
        variant: whose logits; empty: the headline's.
        device: where they are computed.
    """
    model = generic_model(folder, summary, variant, device)
    federation = federation_of(scenario_of(folder, summary, device), summary, "rows are of the run's data set")
    return _split(model, federation, "train", rows, np.full(len(rows), NOBODY))


def _rows(federation: Federation, client: int | None) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.int64]]]:
    """Name, rows and clients of each split; of the validation set, positions in it stand for rows."""
    dealt = federation.clients
    if client is None:
        whose = np.repeat(np.arange(len(dealt)), np.diff(dealt.offsets))
        order = np.argsort(dealt.values, kind="stable")
        rows_of = {"train": dealt.values[order], "test": np.arange(len(federation.test_targets))}
        clients = {"train": whose[order]}
    else:
        rows_of, clients = {"train": dealt[client], "test": federation.tests[client]}, {}
        clients["train"] = np.full(len(rows_of["train"]), client)
    if federation.validation is not None:
        own = federation.validation
        rows_of["validation"] = np.arange(own.size) if client is None else own.clients[client]

    for name, rows in rows_of.items():
        yield name, rows, clients.get(name, np.full(len(rows), NOBODY))


def _split(
    model: Trained, federation: Federation, name: str, rows: NDArray[np.int64], clients: NDArray[np.int64]
) -> Split:
    """The samples of some rows under the model."""
    source, targets = federation.x_train, federation.train_targets
    if name == "test":
        source, targets = federation.x_test, federation.test_targets
    labels = targets.values[rows]
    if name == "validation":
        assert federation.validation is not None
        labels, rows = federation.validation.targets.values[rows], federation.validation.rows[rows]

    device = next(iter(model.tensors.values())).device
    inputs = Chosen(opened(federation.inputs, source, device), torch.from_numpy(rows).to(device))
    encoded = Encoded.of(inputs, model.net, model.chunk)
    features = [np.zeros((0, model.net.feature_dim), np.float32)]
    logits = [np.zeros((0, federation.num_classes), np.float32)]

    with one_thread(), torch.no_grad():
        chunks = torch.arange(len(rows), device=device).split(model.chunk)
        for positions in chunks if len(rows) else ():  # a client of few rows has none for validation
            x = encoded.take(positions)
            features.append(x.under(model.net).float().numpy(force=True))
            logits.append(model.of_prepared(x).float().numpy(force=True))
    return Split(np.concatenate(features), np.concatenate(logits), labels, rows, clients)
