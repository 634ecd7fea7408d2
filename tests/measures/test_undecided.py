"""Logits that are NaN, or -inf for every class, are no predictions: the run ends, or the client is skipped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import fedlt
from fedlt.errors import ClientError, FedLTError
from fedlt.measures.evaluate import Undecided
from fedlt.statistic import Subject

pytestmark = pytest.mark.slow

NAN, INF = float("nan"), float("inf")

OWN = """
from torch import nn
from torch.nn.functional import cross_entropy

from fedlt import Learner
from fedlt.learner import Prediction
from fedlt.nn.model import Model


def spoilt(logits, how):
    return logits + float("nan") if how == "all" else logits.index_fill(1, torch.tensor([3]), float("nan"))


@dataclass(frozen=True)
class Odd(Strategy):
    where: str = "none"

    def personal(self, client, x):
        logits = super().personal(client, x)
        if self.where == "prior" and client.id == 4:  # a class that the client never saw, times log 0
            return logits + 0 * (client.class_counts / client.num_samples).log()
        return {"a": logits, "b": spoilt(logits, "all")} if self.where == "personal" and client.id == 4 else logits

    def generic(self, server, x):
        logits = super().generic(server, x)
        return {"a": logits, "b": spoilt(logits, "one")} if self.where == "generic" else logits


@dataclass(frozen=True)
class Unsure(Learner):
    wrapped: bool = False

    def loss(self, site, batch):
        return cross_entropy(site.model(batch.x), batch.y)

    def predict(self, model, x):
        logits = spoilt(model(x), "one")
        return Prediction(logits) if self.wrapped else logits


class Body(nn.Linear):
    def forward(self, x):
        h = super().forward(x.flatten(1))
        return h if self.training else h / 0 * 0


@dataclass(frozen=True)
class Broken(Model):
    def backbone(self, shape):
        return Body(64, 8), 8
"""


@pytest.fixture
def run(own_file: Callable[..., Path], tiny: dict[str, Any], tmp_path: Path) -> Callable[..., Any]:
    path = own_file(OWN)

    def start(*changes: str, **kwargs: Any) -> Any:
        filled = [change.replace("MINE", str(path)) for change in changes]
        return fedlt.run(tiny, *filled, "evaluation.every=1", out=tmp_path, backend="inline", **kwargs)

    return start


def test_what_is_no_prediction_by_hand() -> None:
    """One NaN is enough, wherever it stands; -inf excludes a class, and all classes are too many."""
    rows = torch.tensor([[0.0, 1], [NAN, 1], [1, NAN], [-INF, 0], [-INF, -INF], [INF, 0], [-INF, NAN]])
    expected = [False, True, True, False, True, False, True]
    for row, wrong in zip(rows, expected, strict=True):
        found = Undecided()
        found.count(Subject("personal", "", validation=True), torch.zeros(1, 2))
        found.count(Subject("personal", "phi", validation=True), row[None])
        if wrong:
            with pytest.raises(FloatingPointError, match=r"1 of 1 samples have logits of validation/personal\[phi\]"):
                found.refuse()
        else:
            found.refuse()


@pytest.mark.parametrize(("where", "model"), [("prior", r"personal"), ("personal", r"personal\[b\]")])
def test_a_personal_model_fails_with_client_and_round(run: Any, where: str, model: str) -> None:
    with pytest.raises(ClientError, match=rf"client 4 failed in round 1: FloatingPointError: \d+ of .* {model} that"):
        run("strategy=MINE:Odd", f"strategy.where={where}")


@pytest.mark.parametrize("changes", [(), ("data.validation=0.2",)])
def test_a_personal_model_that_is_skipped_is_counted(run: Any, changes: tuple[str, ...]) -> None:
    """The other clients' figures, confidences included, are those of a run that had no such client."""
    skipped = run("strategy=MINE:Odd", "strategy.where=prior", "federation.on_error=skip", *changes)
    plain = run("strategy=MINE:Odd", *changes)
    assert skipped.summary["skipped"] == 2
    assert "client 4 is left out of the evaluation after round 2: FloatingPointError" in (
        skipped.folder / "log.txt"
    ).read_text(encoding="utf-8")
    assert skipped.final["personal/clients"] == plain.final["personal/clients"] - 1
    here, there = (r.clients[r.clients["client"] != 4].reset_index(drop=True) for r in (skipped, plain))
    assert here["accuracy"].equals(there["accuracy"])
    assert here["nll"].equals(there["nll"])
    assert not (skipped.clients["client"] == 4).any()


@pytest.mark.parametrize("policy", ["fail", "skip"])
@pytest.mark.parametrize(
    ("changes", "model"),
    [
        (["strategy=MINE:Odd", "strategy.where=generic"], r"generic\[b\]"),
        (["learner=MINE:Unsure"], "generic"),
        (["learner=MINE:Unsure", "learner.wrapped=true"], "generic"),
        (["model=MINE:Broken"], "generic"),
    ],
)
def test_a_generic_model_ends_the_run_under_both_policies(
    run: Any, policy: str, changes: list[str], model: str
) -> None:
    with pytest.raises(FedLTError, match=rf"generic model cannot be tested after round 1: \d+ of .* of {model} that"):
        run(*changes, f"federation.on_error={policy}")


def test_the_learner_of_personal_models_alone(run: Any) -> None:
    with pytest.raises(ClientError, match=r"client 0 failed in round 1: FloatingPointError"):
        run("learner=MINE:Unsure", "strategy=local")
