"""Methods whose key part is switched off are the method that they extend, bit for bit; small cohorts run finitely."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import fedlt

OFF: dict[str, list[str]] = {
    "fedala": ["strategy.eta=0"],
    "fedcm": ["strategy.alpha=1"],
    "feddecorr": ["strategy.beta=0"],
    "feddisco": ["strategy.a=0", "strategy.b=0"],
    "fedexp": ["strategy.epsilon=1e30", "strategy.average=false"],
    "feddf": ["strategy.steps=0"],
    "fedic": ["strategy.steps=0", "data.auxiliary=2"],
    "fedlf": ["strategy.floor=1", "strategy.bias=trained"],
    "fedntd": ["strategy.beta=0"],
    "fedrs": ["strategy.alpha=1"],
    "feduv": ["strategy.variance=0", "strategy.uniformity=0"],
    "moon": ["strategy.mu=0", "strategy.projection=0"],
    "per_fedavg": ["strategy.inner_lr=0"],
    "ratio_loss": ["strategy.strength=0", "data.auxiliary=2"],
}
"""Overrides that leave FedAvg, and the data that the method needs."""

FURTHER = (
    "fedamp",
    "fedas",
    "fedbb",
    "fedcgnm",
    "fedcrac",
    "fedpac",
    "fedproto",
    "fedwcm",
    "lg_fedavg",
    "pfedfda",
    "pfedme",
    "qfedavg",
)
"""Methods that have no such part."""


@pytest.fixture(scope="module")
def averaged() -> dict[str, dict[str, torch.Tensor]]:
    """FedAvg's models by the overrides of its data, once a test has trained them."""
    return {}


def generic(tiny: dict[str, Any], out: Path, *overrides: str) -> dict[str, torch.Tensor]:
    run = fedlt.run(tiny, *overrides, "evaluation.every=2", out=out, backend="inline")
    return load_file(run.folder / "model.safetensors")


def data_of(name: str) -> list[str]:
    return [override for override in OFF.get(name, []) if override.startswith("data.")]


@pytest.mark.parametrize("name", OFF)
def test_its_generic_model_is_fedavgs_bit_for_bit(
    name: str, tiny: dict[str, Any], averaged: dict[str, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    data = data_of(name)
    if str(data) not in averaged:
        averaged[str(data)] = generic(tiny, tmp_path, "strategy=fedavg", *data)
    plain = averaged[str(data)]
    off = generic(tiny, tmp_path, f"strategy={name}", *OFF[name])
    assert off.keys() == plain.keys()
    assert all(torch.equal(off[key], plain[key]) for key in off)
    on = generic(tiny, tmp_path, f"strategy={name}", *data)
    assert on.keys() != off.keys() or not all(torch.equal(on[key], off[key]) for key in off)


@pytest.mark.parametrize("name", [*OFF, *FURTHER])
def test_a_cohort_of_one_runs_finitely(name: str, tiny: dict[str, Any], tmp_path: Path) -> None:
    """One client of few classes a round; most are tested without having been sampled."""
    one = "federation.participation=0.1"
    run = fedlt.run(tiny, f"strategy={name}", one, *data_of(name), out=tmp_path, backend="inline")
    assert np.isfinite([value for key, value in run.final.items() if "accuracy" in key]).all()
