"""What is taken out of texts before they are cut, so that the tokens that are kept say more (`data.shorten`).

The question is that of arXiv 2403.12563 on long news for transformers of 512 tokens and fewer, whose answer is to take
out stop words and to leave signs and rare words. Here a text is shortened before any tokenizer sees it. Rare words
stay: how often a word occurs in the texts of all clients is nothing that a client knows (`fedlt.tokenizers.federated`
leaves them out of its vocabulary).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedlt.tokenizers.words import matches

_ENGLISH = """
a about above across after again all almost along already also although always am among an and another any anybody
anyone anything are around as at away back be became because become been before behind being below beside besides
between beyond both but by came can come could d did do does doing done down during each either else enough even ever
every everybody everyone everything few first for from further gave get gets getting give given go goes going gone got
had has have having he hence her here hers herself him himself his how however i if in indeed instead into is it its
itself just keep kept last later least less let like likely ll m made make makes many may maybe me might mine more
moreover most much must my myself near need never next no nor not now of off often on once one only onto or other
others otherwise our ours ourselves out over own per perhaps put quite rather re really s said same say says see seem
seemed seems several shall she should since so some somebody someone something sometimes soon still such take than
that the their theirs them themselves then there therefore these they thing things this those though through thus to
together too toward towards under until up upon us use used using ve very was way we well went were what whatever when
whenever where whether which while who whoever whole whom whose why will with within would yes yet you your yours
yourself yourselves
"""
ENGLISH = frozenset(_ENGLISH.split())
"""Words that most English texts share. Parts of contractions are among them (it's, we'll), but not don and t, which say
no; of words that do so, those that stay by default (`data.shorten.keep`) alone."""


NEGATIONS = ("no", "nor", "not", "never")
"""Stop words without which a text may say the contrary."""


@dataclass(frozen=True)
class Shortening:
    """Takes words out of a text.

    Attributes:
        stop: these, in lower case.
        signs: whether signs that are no words are taken out.
        again: whether a word is that stood in the text before.
    """

    stop: frozenset[str] = frozenset()
    signs: bool = False
    again: bool = False

    @classmethod
    def of(cls, words: str | None, keep: list[str] | None, signs: bool, again: bool) -> Shortening:
        """As `data.shorten` has it.

        Raises OSError, and ValueError for a file that is not UTF-8.

        Args:
            words: `english`, or a file with a word a line.
            keep: those that stay; None: `NEGATIONS`.
        """
        stop = ENGLISH if words == "english" else frozenset() if words is None else _listed(Path(words))
        return cls(stop - {word.lower() for word in (NEGATIONS if keep is None else keep)}, signs, again)

    def __call__(self, text: str) -> tuple[str, int, int]:
        """What is left of a text, how many words and signs it has, and how many of these are left."""
        parts: list[str] = []
        seen: set[str] = set()
        total, end = 0, -1

        for match in matches(text):
            total += 1

            word, (start, stop) = match.group(), match.span()
            plain = word.lower()
            is_word = plain[0].isalnum() or plain[0] == "_"
            if plain in self.stop or (self.signs and not is_word) or (self.again and is_word and plain in seen):
                continue

            # Words that stood side by side stay together; where something was taken out, a space stands.
            seen.add(plain)
            parts.append(word if start == end else f" {word}")
            end = stop

        return "".join(parts).lstrip(), total, len(parts)

    def written(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"stop": sorted(self.stop), "signs": self.signs, "again": self.again}

    @classmethod
    def restored(cls, written: Mapping[str, Any]) -> Shortening:
        """From what `written` gave."""
        return cls(frozenset(written["stop"]), written["signs"], written["again"])


def _listed(file: Path) -> frozenset[str]:
    return frozenset(line.strip().lower() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip())
