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
from torch.nn import functional as F

from fedlt.blocks.retrained_head import RetrainedHead
from fedlt.nn.softmax import extend, fresh_head, gradient, gradient_towards, regress
from fedlt.process.threads import one_thread
from fedlt.strategy import Client, Server, Update, combine


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
        """Gradients of the re-trained head on the received backbone come before the training."""
        y, head = client.data.y, client.received["head"]
        features = extend(client.features())
        gradients = head.new_zeros(len(head), *head.shape)
        for label in client.class_counts.nonzero().flatten().tolist():
            own = y == label
            gradients[label] = gradient(features[own], y[own], head)
        client.extras["gradients"] = gradients
        client.extras["holders"] = (client.class_counts > 0).float()
        super().fit(client)

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
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

        The distance sums 1 - cosine over the rows of each class's weight gradient, and over its bias gradient.
        """
        labels = torch.arange(len(head), device=head.device)[:, None].expand(synthetic.shape[:2])
        wanted = F.one_hot(labels, len(head)).to(head)
        held = slice(None) if bool(seen.all()) else seen
        towards = real[held]
        for _ in range(self.match_steps):
            with torch.enable_grad():
                leaf = synthetic.detach().requires_grad_()
                fake = gradient_towards(extend(leaf), wanted, head)[held]
                rows = self.distance(fake[..., :-1], towards[..., :-1])
                bias = self.distance(fake[..., -1], towards[..., -1])
                distance = rows.sum() + bias.sum()
                synthetic = synthetic - self.match_lr * torch.autograd.grad(distance, leaf)[0]
        return synthetic

    def distance(self, fake: Tensor, real: Tensor) -> Tensor:
        """[...] one minus the cosine of vectors [..., n]; it tends to 1 where their norms' product is below epsilon."""
        if not self.epsilon:
            return 1 - F.cosine_similarity(fake, real, dim=-1)
        return 1 - (fake * real).sum(-1) / (fake.norm(dim=-1) * real.norm(dim=-1) + self.epsilon)

    def retrain(self, synthetic: Tensor, rng: np.random.Generator) -> Tensor:
        """[C, D + 1] a fresh head after softmax regression on the synthetic features."""
        classes, each, dim = synthetic.shape
        y = torch.arange(classes, device=synthetic.device).repeat_interleave(each)
        head, features = fresh_head(classes, dim, rng, synthetic), synthetic.flatten(0, 1)
        return regress(features, y, head, rng, self.head_epochs, self.head_lr, self.head_batch)
