"""Weights that a model begins with in place of random ones: those of a finished run, or of a file (`init_from`).

Tensors are taken by name and shape. Of a run it is those of its generic model that its clients share; of a file all.
Names may be those that the tensors have in the model, with or without an adapter, or in the module of the user's own
that it was made of. Where several models stand side by side (`fedlt.nn.side_by_side`), a list gives each its own.
"""

from __future__ import annotations

import difflib
import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fedlt.config.reader import chosen
from fedlt.config.scenario_file import read
from fedlt.data.provenance import INITIAL, weights_file
from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.nn.names import BESIDE, known_as, outside, plain, plain_in_file
from fedlt.nn.side_by_side import SideBySide, placed

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.nn.net import Net

SHOWN = 3
"""Names in a sentence, at most."""


@dataclass
class Initial:
    """The weights to begin with.

    Attributes:
        source: what they are of, for sentences.
        given: tensors by name.
        without: patterns of tensors that begin anew.
        models: how many models side by side they are of; None where a list of them was not given.
    """

    source: str
    given: Mapping[str, Tensor]
    without: tuple[str, ...] = ()
    models: int | None = None
    taken: dict[str, bool] = field(default_factory=dict)  # by name in the model: whether it was
    unused: list[str] = field(default_factory=list)  # names of what an adapter of the source's had brought
    _by_plain: dict[str, str] = field(default_factory=dict)  # names in `given` by those without an adapter

    def __post_init__(self) -> None:
        for name, short in plain_in_file(self.given).items():
            if short is not None:
                self._by_plain[short] = name

    @classmethod
    def of(cls, scenario: Scenario) -> Initial | None:
        """Those of the scenario; None where it names none. Raises `ScenarioError`."""
        names = scenario.init_from.names
        if not names:
            return None
        try:
            given = [_read(Path(name)) for name in names]
        except FedLTError as error:
            raise ScenarioError(Problem(INITIAL, str(error))) from error
        called, without = ", ".join(Path(name).name for name in names), tuple(scenario.init_from.without)
        if isinstance(scenario.init_from.name, str):
            return cls(called, given[0], without)
        return cls(called, placed(given), without, len(given))

    def give(self, model: Net) -> None:
        """Copy what fits into the model; nothing is drawn from the generators.

        Call it before strategies build on the model, so that their copies of it begin alike, and after.
        """
        own = _tensors(model)
        known = known_as(model, own)
        self.taken, used = {}, set()

        # What has a counterpart of its shape, and is not left out on request.
        with torch.no_grad():
            for name, tensor in own.items():
                source = self._source(known[name])
                source_tensor = None if source is None else self.given[source]
                self.taken[name] = (
                    source_tensor is not None
                    and source_tensor.shape == tensor.shape
                    and not self._left_out(known[name])
                )
                if source_tensor is not None and self.taken[name]:
                    used.add(source)
                    tensor.copy_(source_tensor)
        self.unused = [name for name in self.given if name not in {*self._by_plain.values(), *used}]

    def settle(self, model: Net) -> None:
        """Raise `ScenarioError` where nothing was taken, where a tensor has another shape than the given one, or where
        a frozen one would stay as it was drawn.
        """
        beside = len(model.backbone.models) if isinstance(model.backbone, SideBySide) else 1
        if self.models is not None and self.models != beside:
            there = f"{beside} side by side" if beside > 1 else "not several"
            message = f"names {self.models} weights, a model each, and the models of this run are {there}"
            remedy = f"take learner=foundation_bias learner.models={self.models}, or name one without brackets"
            raise ScenarioError(Problem(f"{INITIAL}.name", f"{message}; {remedy}"))

        own = _tensors(model)
        known = known_as(model, own)
        for pattern in self.without:
            if not any(fnmatchcase(name, pattern) for names in known.values() for name in names):
                message = f"{pattern!r} matches no tensor of the model: {_some(own)}"
                raise ScenarioError(Problem(f"{INITIAL}.without", message))

        others = {
            name: self.given[source]
            for name, tensor in own.items()
            if (source := self._source(known[name])) is not None
            and self.given[source].shape != tensor.shape
            and not self._left_out(known[name])
        }
        if others:
            name, held = next(iter(others.items()))
            message = f"{name} is {list(held.shape)} in {self.source} and {list(own[name].shape)} in this model"
            more = f", and so are {len(others) - 1} more" if len(others) > 1 else ""
            patterns = ", ".join(dict.fromkeys(f"{name.rpartition('.')[0] or name}.*" for name in others))
            raise ScenarioError(Problem(INITIAL, f"{message}{more}; {INITIAL}.without=[{patterns}] begins them anew"))

        if not any(self.taken.values()):
            here = [outside(model, names[0]) for names in known.values()]
            pairs = [(near, name) for name in here if (near := self._nearest(name))][:SHOWN]
            nearest = ", ".join(f"{near} for {name}" for near, name in pairs)
            what = f"no tensor of {self.source} has the name of one of the model's"
            if not pairs:
                nearest = f"there: {_some(self.given)}; here: {_some(here)}"
            raise ScenarioError(Problem(INITIAL, f"{what}; nearest: {nearest}" if pairs else f"{what}; {nearest}"))
        self._expect_frozen(model, known)

    def _expect_frozen(self, model: Net, known: Mapping[str, tuple[str, ...]]) -> None:
        """Refuse parameters of the backbone that are never trained, and that neither the source nor the user has
        spoken for. What an adapter brings is drawn in any case.
        """
        lost = [
            name
            for name, parameter in model.named_parameters()
            if name.startswith("backbone.") and not parameter.requires_grad and not self.taken[name]
            if plain(model, name) is not None and not self._left_out(known[name])
        ]

        if lost:
            message = f"the model keeps {_some(lost)} frozen, and {self.source} has no such tensor"

            part = any(taken for name, taken in self.taken.items() if name.startswith("backbone."))
            patterns = (
                ", ".join(dict.fromkeys(f"{name.rpartition('.')[0]}.*" for name in lost)) if part else "backbone.*"
            )
            meant = f"train it (model.freeze=false), or say that it is meant: {INITIAL}.without=[{patterns}]"
            raise ScenarioError(Problem(INITIAL, f"{message}, so that it would stay as the model was built; {meant}"))

    @property
    def anew(self) -> list[str]:
        """Names of the model's tensors that were not taken."""
        return [name for name, taken in self.taken.items() if not taken]

    def text(self) -> str:
        """What was taken, as a line."""
        count = len(self.taken) - len(self.anew)
        rest = f"; {_some(self.anew)} begin anew" if self.anew else ""
        left = f"; without its {_some(self.unused)}, for which there is no place" if self.unused else ""
        return f"{INITIAL} {self.source}: {count} of {len(self.taken)} tensors taken{rest}{left}"

    def _source(self, names: tuple[str, ...]) -> str | None:
        """The name in `given` of a tensor that is known by these names; None where there is none."""
        by_plain_name = next((self._by_plain[name] for name in names if name in self._by_plain), None)
        return next((name for name in names if name in self.given), None) if by_plain_name is None else by_plain_name

    def _left_out(self, names: tuple[str, ...]) -> bool:
        return any(fnmatchcase(name, pattern) for name in names for pattern in self.without)

    def _nearest(self, name: str) -> str:
        return next(iter(difflib.get_close_matches(name, self.given, n=1, cutoff=0.5)), "")


