"""Texts as token ids (`data.tokenizer`): stored and given to models as other tokens are, and made of further texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedlt.config import catalog
from fedlt.data.inputs.kind import Given, InputKind, Tokenised
from fedlt.data.inputs.masked import padded
from fedlt.data.inputs.tokens import TokenKind
from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.process.wording import counted
from fedlt.tokenizers.shorten import Shortening

if TYPE_CHECKING:
    from fedlt.config.sections import Data
    from fedlt.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class TextKind(TokenKind):
    """Further texts may be of any length, so `shorter` is always true.

    Attributes:
        made: how the tokens were made.
    """

    name: ClassVar[str] = "texts"
    title: ClassVar[str] = "tokens of texts"

    made: Tokenised | None = None

    @classmethod
    def fits(cls, given: Given) -> bool:
        return given.made is not None

    @classmethod
    def read(cls, name: str, train: Given, test: Given) -> tuple[TextKind, NDArray[Any], NDArray[Any]]:
        kind, x_train, x_test = super().read(name, train, test)
        return cls(kind.vocabulary, kind.length, True, train.made), x_train, x_test

    @classmethod
    def restored(cls, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> InputKind:
        return cls(**{**meta, "made": Tokenised(**meta["made"])})

    def meta(self) -> dict[str, Any]:
        return {**super().meta(), "made": asdict(self._made)}

    def stored(self, given: Given) -> NDArray[Any]:
        """Texts [N], cut to the longest that the kind was fitted to; or token ids [N, L] with their mask."""
        if given.x.dtype.kind not in "UOT":
            return super().stored(given)
        if given.x.ndim != 1:
            raise FedLTError(f"expected a list of texts, got an array of shape {list(given.x.shape)}")
        texts = given.x.tolist()
        odd = next((place for place, text in enumerate(texts) if not isinstance(text, str)), None)
        if odd is not None:
            raise FedLTError(f"expected texts, got {texts[odd]!r} in row {odd}; write '' for what is missing")

        if self._made.shorten is not None:
            shorten = Shortening.restored(self._made.shorten)
            texts = [shorten(text)[0] for text in texts]
        x, mask, *_ = tokens_of(self._recipe(), texts)
        return super().stored(Given(x, mask))

    def _recipe(self) -> Tokenizer:
        """What makes tokens of further texts, none longer than those that the kind was fitted to.

        Raises:
            ScenarioError: where a user's own file, or a folder, is not where it was.
        """
        try:
            recipe: Tokenizer = catalog.find("tokenizer", self._made.name).create(dict(self._made.options))
        except ScenarioError as error:
            remedy = "put it back, or open the run again, which keeps a copy of own code"
            told = f"texts cannot be read: {error.problems[0].message.partition(';')[0]}; {remedy}"
            raise ScenarioError(Problem("data.tokenizer", told)) from error
        return replace(recipe, length=min(recipe.length, self.length))

    def by_code_of(self, data: Data) -> TextKind:
        if data.tokenizer is None or ".py:" not in self._made.name:
            return self
        return replace(self, made=replace(self._made, name=data.tokenizer.name))

    def remarks(self) -> list[str]:
        return [self.told(self._made.name.rpartition(":")[2])]

    def told(self, by: str) -> str:
        """How much of the training texts is kept.

        Args:
            by: what the tokenizer is called.
        """
        made, options = self._made, self._made.options
        told = f"texts are tokens by {by}"
        if not made.cut:
            told += f": every training text is whole within {counted(options['length'], 'token')}"
        else:
            told += f": {100 * made.kept / made.tokens:.1f} % of the training texts' tokens are kept, "
            told += f"{made.cut:,} of {made.texts:,} texts being cut to {counted(options['length'], 'token')} "
            told += f"({options['keep']})"
        if made.shorten is not None:
            share = 100 * made.left / max(1, made.words)
            told = f"data.shorten leaves {share:.1f} % of the training texts' words and signs; {told}"
        bare = f"; {counted(made.bare, 'text')} without a token {'is' if made.bare == 1 else 'are'} one that says so"
        return told + (bare if made.bare else "")

    @property
    def _made(self) -> Tokenised:
        assert self.made is not None
        return self.made


def tokens_of(
    recipe: Tokenizer, texts: Iterable[str]
) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.int64], int]:
    """Texts as token ids.

    Args:
        recipe: of the tokenizer, which cuts long texts.
        texts: read once.

    Returns:
        Ids [N, L] and their mask, how many tokens each text has in all [N], and how many texts have none.
    """
    ids: list[NDArray[np.int32]] = []
    lengths, totals, bare = [], [], 0
    for text in texts:
        kept, total = recipe.kept(text)
        if not len(kept):
            kept, bare = [recipe.empty], bare + 1
        ids.append(np.asarray(kept, np.int32))
        lengths.append(len(kept))
        totals.append(max(total, len(kept)))
    x, mask = padded(np.concatenate(ids), np.array(lengths))
    return x, mask, np.array(totals), bare


def tokenised(
    recipe: Tokenizer, name: str, options: Mapping[str, Any], shorten: Shortening | None, texts: Sequence[str]
) -> Given:
    """Texts of one split as token ids, and what is to be known of how they were made.

    Args:
        name, options: the recipe's.
        shorten: what takes words out before; None: nothing does.
    """
    words, left = 0, 0
    if shorten is not None:
        shortened = [shorten(text) for text in texts]
        texts = [text for text, *_ in shortened]
        words, left = sum(before for _, before, _ in shortened), sum(after for *_, after in shortened)

    x, mask, totals, bare = tokens_of(recipe, texts)
    kept = mask.sum(axis=1)

    made = Tokenised(
        name,
        dict(options),
        texts=len(x),
        tokens=int(totals.sum()),
        kept=int(kept.sum()),
        cut=int((kept < totals).sum()),
        bare=bare,
        shorten=None if shorten is None else shorten.written(),
        words=words,
        left=left,
    )
    return Given(x, mask, vocabulary=recipe.vocabulary, made=made)
