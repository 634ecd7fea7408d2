"""Where partition and tokenizer meet: clients count the words of their own training texts, and choose a vocabulary.

A source is read before anybody knows who holds which row, and is stored once for all partitions. Under
`data.tokenizer=federated` its words are numbered there, every one, and nothing is decided. Once rows are dealt, each
client that takes part counts the words of the texts that it trains on, with label or without; what the tokenizer
chooses of these counts gets ids, and every other word, one of the test set as well, is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import refuse
from fedlt.data.inputs.tokens import PADDING
from fedlt.data.inputs.words import NumberedKind
from fedlt.data.texts import KEY, recipe_of
from fedlt.process.wording import counted
from fedlt.tokenizers.federated import Federated

if TYPE_CHECKING:
    from fedlt.config.sections import Data
    from fedlt.data.ragged import Ragged
    from fedlt.data.raw import RawData


def undecided(raw: RawData) -> bool:
    """Whether the clients are to choose a vocabulary."""
    return isinstance(raw.inputs, NumberedKind)


def with_vocabulary(raw: RawData, config: Data, held: Sequence[Ragged]) -> RawData:
    """The data set as ids of the words that its clients choose.

    Args:
        held: what each client trains on, as training rows; a client's texts are those of all of them.

    Raises:
        ScenarioError: where they choose none.
    """
    kind, recipe = raw.inputs, recipe_of(config)
    assert isinstance(kind, NumberedKind) and isinstance(recipe, Federated)
    number = len(held[0])
    if recipe.at_least > number:
        what = f"no word can be found by {recipe.at_least} of {counted(number, 'client')}"
        raise refuse(f"{what}; take {number} at most", f"{KEY}.at_least")

    clients, counts, total = told(_texts(raw.x_train, held), len(kind.words), recipe.count)
    heard = np.array(sorted(np.flatnonzero(clients).tolist(), key=kind.words.__getitem__), np.int64)
    chosen = heard[recipe.choose(clients[heard], counts[heard])]
    if not len(chosen):
        what = f"none of {counted(len(heard), 'word')} is found by {counted(recipe.at_least, 'client')} or more"
        raise refuse(f"{what}; take less", f"{KEY}.at_least")

    known = recipe.knowing([kind.words[number] for number in chosen])
    ids = np.array([0, *known.of_words(kind.words[1:]), PADDING], np.int32)  # padding is -1: the last one
    x_train, x_test = ids[raw.x_train], ids[raw.x_test]

    first = 1 + recipe.buckets
    own, test = total[ids[:-1] >= first].sum() / max(1, total.sum()), _share(x_test, first)
    often = f" at least {counted(recipe.count, 'time')}" if recipe.count > 1 else ""
    found = f"those that {counted(recipe.at_least, 'client')} or more have{often}"
    said = (
        f"the vocabulary is {len(chosen):,} of the {np.count_nonzero(total):,} words of "
        f"{counted(number, 'client')}' training texts, {found}: "
        f"{100 * own:.1f} % of these texts' tokens, and {100 * test:.1f} % of the test set's"
    )
    return replace(raw, x_train=x_train, x_test=x_test, inputs=kind.knowing(known, said))


def told(
    texts: Iterator[NDArray[Any]], words: int, least: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """How many clients tell of each word [W], how often these have it [W], and how often all have it [W].

    Args:
        texts: numbers of words of each client, with padding.
        words: W, where 0 is no word.
        least: times that a client must have a word to tell of it.
    """
    clients, counts, total = (np.zeros(words, np.int64) for _ in range(3))
    for own in texts:
        numbers, times = np.unique(own[own > 0], return_counts=True)
        total[numbers] += times
        tells = times >= least
        clients[numbers[tells]] += 1
        counts[numbers[tells]] += times[tells]
    return clients, counts, total


def _texts(x: NDArray[Any], held: Sequence[Ragged]) -> Iterator[NDArray[Any]]:
    """[n, L] the texts of each client."""
    return (x[np.sort(np.concatenate([part[client] for part in held]))] for client in range(len(held[0])))


def _share(x: NDArray[Any], first: int) -> float:
    """The part of the tokens that are ids of words, `first` being the first of these; 0 is a text without a token."""
    return float((x >= first).sum() / max(1, (x > 0).sum()))
