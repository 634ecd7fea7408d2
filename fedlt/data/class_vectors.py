"""Reads `model.class_vectors`: a vector for each class, such as what a text encoder makes of the classes' names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedlt.errors import Problem, ScenarioError

KEY = "model.class_vectors"


def read_class_vectors(source: str, classes: int) -> Tensor:
    """[C, D] float32, row c being that of class c.

    Args:
        source: a .npy file of one array, a .pt file of one tensor, or a .safetensors file that holds one.

    Raises:
        ScenarioError: where it is another file, or holds no numbers [C, D], or a row of zeros, which has no direction.
    """
    path = Path(source).expanduser()
    if not path.is_file():
        raise _problem(f"no such file: {path.absolute()} (a path in a scenario file starts at its folder)")
    if path.suffix not in READERS:
        raise _problem(f"expected a .npy, .pt or .safetensors file, got {path.name}")

    try:
        found = READERS[path.suffix](path)
    except Exception as error:  # the readers raise many kinds
        if isinstance(error, ScenarioError):
            raise
        raise _problem(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(found, Tensor) or not found.is_floating_point():
        held = f"a tensor of {found.dtype}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise _problem(f"{path.name} holds {held}; write one array of real floats, a row for each class")

    if found.ndim != 2 or len(found) != classes or not found.shape[1]:
        what = f"expected the shape [{classes}, D], a row for each class"
        raise _problem(f"{path.name} has the shape {list(found.shape)}; {what}")
    vectors = found.float()
    if not bool(vectors.isfinite().all()):
        raise _problem(f"{path.name} holds numbers that are not finite")
    if len(empty := (vectors == 0).all(1).nonzero().flatten().tolist()):
        raise _problem(f"{path.name}: the row of class {empty[0]} is zero, and has no direction")
    return vectors


def class_vectors_of(recipe: object, classes: int) -> Tensor | None:
    """The class vectors of the file that a model's recipe names.

    Args:
        recipe: of the model; recipes of a user's own may have no such key.
        classes: C, the rows that the file must have.

    Returns:
        float32 [C, D]; None where the recipe names no file.

    Raises:
        ScenarioError: for a file that is not there or holds something else.
    """
    named = getattr(recipe, "class_vectors", None)
    return read_class_vectors(named, classes) if isinstance(named, str) else None


def expect_width(vectors: Tensor | None, feature_dim: int, model: str) -> None:
    """Refuse class vectors that are not as long as the model's features.

    Args:
        vectors: [C, E]; None: there is nothing to refuse.
        feature_dim: D of the model.
        model: its name, for the message.

    Raises:
        ScenarioError: under `model.class_vectors`, where E is not D.
    """
    if vectors is not None and vectors.shape[1] != feature_dim:
        message = f"the vectors have {vectors.shape[1]} numbers, and the features of {model} {feature_dim}"
        raise _problem(f"{message}; take the encoder that they were made for, or a model of that width")


def _problem(message: str) -> ScenarioError:
    return ScenarioError(Problem(KEY, message))


def _array(path: Path) -> Tensor:
    return torch.from_numpy(np.load(path, allow_pickle=False))


def _torch(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _safetensors(path: Path) -> Tensor:
    """The one tensor of a safetensors file."""
    from safetensors.torch import load_file

    held = load_file(path)
    if len(held) != 1:
        raise _problem(f"{path.name} holds {len(held)} tensors ({', '.join(sorted(held)[:3])}); write one alone")
    return next(iter(held.values()))


READERS = {".npy": _array, ".pt": _torch, ".pth": _torch, ".safetensors": _safetensors}
"""By the ending of the file: what gives its one tensor. Nothing but tensors and plain values is unpickled."""
