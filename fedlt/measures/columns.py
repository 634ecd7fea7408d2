"""Columns of a run's tables: the records of `fedlt.measures.figures`, for what has a row a round, client or class."""

from __future__ import annotations

from fedlt.measures.figure import Figure

_ALL = (
    Figure("rounds.round", "1-based.", unit="count"),
    Figure("rounds.ended", "Time at which the round was over, in seconds since 1970-01-01 UTC."),
    Figure(
        "rounds.seconds",
        "All of the round: exchange, evaluation of the last round's models, aggregation.",
        unit="seconds",
    ),
    Figure("rounds.exchange_seconds", "From sending the messages to the last answer.", unit="seconds"),
    Figure("rounds.aggregate_seconds", "The strategy's aggregation on the server.", unit="seconds"),
    Figure("rounds.train_seconds", "Training, summed over the workers.", unit="seconds"),
    Figure("rounds.evaluate_seconds", "Evaluation, summed over the workers.", unit="seconds"),
    Figure("rounds.move_seconds", "Packing and moving tensors, summed over the workers.", unit="seconds"),
    Figure("rounds.workers", "Worker nodes.", unit="count"),
    Figure("rounds.train_loss", "Mean training loss over the round's samples, each at the time of its step."),
    Figure("rounds.clients", "Clients whose updates were used.", unit="count"),
    Figure("rounds.samples", "Training samples processed, repeats included.", unit="count"),
    Figure("rounds.steps", "Steps of SGD.", unit="count"),
    Figure(
        "rounds.backward_samples",
        "Samples that passed forward and backward, repeats and further views included.",
        unit="count",
    ),
    Figure(
        "rounds.forward_samples",
        "Samples that only passed forward, such as for features that are kept.",
        unit="count",
    ),
    Figure("rounds.skipped", "Sampled clients that failed, under `federation.on_error: skip`.", unit="count"),
    Figure("rounds.dropped", "Sampled clients that did not answer, by `federation.dropout`.", unit="count"),
    Figure(
        "rounds.late",
        "Clients that trained in this round and whose updates arrive later, by `federation.late`.",
        unit="count",
    ),
    Figure(
        "rounds.arrived",
        "Late updates of earlier rounds that were used in this one; they count among the clients.",
        unit="count",
    ),
    Figure(
        "rounds.attackers", "Attackers among the clients whose updates were used, by `federation.attack`.", unit="count"
    ),
    Figure(
        "rounds.clip",
        "Norm to which a client's longer change of the weights was scaled down, by the link `dp`.",
        unit="number",
    ),
    Figure(
        "rounds.clipped",
        "Clients whose change was longer; the exact number, which the guarantee does not cover.",
        unit="count",
    ),
    Figure(
        "rounds.epsilon",
        "Epsilon of all rounds so far, where one client's data are replaced by others, by the link `dp`.",
        unit="number",
    ),
    Figure(
        "rounds.simulated_seconds",
        "What the round takes on the clients' devices, by `federation.clock`: that of the slowest whose update is "
        "used, or the deadline.",
        unit="seconds",
    ),
    Figure(
        "rounds.stragglers",
        "Clients that trained and whose updates came after the round had closed, by `federation.clock`.",
        unit="count",
    ),
    Figure(
        "rounds.bytes_up",
        "Bytes from clients to the server: the shared vector and what the strategy adds, 4 per number unless a link "
        "compresses it.",
        unit="count",
    ),
    Figure("rounds.bytes_down", "Bytes from the server to clients, likewise.", unit="count"),
    Figure("metrics.metric", "Name of a metric."),
    Figure("metrics.value", "Its value; NaN: not defined."),
    Figure("clients.variant", "Variant of the personal model; empty: the headline."),
    Figure("clients.client", "Number of the client.", unit="count"),
    Figure("clients.train_samples", "Training samples of the client.", column="training samples", unit="count"),
    Figure("clients.test_samples", "Samples in the client's own test set.", column="test samples", unit="count"),
    Figure("clients.accuracy", "Accuracy of the client's personal model on its own test set.", unit="fraction"),
    Figure(
        "clients.accuracy_masked",
        "The same with the classes excluded that the client never saw in training.",
        column="masked",
        unit="fraction",
    ),
    Figure(
        "clients.generic",
        "Accuracy of the generic model on the same samples, or its mean average precision where they have several "
        "labels; its variant of the same name where it has one.",
        column="generic model",
        unit="fraction",
    ),
    Figure(
        "clients.many",
        "Accuracy on the client's head classes: 75 % of its training samples.",
        column="head",
        unit="fraction",
    ),
    Figure("clients.medium", "Accuracy on its medium classes: up to 95 %.", unit="fraction"),
    Figure("clients.few", "Accuracy on its tail classes: beyond.", column="tail", unit="fraction"),
    Figure(
        "clients.nll", "Mean negative log-likelihood of the client's test samples, in nats.", column="loss", unit="nats"
    ),
    Figure(
        "clients.map",
        "Mean average precision of the client's personal model on its own test set; of several labels a sample.",
        column="mAP",
        unit="fraction",
    ),
    Figure(
        "clients.map_masked",
        "The same with the classes excluded that the client never saw in training.",
        column="mAP, masked",
        unit="fraction",
    ),
    Figure(
        "clients.map_many", "Mean over the client's head classes: as `clients.many`.", column="head", unit="fraction"
    ),
    Figure("clients.map_medium", "Mean over its medium classes.", column="medium", unit="fraction"),
    Figure("clients.map_few", "Mean over its tail classes.", column="tail", unit="fraction"),
    Figure(
        "clients.recall",
        "`recall` of the client's personal model on its own test set; of items that are ranked.",
        unit="fraction",
    ),
    Figure(
        "clients.recall_masked",
        "The same, items being the last that nobody of the client took in training.",
        column="recall, masked",
        unit="fraction",
    ),
    Figure("clients.auc", "`auc` of the client's personal model on its own test set.", column="AUC", unit="fraction"),
    Figure("clients.auc_masked", "The same; NaN where the client has seen one of both classes alone.", unit="fraction"),
    Figure("clients.ndcg", "`ndcg` of the client's personal model on its own test set.", unit="fraction"),
    Figure("clients.brier", "Mean Brier score of the client's test samples.", unit="number"),
    Figure(
        "clients.alignment",
        "Cosine between the mean feature of the client's test samples under the generic backbone and the mean that its "
        "mix of classes would give, both less the mean of all class means. 1 where the client's samples look like "
        "everyone's of the same class; lower where its inputs differ (another writer, another scanner).",
        unit="number",
    ),
    Figure("classes.model", "Generic model: `generic`, or `generic[variant]`."),
    Figure("classes.class", "Number of the class."),
    Figure("classes.name", "Its name."),
    Figure("classes.train_count", "Training samples of the class over all clients.", unit="count"),
    Figure("classes.test_count", "Samples of the class in the global test set.", unit="count"),
    Figure(
        "classes.recall",
        "Share of these that were predicted correctly; of ranked items, within the first K.",
        unit="fraction",
    ),
    Figure(
        "classes.average_precision",
        "Average precision of the class on the global test set; of several labels a sample.",
        unit="fraction",
    ),
    Figure(
        "classes.group_count",
        "many, medium or few, as `evaluation.groups` says: above 100, 20 to 100, below 20 unless set.",
    ),
    Figure("classes.group_mass", "many, medium or few by mass: 75, 95 and 100 % of the clients' local test samples."),
    Figure("classes.feature_norm", "Distance of the class's mean feature from the mean of all class means."),
    Figure("classes.head_norm", "Norm of the class's row in the generic head."),
    Figure("classes.duality", "Cosine between the class's row in the head and its centred mean feature."),
    Figure("calibration.model", "Generic or personal models, as in the names of metrics."),
    Figure("calibration.bin", "0 to 14: confidence in (bin/15, (bin+1)/15]."),
    Figure("calibration.samples", "Predictions in the bin; of all clients together for personal models.", unit="count"),
    Figure("calibration.accuracy", "Share of these that are correct.", unit="fraction"),
    Figure("calibration.confidence", "Their mean confidence.", unit="fraction"),
    Figure("confusion.model", "Generic or personal models, as in the names of metrics."),
    Figure("confusion.client", "Number of the client; -1: the generic model."),
    Figure("confusion.true", "True class."),
    Figure("confusion.pred", "Predicted class."),
    Figure(
        "confusion.count",
        "Samples of the one that were taken for the other; cells with none are left out.",
        unit="count",
    ),
)

COLUMNS: dict[str, Figure] = {figure.name: figure for figure in _ALL}
"""By table and column."""
