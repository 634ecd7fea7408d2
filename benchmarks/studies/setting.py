"""What is studied: the methods, their settings in both libraries, and the data that both are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

CLASSES, IMAGE = 10, (1, 28, 28)
CLIENTS, COHORT = 100, 10
EACH = 60  # samples of a client, so that every cohort makes equally many steps
SHARDS = 2  # of equal labels, that a client holds
TESTED = 1000  # samples of the global test set
EPOCHS, BATCH, RATE = 2, 10, 0.05
EVERY = 5  # rounds between evaluations
SEED = 0


@dataclass(frozen=True)
class Method:
    """A method in both libraries.

    strategy: what FedLT's `strategy=` takes. algorithm: fluke's class, below `fluke.algorithms`. client, server: what
    fluke's halves are given beside what all are given. steps: of fluke's optimisers, for one of FedLT's.
    """

    strategy: str
    algorithm: str
    client: Mapping[str, Any] = field(default_factory=dict)
    server: Mapping[str, Any] = field(default_factory=dict)
    own: bool = False
    head: bool = False
    steps: int = 1


METHODS = {
    "fedavg": Method("fedavg", "fedavg.FedAVG"),
    "fedprox": Method("{name: fedprox, mu: 0.01}", "fedprox.FedProx", {"mu": 0.01}),
    "scaffold": Method("scaffold", "scaffold.SCAFFOLD"),
    "fedper": Method("fedper", "fedper.FedPer", own=True, head=True),
    "fedrep": Method(f"{{name: fedrep, head_epochs: {EPOCHS}}}", "fedrep.FedRep", {"tau": EPOCHS}, own=True, head=True),
    "ditto": Method("{name: ditto, lam: 0.1}", "ditto.Ditto", {"tau": EPOCHS, "lam": 0.1}, own=True),
    # FedLT moves the shared and the private model in one step.
    "apfl": Method(
        "{name: apfl, share: 0.25, adaptive: false}", "apfl.APFL", {"lam": 0.25}, {"tau": 1}, own=True, steps=2
    ),
    "fedbn": Method("fedbn", "fedbn.FedBN"),
}


def prepare(mnist: Path, folder: Path, rounds: int) -> list[str]:
    """Write the data and the scenario; the arguments of `fedlt` that run the study. mnist: MNIST as an .npz file."""
    rng = np.random.default_rng(SEED)
    with np.load(mnist) as content:
        rows = _balanced(content["y_train"], CLIENTS * EACH)
        tested = _balanced(content["y_test"], TESTED)
        x_train, y_train = content["x_train"][rows], content["y_train"][rows]
        x_test, y_test = content["x_test"][tested], content["y_test"][tested]
    owner = rng.permutation(np.arange(CLIENTS * SHARDS) % CLIENTS).repeat(EACH // SHARDS)
    data = folder / "mnist.npz"
    np.savez(data, x_train=x_train, y_train=y_train, client_train=owner, x_test=x_test, y_test=y_test)

    content = scenario(data, rounds)
    from omegaconf import OmegaConf

    OmegaConf.save(OmegaConf.create(content), folder / "study.yaml")
    _for_fluke(content, folder)
    strategies = ",".join(method.strategy for method in METHODS.values())
    return ["sweep", str(folder / "study.yaml"), f"strategy={strategies}"]


def scenario(data: Path, rounds: int) -> dict[str, Any]:
    """The study as a FedLT scenario."""
    return {
        "data": {"name": str(data), "group_columns": ["client"]},
        "federation": {
            "clients": None,
            "participation": COHORT / CLIENTS,
            "rounds": rounds,
            "partition": {"name": "natural", "column": "client"},
        },
        "local": {"epochs": EPOCHS, "batch_size": BATCH, "lr": RATE, "momentum": 0.0},
        "model": f"{Path(__file__).with_name('net.py')}:NormedCNN",
        "evaluation": {"every": EVERY, "clients": COHORT},
        "seed": SEED,
    }


def _balanced(labels: np.ndarray, count: int) -> np.ndarray:
    """Rows class by class, the first ones of each."""
    return np.concatenate([np.flatnonzero(labels == label)[: count // CLASSES] for label in range(CLASSES)])


def _for_fluke(content: dict[str, Any], folder: Path) -> None:
    """The same clients and test sets, standardised, so that fluke spends no time on it."""
    import fedlt
    from fedlt.data.federation import federate

    held = federate(fedlt.load_scenario(content))
    pixels = [np.asarray(part, np.float32) / 255 for part in (held.x_train, held.x_test)]
    images = [part.reshape(-1, *IMAGE) for part in pixels]
    mean, std = images[0].mean(), images[0].std()
    np.savez(
        folder / "fluke.npz",
        x=(images[0] - mean) / std,
        y=held.y_train,
        x_test=(images[1] - mean) / std,
        y_test=held.y_test,
        clients=held.clients.values,
        client_sizes=held.clients.sizes,
        tests=held.tests.values,
        test_sizes=held.tests.sizes,
    )
