"""CReFF: the server learns synthetic features whose head gradients are the clients', and re-trains a head on them.

Shang, Lu, Huang, Wang: Federated Learning on Heterogeneous and Long-Tailed Data via Classifier Re-Training with
Federated Features. IJCAI 2022. There are equally many synthetic features of every class, so the head re-trained on
them is balanced; it replaces the averaged head in the generic model, while training goes on from the averaged one.
Differences from the official code: a client's gradient of a class is exact, over all of its samples of that class,
where the code averages ten draws of 32 augmented ones; sizes follow the model (the code hard-codes 10 classes in
places). As in the code the clients' gradients are averaged without weights, each round's head starts afresh, and the
cosine's denominator is a little larger than the product of the norms, so that vanishing rows hardly count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from fedlt.blocks.retrained_head import RetrainedHead
from fedlt.nn.softmax import extend, fresh_head, gradient, regress
from fedlt.process.threads import one_thread
from fedlt.strategy import Client, Server, Update, combine

TINY = 1e-16
"""Least product of two norms, and least norm, to divide by: no direction is divided by 0 under `epsilon=0`."""


@dataclass(frozen=True)
class CReFF(RetrainedHead):
    """Heads are one matrix [C, D + 1], the bias last; features are extended by a 1. M synthetic features a class."""

    # Prompt, since the real gradients are matched under the head that they were taken with.
    needs: ClassVar[tuple[str, ...]] = ("class_gradients", "linear_head", "prompt_updates", "single_label")
    learner_parts: ClassVar[tuple[str, ...]] = ("loss", "stages")

    features: Annotated[int, ">= 1"] = 100  # M
    match_steps: Annotated[int, ">= 0"] = 100  # of gradient descent on the synthetic features, each round
    match_lr: Annotated[float, "> 0"] = 0.1
    epsilon: Annotated[float, ">= 0"] = 1e-6  # added to |g||g'| in the cosine of two gradients; 0: the exact cosine
    head_epochs: Annotated[int, ">= 0"] = 300  # of re-training the head on the synthetic features, each round
    head_lr: Annotated[float, "> 0"] = 0.01
    head_batch: Annotated[int, ">= 1"] = 32

    def setup(self, server: Server) -> None:
        size = server.task.num_classes, self.features, server.model.feature_dim
        server.state["features"] = torch.from_numpy(server.rng.standard_normal(size)).to(server.weights)
        server.outbox["head"] = fresh_head(*size[::2], server.rng, server.weights)

    def fit(self, client: Client) -> None:
        self.send_gradients(client)
        super().fit(client)

    def send_gradients(self, client: Client) -> None:
        """Those of the re-trained head on the received backbone, before the training."""
        y, head = client.data.y, client.received["head"]
        features = extend(client.features())
        gradients = head.new_zeros(len(head), *head.shape)
        for label in client.class_counts.nonzero().flatten().tolist():
            own = y == label
            gradients[label] = gradient(features[own], y[own], head)
        client.extras["gradients"] = gradients
        client.extras["holders"] = (client.class_counts > 0).float()

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """Match the synthetic features to the clients' mean gradients of the head, and retrain the head on them."""
        whole = combine(updates)
        holders = whole.sums["holders"]
        real = whole.sums["gradients"] / holders.clamp(min=1)[:, None, None]
        head = server.outbox["head"]  # that of the clients' gradients
        with one_thread():
            server.state["features"] = self.match(server.state["features"], real, holders > 0, head)
            server.outbox["head"] = self.retrain(server.state["features"], server.rng)
        server.weights = whole.mean

    def match(self, synthetic: Tensor, real: Tensor, seen: Tensor, head: Tensor) -> Tensor:
        """[C, M, D] synthetic features whose gradients [C, C, D + 1] point more nearly along the real ones.

        The distance sums 1 - cosine over the rows of each class's weight gradient, and over its bias gradient. With P
        the probabilities of a class's features X, E = P less the wanted ones, G = E' X / M their gradient, S the
        distance's derivative by G, and H the head, that by X is (E S + J H) / M; J: X S' through P's Jacobian.

        Args:
            synthetic: [C, M, D] features of each class.
            real: [C, C, D + 1] mean gradients of the clients, by class.
            seen: bool [C] classes that any client has.
            head: [C, D + 1] that of the clients' gradients, the bias last.
        """
        present = seen.nonzero().flatten()
        extended, real = extend(synthetic[present]), real[present]
        features, turned = extended[..., :-1], extended.transpose(1, 2)  # views
        heads = head.expand(len(present), -1, -1)
        wanted = torch.eye(len(head), dtype=head.dtype, device=head.device)[present, :, None]
        each = synthetic.shape[1]
        step = -self.match_lr / each

        with torch.inference_mode():  # quicker calls than under no_grad
            for _ in range(self.match_steps):
                p = torch.bmm(heads, turned).softmax(1)  # [held, C, M], as everything of the samples
                error = p - wanted
                slope = self.slopes(torch.bmm(error, extended).div_(each), real)
                passed = torch.bmm(slope, turned).mul_(p)
                passed.addcmul_(p, passed.sum(1, keepdim=True), value=-1)

                features.baddbmm_(error.transpose(1, 2), slope[..., :-1], alpha=step)
                features.baddbmm_(passed.transpose(1, 2), heads[..., :-1], alpha=step)
        return synthetic.index_copy(0, present, features)

    def slopes(self, fake: Tensor, real: Tensor) -> Tensor:
        """[..., C, D + 1] derivative, with respect to the fake gradients, of the distance from the real ones."""
        rows = self.slope(fake[..., :-1], real[..., :-1])
        bias = self.slope(fake[..., -1], real[..., -1])
        return torch.cat([rows, bias[..., None]], -1)

    def slope(self, fake: Tensor, real: Tensor) -> Tensor:
        """[..., n] derivative of 1 - fake real / (|fake||real| + epsilon) with respect to the fake vectors [..., n]."""
        size, other = fake.norm(dim=-1, keepdim=True), real.norm(dim=-1, keepdim=True)
        product = (size * other + self.epsilon).clamp_(min=TINY)
        cosine = (fake * real).sum(-1, keepdim=True) / product
        return cosine * (other / product) / size.clamp_(min=TINY) * fake - real / product

    def retrain(self, synthetic: Tensor, rng: np.random.Generator) -> Tensor:
        """[C, D + 1] a fresh head after softmax regression on the synthetic features."""
        classes, each, dim = synthetic.shape
        y = torch.arange(classes, device=synthetic.device).repeat_interleave(each)
        head, features = fresh_head(classes, dim, rng, synthetic), synthetic.flatten(0, 1)
        return regress(features, y, head, rng, self.head_epochs, self.head_lr, self.head_batch)
