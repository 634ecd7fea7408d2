"""What the checks of people's own parts share: the error that tells everything found, watching, and the rehearsals."""

from __future__ import annotations

import pickle
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from types import CodeType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from fedlt.checks.remarks import ContractRemark, idle_fields
from fedlt.config.catalog import find
from fedlt.config.component import Component, Made
from fedlt.config.declarations import assigned, misspelt, renamed
from fedlt.config.module_source import fields_of, with_keys
from fedlt.config.schema import Field
from fedlt.errors import CodeError, FedLTError
from fedlt.learner import Prediction

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.data.federation import Federation

Played = list[tuple[str, "Scenario", dict[str, Any]]]
"""Rehearsals: the check that each is for, its scenario, and how it is played (see `rehearsal.rehearse`)."""


class ConformanceError(FedLTError):
    """A part breaks its contract.

    Args:
        name: of the part.
        suite: whose contract and whose checks these are.
        problems: (name of the check, what was found).
    """

    def __init__(self, name: str, suite: Suite, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        lines = [f"  {check}: {found}\n    expected: {suite.checks[check]}" for check, found in problems]
        super().__init__("\n".join([f"{name} breaks the contract of {suite.contract}", *lines]))


class Suite:
    """One check of one part.

    Args:
        part: a name as in a scenario, a class, or what a scenario found already.
        options: its fields; the others have their defaults.
    """

    kind: ClassVar[str]  # of component
    contract: ClassVar[str]  # whose it is, in the plural
    checks: ClassVar[dict[str, str]]  # name of a check -> what is expected
    axes = 0  # of predictions between samples and classes, as in `fedlt.target.Target`

    def __init__(self, part: str | type | Callable[..., Any] | Component, options: dict[str, Any]) -> None:
        if isinstance(part, str):
            part = find(self.kind, part)
        self.component = part if isinstance(part, Component) else component_of(self.kind, part)
        self.options = {f.name: f.default for f in self.component.fields if not f.required} | options
        self.problems: dict[tuple[str, str], None] = {}  # a set that keeps its order
        self.remarks: list[str] = []  # what breaks no contract and is worth a look

    def expect(self, holds: bool, check: str, found: str) -> None:
        """Note what was found where a check does not hold.

        Args:
            holds: whether the check does.
            check: its name.
            found: what was found where it does not.
        """
        if not holds:
            self.problems[check, found] = None

    def end(self) -> None:
        """Raise `ConformanceError` where anything was found."""
        if self.problems:
            raise ConformanceError(self.component.name, self, list(self.problems))

    def look(self) -> None:
        """Note what is worth a look in a part that keeps its contract."""

    def note_idle_fields(self, end: Callable[[dict[str, Any]], str]) -> None:
        """Note fields that change nothing.

        Args:
            end: how a rehearsal under other options ends.
        """
        with other_generators(0):
            self.remarks.extend(idle_fields(self.component.fields, self.options, end))

    def tell_remarks(self) -> None:
        """Warn of what is worth a look, as of the caller's caller's code."""
        for remark in self.remarks:
            warnings.warn(f"{self.kind} {self.component.name}: {remark}", ContractRemark, stacklevel=3)

    def play(
        self,
        rehearsals: Played,
        federation: Federation,
        incomparable: tuple[str, ...] = (),
        joint: tuple[str, ...] = (),
    ) -> None:
        """Play the rehearsals until one finds something; all must end alike.

        Each has other global generators, on which nothing may depend.

        Args:
            rehearsals: The first is what the others are compared with.
            federation: of all of them.
            incomparable: Checks whose rehearsals may end otherwise.
            joint: Checks of one scenario that are played as one rehearsal, with all that each asks for, which is
                quicker; only where it finds something are they played one by one, to name the check.
        """
        parts = [played for played in rehearsals if played[0] in joint]
        if len(parts) < 2:
            self._play_each(rehearsals, federation, incomparable)
            return

        check, scenario, _ = parts[-1]
        how = {key: value for _, _, asked in parts for key, value in asked.items()}
        first, *others = [played for played in rehearsals if played[0] not in joint]
        self._play_each([first, (check, scenario, how), *others], federation, incomparable)
        if any(found == check for found, _ in self.problems):
            together, self.problems = self.problems, {}
            self._play_each(rehearsals, federation, incomparable)
            self.problems = self.problems or together  # what only all of them together bring about

    def _play_each(self, rehearsals: Played, federation: Federation, incomparable: tuple[str, ...]) -> None:
        """Run the rehearsals one by one, each of which must end like the first."""
        from fedlt.checks.rehearsal import rehearse

        ends: list[str] = []
        for seed, (check, scenario, how) in enumerate(rehearsals):
            with other_generators(seed):
                try:
                    end = rehearse(scenario, federation, noise=seed, **how)
                    ends += [] if check in incomparable else [end]
                except CodeError as error:
                    self.expect(bool(self.problems), "runs", str(error))
                except Exception as error:
                    self.expect(bool(self.problems), check, f"{type(error).__name__}: {error}")
            self.expect(len(set(ends)) < 2, check, "the models, states or predictions differ")
            if self.problems:
                return

    def expect_words(self, part: object) -> None:
        """What a strategy or a learner declares is known."""
        for found in (*renamed(self.kind, assigned(type(part))), *misspelt(part)):
            self.expect(False, "words", found)

    def expect_tensors(self, tensors: dict[str, Any], whose: str) -> bool:
        """Dense, finite tensors without gradients; whether they all are."""
        sound = True
        for name, tensor in tensors.items():
            good = isinstance(tensor, Tensor) and tensor.layout == torch.strided and not tensor.requires_grad
            self.expect(good, "tensors", f"{whose}{name} is {shape_of(tensor)}")
            finite = not good or bool(torch.isfinite(tensor.double()).all())
            self.expect(finite, "tensors", f"{whose}{name} is not finite")
            sound = sound and good and finite
        return sound

    def expect_logits(self, hook: str, logits: Any, rows: int, classes: int) -> None:
        """What a hook predicted for so many samples is [B, C] numbers, in every variant; [B, L, C] of steps.

        Args:
            hook: that predicted.
            logits: what it gave.
            rows: samples.
            classes: their number.
        """
        for name, given in logits.items() if isinstance(logits, dict) else [("", logits)]:
            value = given.logits if isinstance(given, Prediction) else given
            what = f"{hook}()" + (f"[{name!r}]" if name else "")
            fits = isinstance(value, Tensor) and value.ndim == 2 + self.axes
            fits = fits and (value.shape[0], value.shape[-1]) == (rows, classes)
            self.expect(fits, "logits", f"{what} gave {shape_of(value)} for {rows} samples and {classes} classes")
            self.expect(not fits or not bool(value.isnan().any()), "logits", f"{what} gave NaN")

    def expect_same(self, before: dict[str, bytes], after: dict[str, bytes], hook: str) -> None:
        """Two fingerprints are equal: the hook kept nothing where nobody looks.

        Args:
            before, after: digests by the name of what may have changed.
            hook: that ran between them.
        """
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        self.expect(not changed, "hidden", f"{hook} changed {', '.join(changed)}")


@contextmanager
def other_generators(seed: int) -> Iterator[None]:
    """Global generators seeded as asked for, and put back afterwards."""
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)  # see `seeding.torch_generators`
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        torch.set_rng_state(kept[2])


