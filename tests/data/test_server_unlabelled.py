"""Samples without labels at the server: which they are, who is given them, and that nobody reads their labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import Federation, federate
from fedlt.errors import ScenarioError
from fedlt.strategy import Server
from fedlt.training.assembly import assemble
from server.rounds.own_data import give_own_data

WANTING = """
@dataclass(frozen=True)
class Wanting(Strategy):
    needs: ClassVar[tuple[str, ...]] = ("server_unlabelled", "server_validation")
"""


def of(tiny: dict[str, Any], *overrides: str) -> Federation:
    return federate(load_scenario(tiny, list(overrides)))


def server_of(tiny: dict[str, Any], *overrides: str) -> tuple[Server, Federation]:
    """A server as a run makes it, and the federation."""
    scenario = load_scenario(tiny, list(overrides))
    federation = federate(scenario)
    parts = assemble(scenario, federation, torch.device("cpu"))
    server = Server(parts.model, parts.flat, parts.task)
    give_own_data(server, scenario, federation, parts)
    return server, federation


def test_they_are_what_nobody_else_has(tiny: dict[str, Any]) -> None:
    """Of 1,497 training digits: all but those of the clients, of the validation set, of the labelled set at the server
    and the clients' own unlabelled ones. Test rows are of another array.
    """
    more = (
        "data.auxiliary=2",
        "data.validation=0.2",
        "data.unlabelled={hidden: 0.2, extra: 0.3}",
        "federation.held_out=1",
    )
    federation = of(tiny, *more)
    newcomer = federate(load_scenario(tiny, list(more)), newcomers=True)
    held = federation.validation, newcomer.validation
    assert held[0] is not None and held[1] is not None
    used = [
        federation.clients.values, federation.unlabelled.values, federation.auxiliary, held[0].rows,
        newcomer.clients.values, newcomer.unlabelled.values, held[1].rows[held[1].size :],
    ]  # fmt: skip
    rows = [*np.concatenate(used).tolist(), *federation.server_unlabelled.tolist()]
    assert sorted(rows) == list(range(1497)) and len(federation.server_unlabelled) > 500


def test_the_clients_are_as_without_them(tiny: dict[str, Any]) -> None:
    assert of(tiny).digest() == of(tiny, "data.server_unlabelled.most=7").digest()
    assert load_scenario(tiny).hash == load_scenario(tiny, ["data.server_unlabelled.most=null"]).hash


def test_a_share_of_each_class_is_set_apart_before_the_long_tail_is_cut(tiny: dict[str, Any]) -> None:
    federation, plain = of(tiny, "data.server_unlabelled=0.25"), of(tiny)
    whole = federation.train_targets.counts()
    assert federation.train_targets.counts(federation.server_unlabelled).tolist() == (whole // 4).tolist()
    assert not set(federation.server_unlabelled.tolist()) & set(federation.clients.values.tolist())
    assert federation.class_counts.tolist() == plain.class_counts.tolist()
    other = of(tiny, "data.server_unlabelled={share: 0.25, seed: 7}")
    assert other.server_unlabelled.tolist() != federation.server_unlabelled.tolist()


def test_at_most_so_many_are_drawn(tiny: dict[str, Any]) -> None:
    few, whole = of(tiny, "data.server_unlabelled.most=20"), of(tiny)
    assert len(few.server_unlabelled) == 20 and set(few.server_unlabelled) < set(whole.server_unlabelled)
    assert len(of(tiny, "data.server_unlabelled.most=5000").server_unlabelled) == len(whole.server_unlabelled)


def test_they_are_given_to_those_who_declare_it_without_labels(
    tiny: dict[str, Any], own_file: Callable[..., Path]
) -> None:
    own = f"strategy={own_file(WANTING)}:Wanting"
    nothing, _ = server_of(tiny, "data.validation=0.2", "data.auxiliary=2")
    assert nothing.unlabelled is nothing.validation is nothing.auxiliary is None
    server, federation = server_of(tiny, own, "data.validation=0.2", "data.auxiliary=2")
    assert server.auxiliary is None and server.unlabelled is not None and server.validation is not None
    assert set(server.unlabelled.y.tolist()) == set(server.unlabelled.targets.tolist()) == {-1}
    assert len(server.unlabelled.inputs) == len(server.unlabelled) == len(federation.server_unlabelled)
    pixels = torch.from_numpy(np.array(federation.x_train[federation.server_unlabelled])).permute(0, 3, 1, 2) / 255
    moments = federation.inputs.arrays()
    assert torch.allclose(
        server.unlabelled.x(), (pixels - float(moments["mean"][0])) / float(moments["std"][0]), atol=1e-5
    )
    held = federation.validation
    assert held is not None
    assert server.validation.y.tolist() == federation.y_train[held.rows[: held.size]].tolist()


def test_without_validation_data_there_are_none(tiny: dict[str, Any], own_file: Callable[..., Path]) -> None:
    own = f"strategy={own_file(WANTING)}:Wanting"
    for more in ((), ("data.validation={share: 0.2, per_class: 0}",)):
        assert server_of(tiny, own, *more)[0].validation is None


def test_a_file_is_a_data_set_of_its_own(tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path) -> None:
    """It is standardised like the clients' samples, counts among the files of the run, and is refused where it does not
    fit.
    """
    own = f"strategy={own_file(WANTING)}:Wanting"
    path = tmp_path / "others.npz"
    x = np.arange(5 * 64, dtype=np.uint8).reshape(5, 8, 8)
    np.savez(path, x=x, other=np.zeros((5, 4, 4), np.uint8), none=x[:0])
    key = f"data.server_unlabelled.file={path}"
    server, federation = server_of(tiny, own, f"{key}:x")
    assert server.unlabelled is not None and len(federation.server_unlabelled) == 0
    moments = federation.inputs.arrays()
    expected = (torch.from_numpy(x)[:, None] / 255 - float(moments["mean"][0])) / float(moments["std"][0])
    assert torch.allclose(server.unlabelled.x(), expected, atol=1e-5) and set(server.unlabelled.y.tolist()) == {-1}
    assert len(server_of(tiny, own, f"{key}:x", "data.server_unlabelled.most=2")[0].unlabelled or ()) == 2

    run = fedlt.run(tiny, own, f"{key}:x", out=tmp_path / "runs")
    assert f"at the server: {path}:x without labels" in (run.folder / "log.txt").read_text(encoding="utf-8")
    assert run.summary["needs"] == ["server_unlabelled", "server_validation"]
    assert list(run.summary["inputs"]["data.server_unlabelled.file"]) == ["others.npz"]

    for name, message in (
        ("other", r"not hold samples like those of the data set.*8, 8"), ("none", "holds no sample"),
        ("y", "no array 'y'; it has: x, other, none"),
    ):  # fmt: skip
        with pytest.raises(ScenarioError, match=rf"data\.server_unlabelled\.file: .*{message}"):
            server_of(tiny, own, f"{key}:{name}")
    with pytest.raises(ScenarioError, match=r"FILE\.npz:NAME of a file that is there"):
        server_of(tiny, own, "data.server_unlabelled.file=nothing.npz:x")


def test_what_is_missing_or_has_no_effect_is_refused(tiny: dict[str, Any], own_file: Callable[..., Path]) -> None:
    own = f"strategy={own_file(WANTING)}:Wanting"
    with pytest.raises(ScenarioError, match=r"data\.server_unlabelled: .*no training sample is left; set share=0\.1"):
        server_of(tiny, own, "data.longtail=none")
    for changes, message in (
        ("{share: 0.1, file: x.npz:x}", r"share: has no effect beside a file"),
        ("{seed: 3}", r"seed: has no effect without share or most"),
    ):
        with pytest.raises(ScenarioError, match=rf"data\.server_unlabelled\.{message}"):
            load_scenario(tiny, [f"data.server_unlabelled={changes}"])
    with pytest.raises(ScenarioError, match="official subsets leave nothing aside"):
        load_scenario("digits_lt", ["data.server_unlabelled=0.1", "data.longtail.mode=official"])
