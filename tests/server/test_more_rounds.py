"""More rounds for a finished run: it goes on from its end to the result of a run that had them from the start, or it
says why it begins anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from remembering import REMEMBERING
from same_figures import assert_equal
from trained import trained

import fedlt
from fedlt.callback import Callback, RunState
from fedlt.config import catalog
from fedlt.config.scenario import load_scenario
from fedlt.results.runs import Run
from server.state import keeper
from server.state.checkpoint import SERVER, Checkpoints
from server.state.states import StateStore

pytestmark = pytest.mark.slow

NEEDS = {
    "bbn": ("model.depth=2",),
    "creff": ("strategy.features=2",),  # a tenth of its time
    "dirmixe": ("model.depth=2",),
    "fedbn": ("model={name: resnet8, stem_stride: 4}",),
    **dict.fromkeys(("fedhoo", "fedwolf"), ("data.validation.per_class=2",)),
    "fedic": ("data.auxiliary=2",),
    "pseudo_labels": ("data.unlabelled.hidden=0.5",),
    "sibling_softmax": ("data.parents=[a, a, b, b, c, c, d, d, e, e]",),
    "label_tree": ("data.parents=[a, a, b, b, c, c, d, d, e, e]",),
    "ratio_loss": ("data.auxiliary=2",),
    "ride": ("model.depth=2",),
    "sade": ("model.depth=2",),
    "tlc": ("model.depth=2",),
}
FOLLOWING = {
    *("bbn", "cmo", "crt", "dirmixe", "fedyoyo", "glmc", "h2t", "ldam"),
    *("lws", "mislas", "pseudo_labels", "rcal", "rucr", "sbcl"),
}
"""Methods of which something follows the number of rounds at their defaults; others may."""


def run(tiny: dict[str, Any], rounds: int, out: Path, *overrides: str, **options: Any) -> Run:
    chosen = [f"federation.rounds={rounds}", "resources.backend=inline", *overrides]
    return fedlt.run(tiny, *chosen, out=out, **options)


def lengthened(tiny: dict[str, Any], tmp_path: Path, *overrides: str, rounds: int = 4) -> Run:
    """A run that has gone on from one of two rounds, found equal to one that had all its rounds from the start."""
    shorter = run(tiny, 2, tmp_path / "two", *overrides)
    longer = run(tiny, rounds, tmp_path / "two", *overrides)
    assert (longer.summary.get("goes_on_from"), longer.summary["resumed"]) == (shorter.folder.name, [2])
    assert_equal(longer, run(tiny, rounds, tmp_path / "all", *overrides))
    return longer


# Going on -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "overrides",
    [
        [f"strategy={REMEMBERING}", "evaluation.every=2"],
        [f"strategy={REMEMBERING}", "federation.late.chance=0.5", "evaluation.every=3"],
        ["strategy=fedloge", "local.momentum=0.9"],
        ["strategy=centralized", "local.momentum=0.9"],
    ],
    ids=["states and outbox", "updates under way", "private head", "momentum that goes on"],
)
def test_a_run_of_more_rounds_begins_where_the_shorter_one_ended(
    tiny: dict[str, Any], tmp_path: Path, overrides: list[str]
) -> None:
    longer = lengthened(tiny, tmp_path, *overrides)
    assert run(tiny, 2, tmp_path / "two", *overrides).status == "finished"  # the shorter one stays what it was
    again = run(tiny, 5, tmp_path / "two", *overrides)
    assert again.summary["goes_on_from"] == longer.folder.name  # of the two that would do, the longest
    assert_equal(again, run(tiny, 5, tmp_path / "five", *overrides))


def test_the_end_keeps_only_what_it_needs(tiny: dict[str, Any], tmp_path: Path) -> None:
    found = run(tiny, 3, tmp_path, f"strategy={REMEMBERING}", "resources.checkpoint=1")
    folder = found.folder / "checkpoints"
    assert [path.name for path in folder.glob("0*")] == ["000003"]
    (folder / "states" / "000099.states").write_bytes(b"of a checkpoint that is gone")
    head = Checkpoints.head_at(found.folder, 3)
    assert head is not None
    assert Checkpoints(found.folder, load_scenario(tiny), "").keep_only(3)
    assert [path.name for path in (folder / "states").iterdir()] == [name for name, _, _ in head["states"]]


def test_it_is_said_in_the_terminal(tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shorter = run(tiny, 2, tmp_path)
    run(tiny, 3, tmp_path, quiet=False)
    assert f"goes on from the end of {shorter.folder.name} and its 2 rounds" in capsys.readouterr().out


def test_fewer_rounds_another_seed_and_force_begin_anew(tiny: dict[str, Any], tmp_path: Path) -> None:
    run(tiny, 3, tmp_path)
    for rounds, overrides, options in ((2, (), {}), (4, ("seed=1",), {}), (4, ("local.lr=0.1",), {})):
        assert "goes_on_from" not in run(tiny, rounds, tmp_path, *overrides, **options).summary
    assert "goes_on_from" not in run(tiny, 4, tmp_path, force=True).summary


class Keeping(Callback):
    """Keeps the checkpoint of round 2 beyond the next one, before which this hook is called."""

    def on_round(self, run: RunState) -> None:
        if run.round == 3:
            shutil.copytree(run.folder / "checkpoints", run.folder / "kept" / "checkpoints")


def after_two(folder: Path) -> tuple[bytes, dict[int, bytes]]:
    """What the server had become after round 2, and what clients kept, as the folder of a run holds them."""
    head = Checkpoints.head_at(folder, 2)
    assert head is not None
    with closing(StateStore(folder / "checkpoints" / "states")) as states:
        states.restore(head["states"])
        kept = {client: states.record(client) for client in states.clients()}
    return (folder / "checkpoints" / "000002" / SERVER).read_bytes(), kept


@pytest.mark.parametrize("name", [*trained("strategy"), *trained("learner")])
def test_what_asks_for_the_rounds_is_noticed(tiny: dict[str, Any], tmp_path: Path, name: str) -> None:
    """Whatever is not marked is after two rounds of two what it is after two of three, where a longer run goes on from
    as any checkpoint does (see `check_strategy`); and what is known to follow the rounds is marked.
    """
    kind = "learner" if name in catalog.names("learner") else "strategy"
    tiny["evaluation"]["every"] = 2
    overrides = [f"{kind}={name}", *NEEDS.get(name, ()), *(["strategy=centralized"] if kind == "learner" else [])]
    two = run(tiny, 2, tmp_path / "two", *overrides)
    if not two.summary["open_ended"]:
        return
    assert name not in FOLLOWING
    three = run(tiny, 3, tmp_path / "three", *overrides, "resources.checkpoint=1", callbacks=[Keeping()])
    assert after_two(two.folder) == after_two(three.folder / "kept")
    assert two.metrics.equals(three.metrics[three.metrics["round"] == 2])


# What cannot go on ----------------------------------------------------------------------------------------------------

ANNEALED = """
class Annealed(Strategy):
    def loss(self, client, batch):
        return (1.0 - 0.5 * client.progress) * super().loss(client, batch)
