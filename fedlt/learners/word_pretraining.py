"""Self-supervised pre-training on words: the encoder first reads the same texts without their labels.

`mlm`: Devlin, Chang, Lee, Toutanova: BERT. NAACL 2019: 15 % of the tokens are to be told, of which most are hidden.
`rtd`: Clark, Luong, Le, Manning: ELECTRA. ICLR 2020, and for long texts Niklaus, Giofré: BudgetLongformer: Can we
Cheaply Pretrain a SotA Legal Language Model From Scratch? ENLSP at NeurIPS 2022: a narrow generator, trained to tell
hidden tokens, writes words in their places, and the encoder tells for every token whether it was written.

Labels are not used, so that a class of few texts is read as closely as others, and a site's texts without labels
(`data.unlabelled`) are read too. Then encoder and head are trained by the usual loss. Under a federated strategy both
stages are federated. Differs from the official codes: texts are those of the task alone, both stages share one budget
of rounds, and a word is a row of the table of embeddings, which several words may share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from torch import Tensor, nn

from fedlt.blocks.hidden_words import Generator, Words, masked_words, reader_of_words, replaced_words
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Stage
from fedlt.learners.cross_entropy import CrossEntropy
from fedlt.nn.net import Net
from fedlt.nn.text.encoder import expect_tokens


@dataclass(frozen=True)
class WordPretraining(CrossEntropy):
    """Stages: words (no labels), then labels."""

    needs: ClassVar[tuple[str, ...]] = ("tokens",)
    vectorizable: ClassVar[bool] = False

    pretrain: Literal["mlm", "rtd"] = "mlm"  # tell hidden words, or which words a generator has replaced
    share: Annotated[float, "> 0", "< 1"] = 0.5  # of the run's rounds, without labels

    def build(self, model: Net, task: Task) -> None:
        encoder, embedding = reader_of_words("word_pretraining", model, task.inputs)
        if self.pretrain == "mlm":
            model.words = Words(embedding, encoder.state_dim)
        else:
            length = expect_tokens("word_pretraining", task.inputs).length
            model.words = nn.ModuleDict(
                {"generator": Generator(embedding, length), "judge": nn.Linear(encoder.state_dim, 1)}
            )

    def stages(self) -> tuple[Stage, ...]:
        words = Stage("words", self.share, ("backbone.*", "words.*"))
        return words, Stage("labels", 1 - self.share, ("backbone.*", "head.*"))

    def begin(self, site: Site) -> None:
        super().begin(site)
        if site.stage.name == "words" and site.unlabelled:
            site.data = site.data.joined(site.unlabelled)

    def loss(self, site: Site, batch: Batch) -> Tensor:
        if site.stage.name != "words":
            return super().loss(site, batch)
        encoder, words = site.model.part("backbone"), site.model.part("words")
        ids, mask = site.task.inputs.split(batch.x)
        assert mask is not None  # build() has refused other inputs than tokens
        if self.pretrain == "mlm":
            return masked_words(encoder, words, encoder.embedding, ids, mask, site.rng)[0]
        return replaced_words(encoder, words["judge"], words["generator"], ids, mask, site.rng)
