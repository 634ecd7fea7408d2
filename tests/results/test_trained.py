"""The models that a finished run gives: its figures again, in every way that strategies predict."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import Federation, federate
from fedlt.errors import FedLTError, ScenarioError
from fedlt.results.runs import Run

EVERYONE = ("federation.participation=1", "federation.clients=4", "federation.rounds=2")


def federation_of(run: Run) -> Federation:
    return federate(load_scenario(run.scenario))


def share(found: Any, y: Any) -> float:
    return float((found == y).mean())


METHODS = [
    "strategy=fedavg",
    "strategy=fedloge",
    "strategy=fedrod",
    "strategy=fedper",
    "strategy=fedrep",
    "strategy=ditto",
    "strategy=apfl",
    "strategy=knnper",  # a store of the client's own samples
    "strategy=fedbabu",  # fine-tuned on them
    "strategy=fedproto",  # class means in the outbox
    "strategy=pfedfda",  # class Gaussians in place of a head
    "strategy=creff",  # a head that lies in the server's outbox
    "strategy=fedavg_posthoc",  # class counts of all clients, and of the client
    "strategy=local",
    "strategy=centralized learner=crt",
    "strategy=fedavg learner=tau_norm",
    "strategy=fedavg learner=ncm",
    "strategy=flower:FedAdam",
]


@pytest.mark.slow
@pytest.mark.parametrize("words", METHODS)
def test_models_give_the_figures_of_the_run(words: str, tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, *words.split(), *EVERYONE, out=tmp_path)
    federation = federation_of(run)
    x, y = federation.x_test, federation.y_test

    if "generic/accuracy" in run.final:
        model = run.model()
        assert not model.training
        assert share(model.predict(x, names=False), y) == run.final["generic/accuracy"]
        for variant in model.variants:
            assert share(run.model(variant).predict(x, names=False), y) == run.final[f"generic[{variant}]/accuracy"]
    else:
        with pytest.raises(
            ScenarioError, match=r"strategy: \w+ has no generic model; .*--client 0, or run\.client\(0\)"
        ):
            run.model()

    table = run.client_variants
    rows = table[table["round"] == run.summary["final_round"]].set_index(["variant", "client"])
    for client, own in enumerate(federation.tests):
        for column, masked in (("accuracy", False), ("accuracy_masked", True)):
            model = run.client(client, masked=masked)
            assert share(model.predict(x[own], names=False), y[own]) == rows.loc[("", client), column]
    for variant in model.variants:
        found = run.client(0, variant).predict(x[federation.tests[0]], names=False)
        assert share(found, y[federation.tests[0]]) == rows.loc[(variant, 0), "accuracy"]


@pytest.fixture
def own_data(tmp_path: Path) -> Path:
    """60 images of 4 x 4 pixels, of three classes that differ in brightness."""
    generator = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = np.clip(generator.normal(60 + 60 * y[:, None, None], 20, (60, 4, 4)), 0, 255).astype(np.uint8)
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=x[:45], y_train=y[:45], x_test=x[45:], y_test=y[45:], class_names=["dark", "grey", "light"])
    return path


@pytest.fixture
def own_run(own_data: Path, tmp_path: Path) -> Callable[..., Run]:
    def run(*overrides: str) -> Run:
        scenario = {
            "data": {"name": str(own_data)},
            "federation": {"clients": 3, "participation": 1.0, "rounds": 3, "partition": "iid"},
            "local": {"epochs": 2, "batch_size": 8, "lr": 0.05},
            "model": {"name": "mlp", "width": 8, "depth": 1},
        }
        return fedlt.run(scenario, *overrides, out=tmp_path / "runs")

    return run


def test_a_model_needs_no_data_and_a_store_of_neighbours_does(own_run: Callable[..., Run], own_data: Path) -> None:
    run = own_run("strategy=knnper")
    with np.load(own_data) as held:
        x, y = held["x_test"], held["y_test"]
    before = run.client(1).logits(x)
    own_data.rename(own_data.with_suffix(".away"))

    moved = shutil.move(run.folder, run.folder.with_name("moved"))
    again = fedlt.open_run(moved)
    assert share(again.model().predict(x, names=False), y) == run.final["generic/accuracy"]
    with pytest.raises(FedLTError, match=r"client 1 under knnper is made with the client's own data, .* not at hand"):
        again.client(1)

    own_data.with_suffix(".away").rename(own_data)
    assert torch.equal(again.client(1).logits(x), before)
    again.summary["partition_hash"] = "0"
    with pytest.raises(FedLTError, match="the data set is dealt otherwise than in the run"):
        again.client(1)
    np.savez(own_data, x_train=x, y_train=y, x_test=x, y_test=y, class_names=["dark", "grey", "light"])
    with pytest.raises(ScenarioError, match=r"mine\.npz changed since the run was made; put it back"):
        again.client(1)


def test_predictions_are_names_numbers_or_probabilities(own_run: Callable[..., Run], own_data: Path) -> None:
    model = own_run().model()
    with np.load(own_data) as held:
        x = held["x_test"]
    assert model.class_names == ("dark", "grey", "light")
    numbers, chances = model.predict(x, names=False), model.probabilities(x)
    assert model.predict(x).tolist() == [model.class_names[number] for number in numbers]
    assert chances.shape == (15, 3)
    assert np.allclose(chances.sum(1), 1)
    assert chances.argmax(1).tolist() == numbers.tolist()

    # Images with their axis of channels, tensors, and lists are the same; so is a forward pass of what is stored.
    assert model.predict(torch.from_numpy(x[..., None])).tolist() == model.predict(x.tolist()).tolist()
    assert torch.equal(model(torch.from_numpy(x[..., None])), model.logits(x))
    model.chunk = 4  # 15 samples in four passes
    assert torch.allclose(model.logits(x), model(torch.from_numpy(x[..., None])), atol=1e-6)

    # A copy is a model of its own.
    other = copy.deepcopy(model)
    with torch.no_grad():
        next(model.parameters()).zero_()
    assert not torch.allclose(other.logits(x), model.logits(x))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 4, 4), np.float32), r"uint8 \[N, 4, 4, 1\] \(0\.\.255\), got float32; scale them back"),
        (np.zeros((2, 5, 4), np.uint8), r"got shape \[2, 5, 4\]; resize them"),
        (np.zeros((4, 4), np.uint8), r"got shape \[4, 4\]; x\[None\] makes a batch of one image"),
        (np.zeros((0, 4, 4), np.uint8), "there is no sample"),
    ],
)
def test_samples_that_the_model_has_never_met_are_refused(x: Any, message: str, own_run: Callable[..., Run]) -> None:
    with pytest.raises(FedLTError, match=message):
        own_run().model().predict(x)


def test_what_cannot_be_given_is_told(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, "strategy=fedper", "federation.rounds=1", out=tmp_path)
    trained = {int(name.split("/")[0]) for name in _names(run.folder / "clients.safetensors")}
    assert len(trained) == 3
    absent = min(set(range(6)) - trained)
    with pytest.raises(FedLTError, match=rf"client {absent} of .* was in no cohort, so it has no model of its own; .*"):
        run.client(absent)
    assert run.client(min(trained)).origin.client == min(trained)
    for wrong in ("3", 3.0):
        with pytest.raises(FedLTError, match=f"expected the number of a client, such as 3, got {wrong!r}"):
            run.client(wrong)  # type: ignore[arg-type]
    with pytest.raises(FedLTError, match="has no client 6; its clients are 0 to 5"):
        run.client(6)
    with pytest.raises(FedLTError, match="fedper has no variant 'psi' of this model: it predicts in one way only"):
        run.client(min(trained), "psi")

    loge = fedlt.run(tiny, "strategy=fedloge", "federation.rounds=1", out=tmp_path)
    with pytest.raises(FedLTError, match="no variant 'psy' of this model; did you mean 'psi'"):
        loge.model("psy")

    (loge.folder / "model.json").unlink()
    with pytest.raises(FedLTError, match=r"written before runs kept what their models expect \(model\.json\)"):
        loge.model()
    loge.summary["status"] = "failed"
    with pytest.raises(FedLTError, match="is failed, not finished: it has no model"):
        loge.model()


def test_edited_code_is_not_taken_for_that_of_the_run(tiny: dict[str, Any], own_file: Any, tmp_path: Path) -> None:
    path = own_file("@dataclass(frozen=True)\nclass Mine(Strategy):\n    pass\n")
    run = fedlt.run(tiny, f"strategy={path}:Mine", "federation.rounds=1", out=tmp_path)
    run.model()
    path.write_text(path.read_text() + "\n# edited\n")
    with pytest.raises(ScenarioError, match=r"strategy: mine\.py changed since the run was made; put it back"):
        run.model()


def test_private_parts_that_began_with_weights_need_no_file(tiny: dict[str, Any], tmp_path: Path) -> None:
    """FedBABU's head is the initial one, on the clients' side too; here it is that of an earlier run."""
    first = fedlt.run(tiny, "federation.rounds=1", out=tmp_path)
    run = fedlt.run(tiny, "strategy=fedbabu", f"init_from={first.folder}", *EVERYONE, out=tmp_path)
    shutil.rmtree(first.folder)
    head, own = run.model().net.part("head.weight"), run.client(0)
    assert not torch.equal(head, fedlt.run(tiny, "strategy=fedbabu", out=tmp_path).model().net.part("head.weight"))
    federation = federation_of(run)
    rows = run.clients[run.clients["round"] == run.summary["final_round"]].set_index("client")
    mine = federation.tests[0]
    assert share(own.predict(federation.x_test[mine], names=False), federation.y_test[mine]) == rows.loc[0, "accuracy"]


def test_a_never_sampled_client_of_a_shared_model_has_that_model(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, "federation.rounds=1", out=tmp_path)
    x = federation_of(run).x_test
    for client in range(6):
        assert torch.equal(run.client(client).logits(x), run.model().logits(x))


def _names(path: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(path, "pt") as tensors:
        return list(tensors.keys())
