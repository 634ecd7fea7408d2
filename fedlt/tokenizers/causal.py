"""Texts by a causal language model of the transformers library, tuned on the class's own texts.

Bayer, Kaufhold, Buchhold, Keller, Dallmeyer, Reuter: Data Augmentation in Natural Language Processing: A Novel Text
Generation Approach for Long and Short Text Classifiers. International Journal of Machine Learning and Cybernetics 2023:
a copy of the model is tuned on the few texts of each class, and goes on from the beginning of one of them; then the
nearest stay. Differs: short texts are begun as long ones are, without a marker and a number.

The model reads and writes the very tokens of the data set, whose tokenizer must therefore be its own. Each client tunes
copies of its own, which are neither kept nor sent.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from fedlt.tokenizers.generator import Text, TextGenerator

if TYPE_CHECKING:
    from torch import Tensor

    from fedlt.data.inputs.tokens import TokenKind

IGNORED = -100  # what the library leaves out of its loss


@dataclass(frozen=True)
class Causal(TextGenerator):
    """A causal language model, tuned on each class's own texts, which it goes on from.

    Attributes:
        library, entry: the two parts of its name.
    """

    library: str = "transformers"
    entry: str = ""
    steps: Annotated[int, ">= 0"] = 40  # of tuning, for each class of a client; 0: the model as it is
    lr: Annotated[float, "> 0"] = 5e-5  # of AdamW, while it is tuned
    batch_size: Annotated[int, ">= 1"] = 8  # texts in a step of tuning, and written at a time
    begin: Annotated[int, ">= 1"] = 3  # tokens of an own text with which a written one begins
    temperature: Annotated[float, "> 0"] = 1.0  # of what is drawn; lower is nearer to what the model believes most

    def obstacle(self, inputs: TokenKind) -> str | None:
        """It writes tokens of its own tokenizer, so the data set must have the same one."""
        made = getattr(inputs, "made", None)
        name = f"{self.library}:{self.entry}"
        if made is None or made.name != name:
            return f"writes tokens of its own tokenizer, and the data set has others; set data.tokenizer={name}"
        known = _model(self.entry).config.vocab_size
        if inputs.vocabulary > known:
            return f"knows {known} tokens, and its tokenizer has {inputs.vocabulary}; give the model its own tokenizer"
        return None

    def texts(self, own: Sequence[Text], count: int, length: int, rng: np.random.Generator) -> list[Text]:
        """Tune a copy of the model on the client's texts, and let it write on from their beginnings."""
        model = copy.deepcopy(_model(self.entry))
        end = model.config.eos_token_id
        end = end[0] if isinstance(end, list) else end
        self._tune(model, own, end, rng)
        marked = end is not None and all(text[-1] == end for text in own)

        # Texts of one batch have beginnings of one length, so that none is padded.
        begins = sorted((own[row][: self.begin] for row in rng.integers(len(own), size=count)), key=len)
        found = []
        for part in _alike(begins, self.batch_size):
            for ids in self._written(model, part, length, end):
                stop = np.flatnonzero(ids[1:] == end)[:1] + 1
                text = ids[: stop[0] + marked] if len(stop) else ids
                found.append(text)
        return [text for text in found if len(text)]

    def _tune(self, model: Any, own: Sequence[Text], end: int | None, rng: np.random.Generator) -> None:
        """Train the copy on the texts, each with its end."""
        import torch

        ended = [text if end is None or text[-1] == end else np.append(text, end) for text in own]
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.lr)
        model.train()
        with torch.enable_grad():
            for _ in range(self.steps):
                batch = [ended[row] for row in rng.integers(len(ended), size=min(self.batch_size, len(ended)))]
                mask = torch.zeros(len(batch), max(map(len, batch)), dtype=torch.int64)
                ids = torch.zeros_like(mask)
                for row, text in enumerate(batch):
                    ids[row, : len(text)], mask[row, : len(text)] = torch.from_numpy(text), 1
                loss = model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, IGNORED)).loss
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        model.eval()

    def _written(self, model: Any, begins: Sequence[Text], length: int, end: int | None) -> Iterator[Text]:
        """Texts that begin as given, cut at their end."""
        import torch

        x: Tensor = torch.from_numpy(np.stack(begins))
        with torch.no_grad():
            found = model.generate(
                input_ids=x,
                attention_mask=torch.ones_like(x),
                do_sample=True,
                temperature=self.temperature,
                top_k=0,
                max_length=length,
                pad_token_id=0 if end is None else end,
            )
        yield from found.numpy()


def _alike(texts: Sequence[Text], size: int) -> Iterator[list[Text]]:
    """Neighbours of one length, at most `size` of them at a time."""
    part: list[Text] = []
    for text in texts:
        if part and (len(part) == size or len(part[0]) != len(text)):
            yield part
            part = []
        part.append(text)
    if part:
        yield part


@lru_cache(maxsize=1)
def _model(entry: str) -> Any:
    """The library's model.

    Raises:
        ValueError: where the library or the model is not at hand.
    """
    name = f"transformers:{entry}"
    try:
        import transformers
    except ImportError as error:
        raise ValueError(f"{name} needs the package transformers: pip install transformers") from error

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        return transformers.AutoModelForCausalLM.from_pretrained(entry).float().eval()
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        remedy = "give a folder with config.json and weights of a causal language model: transformers:./folder"
        raise ValueError(f"{name} cannot be loaded ({reason}); {remedy}") from error
