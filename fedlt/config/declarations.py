"""The words by which strategies and learners declare what they are: class variables, read from their source text.

`fedlt.strategy.Strategy` and `fedlt.learner.Learner` say what each class variable is for; the words that they may hold
stand here, beside those of an earlier version, which are refused with the new spelling.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from fedlt.config.schema import suggest

BEYOND_MODEL = {
    "class_prior": "the number of training samples of each class over all clients, as `task.class_counts`",
    "class_vectors": "a vector for each class, where the scenario names them (`model.class_vectors`), in the `task`",
    "auxiliary_set": "balanced labelled data at the server (`data.auxiliary`), as `server.auxiliary`",
    "server_unlabelled": "samples without labels at the server (`data.server_unlabelled`), as `server.unlabelled`",
    "server_validation": "the global validation set (`data.validation`), where there is one, as `server.validation`",
    "class_counts": "each client tells its number of samples of each class",
    "local_loss": "some clients of each round tell the generic model's mean loss on their samples",
    "prototypes": "each client sends class means of its features",
    "feature_moments": "each client sends sums of products of its features, class by class or over all classes",
    "word_counts": "each client tells how often each word stands in its samples of each class",
    "class_gradients": "each client sends gradients class by class",
    "unlabelled": "samples without labels at the sites (`data.unlabelled`), as `site.unlabelled`",
}
"""Needs: what a method is given or sends beyond the model. The first five are given to those alone who declare them."""

CONDITIONS = {
    "head": "the model's last layer can be told from what is before it: there are features, and a head on them",
    "linear_head": "the model's head is one linear layer, whose weights it reads or which it replaces",
    "sgd": "local steps are those of `local.optimizer=sgd`, by whose summed rates the method divides",
    "count_model": "the model is counted, not trained: `model=ss3` or `naive_bayes`, with `learner=counting`",
    "clause_model": "the model is made of clauses: `model=clauses`, with `learner=tsetlin`",
    "tokens": "the inputs are token ids",
    "single_label": "a sample has one class: targets are `single` or `ordinal` (`data.targets`)",
    "several_labels": "a sample may have several classes: targets are `multilabel` (`data.targets`)",
    "item_tower": "the model scores items by a tower of their own: `model=two_towers`",
    "gated_experts": "the model's experts have a gate that reads a history: `model=behaviour_experts`",
    "step_labels": "the steps of a sample have a class each: targets are `tags` (`data.targets`)",
    "class_tree": "the scenario names a tree of classes (`data.parents`), as `task.parents`",
    "prompt_updates": "an update fits only the round that it was sent for, so none may be late (`federation.late`)",
}
"""Needs: what must hold of model and federation, or the method is refused before any work."""

NEEDS = BEYOND_MODEL | CONDITIONS
"""What a strategy or a learner may declare as `needs`."""

LEARNER_PARTS = {
    "loss": "`Learner.loss`: a strategy without it has losses of its own, and takes learner=cross_entropy only",
    "stages": "`Learner.stages`, where they train parts of the model in turns",
    "head": "a head that the learner's `build` puts in the place of the model's",
    "prediction": "`Learner.predict`",
}
"""What a strategy may use of a learner (`Strategy.learner_parts`); one that brings another part is refused."""

SCOPES = {
    "federated": "a generic model, and a personal one for each client",
    "personal": "personal models only: there is no generic model to test",
    "centralized": "one site holds the data of all clients",
}
"""Whose models a strategy trains (`Strategy.scope`)."""

RENAMED = {
    "strategy": {
        "has_generic": 'scope = "personal" where there is no generic model',
        "union": 'scope = "centralized" where one site holds the data of all clients',
        "uses_learner": "learner_parts = () where the losses are the strategy's own",
        "apart": 'learner_parts = ("loss", "head", "prediction"), without "stages"',
        "own_head": 'learner_parts = ("loss", "stages", "prediction"), without "head", and needs = ("linear_head",)',
        "own_prediction": 'learner_parts = ("loss", "stages"), and needs = ("linear_head",)',
        "linear_head": 'needs = ("linear_head",)',
        "prompt": 'needs = ("prompt_updates",), with the reason in a comment',
    },
    "learner": {
        "linear_head": 'needs = ("linear_head",)',
        "alone": "vectorizable = False where clients must be trained one by one",
    },
}
"""Class variables of version 0.1, by kind, and what is written in their place. To be dropped after one version."""


def renamed(kind: str, names: dict[str, str]) -> Iterator[str]:
    """A sentence for each class variable of an earlier version.

    Args:
        names: class variables, and the class that assigns each.
    """
    for old, new in RENAMED.get(kind, {}).items():
        if old in names:
            yield f"the class variable {old} of {names[old]} is no longer known; write {new}"


def assigned(part: Any) -> dict[str, str]:
    """The class variables of a class and its bases, each with the name of the class that assigns it; no fields."""
    own = {field.name for field in fields(part)}
    return {
        name: base.__name__
        for base in reversed(part.__mro__)
        for name, value in vars(base).items()
        if name not in own and not callable(value) and not isinstance(value, property)
    }


def misspelt(part: object) -> Iterator[str]:
    """A sentence for each declared word that no table above has.

    Args:
        part: a strategy or a learner.
    """
    for variable, known in (("needs", NEEDS), ("learner_parts", LEARNER_PARTS)):
        declared = getattr(part, variable, ())
        if isinstance(declared, str):
            yield f"{variable} must be a tuple of words: {variable} = ({declared!r},)"
        else:
            yield from (_unknown(variable, word, known) for word in declared if word not in known)

    for variable in ("private", "frozen"):
        patterns = getattr(part, variable, ())
        if isinstance(patterns, str):  # as ("head.*") is, without its comma
            yield f"{variable} must be a tuple of patterns: {variable} = ({patterns!r},)"

    scope = getattr(part, "scope", "federated")
    if scope not in SCOPES:
        yield _unknown("scope", scope, SCOPES)


def _unknown(variable: str, word: str, known: dict[str, str]) -> str:
    return f"{variable} has no word {word!r}{suggest(word, known)}"
