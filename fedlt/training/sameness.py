"""Which runs train the very same model: a hash of all that training is a function of, beside the scenario's own.

FedAvg and FedAvg with a post-hoc correction differ in how they predict only, so their rounds are equal bit for bit.
That is found, not declared: the hooks that training calls are read, with every method and function that they reach and
every field of `self` that these read. Two runs share where the same functions read equal fields on equal data.

Where reading cannot tell (a hook hands `self` to somebody else, or its source is not there) all fields count and the
class itself does, so that such a method shares with nothing but itself. Wrong the other way it is never, for methods
that keep the contract: `fedlt.check_strategy` trains both ways and compares.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import json
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from fedlt.config.declarations import CONDITIONS

if TYPE_CHECKING:
    from fedlt.config.component import Choice
    from fedlt.config.scenario import Scenario
    from fedlt.learner import Learner
    from fedlt.strategy import Strategy

STRATEGY = ("build", "setup", "begin", "fit", "loss", "weight", "aggregate", "conclude", "concluded")
"""Hooks of a strategy that its training calls, and the exchange after it. Others (adapt, personal, generic) test."""

STRATEGY_FACTS = ("private", "frozen", "foldable", "scope")
"""What the engine reads of the class while it trains."""

LEARNER = ("build", "stages", "begin", "epoch", "finish", "sampler", "loss", "gradient")
LEARNER_FACTS = ("vectorizable",)

METHOD_ROOMS = ("fedlt.blocks.", "fedlt.learners.")

PREDICTING = frozenset({"predict", "generic", "personal", "adapt"})
"""Hooks that training reaches only where some of its code calls them."""

COUNTS = frozenset({"class_counts", "known_counts"})
"""How code reads the class counts of all clients, which a task has only for those that declare the need."""


_Method = tuple["Choice", "Strategy | Learner", tuple[str, ...], tuple[str, ...]]
"""A strategy or a learner as it was chosen, itself, its hooks that train, and its class variables that they go by."""


def training_hash(scenario: Scenario, strategy: Strategy, learner: Learner) -> str:
    """Equal for two scenarios whose rounds are equal bit for bit: what is tested, when, and by which prediction may
    differ. Methods that come from another library's objects share with nothing but themselves.
    """
    content = scenario.to_dict()
    for key in ("strategy", "learner", "evaluation", "resources"):
        del content[key]
    content["precision"] = scenario.resources.precision
    content["model_code"] = scenario.model.component.code_digest()

    methods: list[_Method] = [(*layer, STRATEGY, STRATEGY_FACTS) for layer in _layers(scenario.strategy, strategy)]
    methods.append((scenario.learner, learner, LEARNER, LEARNER_FACTS))
    files = [frozenset(map(str, choice.component.files().values())) for choice, *_ in methods]
    held = list(zip(methods, files, strict=True))

    # A prediction counts where the training of any part asks for one.
    called = set[str]().union(*(_Reading(part, hooks, own).called for (_, part, hooks, _), own in held))
    asked = tuple(sorted(called & PREDICTING))
    reads = [_Reading(part, (*hooks, *asked), own) for (_, part, hooks, _), own in held]
    counted = bool(called & COUNTS) or bool(scenario.federation.links)
    content["methods"] = [
        _identity(choice, part, reading, facts, counted)
        for ((choice, part, _, facts), _), reading in zip(held, reads, strict=True)
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _layers(choice: Choice, strategy: Strategy) -> Iterator[tuple[Choice, Strategy]]:
    """The strategy and those inside it, each as it was chosen: their hooks train, too."""
    from fedlt.wrapping import layers  # late: it imports torch

    for layer in layers(strategy):
        yield choice, layer
        choice = choice.options.get("inside", choice)


def _identity(
    choice: Choice, part: Strategy | Learner, reading: _Reading, facts: Iterable[str], counted: bool
) -> dict[str, Any]:
    """What a strategy or a learner brings to the training, as plain values.

    Args:
        counted: whether the need of class counts is part of it.
    """
    found: dict[str, Any] = {
        "functions": sorted(reading.functions),
        "fields": {name: repr(getattr(part, name)) for name in sorted(reading.fields)},
        "facts": {name: repr(getattr(part, name)) for name in facts},
        "constants": sorted(reading.constants),
        "needs": sorted(set(part.needs) - CONDITIONS.keys() - (set() if counted else {"class_prior"})),
    }
    if reading.own:  # of a file that was edited, or of one of the same name elsewhere
        found["code"] = sorted(hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in reading.files)
    if reading.opaque:
        every = {each.name: repr(getattr(part, each.name)) for each in fields(part)}
        found |= {"fields": every, "class": f"{choice.name} {type(part).__qualname__}"}
    return found


@dataclass
class _Reading:
    """What hooks of an object reach, found in their source.

    Attributes:
        files: the user's own source files.
        functions: `module:qualified name` of each method and function.
        own: whether some of them stand in these files.
        fields: names that they read of `self`.
        constants: plain class variables that they read of it, with values.
        called: names that they call on anything.
        opaque: that `self` goes where it cannot be followed.
    """

    part: Strategy | Learner
    hooks: Iterable[str]
    files: frozenset[str]
    functions: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)
    constants: set[str] = field(default_factory=set)
    called: set[str] = field(default_factory=set)
    own: bool = False
    opaque: bool = False

    def __post_init__(self) -> None:
        self._names = {each.name for each in fields(self.part)}
        for hook in self.hooks:
            self._member(hook)

    def _member(self, name: str) -> None:
        """Follow what `self.NAME` is: a field, a method or property of the class, or a class variable."""
        if name in self._names:
            self.fields.add(name)
            return
        for owner in type(self.part).__mro__:
            if name in vars(owner):
                self._follow(name, vars(owner)[name], owner)
                return

    def _follow(self, name: str, value: object, owner: type) -> None:
        for function in _functions(value):
            self._function(function, owner, bound=not isinstance(value, staticmethod))
            return
        self._constant(f"{name} = {value!r}")

    def _function(self, function: FunctionType, owner: type | None, bound: bool) -> None:
        """Read a function's source, and follow what it calls.

        Args:
            owner: the class whose method it is.
            bound: whether its first argument is the object itself.
        """
        source = function.__code__.co_filename
        own = source in self.files
        label = f"{Path(source).name if own else function.__module__}:{function.__qualname__}"
        if label in self.functions:
            return
        self.functions.add(label)
        self.own |= own
        code = _code(function)
        if code is None:
            self.opaque |= owner is not None
            return

        self._made_with(label, function)

        me = code.arguments[0] if bound and owner is not None and code.arguments else ""
        followed: set[int] = set()
        for node in code.attributes:
            self._attribute(node, me, owner, followed)
        for name in code.names:
            if id(name) not in followed:
                self.opaque |= bool(me) and name.id == me
                self._global(function.__globals__.get(name.id))
        for node in code.attributes:
            if isinstance(node.value, ast.Name):
                home = function.__globals__.get(node.value.id)
                if isinstance(home, ModuleType):
                    self._global(getattr(home, node.attr, None))

    def _made_with(self, label: str, function: FunctionType) -> None:
        """Values that a function got when it was made: defaults of its arguments, and what a decorator enclosed."""
        held: dict[str, object] = {"defaults": function.__defaults__ or (), **(function.__kwdefaults__ or {})}
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        held |= {name: cell.cell_contents for name, cell in cells if name != "__class__"}
        for name, value in held.items():
            if isinstance(value, FunctionType):
                self._function(value, None, bound=False)
            else:
                self._constant(f"{label} {name} = {value!r}")

    def _constant(self, text: str) -> None:
        self.constants.add(text)
        self.opaque |= " at 0x" in text  # an object that is told by its address only

    def _attribute(self, node: ast.Attribute, me: str, owner: type | None, followed: set[int]) -> None:
        """Follow an attribute of the object itself, or of its base class.

        Args:
            node: the attribute in the source.
            me: what the source calls the object.
            followed: ids of the nodes that need no further look; added to.
        """
        self.called.add(node.attr)
        value = node.value
        if isinstance(value, ast.Name) and me and value.id == me:
            followed.add(id(value))
            self._member(node.attr)
        elif isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "super":
            self.called.discard(node.attr)
            self._above(node.attr, owner)

    def _above(self, name: str, owner: type | None) -> None:
        """Follow `super().NAME` in a method of `owner`."""
        lineage = type(self.part).__mro__
        start = lineage.index(owner) + 1 if owner in lineage else 0
        for base in lineage[start:]:
            if name in vars(base):
                self._follow(name, vars(base)[name], base)
                return

    def _global(self, value: object) -> None:
        """Follow a function that is called by its name: what it does with an argument may reach a prediction."""
        if isinstance(value, FunctionType) and (_is_read(value) or value.__code__.co_filename in self.files):
            self._function(value, None, bound=False)


def _is_read(function: FunctionType) -> bool:
    """Whether a function of this project is followed: those that methods are made of."""
    return function.__module__.split(".")[0] == "strategies" or function.__module__.startswith(METHOD_ROOMS)


def _functions(value: object) -> Iterator[FunctionType]:
    """The function behind a method, a property, or a class or static method."""
    inner: Any = value
    if isinstance(inner, staticmethod | classmethod):
        inner = inner.__func__
    elif isinstance(inner, property):
        inner = inner.fget
    elif isinstance(inner, functools.cached_property):
        inner = inner.func
    if isinstance(inner, FunctionType):
        yield inner


@dataclass(frozen=True)
class _Code:
    """The syntax of a function.

    Attributes:
        arguments: names of those that go by place.
        attributes, names: what it reads and calls, in the order of `ast.walk`.
    """

    arguments: list[str]
    attributes: list[ast.Attribute]
    names: list[ast.Name]


@functools.cache  # a walk takes a hundred times as long as what is then looked up
def _code(function: FunctionType) -> _Code | None:
    """None where its source cannot be had."""
    try:
        module = ast.parse(textwrap.dedent(inspect.getsource(function.__code__)))
    except (OSError, TypeError, SyntaxError):
        return None
    first = module.body[0]
    if not isinstance(first, ast.FunctionDef):
        return None
    nodes = [*ast.walk(first)]
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    names = [node for node in nodes if isinstance(node, ast.Name)]
    return _Code([each.arg for each in (*first.args.posonlyargs, *first.args.args)], attributes, names)
