"""The chain: its order on both sides, what links keep and where, columns, and the example of the page of links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import fedlt
from fedlt.config.catalog import ROOT
from fedlt.config.scenario import load_scenario
from fedlt.errors import ClientError, FedLTError, ScenarioError
from server.rounds.loop import Rounds

pytestmark = pytest.mark.slow

HEAD = """
from dataclasses import dataclass

import torch

from fedlt import Link


"""

COUNTING = (
    HEAD
    + '''
@dataclass(frozen=True)
class Counting(Link):
    """Each client counts its rounds, the server all clients', and what the server says comes back one round later."""

    digit: float = 1.0

    def setup(self, setting, memory):
        memory.state["total"] = torch.zeros(1)

    def send(self, sending):
        sending.state["rounds"] = sending.state.get("rounds", torch.zeros(1)) + 1
        heard = sending.received.get("said", torch.zeros(1))
        sending.sums |= {"rounds": sending.state["rounds"], "heard": heard}
        sending.weight = 10 * sending.weight + self.digit
        if sending.setting.links.index(self) == len(sending.setting.links) - 1:
            sending.sums["weight"] = torch.tensor([sending.weight % 100])

    def receive(self, arrival):
        arrival.memory.state["total"] = arrival.memory.state["total"] + arrival.sums["rounds"]
        arrival.memory.outbox["said"] = torch.full((1,), float(arrival.round))
        arrival.columns |= {
            f"rounds_{self.digit:.0f}": float(arrival.memory.state["total"]),
            f"heard_{self.digit:.0f}": float(arrival.sums["heard"]),
            f"order_{self.digit:.0f}": len(arrival.columns),
        }
        if "weight" in arrival.sums:
            arrival.columns["weights"] = float(arrival.sums["weight"])
'''
)


def written(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_clients_go_through_the_list_and_the_server_comes_back(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Weights grow a digit in each link: 1, then 2. At the server the second link adds its columns first.

    Three clients a round for four rounds; each link has what it kept itself.
    """
    path = written(tmp_path, COUNTING)
    links = f"federation.links=[{{name: '{path}:Counting', digit: 1}}, {{name: '{path}:Counting', digit: 2}}]"
    run = fedlt.run(tiny, links, "federation.rounds=4", "federation.participation=1", out=tmp_path / "runs")
    rounds = run.rounds
    assert rounds["weights"].tolist() == [6 * 12.0] * 4
    assert (rounds["order_2"] < rounds["order_1"]).all()
    for digit in (1, 2):
        assert rounds[f"rounds_{digit}"].tolist() == [6, 18, 36, 60]  # 6 * (1 + ... + t), summed over the rounds
        assert rounds[f"heard_{digit}"].tolist() == [0, 6, 12, 18]


def test_what_links_keep_survives_a_crash_and_other_backends(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, COUNTING)
    changes = [f"federation.links=['{path}:Counting']", "federation.late={chance: 0.4, rounds: 2}",
               "federation.rounds=5", "federation.participation=1", "resources.checkpoint=1"]  # fmt: skip
    whole = fedlt.run(tiny, *changes, out=tmp_path / "whole", backend="inline")
    take, left = Rounds.take, [3]

    def taking(self: Rounds, reports: Any) -> Any:
        if left and self.progress.round == left[0]:
            left.clear()
            raise RuntimeError("power cut")
        return take(self, reports)

    monkeypatch.setattr(Rounds, "take", taking)
    with pytest.raises(RuntimeError, match="power cut"):
        fedlt.run(tiny, *changes, out=tmp_path / "cut", backend="inline")
    again = fedlt.run(tiny, *changes, out=tmp_path / "cut", backend="processes", workers=2)
    assert again.summary["resumed"] == [3]
    assert again.summary["model_hash"] == whole.summary["model_hash"]
    for column in ("rounds_1", "heard_1", "late", "arrived"):
        assert again.rounds[column].tolist() == whole.rounds[column].tolist()


def test_the_example_of_the_page_screens_attackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "howto" / "links.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(# screen\.py\n.*?)```", text, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    written(tmp_path, code, "screen.py")
    setting = [
        "federation={clients: 10, participation: 1, partition: {name: iid}, rounds: 8}", "evaluation.every=8",
        "data.longtail.imbalance_factor=5", "model={name: mlp, width: 32, depth: 1}",
        "federation.attack={kind: scaled, share: 0.2, factor: 20}",
    ]  # fmt: skip
    plain = fedlt.run("digits_lt", *setting, backend="inline")
    screened = fedlt.run("digits_lt", *setting, "federation.links=[./screen.py:Screen]", backend="inline")
    assert screened.rounds["screened"].tolist() == [2] * 8
    assert screened.rounds["clients"].tolist() == [8] * 8
    assert screened.rounds["attackers"].tolist() == [0] * 8
    assert screened.final["generic/accuracy"] > plain.final["generic/accuracy"] + 0.2
    with pytest.raises(ScenarioError, match=r"links\.1: Screen looks at single updates"):
        fedlt.run("digits_lt", *setting, "federation.links=[./screen.py:Screen, dp]")


BAD = (
    HEAD
    + """
@dataclass(frozen=True)
class Short(Link):
    def send(self, sending):
        sending.vector = sending.vector[:-1]


@dataclass(frozen=True)
class Keeps(Link):
    def send(self, sending):
        sending.state["count"] = 1


@dataclass(frozen=True)
class Taken(Link):
    def receive(self, arrival):
        arrival.columns["samples"] = 1


@dataclass(frozen=True)
class Picky(Link):
    def obstacle(self, setting):
        return f"it is for 7 clients, and there are {setting.clients}"


@dataclass(frozen=True)
class NoLink:
    pass
"""
)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("Short", ClientError, r"Short changed the vector's shape from \[1210\] to \[1209\]"),
        ("Keeps", ClientError, r"Keeps: state\['count'\] is of type int; links keep and send tensors only"),
        ("Taken", FedLTError, r"a link gives the column samples, which the round table has; call it something else"),
        ("Picky", ScenarioError, r"federation\.links\.0: it is for 7 clients, and there are 6"),
        ("NoLink", ScenarioError, r"NoLink is no subclass of fedlt\.Link"),
        ("Absent", ScenarioError, r"federation\.links\.0: .* has no class 'Absent'"),
    ],
)
def test_a_bad_link_is_told_by_name(
    tiny: dict[str, Any], tmp_path: Path, name: str, error: type[Exception], message: str
) -> None:
    path = written(tmp_path, BAD)
    with pytest.raises(error, match=message):
        fedlt.run(tiny, f"federation.links=['{path}:{name}']", out=tmp_path / "runs")


def test_links_are_part_of_the_hash_and_none_of_them_is_not(tiny: dict[str, Any]) -> None:
    plain = load_scenario(tiny)
    assert load_scenario(tiny, ["federation.links=[]"]).hash == plain.hash
    assert "links" not in plain.to_dict()["federation"]
    one, other = (
        load_scenario(tiny, [f"federation.links=[{{name: top_k, share: {share}}}]"]).hash for share in (0.1, 0.2)
    )
    assert len({plain.hash, one, other}) == 3
    assert load_scenario(tiny, ["federation.links=top_k"]).federation.links[0].options["share"] == 0.01
