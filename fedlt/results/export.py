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
    from torch.export import ExportedProgram

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


NEEDS_MORE = f"needs more than these weights: take {GRAPH}"
"""Of weights with which the model, as it is built, does not predict as the run does."""


def export(model: Trained, path: Path) -> str:
    """Write the model; the path's ending says how. The file is there whole or not at all.

    Returns what is to be said of the file, mostly "": that its weights alone do not give the prediction.

    Raises:
        ScenarioError: as `check_target` does.
        FedLTError: where the prediction cannot be traced.
    """
    check_target(path)
    if path.suffix == WEIGHTS:
        return _write_weights(model, path)
    _write_graph(model, path)
    return ""


def about(model: Trained) -> dict[str, Any]:
    """What the model is, expects and gives, as JSON has it."""
    from fedlt import __version__
    from fedlt.results.recorded import description

    origin = model.origin
    named = {"scenario_hash": origin.scenario_hash, "model": origin.model, "strategy": origin.strategy,
             "learner": origin.learner, "client": origin.client, "variant": model.variant}  # fmt: skip
    expects = description(model.kind, model.class_names)
    return {"fedlt": __version__, **named, **expects, "inputs": _without_folders(expects["inputs"])}


def _without_folders(described: Any) -> Any:
    """What describes inputs, where components of a user (`/home/me/net.py:Net`) keep their files' names alone."""
    if isinstance(described, dict):
        return {key: _without_folders(value) for key, value in described.items()}
    own = isinstance(described, str) and (".py:" in described or described.startswith("transformers:/"))
    return described.rpartition("/")[2] if own else described


def _write_weights(model: Trained, path: Path) -> str:
    from safetensors.torch import save

    tensors, enough = weights(model)
    said = {**about(model), "prediction": "head of the features, by these weights" if enough else NEEDS_MORE}
    metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in said.items()}
    content = {name: plain(tensor) for name, tensor in tensors.items()}
    # Not save_file, whose files are for their owner alone whatever the umask says.
    replace_file(path, lambda draft: draft.write_bytes(save(content, {"format": "pt", **metadata})))
    if enough:
        return ""
    return f"the prediction of {model.origin.strategy} {NEEDS_MORE.replace('take', 'for it, take')}"


def weights(model: Trained) -> tuple[dict[str, Tensor], bool]:
    """The model's tensors by their names in a file, and whether they alone give its prediction.

    Those of a module of the user's own have the names that they have there, so that its `load_state_dict` takes them;
    what strategy, learner and adapter have added is called `beside/NAME`. The prediction is compared on samples, with
    that of the model as it is built, without all these, from the weights that it has a place for.
    """
    import torch

    from fedlt.nn import names

    built = model.built().eval()
    places = {name: t for name, t in built.state_dict().items() if not name.endswith("num_batches_tracked")}
    first: dict[int, str] = {}  # the name of a tensor that has several is the first one
    fitting = {}
    for name, tensor in model.net.state_dict(keep_vars=True).items():
        held, place = first.setdefault(id(tensor), name), names.plain(model.net, name)
        if held in model.tensors and place in places and places[place].shape == tensor.shape:
            fitting[name] = place, tensor.detach()

    enough = {place for place, _ in fitting.values()} == {*places}
    if enough:
        built.load_state_dict(dict(fitting.values()), strict=False)
        x = model.kind.example(16, torch.Generator().manual_seed(0)).to(next(iter(model.tensors.values())).device)
        with torch.no_grad():
            enough = torch.allclose(built(x), model.of_prepared(x), rtol=1e-4, atol=1e-5)

    own = bool(built.head_name or built.no_head)
    rest = {name: tensor for name, tensor in model.tensors.items() if name not in fitting}
    beside = {
        f"{names.BESIDE if own else ''}{name.removeprefix(names.BESIDE) if own else name}": t
        for name, t in rest.items()
    }
    fits = {names.outside(built, place) if own else name: t for name, (place, t) in fitting.items()}
    return fits | beside, enough


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
            _forget_sources(program)
    except Exception as error:
        reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        message = f"the prediction of {model.origin.strategy} with {model.origin.learner} cannot be traced ({reason})"
        raise FedLTError(f"{message}; its weights can be written to a file that ends with {WEIGHTS}") from error

    extra = {ABOUT: json.dumps(about(model), ensure_ascii=False)}

    def write(draft: Path) -> None:
        with draft.open("wb") as file, _quiet():
            torch.export.save(program, file, extra_files=extra)

    replace_file(path, write)


def _forget_sources(program: ExportedProgram) -> None:
    """Take out where the code of each operation was: lines of files, and paths of the machine."""
    from torch.fx import GraphModule

    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, GraphModule) else ():
            for key in ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node"):
                node.meta.pop(key, None)


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
