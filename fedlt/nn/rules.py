"""Clauses as rules that can be read: `wheat and tonnes and not dividend` votes 12 for grain, and 3 against earn.

The rules say all that the clauses do: a sample's votes are the sums of the weights of the rules that hold for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fedlt.nn.clauses import Clauses


@dataclass(frozen=True)
class Rule:
    """An AND of features, and what it says.

    Attributes:
        present: numbers of the features that must be there, ascending.
        absent: of those that must not.
        weights: [C] votes for each class where it holds.
    """

    present: tuple[int, ...]
    absent: tuple[int, ...]
    weights: tuple[int, ...]

    def holds(self, features: Collection[int]) -> bool:
        """Whether it holds for a sample.

        Args:
            features: the numbers of all that the sample has.
        """
        return all(one in features for one in self.present) and not any(one in features for one in self.absent)

    def text(self, names: Mapping[int, str] | Sequence[str] = ()) -> str:
        """Its condition in words.

        Args:
            names: of the features, by number; a feature without one is called by its number.
        """
        known = names if isinstance(names, Mapping) else dict(enumerate(names))
        there = [known.get(one, str(one)) for one in self.present]
        return " and ".join([*there, *(f"not {known.get(one, str(one))}" for one in self.absent)])


def rules_of(clauses: Clauses) -> list[Rule]:
    """The rules of a model's clauses: alike ones are one rule, whose weights are added; those that say nothing are
    left out. A model of a run has its clauses as `run.model().net.backbone`.
    """
    literals, has = clauses.included()
    found: dict[tuple[int, ...], list[int]] = {}
    for row, weights in zip(has, clauses.weights.tolist(), strict=True):
        key = tuple(literals[row].tolist())
        if key:
            found[key] = [a + b for a, b in zip(found[key], weights, strict=True)] if key in found else weights

    size = clauses.features
    return [
        Rule(tuple(one for one in key if one < size), tuple(one - size for one in key if one >= size), tuple(weights))
        for key, weights in found.items()
        if any(weights)
    ]


def votes(rules: Iterable[Rule], features: Collection[int], classes: int) -> list[int]:
    """What rules say of a sample: the sum of the weights of those that hold.

    Args:
        rules: of one model.
        features: numbers of those that the sample has.
        classes: C.

    Returns:
        [C] whole numbers; the largest is predicted.
    """
    held = [rule.weights for rule in rules if rule.holds(features)]
    return [sum(weights[label] for weights in held) for label in range(classes)]


def rows(
    rules: Iterable[Rule], classes: Sequence[str], names: Mapping[int, str] | Sequence[str] = ()
) -> Iterator[dict[str, str | int]]:
    """A row for each rule and class that it votes for or against, as a table has them: rule, class, weight.

    Args:
        classes: their names.
        names: as in `Rule.text`.
    """
    for rule in rules:
        for label, weight in zip(classes, rule.weights, strict=True):
            if weight:
                yield {"rule": rule.text(names), "class": label, "weight": weight}
