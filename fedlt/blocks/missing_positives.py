"""Which labels that say "no" are missing positives: a rule of confidence for each class, and a bound on its finds.

What a site knows of it is in its state, under names that begin with the learner's:

    confidence [C]   moving mean of the probability of the class in samples annotated with it; 1 before there was one
    recovered [C]    labels that were made positive since the pass began
    refused [C]      labels that the bound has kept from it, since the run began
    seen []          samples since the pass began
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fedlt.data.site import Batch, Site

Rule = Literal["class_aware", "literal"]


@dataclass(frozen=True)
class Corrector:
    """Makes labels positive of which the model is sure.

    Attributes:
        name: of the learner, for what the site keeps.
        rule: `class_aware` asks for the probability that annotated positives of the class have on average (at least
            `floor`), `literal` for `floor` and for more than the class has on average in the batch.
        floor: probability below which no label is recovered.
        missing: share rho of a class's positives that may be missing: no more than rho / (1 - rho) times the annotated
            ones are recovered in a pass; None: as many as there are.
        momentum: of the moving mean.
    """

    name: str
    rule: Rule
    floor: float
    missing: float | None
    momentum: float

    def __call__(self, site: Site, batch: Batch, p: Tensor, works: bool) -> Tensor:
        """[B, C] the labels to train with: those annotated, and recovered ones where it works.

        Args:
            site: whose state holds what is known.
            batch: a part of the site's pass over its samples.
            p: [B, C] probabilities, without a gradient.
            works: whether labels are corrected already; confidences are followed all the same.
        """
        state = site.state
        if self._key("confidence") not in state:
            zeros = torch.zeros_like(site.class_counts)
            state[self._key("confidence")] = torch.ones_like(p[0])
            state.update({self._key(name): zeros.clone() for name in ("recovered", "refused")})
            state[self._key("seen")] = torch.zeros_like(zeros[0])

        self._follow(site, batch.y == 1, p)
        over = state[self._key("seen")] >= len(site.data)
        before = torch.where(over, 0, state[self._key("recovered")])
        state[self._key("seen")] = torch.where(over, 0, state[self._key("seen")]) + len(batch)

        found = (batch.y == 0) & self._sure(site, p) if works else torch.zeros_like(batch.y, dtype=torch.bool)
        number = found.sum(0)
        if self.missing is not None:
            fits = before + number <= self.missing / (1 - self.missing) * site.class_counts
            state[self._key("refused")] = state[self._key("refused")] + torch.where(fits, 0, number)
            found, number = found & fits, torch.where(fits, number, 0)
        state[self._key("recovered")] = before + number
        return batch.y.masked_fill(found, 1)

    def recovered(self, site: Site) -> Tensor:
        """[C] labels that were made positive since the pass began."""
        found: Tensor = site.state.get(self._key("recovered"), torch.zeros_like(site.class_counts))
        return found

    def _key(self, name: str) -> str:
        return f"{self.name}/{name}"

    def _follow(self, site: Site, positive: Tensor, p: Tensor) -> None:
        """Move the confidence of the classes that the batch has annotated positives of.

        Args:
            positive: [B, C] annotated positives.
            p: [B, C] predicted probabilities.
        """
        number, key = positive.sum(0), self._key("confidence")
        mean = (p * positive).sum(0) / number.clamp(min=1)
        known = site.state[key]
        site.state[key] = torch.where(number > 0, self.momentum * known + (1 - self.momentum) * mean, known)

    def _sure(self, site: Site, p: Tensor) -> Tensor:
        """[B, C]"""
        if self.rule == "literal":
            return (p > self.floor) & (p > p.mean(0))
        return p > site.state[self._key("confidence")].clamp(min=self.floor)
