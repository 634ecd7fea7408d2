"""A component of a scenario: a class or function that is named there with its keys, and the choice of one."""

from __future__ import annotations

import ast
import hashlib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from fedlt.config.own_code import import_file, own_files
from fedlt.config.own_lines import told
from fedlt.config.schema import Field
from fedlt.config.source import class_variables, read, source_of
from fedlt.config.whose import OURS
from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.process.own_packages import BESIDE, refuse_taken

FLOWER_PREFIX = "flower:"
WEIGHTS = (".safetensors", ".bin", ".pt", ".h5", ".msgpack", ".onnx")  # endings of files that no tokenizer reads
LIBRARIES = ("torchvision", "timm", "transformers")
OF_LIBRARIES = {"model": LIBRARIES, "tokenizer": ("transformers",), "generator": ("transformers",)}
"""Whose models, tokenizers and generators a scenario names as `LIBRARY:ENTRY`."""

LIBRARY = {
    "model": "fedlt.nn.library:LibraryModel",
    "tokenizer": "fedlt.tokenizers.pretrained:Pretrained",
    "generator": "fedlt.tokenizers.causal:Causal",
}
CONTRACTS = {
    "strategy": ("fedlt.strategy:Strategy",),
    "learner": ("fedlt.learner:Learner",),
    "metric": ("fedlt.statistic:Metric", "fedlt.statistic:Statistic"),
    "target": ("fedlt.target:Target",),
    "link": ("fedlt.links.link:Link",),
    "selection": ("fedlt.cohorts.selection:Selection",),
    "clock": ("fedlt.cohorts.clock:Clock",),
    "encoder": ("fedlt.encoders.encoder:Encoder", "fedlt.encoders.text_encoder:TextEncoder"),
    "tokenizer": ("fedlt.tokenizers.tokenizer:Tokenizer",),
    "generator": ("fedlt.tokenizers.generator:TextGenerator",),
    "adapter": ("fedlt.nn.adapters.adapter:Adapter",),
}
"""The base classes of the kinds that have some; one of them is enough."""


@dataclass(frozen=True)
class Component:
    """A component that a scenario can name.

    Attributes:
        target: `module:Class`, or `/path/file.py:Class` for a user's own file.
        fields: its keys, inherited ones first.
        needs: what a strategy is given or sends beyond the model (`fedlt.strategy.NEEDS`).
        young: its keys that scenarios leave out at their defaults.
    """

    kind: str
    name: str
    target: str
    summary: str
    fields: tuple[Field, ...]
    needs: tuple[str, ...] = ()
    young: tuple[str, ...] = ()

    def create(self, options: dict[str, Any]) -> Any:
        """An instance with the given fields. Imports the component's module."""
        return self.load()(**options)

    def load(self) -> type:
        """The component's class. Imports its module."""
        module, _, attribute = self.target.partition(":")
        own = module.endswith(".py")
        if module.split(".")[0] in BESIDE:
            refuse_taken(module)
        loaded = getattr(import_file(self.kind, Path(module)) if own else importlib.import_module(module), attribute)
        if self.kind in CONTRACTS:
            bases = [base.partition(":") for base in CONTRACTS[self.kind]]
            if not issubclass(loaded, tuple(getattr(importlib.import_module(home), name) for home, _, name in bases)):
                message = f"{self.name} is no subclass of {' or '.join(f'fedlt.{name}' for _, _, name in bases)}"
                message += f"; write class {attribute}(fedlt.{bases[0][2]})"
                raise ScenarioError(Problem(self.kind, message))
        return loaded

    def code_digest(self) -> str:
        """Hash of a user's own source file and of what it imports (`""` for components of this project)."""
        path = self.target.partition(":")[0]
        if not path.endswith(".py"):
            return ""
        contents = {name: file.read_bytes() for name, file in self.files().items() if file != Path(path)}
        beside = b"".join(f"\n{name}\n".encode() + text for name, text in sorted(contents.items()))
        return hashlib.sha256(Path(path).read_bytes() + beside).hexdigest()[:16]

    def files(self) -> dict[str, Path]:
        """A user's own source files by name: its file and what that imports; none for components of this project."""
        module = self.target.partition(":")[0]
        if module.endswith(".py"):
            return own_files(Path(module))
        top = module.split(".")[0]
        return {} if top in ("", *OURS) else own_files(source_of(module), top)