def fingerprint(part: object, base: type) -> dict[str, bytes]:
    """Plain data on the instance, on its classes below `base` and in their modules, by name."""
    found = {f"self.{name}": value for name, value in vars(part).items()}
    for kind in type(part).__mro__:
        if issubclass(kind, base) and kind is not base:
            found |= {f"{kind.__name__}.{name}": value for name, value in vars(kind).items()}
            module = sys.modules.get(kind.__module__)
            there = vars(module) if module else {}
            names = _used(kind, there) if kind.__module__ == "__main__" else there.keys()
            found |= {f"{kind.__module__}.{name}": there[name] for name in names}

    plain = (dict, list, set, bytearray, int, float, str, tuple, Tensor, np.ndarray)
    prints = {}
    for name, value in found.items():
        if isinstance(value, plain) and not name.rpartition(".")[2].startswith("__"):
            try:
                prints[name] = pickle.dumps(value)
            except Exception:  # what cannot be pickled is hardly state
                continue

    return prints


def _used(kind: type, there: Mapping[str, Any]) -> set[str]:
    """Which names of a module the code of a class uses, also by way of the functions there that it calls.

    A notebook's module holds all that its cells gave, as large as it may be.
    """
    found: set[str] = set()
    waiting: list[Any] = list(vars(kind).values())
    while waiting:
        part = waiting.pop()
        code = part if isinstance(part, CodeType) else getattr(getattr(part, "__func__", part), "__code__", None)
        if code is not None:
            fresh = {name for name in code.co_names if name in there} - found
            found |= fresh
            waiting += [
                *(there[name] for name in fresh),
                *(each for each in code.co_consts if isinstance(each, CodeType)),
            ]
    return found


def shape_of(value: Any) -> str:
    """A value's type, and a tensor's shape."""
    kind = type(value).__name__
    return f"{kind} {tuple(value.shape)}" if isinstance(value, Tensor) else kind


def component_of(kind: str, part: type | Callable[..., Any]) -> Component:
    """A class, or a function that makes a model, that need not have a file, as a scenario names it."""
    if kind == "model" and not is_dataclass(part):
        from fedlt.nn.wrapped import WrappedModule

        name, keys = getattr(part, "__name__", type(part).__name__), with_keys(fields_of(part))
        return Made.of(Component(kind, name, "", "", keys), lambda options: WrappedModule.of(part, name, options))
    own = tuple(Field(f.name, _written(f.type), f.default, f.default is MISSING) for f in fields(part))  # type: ignore[arg-type]
    needs = getattr(part, "needs", ())
    return Made.of(Component(kind, part.__name__, "", "", own, needs), lambda options: part(**options))


def _written(annotation: Any) -> str:
    """An annotation as it stands in the source, also where the file does not leave annotations as text."""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
