"""ProCo: contrast with all samples that a class could have, instead of those that are in the batch.

Du, Wang, Song, Huang: Probabilistic Contrastive Learning for Long-Tailed Visual Recognition. TPAMI 2024. Unit
projections of a class are taken for von Mises-Fisher distributed, whose mean and concentration a running mean over the
epoch gives. The expected contrast with infinitely many pairs then has a closed form, one logit a class, and a rare
class has as many as a frequent one. Beside it the head learns by logit adjustment; the head alone predicts. The means
of the last epoch serve while those of the present one are gathered; in a federation clients send sums of their
projections and class shares, whose weighted mean gives the means over all clients. Differs from the official code: the
normaliser by an expansion for many dimensions (there, a recurrence); the projection has no batch normalisation; the
adjusted view is augmented as the scenario says (there, AutoAugment), and strong views are without shifts of hue; both
views move the means before either is compared with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.blocks.contrast import add_projection
from fedlt.blocks.priors import log_prior
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learners.logit_adjustment import LogitAdjustment
from fedlt.nn.net import Net
from fedlt.nn.softmax import extend
from fedlt.nn.von_mises import concentration, log_inverse_normaliser

SUMS = "projection_sums"  # buffer: [C, P + 1] sums of unit projections, and numbers of them, over the site's samples
USED, GATHERED = "proco/used", "proco/gathered"  # state within a round, of the same form: the last epoch's, this one's
START = 0.9  # length of a class's mean before any of its samples was seen, in a random direction
FAINT = 1e-6  # samples that an earlier mean counts for once new ones come


@dataclass(frozen=True)
class ProCo(LogitAdjustment):
    """Adjusted cross-entropy of one view + contrast * that of the closed form's logits of two strong views."""

    needs: ClassVar[tuple[str, ...]] = ("head", "single_label", "prototypes", "class_counts")
    vectorizable: ClassVar[bool] = False

    contrast: Annotated[float, ">= 0"] = 1.0  # weight of the contrast
    temperature: Annotated[float, "> 0"] = 0.1  # of the similarities
    projection: Annotated[int, ">= 8"] = 128  # dimensions of the sphere

    def build(self, model: Net, task: Task) -> None:
        add_projection(model, task, self.projection)
        means = START * F.normalize(torch.randn(task.num_classes, self.projection))
        model.register_buffer(SUMS, FAINT * extend(means))

    def begin(self, site: Site) -> None:
        site.state[GATHERED] = site.model.part(SUMS) * site.num_samples

    def epoch(self, site: Site) -> None:
        last = site.state[GATHERED]
        site.state |= {USED: last.clone(), GATHERED: FAINT * last / last[:, -1:]}

    def finish(self, site: Site) -> None:
        site.model.part(SUMS).copy_(site.state[GATHERED] / site.num_samples)
        del site.state[USED], site.state[GATHERED]

    def loss(self, site: Site, batch: Batch) -> Tensor:
        strong = [site.view(batch, "strong") for _ in range(2)]
        features = site.model.encode(torch.cat([batch.x, *strong]))  # one pass, as in the official code
        plain, contrasted = features[: len(batch)], features[len(batch) :]

        z, y = F.normalize(site.model.part("projection")(contrasted)), batch.y.repeat(2)
        for sums in (site.state[USED], site.state[GATHERED]):
            sums.index_add_(0, y, extend(z.detach()).to(sums))

        prior = self.tau * log_prior(site.class_counts)
        expected = contrast_logits(z, site.state[USED], self.temperature)
        return F.cross_entropy(site.model.head(plain) + prior, batch.y) + self.contrast * F.cross_entropy(
            expected + prior, y
        )


def contrast_logits(z: Tensor, sums: Tensor, temperature: float) -> Tensor:
    """[N, C] log of the mean of exp(z a / T) over samples a of each class, z [N, P] being unit vectors.

    It is log C(kappa) - log C(|kappa mu + z / T|).

    Args:
        sums: [C, P + 1] of the classes' unit vectors, and their numbers.
    """
    means = (sums[:, :-1] / sums[:, -1:]).double()  # concentrations of 1e5 and more leave float32 no digits
    length = means.norm(dim=1)
    kappa = concentration(length, z.shape[1])
    cosine = z.double() @ (means / length.clamp(min=1e-12)[:, None]).T
    joint = kappa.square() + 2 * kappa * cosine / temperature + temperature**-2
    joint = joint.clamp(min=1e-12).sqrt()
    return (log_inverse_normaliser(joint, z.shape[1]) - log_inverse_normaliser(kappa, z.shape[1])).to(z)
