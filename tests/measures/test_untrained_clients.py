"""Clients that never trained count in every per-client figure, and what a batch norm layer has seen travels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import fedlt
from clients.worker import Worker
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.strategy import combine

pytestmark = pytest.mark.slow

ONE_OF_SIX = ("federation.participation=0.17", "federation.rounds=1", "local.lr=0.5")
STRATEGIES = ("fedavg", "local", "fedper", "fedbabu", "ditto", "apfl", "knnper", "fedloge", "fedrod", "flower:FedAvg")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_clients_that_never_trained_have_every_figure(tiny: dict[str, Any], tmp_path: Any, strategy: str) -> None:
    run = fedlt.run(tiny, *ONE_OF_SIX, f"strategy={strategy}", out=tmp_path, backend="inline")
    assert run.rounds["clients"].tolist() == [1]
    for _, rows in run.client_variants.groupby("variant"):
        assert rows["client"].tolist() == list(range(6))
        assert (rows["test_samples"] > 0).all()
        figures = rows[["accuracy", "accuracy_masked", "nll", "brier"]].to_numpy()
        assert np.isfinite(figures).all()
    assert run.final["personal/clients"] == run.final["personal_masked/clients"] == 6.0
    headline = run.clients
    assert run.final["personal/accuracy"] == pytest.approx(headline["accuracy"].mean())


def test_a_client_that_never_trained_is_tested_with_what_it_would_start_from(
    tiny: dict[str, Any], tmp_path: Any
) -> None:
    """FedPer's: the round's backbone under the first head. Its figures enter the mean like the others'."""
    scenario = load_scenario(tiny, [*ONE_OF_SIX, "strategy=fedper"])
    federation = federate(scenario)
    run = fedlt.run(scenario, out=tmp_path, backend="inline")
    worker = Worker(scenario, federation)
    first = {name: worker.context.flat.tensors[name].clone() for name in ("head.weight", "head.bias")}
    trained = {int(name.partition("/")[0]) for name in load_file(run.folder / "clients.safetensors")}
    assert len(trained) == 1
    for name, tensor in load_file(run.folder / "model.safetensors").items():
        worker.context.flat.tensors[name].copy_(tensor)
    for name, tensor in first.items():
        worker.context.flat.tensors[name].copy_(tensor)
    worker.context.model.eval()
    inputs = federation.inputs.open(federation.x_test, torch.device("cpu"))
    for client in set(range(6)) - trained:
        rows = federation.tests[client]
        with torch.no_grad():
            predicted = worker.context.model(inputs.take(torch.from_numpy(rows))).argmax(1).numpy()
        right = predicted == federation.y_test[rows]
        assert run.clients["accuracy"][client] == pytest.approx(right.mean())


def test_running_statistics_travel_and_are_averaged_by_samples(tiny: dict[str, Any], train_one: Any) -> None:
    """An exchange of parameters alone would leave each worker with the statistics of whoever it trained last."""
    found = []
    for client in (0, 1):
        worker, start, report = train_one(client, "model=resnet8")
        names = [name for name in worker.context.flat.tensors if name.endswith(("running_mean", "running_var"))]
        assert names
        (update,) = report.updates[0]
        before, sent = worker.context.flat.views(start), worker.context.flat.views(update.mean)
        assert all(torch.allclose(sent[name], worker.context.flat.tensors[name]) for name in names)
        assert not any(torch.equal(sent[name], before[name]) for name in names)
        found.append(update)
    merged = worker.context.flat.views(combine(found).mean)
    parts = [worker.context.flat.views(update.total / update.weight) for update in found]
    weights = torch.tensor([update.weight for update in found]) / sum(update.weight for update in found)
    for name in names:
        expected = weights[0] * parts[0][name] + weights[1] * parts[1][name]
        assert torch.allclose(merged[name], expected, atol=1e-6)
        assert not torch.allclose(parts[0][name], parts[1][name])
