"""Labels by vote: several labelers name the class of texts that have none; where they disagree, people decide.

Carammia, Iacus, Porro: Rethinking Scale: The Efficacy of Fine-Tuned Open-Source LLMs in Large-Scale Reproducible Social
Science Research. arXiv 2411.00890: several models propose, people look at what they disagree about, and one small model
is tuned on the result.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fedlt.errors import UsageError

if TYPE_CHECKING:
    from fedlt.results.runs import Run
    from fedlt.results.trained import Trained

    Labeler: TypeAlias = Run | Trained | Callable[[Sequence[str]], Sequence[str]] | Sequence[str | None]


@dataclass(frozen=True)
class LabelVote:
    """What the labelers have said of each text, and what they agree upon.

    Attributes:
        texts: as they were given.
        votes: by labeler, a label for each text; "" where it says nothing.
        labels: what they agree upon, "" where they do not.
    """

    texts: tuple[str, ...]
    votes: Mapping[str, tuple[str, ...]]
    labels: tuple[str, ...]

    @property
    def agreed(self) -> int:
        """How many texts have got a label."""
        return sum(bool(label) for label in self.labels)

    def agreement(self) -> dict[tuple[str, str], float]:
        """By two labelers, the share of the texts of which they say the same, among those of which both say something;
        NaN where there are none.
        """
        return {
            (one, other): _share([a == b for a, b in zip(self.votes[one], self.votes[other], strict=True) if a and b])
            for one, other in combinations(self.votes, 2)
        }

    def write_agreed(self, path: Path | str) -> Path:
        """The texts with a label, as a table that `data.name` reads: `.csv` or `.jsonl`, columns text and label."""
        agreed = [{"text": text, "label": label} for text, label in zip(self.texts, self.labels, strict=True) if label]
        return _written(Path(path), ["text", "label"], agreed)

    def write_disputed(self, path: Path | str) -> Path:
        """The other texts, for people: `.csv` or `.jsonl` with the columns text, label (empty), and one a labeler."""
        rows = [
            {"text": text, "label": "", **dict(zip(self.votes, said, strict=True))}
            for text, label, *said in zip(self.texts, self.labels, *self.votes.values(), strict=True)
            if not label
        ]
        return _written(Path(path), ["text", "label", *self.votes], rows)

    def text(self) -> str:
        """In a few lines: how many are agreed upon, and how often each two labelers say the same."""
        lines = [f"{self.agreed:,} of {len(self.texts):,} texts are agreed upon"]
        lines += [f"{one} and {other}: {100 * share:.1f} %" for (one, other), share in self.agreement().items()]
        return "\n".join(lines)


@dataclass(frozen=True)
class Described:
    """A labeler that has seen no label: the class whose description lies nearest to the text, by a frozen encoder.

    Attributes:
        descriptions: of the classes, by their names.
        encoder, options: its name and keys, as in `data.encoder`.
    """

    descriptions: Mapping[str, str]
    encoder: str = "minilm"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """The name of the nearest description for each text.

        Raises:
            FedLTError: where the encoder is not at hand.
        """
        names = list(self.descriptions)
        features = self._features([*self.descriptions.values(), *texts])
        nearest = (features[len(names) :] @ features[: len(names)].T).argmax(1)
        return [names[place] for place in nearest.tolist()]

    def _features(self, texts: Sequence[str]) -> Any:
        """[N, D] features of length 1."""
        from fedlt.config.reader import chosen
        from fedlt.data.encoding import features_of
        from fedlt.data.inputs.texts import tokens_of
        from fedlt.encoders.text_encoder import TextEncoder

        choice = chosen("encoder", {"name": self.encoder, **self.options}, "encoder")
        recipe = choice.create()
        if not isinstance(recipe, TextEncoder):
            raise UsageError(f"{choice.title} encodes pictures; take an encoder of texts, such as minilm")
        tokenizer = chosen("tokenizer", recipe.tokenizer(), "encoder").create()
        ids, mask, *_ = tokens_of(tokenizer, texts)
        features = features_of(choice.name, choice.options, np.where(mask, ids, -1)).astype(np.float32)
        return features / np.linalg.norm(features, axis=1, keepdims=True)


def label_vote(texts: Sequence[str], labelers: Mapping[str, Labeler], least: int | None = None) -> LabelVote:
    """Let several labelers name the classes of texts.

    Args:
        texts: without labels.
        labelers: by name: runs (`fedlt.open_run`), their models (`run.model()`), `fedlt.Described`, functions from
            texts to labels, or lists of labels, where None and "" say nothing of a text.
        least: how many must say the same, and more than say any other; all that say something, and two at least, unless
            given.

    Raises:
        UsageError: for fewer than two labelers, for labels that are not one a text, and for a `least` beyond them.
    """
    given = tuple(texts)
    if len(labelers) < 2:
        raise UsageError(f"a vote takes two labelers or more, got {len(labelers)}")
    if least is not None and not 1 <= least <= len(labelers):
        raise UsageError(f"expected least in 1..{len(labelers)}, the number of labelers, got {least}")
    if {"text", "label"} & set(labelers):
        raise UsageError("text and label are columns of what is written; give the labeler another name")

    votes = {name: tuple(_said(name, labeler, given)) for name, labeler in labelers.items()}
    return LabelVote(given, votes, tuple(_upon([*said], least) for said in zip(*votes.values(), strict=True)))


def _said(name: str, labeler: Any, texts: tuple[str, ...]) -> Iterator[str]:
    """A label for each text."""
    model = labeler.model() if hasattr(labeler, "model") and callable(labeler.model) else labeler
    answers = model.predict(list(texts)) if hasattr(model, "predict") else model(texts) if callable(model) else model
    labels = ["" if label is None else str(label) for label in answers]
    if len(labels) != len(texts):
        raise UsageError(f"{name} gave {len(labels)} labels for {len(texts)} texts")
    yield from labels


def _upon(said: Sequence[str], least: int | None) -> str:
    """The label that labelers agree upon; "" where they do not."""
    counts = Counter(label for label in said if label).most_common(2)
    if not counts:
        return ""
    label, most = counts[0]
    needed = max(2, sum(map(bool, said))) if least is None else least
    tied = len(counts) > 1 and counts[1][1] == most
    return label if most >= needed and not tied else ""


def _share(same: Sequence[bool]) -> float:
    return sum(same) / len(same) if same else float("nan")


def _written(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> Path:
    """The rows, written as the ending of the path says.

    Raises:
        UsageError: for an ending that is neither .csv nor .jsonl.
    """
    if path.suffix not in (".csv", ".jsonl"):
        raise UsageError(f"expected a file that ends in .csv or .jsonl, got {path.name}")
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(file, list(columns), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return path
