"""A teacher that nobody trains: the initial model's encoder, and the cosine with a vector of each class for its head.

Radford and others: Learning Transferable Visual Models From Natural Language Supervision. ICML 2021. CLIP predicts so
without training, the vectors being what its text encoder makes of the classes' names. Here they are those of
`model.class_vectors`. Where the scenario names none, class means of the initial encoder's features stand for them: the
clients of each round send theirs, and the server keeps the mean over all that were sent so far, a client's mean of a
class counting alike however many samples it has. In the first round there are none yet, and nothing is taught.

The teacher is `model.teacher`, a copy of the model as it begins; let a strategy say `frozen = ("teacher.*",)` and
`needs = ("class_vectors", "prototypes", "head")`. The vectors are `outbox["class_vectors"]`, [C, D], rows of zeros
standing for classes that have none.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.nn.net import Net
from fedlt.strategy import Client, Server

VECTORS = "class_vectors"
SCALE = 100.0  # of the cosines, as CLIP has learnt it


def add_teacher(model: Net) -> None:
    """Keep the model as it is now beside itself."""
    model.teacher = copy.deepcopy(model)


def begin_vectors(server: Server) -> None:
    """For `setup`: the vectors that the scenario names, or none yet."""
    given, size = server.task.class_vectors, (server.task.num_classes, server.model.feature_dim)
    server.outbox[VECTORS] = server.weights.new_zeros(size) if given is None else given.to(server.weights)
    if given is None:
        server.state["mean_sums"] = server.weights.new_zeros(size)
        server.state["mean_numbers"] = server.weights.new_zeros(size[:1])


def taught(client: Client) -> tuple[Tensor, Tensor]:
    """For `fit`: the teacher's logits [n, K] of the client's samples, for the K classes that have a vector, and these.

    Samples are seen once, as they are. Puts the client's class means into `extras` where the server collects them.
    """
    features = torch.cat(client.scan(lambda batch: client.model.part("teacher").encode(batch.x)))
    if client.task.class_vectors is None:
        held = client.class_counts > 0
        sums = torch.zeros_like(client.received[VECTORS]).index_add_(0, client.data.y, features)
        client.extras["teacher_means"] = sums / client.class_counts.clamp(min=1)[:, None]
        client.extras["teacher_holders"] = held.float()
    vectors = client.received[VECTORS]
    known = vectors.any(1).nonzero().flatten()
    return cosines(features, vectors[known]), known


def collect(server: Server, sums: dict[str, Tensor]) -> None:
    """For `aggregate`: the means that clients have sent join the vectors.

    Args:
        sums: those of all updates.
    """
    if "teacher_means" not in sums:
        return
    server.state["mean_sums"] = server.state["mean_sums"] + sums["teacher_means"]
    server.state["mean_numbers"] = server.state["mean_numbers"] + sums["teacher_holders"]
    server.outbox[VECTORS] = server.state["mean_sums"] / server.state["mean_numbers"].clamp(min=1)[:, None]


def cosines(features: Tensor, vectors: Tensor) -> Tensor:
    """[B, K] logits: the cosines of features [B, D] with vectors [K, D], times the scale."""
    return SCALE * F.linear(F.normalize(features), F.normalize(vectors))