def assigned_plainly(component: Component, name: str) -> bool:
    """Whether a class of a user's file assigns a name without a type, so that it is no field."""
    module, _, attribute = component.target.partition(":")
    if not module.endswith(".py"):
        return False
    tree = read(Path(module))[0]
    node = next((item for item in tree.body if isinstance(item, ast.ClassDef) and item.name == attribute), None)
    return node is not None and class_variables(tree, node).get(name) == attribute


class FlowerComponent(Component):
    """One of Flower's own server strategies, such as `flower:FedAdam`; its keys are its constructor's."""

    def create(self, options: dict[str, Any]) -> Any:
        return self.load()(strategy=self.name.removeprefix(FLOWER_PREFIX), options=options)


@dataclass(frozen=True)
class Made(Component):
    """A component whose instances are made by a function, or whose class has no file."""

    make: Callable[[dict[str, Any]], Any] = field(default=dict)

    def create(self, options: dict[str, Any]) -> Any:
        return self.make(options)

    @classmethod
    def of(cls, like: Component, make: Callable[[dict[str, Any]], Any]) -> Made:
        """A component that shows itself like another one."""
        return cls(like.kind, like.name, like.target, like.summary, like.fields, like.needs, like.young, make)


@dataclass(frozen=True)
class LibraryComponent(Made):
    """A model, tokenizer or generator of another library; one in a folder is known by the content of its files."""

    folder: Path | None = None

    @classmethod
    def of_name(cls, name: str, relative_to: Path, like: Component) -> LibraryComponent:
        """That of `LIBRARY:ENTRY`, an entry that begins with a dot or a slash being a folder."""
        library, _, entry = name.partition(":")
        folder = (relative_to / Path(entry).expanduser()).resolve() if entry.startswith((".", "/", "~")) else None
        needed = "tokenizer_config.json" if like.kind == "tokenizer" else "config.json"
        if folder is not None and not (folder / needed).is_file():
            raise ScenarioError(Problem(like.kind, f"there is no {needed} in {folder}; give a folder of the library's"))
        entry = str(folder) if folder is not None else entry
        fields = tuple(field for field in like.fields if field.name not in ("library", "entry"))
        make = partial(_from_library, like, library, entry)
        return cls(like.kind, f"{library}:{entry}", "", like.summary, fields, (), like.young, make, folder)

    def files(self) -> dict[str, Path]:
        in_folder = sorted(self.folder.glob("*")) if self.folder else []
        weights = WEIGHTS if self.kind == "tokenizer" else ()
        return {path.name: path for path in in_folder if path.is_file() and path.suffix not in weights}


def _from_library(like: Component, library: str, entry: str, options: dict[str, Any]) -> Any:
    """The recipe of another library's component.

    Args:
        like: the component of all of them.
    """
    return like.load()(library=library, entry=entry, **options)


@dataclass(frozen=True)
class Choice:
    """A component that the scenario chose, with all its fields."""

    name: str
    options: dict[str, Any]
    component: Component

    @property
    def title(self) -> str:
        """Its name in sentences: without the path of a file or folder of the user's."""
        library, colon, entry = self.name.rpartition(":")
        return entry if library.endswith(".py") else f"{library}{colon}{Path(entry).name}" if colon else entry

    def written(self) -> dict[str, Any]:
        """The name and the fields as a scenario holds them, without young ones at their defaults."""
        usual = {field.name: field.default for field in self.component.fields if field.name in self.component.young}
        changed = {name: value for name, value in self.options.items() if name not in usual or value != usual[name]}
        inner = {name: value.written() for name, value in changed.items() if isinstance(value, Choice)}
        return {"name": self.name} | changed | inner

    def nested(self) -> Iterator[tuple[str, Choice]]:
        """The components that its fields hold, at any depth, each with its key below this one: `inside`."""
        for name, value in self.options.items():
            if isinstance(value, Choice):
                yield name, value
                yield from ((f"{name}.{key}", choice) for key, choice in value.nested())

    def create(self) -> Any:
        """An instance of the component. Imports its module; what its constructor refuses is a `ScenarioError`."""
        inner = {name: value.create() for name, value in self.options.items() if isinstance(value, Choice)}
        try:
            return self.component.create(self.options | inner)
        except (TypeError, ValueError) as error:
            raise ScenarioError(Problem(self.component.kind, f"{self.name} cannot be built: {error}")) from error
        except Exception as error:
            if isinstance(error, FedLTError):
                raise
            message = f"{self.name} cannot be built: {told(error)}"
            raise ScenarioError(Problem(self.component.kind, message)) from error
