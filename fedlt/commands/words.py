"""The field's words with their synonyms: what `fedlt explain cohort` says, and docs/glossary.md shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """A word of the field.

    Attributes:
        name: as this project writes it.
        text: what it means, in a sentence or two.
        also: what others call it.
        page: of `docs/`, on it; empty: none.
    """

    name: str
    text: str
    also: tuple[str, ...] = ()
    page: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The word and its synonyms, in small letters."""
        return tuple(name.lower() for name in (self.name, *self.also))


WORDS = (
    Word(
        "absent class",
        "A class of which a client has no training sample. Masked figures exclude it from what the client's model may "
        "answer.",
        ("missing class", "empty class", "vacant class"),
        "pitfalls.md",
    ),
    Word(
        "backbone",
        "The part of a model before its head: it turns a sample into features.",
        ("body", "encoder", "base", "feature extractor", "representation"),
        "howto/own-model.md",
    ),
    Word(
        "client",
        "A holder of data that never leave it: a hospital, a phone.",
        ("party", "participant", "device", "silo", "node", "worker", "user"),
        "concepts.md",
    ),
    Word(
        "cohort",
        "The clients that are asked in a round. `federation.participation` is their share of all.",
        ("sampled clients", "selected clients", "participants", "join ratio", "fraction fit", "sample rate"),
        "selections.md",
    ),
    Word(
        "kinds of federations",
        "Cross-device: many small clients, of which few take part in a round. Cross-silo: few large ones, of which "
        "all do.",
        ("cross-device", "cross-silo"),
        "partitions.md",
    ),
    Word(
        "drift",
        "Clients that train on different data move the model different ways; the mean of where they end is worse than "
        "each.",
        ("client drift", "weight divergence"),
        "choose-a-strategy.md",
    ),
    Word(
        "federated averaging",
        "Clients train a copy of the server's model, and the server takes the mean of what comes back, weighted by "
        "numbers of samples.",
        ("aggregation", "parameter averaging", "model averaging"),
        "strategies/fedavg.md",
    ),
    Word(
        "fine-tuning",
        "Training a finished or received model further on a client's own samples, mostly to make its personal model.",
        ("local adaptation", "personalisation", "personalization"),
        "strategies/fedavg_ft.md",
    ),
    Word(
        "generic model",
        "The server's model, tested on the global test set.",
        ("generic", "global model", "server model", "GM", "G-FL"),
        "concepts.md",
    ),
    Word(
        "head",
        "The last layer of a model, from features to logits.",
        ("classifier", "output layer", "last layer", "predictor", "fc"),
        "howto/own-model.md",
    ),
    Word(
        "head classes",
        "Classes with many training samples: more than 100 over all clients, unless `evaluation.groups` says "
        "otherwise.",
        ("many", "many-shot", "majority classes", "frequent classes"),
        "metrics.md",
    ),
    Word(
        "heterogeneity of labels",
        "Clients have different shares of the classes. `alpha` of a Dirichlet partition sets how different: smaller is "
        "more.",
        ("non-IID", "label skew", "label shift", "statistical heterogeneity"),
        "partitions.md",
    ),
    Word(
        "imbalance factor",
        "Samples of the largest class over those of the smallest (`data.longtail.imbalance_factor`). Some papers write "
        "its inverse.",
        ("IF", "imbalance ratio", "imbalance rate", "rho"),
        "scenarios.md",
    ),
    Word(
        "learner",
        "How one site learns from skewed data: loss, sampler, stages, prediction. One class that runs centralized, "
        "federated and locally.",
        ("objective", "local objective", "long-tail method"),
        "howto/own-learner.md",
    ),
    Word(
        "local epochs",
        "Passes of a client over its samples in a round (`local.epochs`).",
        ("local iterations",),
        "howto/local-work.md",
    ),
    Word(
        "local test set",
        "A client's own test samples, drawn to match its training mix (`federation.local_test`).",
        ("client test set", "personal test set", "P-FL test"),
        "metrics.md",
    ),
    Word(
        "long tail",
        "Few classes have most of the samples and most classes have few.",
        ("long-tailed distribution", "class imbalance", "LT", "skewed classes"),
        "concepts.md",
    ),
    Word(
        "masked",
        "Of a personal model's figure: classes that its client never saw in training cannot be predicted.",
        ("class mask", "absent-class mask"),
        "pitfalls.md",
    ),
    Word(
        "medium classes",
        "Classes between head and tail: 20 to 100 training samples, unless `evaluation.groups` says otherwise.",
        ("medium", "medium-shot", "middle"),
        "metrics.md",
    ),
    Word(
        "partition",
        "Who holds which samples.",
        ("split", "client split", "data distribution", "allocation"),
        "partitions.md",
    ),
    Word(
        "personal model",
        "A client's model, tested on its own test set: the generic one, a head of its own on it, a tuned copy, or one "
        "trained alone.",
        ("personal", "local model", "personalized model", "personalised model", "PM", "P-FL", "client model"),
        "concepts.md",
    ),
    Word(
        "private parameters",
        "Parameters that a client keeps between rounds and never sends.",
        ("local parameters", "local layers", "personal layers"),
        "howto/own-strategy.md",
    ),
    Word(
        "round",
        "One exchange: the server sends, the cohort trains, the server combines.",
        ("communication round", "global epoch", "global round"),
        "concepts.md",
    ),
    Word(
        "server",
        "Who sends the model and combines what comes back. It sees updates and no samples.",
        ("aggregator", "coordinator", "central node"),
        "concepts.md",
    ),
    Word(
        "stateful client",
        "A client that keeps something between rounds: a head, a control variate, a whole model.",
        ("client state", "persistent client"),
        "howto/own-strategy.md",
    ),
    Word(
        "straggler",
        "A client whose update comes late or not at all: `federation.late`, `federation.dropout`, or slow devices of "
        "`federation.clock`.",
        ("late client", "slow client", "stale update", "delayed client"),
        "howto/robustness.md",
    ),
    Word(
        "strategy",
        "A federated algorithm: what a client does, what travels, what the server does with it.",
        ("algorithm", "FL method", "aggregation strategy"),
        "howto/own-strategy.md",
    ),
    Word(
        "tail classes",
        "Classes with few training samples: fewer than 20 over all clients, unless `evaluation.groups` says otherwise.",
        ("tail", "few", "few-shot", "minority classes", "rare classes"),
        "metrics.md",
    ),
    Word(
        "update",
        "What a client sends back: its new weights as a vector, and its number of samples.",
        ("delta", "pseudo-gradient", "model update", "upload"),
        "concepts.md",
    ),
    Word(
        "worst decile",
        "Mean accuracy of the tenth of the clients that fare worst: what a mean over clients hides.",
        ("worst 10 %", "bottom 10 %"),
        "metrics.md",
    ),
)


def explained(name: str) -> Iterable[Word]:
    """The words that a person may mean by a name."""
    return (word for word in WORDS if name.lower() in word.names)
