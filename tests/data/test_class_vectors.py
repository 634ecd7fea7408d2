"""`model.class_vectors`: what files are taken, who reads them, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.data.class_vectors import read_class_vectors
from fedlt.data.federation import federate
from fedlt.errors import ScenarioError
from fedlt.training.assembly import Assembly, assemble

VECTORS = torch.arange(1.0, 7.0).view(3, 2)


def written(path: Path, value: Any) -> str:
    """The path of a file of that ending that holds the value."""
    if path.suffix == ".npy":
        np.save(path, np.asarray(value))
    elif path.suffix == ".safetensors":
        save_file(value if isinstance(value, dict) else {"text": value}, path)
    else:
        torch.save(value, path)
    return str(path)


@pytest.mark.parametrize("name", ["v.npy", "v.pt", "v.safetensors"])
def test_one_tensor_is_read_from_a_file_of_each_kind(name: str, tmp_path: Path) -> None:
    found = read_class_vectors(written(tmp_path / name, VECTORS.double()), 3)
    assert found.dtype is torch.float32
    assert torch.equal(found, VECTORS)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("v.npy", VECTORS[:2], r"v\.npy has the shape \[2, 2\]; expected the shape \[3, D\], a row for each class"),
        ("v.npy", VECTORS[0], r"has the shape \[2\]"),
        ("v.npy", VECTORS.int(), r"holds a tensor of torch\.int32; write one array of real floats"),
        ("v.npy", VECTORS / 0, r"not finite"),
        ("v.npy", VECTORS * torch.tensor([[1.0], [0.0], [1.0]]), r"the row of class 1 is zero"),
        ("v.pt", {"text": VECTORS}, r"holds a dict"),
        ("v.safetensors", {"a": VECTORS, "b": VECTORS + 1}, r"holds 2 tensors \(a, b\); write one alone"),
        ("v.csv", VECTORS, r"expected a \.npy, \.pt or \.safetensors file, got v\.csv"),
    ],
    ids=["classes", "axes", "whole", "infinite", "zero", "dict", "two", "ending"],
)
def test_what_is_no_vector_for_each_class_is_refused(name: str, value: Any, message: str, tmp_path: Path) -> None:
    file = written(tmp_path / name, value)
    with pytest.raises(ScenarioError, match=rf"model\.class_vectors: .*{message}"):
        read_class_vectors(file, 3)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="no such file"):
        read_class_vectors(str(tmp_path / "v.npy"), 3)
    (tmp_path / "v.npy").write_text("no array")
    with pytest.raises(ScenarioError, match=r"v\.npy cannot be read: ValueError"):
        read_class_vectors(str(tmp_path / "v.npy"), 3)


def assembled(tiny: dict[str, Any], *overrides: str) -> Assembly:
    scenario = load_scenario(tiny, list(overrides))
    return assemble(scenario, federate(scenario), torch.device("cpu"))


ASKS = '''
@dataclass(frozen=True)
class Asks(Strategy):
    """It asks."""

    needs: ClassVar[tuple[str, ...]] = ("class_vectors",)
'''


def test_they_are_given_to_those_who_declare_the_need(tiny: Any, own_file: Any, tmp_path: Path) -> None:
    given = f"model.class_vectors={written(tmp_path / 'v.npy', torch.ones(10, 16))}"
    asks = f"strategy={own_file(ASKS)}:Asks"
    assert torch.equal(assembled(tiny, given, asks).task.class_vectors, torch.ones(10, 16))
    assert assembled(tiny, asks).task.class_vectors is None
    other = assembled(tiny, given)
    assert other.task.class_vectors is None
    assert any("model.class_vectors is not read" in line for line in other.remarks())
    assert not any("class_vectors" in line for line in assembled(tiny, given, asks).remarks())


def test_they_are_as_long_as_the_features(tiny: Any, tmp_path: Path) -> None:
    file = written(tmp_path / "v.npy", torch.ones(10, 15))
    with pytest.raises(ScenarioError, match="the vectors have 15 numbers, and the features of mlp 16"):
        assembled(tiny, f"model.class_vectors={file}")


def test_a_run_is_known_by_their_content_and_its_model_needs_them_no_more(tiny: Any, tmp_path: Path) -> None:
    file = written(tmp_path / "v.npy", torch.ones(10, 16))
    run = fedlt.run(tiny, f"model.class_vectors={file}", out=tmp_path / "runs", backend="inline")
    assert list(run.summary["inputs"]["model.class_vectors"]) == ["v.npy"]
    assert "class_vectors" not in load_scenario(tiny).to_dict()["model"]
    Path(file).unlink()
    images = fedlt.run(tiny, out=tmp_path / "runs", backend="inline").model()
    assert torch.equal(run.model().net.head.weight, images.net.head.weight)
