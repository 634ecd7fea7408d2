"""Where texts of a source become tokens (`data.tokenizer`), and what they are known by in the cache."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fedlt.config.own_lines import told
from fedlt.config.reader import chosen
from fedlt.data.coding import refuse
from fedlt.data.digests import digests
from fedlt.data.inputs.kind import Given
from fedlt.data.inputs.texts import tokenised
from fedlt.encoders.text_encoder import TextEncoder
from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.tokenizers.federated import Federated, Numbering
from fedlt.tokenizers.shorten import Shortening

if TYPE_CHECKING:
    from fedlt.config.sections import Data
    from fedlt.target import Target
    from fedlt.tokenizers.tokenizer import Tokenizer

KEY = "data.tokenizer"
FORMAT = 1  # part of what tokens are known by: to be raised when a tokenizer of this project gives other ids


def recipe_of(config: Data) -> Tokenizer:
    """The tokenizer that the scenario names. Raises `ScenarioError`."""
    assert config.tokenizer is not None
    try:
        return config.tokenizer.create()  # type: ignore[no-any-return]
    except ScenarioError as error:
        raise ScenarioError([Problem(KEY, problem.message) for problem in error.problems]) from error


def with_own_tokenizer(config: Data) -> Data:
    """The section as sources read it: an encoder of texts brings its own tokenizer. Raises `ScenarioError`."""
    if config.encoder is None:
        return config
    try:
        recipe = config.encoder.create()
        if not isinstance(recipe, TextEncoder):
            return config
        own = chosen("tokenizer", recipe.tokenizer(), KEY)
    except ValueError as error:
        raise refuse(str(error), "data.encoder") from error
    if config.tokenizer is not None:
        raise refuse(f"{config.encoder.title} brings its own tokenizer; remove it", KEY)
    return replace(config, tokenizer=own)


def shortening_of(config: Data) -> Shortening | None:
    """What takes words out of the texts; None where nothing does.

    Raises:
        ScenarioError: for a file that is no list.
    """
    given, key = config.shorten, "data.shorten.stop_words"
    if not given.active:
        return None
    try:
        return Shortening.of(given.stop_words, given.keep, given.punctuation, given.recurring)
    except UnicodeDecodeError as error:
        raise refuse(f"{given.stop_words} is not UTF-8; convert it", key) from error
    except OSError as error:
        told = f"{error.filename} cannot be read: {error.strerror}; take english, or a file with a word a line"
        raise refuse(told, key) from error


def identity(config: Data) -> str:
    """What decides the tokens of a text: the tokenizer, its keys, its code where it is a user's, and its files."""
    assert config.tokenizer is not None
    try:
        files = {path.name: path for path in recipe_of(config).files()}
        held = digests(config.tokenizer.component.files() | files)
    except ValueError as error:
        raise refuse(str(error), KEY) from error
    except OSError as error:
        raise refuse(f"{error.filename} cannot be read: {error.strerror}", KEY) from error
    shorten = shortening_of(config)
    short = [] if shorten is None else [shorten.written()]
    return json.dumps([FORMAT, config.tokenizer.written(), held, *short], sort_keys=True)


def with_tokens(name: str, train: Given, test: Given, config: Data, kind: Target) -> tuple[Given, Given]:
    """Both splits, texts as tokens where the scenario names a tokenizer. Raises `ScenarioError`.

    Where clients are to choose the vocabulary, tokens are the numbers of words (`fedlt.data.vocabulary`).

    Args:
        name: of the data set, for messages.
        kind: of the targets.
    """
    if config.tokenizer is None:
        return train, test
    if kind.axes:
        raise refuse(f"{name} has a label for each token, and not of these tokens; give token ids, and remove it", KEY)
    recipe = recipe_of(config)
    for split, given in (("training", train), ("test", test)):
        if given.x.ndim != 1 or given.x.dtype.kind not in "UOT" or given.categories is not None:
            what = f"{given.x.dtype} {list(given.x.shape)}"
            raise refuse(f"has no effect: {name} holds no texts but inputs of {what}; remove it", KEY)
        _refuse_missing(name, split, given)

    numbering = Numbering.of(recipe) if isinstance(recipe, Federated) else None
    made_by = numbering or recipe, config.tokenizer.name, config.tokenizer.options, shortening_of(config)
    try:
        train, test = tokenised(*made_by, train.x.tolist()), tokenised(*made_by, test.x.tolist())
    except FedLTError:
        raise
    except Exception as error:  # of a user's own
        raise refuse(f"{name}: {config.tokenizer.title} fails: {told(error)}", KEY) from error
    if numbering is None:
        return train, test
    words = tuple(numbering.numbers)
    return replace(train, vocabulary=len(words), words=words), replace(test, vocabulary=len(words), words=words)


def _refuse_missing(name: str, split: str, given: Given) -> None:
    odd: list[tuple[int, Any]] = [(row, x) for row, x in enumerate(given.x.tolist()) if not isinstance(x, str)]
    if odd:
        what = f"{len(odd)} rows of the {split} set (row {odd[0][0]} first) have no text"
        raise refuse(f"{name}: {what}; leave them out, or write an empty text", "data.input_column")
