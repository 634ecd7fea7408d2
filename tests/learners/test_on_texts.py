"""Every strategy and every learner on texts: it trains otherwise than FedAvg does, or a sentence says why not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from trained import skip_without_package, trained

import fedlt
from benchmarks.text.every_method import FEW, METHODS, outcome, results
from fedlt.config.reader import chosen
from fedlt.data.inputs.tokens import PADDING, TokenKind
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.nn.experts import Experts, add_branches
from fedlt.nn.net import Net

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
REFUSED = {
    **dict.fromkeys(("fedyoyo", "bcl", "glmc", "proco", "rcal", "sbcl", "m3i"), "two views of a sample need images"),
    "crf": "reads a class for each step (tags), and the data set's targets are single",
    **dict.fromkeys(("asymmetric_loss", "comic"), "reads several classes a sample (multilabel)"),
    "augmented_conditioning": "a part of one sample can be pasted into another in images only",
    "cmo": "a part of one sample can be pasted into another in images only",
    **dict.fromkeys(("mislas", "mixup"), "mixtures of samples need images or rows of numbers"),
    "brl": "parts of samples can be exchanged in images, rows of numbers and sequences of one length",
    "value_of_labels": "rotations need square images",
}
"""Methods that have no meaning for texts, and the sentence that says so."""

ENCODERS = {
    "bilstm": {"hidden": 4, "depth": 2},
    "hash_bag": {"hidden": 8},
    "text_cnn": {"maps": 4},
    "transformer": {"heads": 2},
    "window_transformer": {"heads": 2, "window": 4},
}

SPOKEN = re.compile(r"(?<![a-z])(text|token|word)s?(?![a-z])|Text|Token|Word")

SAMPLE = [pair for pair in METHODS if pair[1] not in REFUSED][::3]
"""`benchmarks.text.every_method` tries all of them."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """FedAvg's results."""
    return results(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(("kind", "name"), SAMPLE)
def test_a_method_trains_on_texts(tmp_path: Path, plain: dict[str, str], kind: str, name: str) -> None:
    """A method that did nothing of its own would leave FedAvg's figures and model."""
    skip_without_package(name)
    assert outcome(tmp_path, kind, name, plain) == "trains"


def test_an_outcome_tells_a_method_that_does_nothing(tmp_path: Path, plain: dict[str, str], own_file: Any) -> None:
    nothing = own_file("@dataclass(frozen=True)\nclass Nothing(Strategy):\n    pass\n")
    assert outcome(tmp_path, "strategy", f"{nothing}:Nothing", plain) == "FAIL: as FedAvg"


@pytest.mark.parametrize(("kind", "name"), [pair for pair in METHODS if pair[1] in REFUSED])
def test_a_method_of_images_says_why_it_is_none_of_texts(tmp_path: Path, kind: str, name: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        fedlt.run("text_lt", *FEW, f"{kind}={name}", out=tmp_path, backend="inline")
    (problem,) = caught.value.problems
    inputs = "the inputs are tokens of texts of shape (16,)"
    assert problem.message.startswith(name)
    assert REFUSED[name] in problem.message
    assert f"; take another {kind}" in problem.message
    assert inputs in problem.message or "targets are single" in problem.message
    assert problem.key == kind
    assert not [*tmp_path.iterdir()]


def test_no_method_asks_whether_its_inputs_are_texts() -> None:
    """Names of the code, those aside that count words, make clauses of them, or read them first."""
    files = [ROOT / "strategies" / f"{name}.py" for name in trained("strategy")]
    files += [ROOT / "fedlt" / "learners" / f"{name}.py" for name in trained("learner")]
    assert {"fedloge", "mixup"} < {path.stem for path in files}
    found = {f"{path.stem}: {name}" for path in files for name in names(path) if SPOKEN.search(name)}
    assert not found


def test_the_search_for_names_finds_them(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(
        "if isinstance(task.inputs, TokenKind):\n    long_text = context", encoding="utf-8"
    )
    found = {name for name in names(tmp_path / "one.py") if SPOKEN.search(name)}
    assert found == {"TokenKind", "long_text"}


def names(path: Path) -> Iterator[str]:
    """Names, attributes, keywords and imported names of a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        yield from (
            value for key in ("id", "attr", "arg", "name") if isinstance(value := getattr(node, key, None), str)
        )


# Branches -------------------------------------------------------------------------------------------------------------


def built(name: str) -> Net:
    """The model over 30 ids and texts of at most 12 tokens, in evaluation mode."""
    task = Task("single", 3, (12,), inputs=TokenKind(30, 12, shorter=True))
    torch.manual_seed(0)
    net: Net = chosen("model", {"name": name, "width": 8, **ENCODERS[name]}, "model").create().build(task)
    net.inputs = task.inputs
    return net.eval()


@pytest.mark.parametrize("name", ENCODERS)
@torch.no_grad()
def test_branches_of_a_text_encoder_share_its_embeddings(name: str) -> None:
    net = built(name)
    texts = torch.randint(30, (3, 12), generator=torch.Generator().manual_seed(1))
    texts[1, 5:] = PADDING
    before, count = net.encode(texts), sum(p.numel() for p in net.parameters())
    add_branches(net, 2)
    net.eval()

    both = net.encode(texts)
    assert torch.equal(both[:, : before.shape[1]], before)  # the first branch is the encoder as it was
    assert not torch.allclose(both[:, before.shape[1] :], before, atol=1e-3)
    assert torch.allclose(net.encode(texts[1:2, :5]), both[1:2], atol=1e-6)  # without its padding
    table, head = 30 * 8, net.head.weight.numel() + net.head.bias.numel()  # type: ignore[operator, union-attr]
    assert sum(p.numel() for p in net.parameters()) == 2 * count - table - head

    experts = net.backbone
    assert isinstance(experts, Experts)
    shared = net.through(experts.stem, texts)
    assert torch.allclose(
        experts.branches[1](shared[1:2]), both[1:2, before.shape[1] :], atol=1e-6
    )  # as `cascade` asks


@torch.no_grad()
def test_learned_places_of_a_further_branch_start_as_small_as_those_of_the_first() -> None:
    net = built("transformer")
    add_branches(net, 2)
    spreads = [p.std().item() for name, p in net.named_parameters() if "places" in name]
    assert spreads == pytest.approx([0.02, 0.02], rel=0.3)


def test_a_bag_without_layers_has_no_branches() -> None:
    with pytest.raises(ScenarioError, match=r"at least two layers before its head.* such as model\.depth=1"):
        fedlt.run("text_lt", *FEW, "model.depth=0", "learner=sade", backend="inline")
