"""Classes of steps told together: by hand, in a run of a small file, and with transitions that clients keep."""

from __future__ import annotations

import re
import sys
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import fedlt
from fedlt.data.inputs.tokens import TokenKind
from fedlt.data.kinds.tags import Tags
from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.learners.crf import CRF, in_front, taken
from fedlt.nn.text.bilstm_tagger import BiLSTMTagger

WORDS = TokenKind(6, 4, shorter=True)
TASK = Task("tags", 2, (4,), target=Tags(), inputs=WORDS)
KNOWN = torch.tensor([[True, False, True, False], [False, True, False, False]])


def test_steps_without_a_tag_are_passed_over() -> None:
    order, there = in_front(KNOWN)
    assert order.tolist() == [[0, 2], [1, 0]]
    assert there.tolist() == [[True, True], [True, False]]
    assert taken(torch.arange(8.0).reshape(2, 4, 1), order)[..., 0].tolist() == [[0, 2], [5, 4]]


def test_the_tagger_gives_each_step_features_that_padding_does_not_change() -> None:
    torch.manual_seed(0)
    model = BiLSTMTagger(hidden=3, width=5, dropout=0.0).build(TASK)
    model.inputs = WORDS
    x = torch.tensor([[1, 2, -1, -1], [3, 4, 5, 0]])
    both, alone = model(x), model(x[:1])
    assert both.shape == (2, 4, 2)
    assert torch.allclose(both[0, :2], alone[0, :2], atol=1e-6)
    assert torch.equal(model.encode(x)[0, 2:], torch.zeros(2, 6))
    assert not torch.allclose(both[1, 0], model(torch.tensor([[3, 4, 5, 1]]))[0, 0])  # it reads what comes later
    with pytest.raises(ValueError, match="bilstm_tagger reads sequences of tokens or vectors"):
        BiLSTMTagger().build(Task("single", 2, (1, 8, 8)))


# With the package -----------------------------------------------------------------------------------------------------


@pytest.fixture
def torchcrf() -> Any:
    return pytest.importorskip("torchcrf", reason="pip install 'fedlt[tags]' for these tests")


def by_hand() -> Any:
    """A model whose logits are given, and whose class 1 rarely follows class 1."""
    logits = torch.tensor([[[0.0, 1.0], [9.0, 0.0], [0.0, 0.5], [0.0, 0.0]]])
    model = torch.nn.Module()
    CRF().build(model, TASK)  # type: ignore[arg-type]
    with torch.no_grad():
        for name, value in (("start", [0.1, 0.2]), ("end", [0.3, 0.0])):
            getattr(model.crf, f"{name}_transitions").copy_(torch.tensor(value))
        model.crf.transitions.copy_(torch.tensor([[0.0, 0.5], [0.2, -2.0]]))

    class Given(torch.nn.Module):
        inputs = TokenKind(6, 4, shorter=True)

        def forward(self, x: Any) -> Any:
            return logits

        def part(self, name: str) -> Any:
            return getattr(model, name)

    return Given(), logits[0], model.crf


def test_the_loss_is_that_of_all_sequences_by_hand(torchcrf: Any) -> None:
    """Three steps, of which the second has no tag: the sum runs over the four sequences of the other two."""
    given, logits, crf = by_hand()
    site: Any = SimpleNamespace(model=given, task=TASK)
    batch = Batch(torch.tensor([[1, 2, 3, -1]]), torch.tensor([[1, -100, 0, -100]]), torch.tensor([0]))

    def score(a: int, b: int) -> float:
        pairs = crf.start_transitions[a] + crf.transitions[a, b] + crf.end_transitions[b]
        return (logits[0, a] + logits[2, b] + pairs).item()

    total = sum(np.exp(score(a, b)) for a, b in product((0, 1), repeat=2))
    expected = -(score(1, 0) - np.log(total)) / 2
    assert CRF().loss(site, batch).item() == pytest.approx(expected, rel=1e-5)


def test_the_sequence_that_scores_most_is_predicted(torchcrf: Any) -> None:
    """Alone the steps would be 1, 0, 1; two steps of class 1 in a row cost more than they gain."""
    given, _, crf = by_hand()
    x = torch.tensor([[1, 2, 3, -1]])
    assert CRF().predict(given, x).argmax(2)[0, :3].tolist() == [1, 0, 1]
    with torch.no_grad():
        crf.transitions[0, 1] = -3.0
    found = CRF().predict(given, x)
    assert found.argmax(2)[0, :3].tolist() == [1, 0, 0]
    assert found[0, 2].tolist() == [1.5, 0.5]


def save(folder: Path) -> Path:
    """Sequences in which a tag lasts: of 40 notes by two sites, whose steps are noisy signs of their tags."""
    rng = np.random.default_rng(0)
    y = np.where(np.arange(6) < rng.integers(1, 6, (40, 1)), 0, 1)
    x = (2 * y - 1)[..., None] + rng.normal(0, 2.0, (40, 6, 3))
    mask = np.arange(6) < rng.integers(4, 7, (40, 1))
    arrays: dict[str, Any] = {"x": x.astype(np.float32), "y": np.where(mask, y, -100), "mask": mask}
    arrays["department"] = np.array(["north", "south"])[np.arange(40) % 2]
    np.savez(folder / "notes.npz", **{f"{k}_{split}": v for k, v in arrays.items() for split in ("train", "test")})
    return folder / "notes.npz"


def test_the_shipped_scenario_runs_on_a_file_and_clients_may_keep_their_transitions(
    torchcrf: Any, tmp_path: Path
) -> None:
    small = (f"data.name={save(tmp_path)}", "federation.rounds=2", "federation.participation=1", "evaluation.every=2",
             "model.hidden=4", "resources.backend=inline", "local.lr=0.03", "local.epochs=3")  # fmt: skip
    plain = fedlt.run("soap_departments", *small, out=tmp_path)
    assert plain.final["generic/accuracy"] > 0.7
    crf = fedlt.run("soap_departments", *small, "learner=crf", out=tmp_path)
    assert crf.final["generic/accuracy"] > 0.7
    x = np.load(tmp_path / "notes.npz")["x_test"]
    assert not np.array_equal(crf.model().predict(x), plain.model().predict(x))

    kept = fedlt.run("soap_departments", *small, "learner=crf", "strategy={name: fedper, keep: [crf.*]}", out=tmp_path)
    assert "generic/accuracy" not in kept.final
    one, two = (kept.client(number).tensors for number in (0, 1))
    assert not torch.equal(one["crf.transitions"], two["crf.transitions"])
    assert torch.equal(one["head.weight"], two["head.weight"])


def test_what_does_not_fit_is_refused_with_the_remedy(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        ScenarioError, match=r"crf reads a class for each step \(tags\), and the data set's targets are single"
    ):
        fedlt.run(tiny, "learner=crf", out=tmp_path)
    for keep, said in (("[]", "clients would keep nothing"), ("[crf.*]", "pattern 'crf.*' matches no tensor")):
        with pytest.raises(ScenarioError, match=re.escape(said)):
            fedlt.run(tiny, f"strategy={{name: fedper, keep: {keep}}}", out=tmp_path)
    monkeypatch.setitem(sys.modules, "torchcrf", None)
    with pytest.raises(ValueError, match=r"crf needs the package pytorch-crf: pip install 'fedlt\[tags\]'"):
        CRF().build(torch.nn.Module(), TASK)  # type: ignore[arg-type]
