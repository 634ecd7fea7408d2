"""A trained model as a file that others can read without FedLT: its graph (`.pt2`), or its weights (`.safetensors`).

    program = torch.export.load("model.pt2").module()      # imports torch alone
    logits = program(images)                                # uint8 [N, H, W, C], as the run's data set holds them

The graph has everything from stored samples to the logits of one variant, for batches of any size. What it expects, and
the names of the classes, are in the file too: `extra = {"fedlt.json": ""}; torch.export.load(path, extra_files=extra)`.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.process.files import replace_file

if TYPE_CHECKING:
    from torch import Tensor

    from fedlt.results.trained import Trained

WEIGHTS, GRAPH = ".safetensors", ".pt2"
ABOUT = "fedlt.json"
"""The name, in a `.pt2` file, of what the model expects."""


def check_target(path: Path) -> None:
    """Raise `ScenarioError` where no model can be written to the path, before any work."""
    if path.suffix not in (WEIGHTS, GRAPH):
        kinds = f"{GRAPH} (the graph, which needs torch alone) or {WEIGHTS} (the weights by name)"
        raise ScenarioError(Problem("--output", f"expected a file that ends with {kinds}, got {path.name!r}"))
    if not path.parent.is_dir():
        raise ScenarioError(Problem("--output", f"there is no folder {path.parent}"))
    if path.is_dir():
        raise ScenarioError(Problem("--output", f"{path} is a folder; name a file"))


def export(model: Trained, path: Path) -> None:
    """Write the model; the path's ending says how. The file is there whole or not at all.

    Raises `ScenarioError` as `check_target` does, and `FedLTError` where the prediction cannot be traced.
    """
    check_target(path)
    if path.suffix == WEIGHTS:
        _write_weights(model, path)
    else:
        _write_graph(model, path)


def about(model: Trained) -> dict[str, Any]:
    """What the model is, expects and gives, as JSON has it."""
    from fedlt import __version__
    from fedlt.results.recorded import description

    origin = model.origin
    named = {"scenario_hash": origin.scenario_hash, "model": origin.model, "strategy": origin.strategy,
             "learner": origin.learner, "client": origin.client, "variant": model.variant}  # fmt: skip
    return {"fedlt": __version__, **named, **description(model.kind, model.class_names)}


def _write_weights(model: Trained, path: Path) -> None:
    from safetensors.torch import save_file

    from fedlt.nn.names import outside_names

    names = outside_names(model.net, model.tensors)
    tensors = {names[name]: plain(tensor) for name, tensor in model.tensors.items()}
    metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in about(model).items()}
    replace_file(path, lambda draft: save_file(tensors, draft, {"format": "pt", **metadata}))


def _write_graph(model: Trained, path: Path) -> None:
    import torch

    own = deepcopy(model).eval()
    for tensor in (*own.net.parameters(), *own.net.buffers()):
        tensor.requires_grad_(False)
        tensor.data = tensor.data.clone()  # else each would bring the vector along of which it is a part

    x = own.stored_example(2)
    try:
        with _quiet(), torch.no_grad():
            shapes = ({0: torch.export.Dim("batch", min=1)},)
            program = torch.export.export(own, (x,), dynamic_shapes=shapes, strict=False)
    except Exception as error:
        reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        message = f"the prediction of {model.origin.strategy} with {model.origin.learner} cannot be traced ({reason})"
        raise FedLTError(f"{message}; its weights can be written to a file that ends with {WEIGHTS}") from error

    extra = {ABOUT: json.dumps(about(model), ensure_ascii=False)}

    def write(draft: Path) -> None:
        with draft.open("wb") as file, _quiet():
            torch.export.save(program, file, extra_files=extra)

    replace_file(path, write)


def plain(tensor: Tensor) -> Tensor:
    """A copy on the CPU, in PyTorch's usual memory order and of a type that safetensors knows."""
    import torch

    found = tensor.detach().cpu().to(torch.complex64) if tensor.is_complex() else tensor.detach().cpu()
    return found.clone(memory_format=torch.contiguous_format)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch.export has to say of its own insides."""
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