def _tensors(model: Net) -> dict[str, Tensor]:
    """Parameters and buffers by name, without counters of batches, which files may lack."""
    tensors: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a run folder or a file. Raises `FedLTError`."""
    file = weights_file(path)
    if file is None:
        raise FedLTError(f"there is neither a finished run nor a file at {path}")
    if path.is_dir():
        return _shared_of_run(path, file)
    if path.suffix == ".safetensors":
        return _load(file, _safetensors)
    if path.suffix in (".pt", ".pth"):
        return _load(file, _state_dict)
    raise FedLTError(f"expected a run folder, or a file that ends with .safetensors or .pt, got {path.name}")


def _shared_of_run(folder: Path, file: Path) -> dict[str, Tensor]:
    """The tensors of a run that all of its clients share.

    Args:
        folder: of the run.
        file: its `model.safetensors`.

    Raises:
        FedLTError: where it is no finished run, or its clients share nothing.
    """
    if not (folder / "run.json").is_file():
        raise FedLTError(f"{folder} is not a run folder: it holds no run.json")
    status = json.loads((folder / "run.json").read_text(encoding="utf-8"))["status"]
    if status != "finished":
        raise FedLTError(f"{folder} is {status}, not finished: it has no weights to begin with")

    # What clients keep to themselves, by strategy or learner, is in no file of the run's that is shared.
    kept = read(folder / "scenario.yaml")
    choice = chosen("strategy", kept["strategy"], "strategy")
    learner = chosen("learner", kept.get("learner", "cross_entropy"), "learner").create()
    strategy, private = choice.name, (*choice.create().private, *learner.private)
    shared = {
        name: tensor
        for name, tensor in _load(file, _safetensors).items()
        if not any(fnmatchcase(name, pattern) for pattern in private)
    }

    if not shared:
        raise FedLTError(f"the clients of {folder} share no weights: under {strategy} each keeps its own")
    return shared


def _load(file: Path, reader: Any) -> dict[str, Tensor]:
    """The tensors of a file by name.

    Args:
        reader: of its format.

    Raises:
        FedLTError: where it cannot be read.
    """
    try:
        content = reader(file)
    except Exception as error:  # the readers raise many kinds
        if reader is _state_dict and zipfile.is_zipfile(file):  # whole, but not of tensors and plain values alone
            message = f"{file} holds more than tensors by name, such as a whole module, which is not unpickled"
            raise FedLTError(f"{message}; save them by torch.save(model.state_dict(), path)") from error
        reason = re.sub(r"\x1b\[[0-9;]*m", "", next(iter(str(error).splitlines()), ""))
        raise FedLTError(f"{file} cannot be read: {type(error).__name__}: {reason}") from error
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise FedLTError(f"{file} holds no tensors by name; save them by torch.save(model.state_dict(), path)")
    return dict(content)


def _safetensors(file: Path) -> Any:
    from safetensors.torch import load_file

    return {name.removeprefix(BESIDE): tensor for name, tensor in load_file(file).items()}


def _state_dict(file: Path) -> Any:
    """A state dict, alone or under the usual key; nothing but tensors and plain values is unpickled."""
    content = torch.load(file, map_location="cpu", weights_only=True)
    return content["state_dict"] if isinstance(content, Mapping) and "state_dict" in content else content


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:SHOWN]) + (f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else "")
