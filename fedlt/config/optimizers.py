"""The optimisers of `torch.optim` as components of a scenario, read from PyTorch's source: nothing is imported.

`local.optimizer=adamw`, or `{name: adam, betas: [0.9, 0.95]}`. The keys are the arguments of the class that are plain
numbers, switches or pairs, at the defaults of the installed release, and stand in the scenario with their values. What
`local` has for all of them (`lr`, `weight_decay`, `clip`) is no key of theirs.
"""

from __future__ import annotations

import ast
import importlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from fedlt.config.schema import Field, suggest
from fedlt.config.source import read, source_of
from fedlt.errors import Problem, ScenarioError

BUILT_IN = "sgd"
"""The one that the project computes itself, with the keys of `local`: momentum, nesterov."""

UNFIT = ("lbfgs", "sparseadam")
"""They evaluate the loss several times a step, and take sparse gradients."""

OURS = ("self", "params", "lr", "weight_decay", "foreach", "fused", "maximize", "capturable", "differentiable")


def names() -> list[str]:
    """The optimisers that a scenario can name, sorted."""
    return sorted({BUILT_IN, *_files()} - {*UNFIT})


def fields(name: str) -> tuple[str, str, tuple[Field, ...]]:
    """The class's name, the first line about it, and its keys.

    Raises:
        ScenarioError: where it is none of PyTorch's.
    """
    if name == BUILT_IN:
        return "SGD", "Stochastic gradient descent, with local.momentum and local.nesterov", ()
    files = _files()
    if name not in files or name in UNFIT:
        message = f"PyTorch has no optimiser {name!r} that fits{suggest(name, names())}"
        raise ScenarioError(Problem("local.optimizer", message))
    tree, _ = read(files[name])
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name.lower() == name)
    node = next(classes)
    init = next(item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__")
    return node.name, f"torch.optim.{node.name}", tuple(_keys(init.args))


def create(name: str, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The class of `torch.optim` and its arguments. Imports PyTorch's optimisers, which takes a second."""
    kind = getattr(importlib.import_module("torch.optim"), fields(name)[0])
    return kind, {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}


@lru_cache(maxsize=1)
def _files() -> dict[str, Path]:
    """PyTorch's files by the class that each is named after, in lower case."""
    found = {}
    for path in sorted((source_of("torch").parent / "optim").glob("*.py")):
        name = path.stem.replace("_", "")
        if re.search(rf"(?im)^class {name}\(Optimizer\)|^class {name}\(Adam\)", path.read_text(encoding="utf-8")):
            found[name] = path
    return found


def _keys(arguments: ast.arguments) -> list[Field]:
    """Arguments with a plain default, under the annotations that scenarios know."""
    positional = arguments.args[len(arguments.args) - len(arguments.defaults) :]
    pairs = [*zip(positional, arguments.defaults, strict=True)]
    pairs += [(a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is not None]
    found = []
    for argument, default in pairs:
        if argument.arg in OURS or argument.annotation is None:
            continue
        try:
            value = ast.literal_eval(default)
        except ValueError:  # a name of PyTorch's: the class keeps it
            continue
        annotation = ast.unparse(argument.annotation).replace(" | Tensor", "")
        found.append(Field(argument.arg, annotation, list(value) if isinstance(value, tuple) else value))
    return found
