"""FedIC: the cohort's ensemble, calibrated on a few balanced samples at the server, teaches the mean of its models.

Shang, Lu, Cheung, Wang: FEDIC: Federated Learning on Non-IID and Long-Tailed Data via Calibrated Distillation. ICME
2022. The server trains three things in each round: a copy of the mean on its labelled samples, the calibration of the
clients' ensemble, and the mean itself, which learns from the calibrated ensemble on unlabelled samples and from the
labels of the balanced ones. As in the official code the calibration and all of Adam's moments go on over the rounds,
though the models begin anew, and the divergence is not multiplied by the temperature's square. Differences: samples
at the server are not augmented, and each unlabelled one is shown to the clients' models once a round; sizes follow
model and cohort, where the code has 10 classes, 256 features and 8 clients in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.blocks.ensemble import ask, distinct, divergence
from fedlt.nn.net import Net
from fedlt.process.threads import one_thread
from fedlt.strategy import Server, Strategy, Update, combine
from fedlt.training.at_server import ServerTrainer, passes
from fedlt.training.vector_steps import Adam

MOMENTS = "fedic/adam/"


@dataclass(frozen=True)
class FedIC(Strategy):
    """label CE(student) + (1 - label) KL(calibrated teacher || student), after each round's mean."""

    foldable: ClassVar[bool] = False
    # Prompt, since the ensemble is that of the round.
    needs: ClassVar[tuple[str, ...]] = ("auxiliary_set", "server_unlabelled", "head", "prompt_updates", "single_label")
    learner_parts: ClassVar[tuple[str, ...]] = ("loss", "stages")

    steps: Annotated[int, ">= 0"] = 15  # of each of the three trainings, each round; published: 100; 0: FedAvg
    batch: Annotated[int, ">= 1"] = 20  # labelled samples in a step
    unlabelled_batch: Annotated[int, ">= 1"] = 64  # published: 128
    lr: Annotated[float, "> 0"] = 0.0003  # of Adam; published: 0.001
    weight_decay: Annotated[float, ">= 0"] = 0.0002  # of both models, not of the calibration
    temperature: Annotated[float, "> 0"] = 2.0  # of the distillation
    label: Annotated[float, ">= 0", "<= 1"] = 0.5  # weight of the labelled samples in it

    def setup(self, server: Server) -> None:
        """The calibration before any round: it changes nothing, and its gate is drawn."""
        bound = server.model.feature_dim**-0.5
        gate = torch.from_numpy(server.rng.uniform(-bound, bound, server.model.feature_dim + 1)).to(server.weights)
        classes = server.task.num_classes
        ones, zeros = gate.new_ones(classes), gate.new_zeros(classes)
        server.state["fedic/calibration"] = torch.cat([ones, zeros[:1], ones, zeros, gate])

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """The mean model, then calibration and distillation from the calibrated ensemble."""
        apart = list(updates)
        server.weights = combine(apart).mean
        if self.steps:
            with one_thread():
                self.distil(server, [update.mean for update in apart])

    def distil(self, server: Server, clients: Sequence[Tensor]) -> None:
        """The three trainings.

        Args:
            clients: [S] their shared vectors.
        """
        labelled, unlabelled, mean = server.auxiliary, server.unlabelled, server.weights.clone()
        assert labelled is not None and unlabelled is not None  # the needs are declared
        y = labelled.y

        def supervised(positions: Tensor) -> Tensor:
            return F.cross_entropy(server.model(labelled.batch(positions).x), y[positions])

        tuned = ServerTrainer(server, "adam", weight_decay=self.weight_decay, keep="fedic/tuned")
        tuned.train(supervised, self._drawn(server, len(y), self.batch), self.lr)
        models = [*clients, server.weights.clone()]
        self.calibrate(server, y, ask(server, models, labelled, features_and_logits))

        server.weights = mean
        drawn = torch.cat(self._drawn(server, len(unlabelled), self.unlabelled_batch))
        taught, order = distinct(unlabelled, drawn)
        outputs = ask(server, models, taught, features_and_logits)
        teacher = calibrated(server.state["fedic/calibration"], outputs, server.task.num_classes)

        def distilled(both: tuple[Tensor, Tensor]) -> Tensor:
            soft = divergence(teacher[both[0]], server.model(taught.batch(both[0]).x), self.temperature)
            return (1 - self.label) * soft + self.label * supervised(both[1])

        pairs = zip(order.chunk(self.steps), self._drawn(server, len(y), self.batch), strict=True)
        student = ServerTrainer(server, "adam", weight_decay=self.weight_decay, keep="fedic/student")
        student.train(distilled, pairs, self.lr)

    def calibrate(self, server: Server, y: Tensor, found: Tensor) -> None:
        """Train the calibration by the cross-entropy of the teacher.

        Args:
            found: as `calibrated` takes it, for labels y.
        """
        vector = server.state["fedic/calibration"].clone()
        adam = Adam(kept={n.removeprefix(MOMENTS): t for n, t in server.state.items() if n.startswith(MOMENTS)})

        for positions in self._drawn(server, len(y), self.batch):
            with torch.enable_grad():
                leaf = vector.detach().requires_grad_()
                loss = F.cross_entropy(calibrated(leaf, found[:, positions], server.task.num_classes), y[positions])
                slope = torch.autograd.grad(loss, leaf)[0]
            adam.step(vector, slope, self.lr)

        server.state["fedic/calibration"] = vector
        server.state |= {f"{MOMENTS}{name}": value for name, value in adam.kept.items()}

    def _drawn(self, server: Server, samples: int, size: int) -> tuple[Tensor, ...]:
        """Positions of each step's batch, of a size that there are samples for.

        Args:
            samples: that there are.
            size: of a batch.
        """
        size = min(size, samples)
        return passes(server.rng, samples, self.steps * size, server.weights.device).split(size)


def features_and_logits(model: Net, x: Tensor) -> Tensor:
    """[B, D + C] of one model."""
    features = model.encode(x)
    return torch.cat([features, model.head(features)], 1)


def calibrated(vector: Tensor, found: Tensor, classes: int) -> Tensor:
    """[n, C] logits of the teacher.

    Args:
        vector: scale [C] and bias of a client's weight, scale and bias [C] of the ensemble's logits, and the gate [D],
            with its bias.
        found: [K + 1, n, D + C] features and logits of the clients and, at last, of the tuned model.
    """
    scale, bias, spread, shift, gate, offset = vector.split(
        [classes, 1, classes, classes, len(vector) - 3 * classes - 2, 1]
    )
    features, logits = found[:-1, :, :-classes], found[..., -classes:]
    weights = weights_of(logits[:-1], scale, bias)
    together = spread * (weights[..., None] * logits[:-1]).sum(0) + shift
    share = (features.mean(0) @ gate + offset).sigmoid()[:, None]
    return share * together + (1 - share) * logits[-1]


def weights_of(logits: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """[K, n] how much each client counts at each sample: sigmoids over their sum, also where all are below float32's
    range.

    Args:
        logits: [K, n, C].
    """
    scores: Tensor = F.logsigmoid(logits @ scale + bias)
    return scores.softmax(0)
