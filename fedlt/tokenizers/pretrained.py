"""The tokenizer that an encoder of the transformers library was trained with, by `transformers:NAME` or a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fedlt.tokenizers.tokenizer import Tokenizer, cut

FILE = "tokenizer.json"  # where the library keeps one


@dataclass(frozen=True)
class Pretrained(Tokenizer):
    """Parts of words as the encoder learnt them, with its marks for the beginning and the end of a text.

    Attributes:
        library, entry: the two parts of its name.
    """

    library: str = "transformers"
    entry: str = ""

    @property
    def vocabulary(self) -> int:
        return len(self._tokenizer)

    @property
    def empty(self) -> int:
        marks = (self._tokenizer.unk_token_id, self._tokenizer.eos_token_id)
        return next((mark for mark in marks if mark is not None), 0)

    def ids(self, text: str) -> Sequence[int]:
        return self._tokenizer.encode(text)  # type: ignore[no-any-return]

    def kept(self, text: str) -> tuple[Sequence[int], int]:
        """The marks stay, and of the rest what there is room for."""
        found = self._tokenizer(text, return_special_tokens_mask=True)
        ids, mark = found["input_ids"], found["special_tokens_mask"]
        if len(ids) <= self.length:
            return ids, len(ids)
        if sum(mark) >= self.length:
            told = f"{self.library}:{self.entry} has {sum(mark)} marks in a text, and length is {self.length}"
            raise ValueError(f"{told}; take more")

        plain = [place for place in range(len(ids)) if not mark[place]]
        chosen = {*cut(plain, self.length - sum(mark), self.keep)}
        return [ids[place] for place in range(len(ids)) if mark[place] or place in chosen], len(ids)

    def files(self) -> tuple[Path, ...]:
        """That of a name of the hub, in its cache; a folder's files are known by the scenario's choice."""
        if Path(self.entry).is_dir():
            return ()
        found = self._cached()
        if found is None:
            self.ids("")  # the library fetches it
            found = self._cached()
        return () if found is None else (found,)

    def _cached(self) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.entry, FILE)
        return Path(found) if isinstance(found, str) else None

    @cached_property
    def _tokenizer(self) -> Any:
        """The library's.

        Raises:
            ValueError: where the library or the tokenizer is not at hand.
        """
        name = f"{self.library}:{self.entry}"
        try:
            import transformers
        except ImportError as error:
            raise ValueError(f"{name} needs the package transformers: pip install transformers") from error

        transformers.logging.set_verbosity_error()  # of long texts, which are cut here
        try:
            return transformers.AutoTokenizer.from_pretrained(self.entry)
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            remedy = f"without a network, put {FILE} and tokenizer_config.json into a folder: transformers:./folder"
            raise ValueError(f"{name} cannot be loaded ({reason}); {remedy}") from error
