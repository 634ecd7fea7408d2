"""Clients that join later: who is held out, what they receive, and the four ways to join."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import fedlt
from clients.join import Newcomers, Tuned
from clients.worker import Worker
from fedlt.commands.cli import app
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate, plan
from fedlt.errors import FedLTError, ScenarioError

HELD = "federation.held_out=2"


def test_the_last_clients_are_dealt_as_ever_and_held_out(tiny: dict[str, Any]) -> None:
    everyone, rest, joined = (
        federate(load_scenario(tiny)),
        federate(load_scenario(tiny, [HELD])),
        federate(load_scenario(tiny, [HELD]), None, True),
    )
    assert (len(everyone.clients), len(rest.clients), len(joined.clients)) == (6, 4, 2)
    for number in range(6):
        source, place = (rest, number) if number < 4 else (joined, number - 4)
        assert np.array_equal(source.clients[place], everyone.clients[number])
        assert np.array_equal(source.tests[place], everyone.tests[number])
    assert rest.class_counts.sum() == rest.clients.sizes.sum() == everyone.clients.sizes[:4].sum()
    assert len(federate(load_scenario(tiny), newcomers=True).clients) == 0
    assert np.array_equal(plan(load_scenario(tiny, [HELD])).client_counts, rest.client_counts())
    with pytest.raises(ScenarioError, match=r"federation\.held_out: expected fewer than the 6 clients, got 6"):
        federate(load_scenario(tiny, ["federation.held_out=6"]))


@pytest.mark.slow
def test_a_run_is_joined_by_one_command(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, "strategy=fedloge", HELD, "federation.rounds=8", "local.lr=0.02", out=tmp_path)
    assert run.final["personal/clients"] == 4
    quiet = CliRunner().invoke(app, ["join", str(run.folder), "-q"])
    assert quiet.stdout == f"{run.folder / 'join.json'}\n"
    done = CliRunner().invoke(app, ["join", str(run.folder), "--rounds", "3", "--epochs", "5"])
    assert done.exit_code == 0, done.output
    assert "2 clients that took no part" in done.output
    assert done.output.strip().endswith("join.json")
    kept = json.loads((run.folder / "join.json").read_text())
    assert (kept["rounds"], kept["epochs"]) == (3, 5)
    metrics = kept["metrics"]
    assert metrics == fedlt.join(run, 3, 5)  # equal calls, equal bits
    for name in ("received[psi]", "prior[realigned]", "trained[phi]", "trained_masked[readme]", "tuned"):
        assert 0 <= metrics[f"{name}/accuracy"] <= 1
    assert metrics["received[psi]/accuracy"] == metrics["trained[psi]/accuracy"]  # what is shared is received anew
    assert metrics["trained[phi]/accuracy"] > metrics["received[phi]/accuracy"]
    assert metrics["prior/accuracy"] == metrics["prior_masked/accuracy"]  # an absent class has no prior
    untouched = fedlt.join(run, 0, 0)
    assert untouched["trained/accuracy"] == untouched["received/accuracy"]
    assert untouched["tuned/accuracy"] == untouched["received[psi]/accuracy"] != metrics["tuned/accuracy"]


def test_tuning_trains_the_head_and_nothing_else(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, HELD, out=tmp_path)
    worker = Worker(load_scenario(run.scenario), federate(load_scenario(run.scenario), newcomers=True))
    newcomers = Newcomers(worker, run.folder)
    before = {name: tensor.clone() for name, tensor in worker.context.flat.tensors.items()}
    newcomers.everyone = [0]
    newcomers.test("tuned", Tuned(3), {})
    same = {name: torch.equal(tensor, before[name]) for name, tensor in worker.context.flat.tensors.items()}
    assert same == {"backbone.1.weight": True, "backbone.1.bias": True, "head.weight": False, "head.bias": False}
    assert not isinstance(worker.context.strategy, Tuned)


@pytest.mark.slow
def test_newcomers_receive_the_outbox(tiny: dict[str, Any], own_file: Any, tmp_path: Path) -> None:
    """A strategy whose personal model is what the server last sent beside the model."""
    path = own_file(
        "@dataclass(frozen=True)\nclass Sends(Strategy):\n"
        "    def aggregate(self, server, updates):\n"
        '        server.outbox["favourite"] = torch.tensor([float(server.round)])\n'
        "        super().aggregate(server, updates)\n\n"
        "    def personal(self, client, x):\n"
        '        favourite = client.received.get("favourite", torch.zeros(1)).long()\n'
        "        return super().personal(client, x) * 0 + torch.nn.functional.one_hot(favourite, 10)\n"
    )
    run = fedlt.run(tiny, f"strategy={path}:Sends", HELD, out=tmp_path)
    worker = Worker(load_scenario(run.scenario), federate(load_scenario(run.scenario), newcomers=True))
    newcomers = Newcomers(worker, run.folder)
    assert newcomers.outbox["favourite"].tolist() == [2.0]
    labels = [worker.context.federation.y_test[rows] for rows in worker.context.federation.tests]
    assert fedlt.join(run)["received/accuracy"] == pytest.approx(np.mean([(y == 2).mean() for y in labels]))


@pytest.mark.slow
def test_what_cannot_be_joined_is_refused(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, out=tmp_path)
    with pytest.raises(ScenarioError, match=r"federation\.held_out: .* held no client out"):
        fedlt.join(run)
    alone = fedlt.run(tiny, "strategy=local", HELD, out=tmp_path)
    with pytest.raises(ScenarioError, match="strategy: local has no generic model"):
        fedlt.join(alone)
    run.summary["status"] = "failed"
    with pytest.raises(FedLTError, match="is failed, not finished"):
        fedlt.join(run)