"""
BUDGETED = """
class Budgeted(Strategy):
    def setup(self, server):
        server.state["budget"] = torch.tensor(float(server.task.rounds))
"""


@pytest.mark.parametrize("text", [ANNEALED, BUDGETED])
def test_a_strategy_of_ones_own_that_asks_for_the_rounds_begins_anew(
    tiny: dict[str, Any], tmp_path: Path, own_file: Callable[..., Path], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own = f"strategy={own_file(text)}:{text.split()[1].partition('(')[0]}"
    run(tiny, 2, tmp_path / "r", own)
    longer = run(tiny, 3, tmp_path / "r", own, quiet=False)
    assert "something in it follows the number of rounds" in capsys.readouterr().out
    assert_equal(longer, run(tiny, 3, tmp_path / "all", own))


@pytest.mark.parametrize(
    "override",
    ["local.schedule=cosine", "local.warmup=0.5", "learner=crt", "data.validation=0.2 evaluation.patience=9"],
)
def test_a_schedule_stages_and_patience_begin_anew(tiny: dict[str, Any], tmp_path: Path, override: str) -> None:
    assert not run(tiny, 2, tmp_path, *override.split()).summary["open_ended"]
    assert not list(tmp_path.glob("*/checkpoints"))
    assert "goes_on_from" not in run(tiny, 3, tmp_path, *override.split()).summary


def test_what_a_worker_alone_asks_is_noticed(
    tiny: dict[str, Any], tmp_path: Path, own_file: Callable[..., Path]
) -> None:
    own = f"strategy={own_file(ANNEALED)}:Annealed"
    found = fedlt.run(tiny, own, out=tmp_path, backend="processes", workers=2)
    assert not found.summary["open_ended"]


def test_an_edited_strategy_begins_anew(
    tiny: dict[str, Any], tmp_path: Path, own_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    plain = "class Edited(Strategy):\n    pass\n"
    path = own_file(plain)
    run(tiny, 2, tmp_path, f"strategy={path}:Edited")
    own_file(plain + "\n\n# a remark\n")
    longer = run(tiny, 3, tmp_path, f"strategy={path}:Edited", quiet=False)
    assert "goes_on_from" not in longer.summary


def test_a_large_end_is_kept_where_checkpoints_are_asked_for(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(keeper, "END_BYTES", 100)
    run(tiny, 2, tmp_path / "auto")
    assert not list((tmp_path / "auto").glob("*/checkpoints"))
    run(tiny, 3, tmp_path / "auto", quiet=False)
    assert "resources.checkpoint=N keeps one" in capsys.readouterr().out

    run(tiny, 2, tmp_path / "every", "resources.checkpoint=5")
    assert [path.name for path in (tmp_path / "every").glob("*/checkpoints/0*")] == ["000002"]
    assert "goes_on_from" in run(tiny, 3, tmp_path / "every").summary


def test_a_damaged_end_is_told_of_and_left(
    tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shorter = run(tiny, 2, tmp_path)
    (file,) = shorter.folder.glob("checkpoints/0*/server.safetensors")
    file.write_bytes(file.read_bytes()[:-8])
    longer = run(tiny, 3, tmp_path, quiet=False)
    assert "the checkpoint of round 2 is damaged" in capsys.readouterr().out
    assert "goes_on_from" not in longer.summary
    assert longer.status == "finished"
