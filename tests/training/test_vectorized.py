"""Training several clients at once gives what training them one after the other gives, up to rounding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import fedlt
from fedlt.errors import ScenarioError
from fedlt.results.runs import Run
from fedlt.strategy import Client
from fedlt.training.trainer import Trainer


def scenario(**local: Any) -> dict[str, Any]:
    """Twelve clients with 25 or 26 samples, six a round in one block."""
    return {
        "data": {"name": "digits", "longtail": {"profile": "exponential", "imbalance_factor": 10, "largest": 80}},
        "federation": {
            "clients": 12,
            "participation": 0.5,
            "rounds": 2,
            "partition": {"name": "iid"},
            "block": 6,
        },
        "local": {"epochs": 2, "batch_size": 16, "lr": 0.05, "weight_decay": 0.01, **local},
        "model": {"name": "cnn", "width": 4, "hidden": 16},
    }


def difference(a: Run, b: Run) -> float:
    one, other = (load_file(run.folder / "model.safetensors") for run in (a, b))
    return max((one[name] - other[name]).abs().max().item() for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("augment", ["none", "crop_flip"])
@pytest.mark.parametrize("strategy", ["strategy=fedavg", "strategy=fedprox strategy.mu=0.5"])
def test_together_equals_one_after_the_other(strategy: str, augment: str, tmp_path: Path) -> None:
    runs = [
        fedlt.run(scenario(augment=augment, together=together), *strategy.split(), out=tmp_path) for together in (1, 6)
    ]
    assert runs[0].folder != runs[1].folder  # other numerics are another scenario
    assert difference(*runs) < 1e-6
    for column in ("samples", "steps", "clients"):
        assert runs[0].rounds[column].tolist() == runs[1].rounds[column].tolist()
    assert runs[0].rounds.train_loss.tolist() == pytest.approx(runs[1].rounds.train_loss.tolist(), rel=1e-5)


@pytest.mark.slow
def test_a_loss_sees_each_clients_own_counts(own_file: Callable[[str], Path], tmp_path: Path) -> None:
    """Logits shifted by the client's class counts: with one client's counts for all, the results would differ."""
    path = own_file(
        "from torch.nn.functional import cross_entropy\n\n\n"
        "@dataclass(frozen=True)\n"
        "class Shifted(Strategy):\n"
        "    def loss(self, client, batch):\n"
        "        prior = (client.class_counts + 1) / client.num_samples\n"
        "        return cross_entropy(client.model(batch.x) + prior.log(), batch.y)\n"
    )
    runs = [fedlt.run(scenario(together=together), f"strategy={path}:Shifted", out=tmp_path) for together in (1, 6)]
    assert difference(*runs) < 1e-6


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["model=resnet8"], "model.norm=group"),
        (["strategy=local"], "private"),
        (["strategy=centralized"], "one site"),
    ],
)
def test_what_cannot_be_trained_together_is_refused(overrides: list[str], reason: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=f"local.together: .*{reason}"):
        fedlt.run(scenario(together=6), *overrides, out=tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("learner", ["cross_entropy", "ldam", "tlc"])
def test_clients_of_equal_size_take_the_same_steps(
    learner: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A failure would be hidden: each client of a group that fails is trained alone."""
    alone: list[int] = []
    train = Trainer.train

    def noted(self: Trainer, site: Client, *arguments: Any, **settings: Any) -> None:
        alone.append(site.id)
        train(self, site, *arguments, **settings)

    monkeypatch.setattr(Trainer, "train", noted)
    fedlt.run(scenario(together=6), f"learner={learner}", "federation.rounds=1", out=tmp_path, backend="inline")
    assert len(alone) == 1  # of six; the other five have equally many samples


LOSS = """\
@dataclass(frozen=True)
class Peeks(Strategy):
    def loss(self, client, batch):
        loss = client.learner.loss(client, batch)
        {line}
"""
SAID = "local.together: clients are trained one by one, since Peeks.loss fails in one step for 6 of them: "


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("return loss * min(1.0, 9 / loss.item())", ".item()"),
        ("return loss if loss < 9 else 9 / loss", "data-dependent control flow"),
        ("return loss.clamp(max=9)", ""),
    ],
)
def test_a_loss_that_cannot_be_batched_is_told_of_once(
    line: str, said: str, own_file: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = own_file(LOSS.format(line=line))
    settings = scenario(together=6)
    settings["data"]["longtail"] = {"profile": "exponential", "imbalance_factor": 1, "largest": 60}
    run = fedlt.run(settings, f"strategy={path}:Peeks", out=tmp_path, backend="inline", quiet=False)
    log = (run.folder / "log.txt").read_text(encoding="utf-8").splitlines()
    told = [each for each in log if each.startswith("local.together")]
    if not said:
        assert not told
        return
    assert len(told) == 1
    assert told[0].startswith(SAID)
    assert said in told[0]
    assert f"(in Peeks.loss; {path.name}, line " in told[0]
    assert told[0].endswith("or take local.together=1")
    assert capsys.readouterr().out.count(told[0]) == 1
    alone = fedlt.run(settings, f"strategy={path}:Peeks", "local.together=1", out=tmp_path, backend="inline")
    assert difference(run, alone) == 0
