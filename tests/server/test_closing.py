"""Letters to single clients, and the exchange after the last round."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from same_figures import assert_equal

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.errors import ClientError, CodeError, FedLTError, ScenarioError
from fedlt.process import seeding
from fedlt.results.runs import Run

pytestmark = pytest.mark.slow

ASKING = '''
@dataclass(frozen=True)
class Asking(Strategy):
    """Each client is told how often it was sampled; at the end all say how often, and how many samples they hold."""

    def fit(self, client):
        times = client.received.get("times", torch.zeros(1))
        client.extras["times"] = torch.zeros(6).index_fill(0, torch.tensor([client.id]), float(times) + 1)
        super().fit(client)

    def aggregate(self, server, updates):
        whole = combine(updates)
        for client in whole.clients:
            server.letters[client] = {"times": whole.sums["times"][client : client + 1]}
        server.weights = whole.mean

    def personal(self, client, x):
        return client.model(x) * client.received.get("times", torch.zeros(1))

    def conclude(self, client):
        told = client.received.get("times", torch.zeros(1))
        client.extras["told"] = torch.tensor([float(client.num_samples), float(told)])
        client.scan(lambda batch: client.model(batch.x))

    def concluded(self, server, updates):
        whole = combine(updates)
        assert not len(whole.total) and whole.clients == server.cohort
        server.outbox["told"] = whole.sums["told"]
'''


@pytest.fixture
def asking(tmp_path: Path) -> str:
    head = "from dataclasses import dataclass\n\nimport torch\n\nfrom fedlt import Strategy, combine\n\n"
    (tmp_path / "asking.py").write_text(head + ASKING, encoding="utf-8")
    return f"strategy={tmp_path / 'asking.py'}:Asking"


ROUNDS = ("federation.rounds=3", "resources.checkpoint=1")


@pytest.fixture
def run(tiny: dict[str, Any], asking: str, tmp_path: Path) -> Run:
    return fedlt.run(tiny, asking, *ROUNDS, out=tmp_path / "whole", backend="inline")


# What is sent ---------------------------------------------------------------------------------------------------------


def test_a_letter_reaches_its_client_and_the_closing_exchange_everybody(run: Run) -> None:
    cohorts = [seeding.generator(0, "cohort", number).choice(6, 3, replace=False).tolist() for number in (1, 2, 3)]
    sampled = Counter(client for cohort in cohorts for client in cohort)
    letters = load_file(run.folder / "letters.safetensors")
    assert {name: float(value) for name, value in letters.items()} == {f"{k}/times": n for k, n in sampled.items()}
    told = load_file(run.folder / "outbox.safetensors")["told"].tolist()
    assert told == [float(federate(load_scenario(run.scenario)).clients.sizes.sum()), 9.0]

    model, letter = sum(value.nbytes for value in load_file(run.folder / "model.safetensors").values()), 4
    met = [len({client for client in cohort if any(client in other for other in cohorts[:number])})
           for number, cohort in enumerate(cohorts)]  # fmt: skip
    down = [3 * model + known * letter for known in met]
    down[-1] += 6 * model + len(letters) * letter
    assert run.rounds["bytes_down"].tolist() == down
    assert run.rounds["bytes_up"].tolist() == [3 * (model + 24), 3 * (model + 24), 3 * (model + 24) + 6 * 8]
    assert run.rounds["forward_samples"].tolist() == [0, 0, told[0]]


def test_a_personal_model_is_tested_with_its_letter(run: Run) -> None:
    letters = load_file(run.folder / "letters.safetensors")
    client = next(int(name.partition("/")[0]) for name, value in letters.items() if float(value) > 1)
    x = np.zeros((1, 8, 8, 1), np.uint8)
    plain, own = run.model().logits(x), run.client(client).logits(x)
    assert torch.allclose(own, float(letters[f"{client}/times"]) * plain)


def test_workers_and_a_crash_change_nothing(
    tiny: dict[str, Any], asking: str, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.rounds import closing

    two = fedlt.run(tiny, asking, *ROUNDS, out=tmp_path / "two", backend="processes", workers=2)
    assert two.summary["model_hash"] == run.summary["model_hash"]

    again = partial(fedlt.run, tiny, asking, *ROUNDS, out=tmp_path / "crashed", backend="inline")
    with monkeypatch.context() as patch:
        patch.setattr(closing, "_units", _power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            again()
    resumed = again()
    assert resumed.summary["resumed"] == [2]
    assert_equal(resumed, run)


def _power_cut(rounds: Any) -> Any:
    raise RuntimeError("power cut")


@pytest.mark.grid
def test_ray_carries_both(tiny: dict[str, Any], asking: str, tmp_path: Path, run: Run, ray_workers: Any) -> None:
    ray = fedlt.run(tiny, asking, *ROUNDS, out=tmp_path / "ray", backend="ray", workers=2)
    assert ray.summary["model_hash"] == run.summary["model_hash"]


def test_the_one_site_is_asked_too(tiny: dict[str, Any], asking: str, tmp_path: Path) -> None:
    file = tmp_path / "asking.py"
    hooks = ("fit", "aggregate", "personal")
    text = file.read_text()
    for hook in hooks:
        text = text.replace(f"def {hook}(", f"def _{hook}(")
    file.write_text(text.replace("    def _fit", '    scope = "centralized"\n\n    def _fit'))
    run = fedlt.run(tiny, asking, out=tmp_path / "one", backend="inline")
    told = load_file(run.folder / "outbox.safetensors")["told"].tolist()
    assert told == [float(federate(load_scenario(run.scenario)).clients.sizes.sum()), 0.0]


def test_a_run_that_is_stopped_early_is_closed_as_well(tiny: dict[str, Any], asking: str, tmp_path: Path) -> None:
    class Enough(fedlt.Callback):
        def on_round(self, run: fedlt.RunState) -> None:
            if run.round == 2:
                run.stop("enough")

    run = fedlt.run(tiny, asking, *ROUNDS, out=tmp_path / "short", backend="inline", callbacks=[Enough()])
    assert run.summary["rounds"] == 2
    assert load_file(run.folder / "outbox.safetensors")["told"][1] == 6


# What is refused ------------------------------------------------------------------------------------------------------


def test_early_stopping_and_privacy_are_refused(tiny: dict[str, Any], asking: str, tmp_path: Path) -> None:
    refused = partial(fedlt.run, tiny, asking, out=tmp_path / "runs", backend="inline")
    with pytest.raises(ScenarioError, match=r"evaluation\.patience: .* ends with an exchange after the last round"):
        refused("evaluation.patience=2", "data.validation=0.2")
    with pytest.raises(ScenarioError, match=r"sends client\.extras beside its weights"):
        refused("federation.links=[{name: dp, clip: 1.0, noise: 0.0}]")


def test_a_client_that_fails_then_is_named_or_left_out(tiny: dict[str, Any], asking: str, tmp_path: Path) -> None:
    file = tmp_path / "asking.py"
    file.write_text(file.read_text().replace("        told =", "        assert client.id != 4\n        told ="))
    run = partial(fedlt.run, tiny, asking, out=tmp_path / "runs", backend="inline")
    with pytest.raises(ClientError, match=r"client 4 failed in round 2: AssertionError.*Asking\.conclude"):
        run()
    with pytest.raises(CodeError, match=r"the server failed in round 2: AssertionError .*Asking\.concluded"):
        run("federation.on_error=skip")  # its own line asks for all answers
    logs = [path.read_text() for path in (tmp_path / "runs").glob("*/log.txt")]
    assert any("client 4 is left out of the exchange after round 2: AssertionError" in log for log in logs)


def test_a_letter_without_names_is_told(tiny: dict[str, Any], asking: str, tmp_path: Path) -> None:
    file = tmp_path / "asking.py"
    file.write_text(file.read_text().replace('{"times": whole.sums["times"][client : client + 1]}', "torch.ones(1)"))
    with pytest.raises(FedLTError, match=r"server\.letters\[\d\] is a tensor .*; write server\.letters\[3\] = "):
        fedlt.run(tiny, asking, out=tmp_path / "runs", backend="inline")


# The contract ---------------------------------------------------------------------------------------------------------


def test_the_conformance_suite_plays_it(asking: str) -> None:
    fedlt.check_strategy(asking.removeprefix("strategy="))
