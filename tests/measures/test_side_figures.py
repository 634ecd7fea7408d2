"""What must not end a run, and what must end it with its own name: side figures, and weights that are all zero."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fedlt
from fedlt.checks.conformance import ConformanceError
from fedlt.errors import FedLTError
from fedlt.measures.collapse import Moments, collapse_figures
from fedlt.measures.side import attempt
from fedlt.strategy import Update, Weightless, combine

pytestmark = pytest.mark.slow


def test_a_figure_that_cannot_be_computed_is_undefined_and_told() -> None:
    told: list[str] = []
    assert attempt("one", lambda: 1.0, float("nan"), told) == 1.0
    assert told == []
    assert attempt("two", lambda: 1 // 0, 7, told) == 7
    assert told[0].startswith("two cannot be computed and is left undefined: ZeroDivisionError")


def test_the_geometry_of_features_that_are_nan() -> None:
    count = np.array([2.0, 2.0])
    nothing = np.zeros((0, 2))
    moments = Moments(count, np.full((2, 2), np.nan), np.full((2, 2), np.nan), np.zeros(0), nothing, nothing)
    told: list[str] = []
    found = collapse_figures(moments, np.eye(2), told=told)
    assert np.isnan([found[name] for name in ("nc1", "nc2_norms", "nc2_angles", "nc3")]).all()
    assert found["head_norms"] == 0
    assert len(told) == 1
    assert told[0].startswith("generic/nc1 cannot be computed and is left undefined: LinAlgError")


@pytest.mark.parametrize(
    "broken",
    [
        "fedlt.measures.features.collapse_figures",
        "fedlt.measures.features.class_columns",
        "fedlt.measures.confidence.Confidence.figures",
    ],
)
def test_no_side_figure_ends_a_run(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*arguments: Any, **named: Any) -> Any:
        raise np.linalg.LinAlgError("SVD did not converge")

    whole = fedlt.run(tiny, out=tmp_path / "whole", backend="inline")
    monkeypatch.setattr(broken, fail)
    run = fedlt.run(tiny, out=tmp_path / "broken", backend="inline")
    assert run.status == "finished"
    assert run.final["generic/accuracy"] == whole.final["generic/accuracy"]
    assert run.summary["model_hash"] == whole.summary["model_hash"]
    if "class_columns" not in broken:
        assert "cannot be computed and is left undefined: LinAlgError: SVD" in (run.folder / "log.txt").read_text()


# Weights --------------------------------------------------------------------------------------------------------------

TAIL = """
@dataclass(frozen=True)
class Tail(Strategy):
    rest: float = 0.0

    def weight(self, client):
        return self.rest + float(client.class_counts[5])


@dataclass(frozen=True)
class Sums(Tail):
    def aggregate(self, server, updates):
        combine(updates)
        server.weights = server.weights
"""


def test_updates_that_weigh_nothing_have_no_mean() -> None:
    def update(client: int, weight: float) -> Update:
        return Update((client,), weight, weight * torch.tensor([4.0]))

    assert combine([update(0, 0.0), update(1, 2.0)]).mean.tolist() == [4]
    with pytest.raises(Weightless, match=r"clients 0, 1 all weigh nothing"):
        _ = combine([update(0, 0.0), update(1, 0.0)]).mean
    with pytest.raises(Weightless, match=r"client 3 all weigh nothing"):
        _ = update(3, 0.0).mean


def test_a_round_that_weighs_nothing_is_told(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path
) -> None:
    path = own_file(TAIL)
    lone = ["federation.participation=0.1", "federation.partition.alpha=0.05"]
    with pytest.raises(FedLTError, match=r"round \d+: the updates of client \d+ all weigh nothing"):
        fedlt.run(tiny, f"strategy={path}:Tail", *lone, "federation.rounds=20", out=tmp_path, backend="inline")
    some = [f"strategy={path}:Tail", "strategy.rest=0.1"]
    assert fedlt.run(tiny, *some, *lone, out=tmp_path, backend="inline").status == "finished"


def test_the_suite_tries_clients_that_weigh_nothing(own_file: Callable[..., Path]) -> None:
    path = own_file(TAIL)
    with pytest.raises(ConformanceError, match=r"weights: Weightless|weights: FedLTError: round 1: the updates"):
        fedlt.check_strategy(f"{path}:Tail")
    fedlt.check_strategy(f"{path}:Tail", rest=0.1)
    fedlt.check_strategy(f"{path}:Sums")
