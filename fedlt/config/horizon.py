"""How many rounds a run has, and whether anything in it has asked.

A run whose result does not depend on that number may go on for more rounds once it has finished. Built-in methods and
people's own ones read it in many ways (an annealed loss, a deferred stage, the schedule of the learning rate), so no
list could name them: the attributes that tell it note that they were read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


@dataclass
class Horizon:
    """Whether anything depends on the number of rounds.

    Attributes:
        asked: whether a model, strategy, learner or the trainer has read something that follows the number of rounds.
    """

    asked: bool = False


class _Told(Protocol):
    @property
    def horizon(self) -> Horizon: ...


class OfTheRun(Generic[T]):
    """A dataclass field that follows the number of rounds of the run.

    Whoever reads it is noted in `horizon` of the object; its plain value is `vars(object)["_NAME"]`, for code whose
    result does not depend on the number.

    Attributes:
        default: of the field; without one it has to be given.
    """

    def __init__(self, *default: T) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, told: _Told | None, owner: Any = None) -> T:
        if told is None:  # how a dataclass looks for the default
            if not self._default:
                raise AttributeError(self._name)
            return self._default[0]
        told.horizon.asked = True
        value: T = told.__dict__[self._name]
        return value

    def __set__(self, told: _Told, value: T) -> None:
        told.__dict__[self._name] = value
