"""Counting: the site counts the words of its samples, class by class, into a count model; there is nothing to train.

Models: `ss3` and `naive_bayes` (`fedlt.nn.text.word_counts`). A pass over the site's samples gives the same numbers in
every round, so that one round is all it takes. `centralized` counts the union, `local` each client's own samples, and
`exact_sum` adds up what clients have counted. Counts must not be averaged, so other strategies are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from fedlt.data.inputs.features import Features
from fedlt.data.site import Batch, Site
from fedlt.learner import Learner, Logits
from fedlt.nn.net import Net
from fedlt.nn.text.word_counts import WordCounts
from fedlt.strategy import Strategy


@dataclass(frozen=True)
class Counting(Learner):
    """The headline reads all of a sample; further variants, such as `first10`, stop after so many of its words."""

    needs: ClassVar[tuple[str, ...]] = ("count_model", "single_label")

    read: list[Annotated[int, ">= 1"]] = field(default_factory=list)  # words after which a sample is predicted as well

    def obstacle(self, strategy: Strategy) -> str | None:
        if strategy.scope == "centralized" or strategy.private == ("*",) or "count_model" in strategy.needs:
            return None
        return "counts are added up, not averaged; take strategy=exact_sum, centralized or local"

    def finish(self, site: Site) -> None:
        table = site.model.backbone
        assert isinstance(table, WordCounts)

        def count(batch: Batch) -> Tensor:
            table.add(batch.x, batch.y)
            return batch.y

        table.clear()
        site.scan(count)

    def predict(self, model: Net, x: Tensor) -> Logits:
        scores = model(x)
        if not self.read:
            return scores  # type: ignore[no-any-return]
        tokens = x.inputs() if isinstance(x, Features) else x
        steps = torch.arange(tokens.shape[1], device=tokens.device)
        begun = {f"first{count}": model(tokens.masked_fill(steps >= count, -1)) for count in self.read}
        return {"all": scores, **begun}
