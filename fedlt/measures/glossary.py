"""What every figure means: the one source of `fedlt explain`, of docs/metrics.md and of the report's hints."""

from __future__ import annotations

import re
from dataclasses import dataclass
from textwrap import fill

from fedlt.config.schema import suggest
from fedlt.errors import Problem, ScenarioError

TEST = "the global test set"
OWN = "each client's own test set, which by default is drawn to match its training mix"
MEAN = "Unweighted mean over the clients that have a test sample"
POOLED = "All clients' test samples together, each counted once"

METRICS: dict[str, str] = {
    "generic/accuracy": f"Share of {TEST} that the generic model predicts correctly. Where that set is not balanced, "
    "large classes decide it, and `generic/balanced_accuracy` is shown beside it.",
    "generic/balanced_accuracy": "Mean recall over the classes that the global test set holds. Equals the accuracy "
    "where every class has equally many test samples.",
    "generic/macro_f1": "Mean F1 over the classes that the global test set holds; 0 for a class that is never "
    "predicted. Falls when a class is predicted too often, which recall does not show.",
    "generic/many": "Mean recall of the head classes: more than 100 training samples over all clients. Liu et al., "
    "CVPR 2019. Classes without a test sample are left out; NaN where there is no other.",
    "generic/medium": "Mean recall of the medium classes: 20 to 100 training samples over all clients.",
    "generic/few": "Mean recall of the tail classes: fewer than 20 training samples over all clients.",
    "generic/mass_many": "Mean recall of the largest classes that together hold 75 % of the clients' local test "
    "samples: the head by mass, as the FedLoGe code groups classes.",
    "generic/mass_medium": "Mean recall of the classes that follow, up to 95 % of the mass.",
    "generic/mass_few": "Mean recall of the classes beyond 95 % of the mass.",
    "generic/ece": "Expected calibration error: |accuracy - confidence| in 15 equal bins of the confidence (the "
    "largest probability), weighted by the bins' samples. 0 is calibrated. Guo et al., ICML 2017. Bins of few samples "
    "make it larger than it is.",
    "generic/nll": "Mean negative log-likelihood of the true class in nats. A sample counts at most 20.",
    "generic/brier": "Mean Brier score: squared distance between the probabilities and the true class's unit vector, "
    "summed over the classes; 0 to 2.",
    "generic/failure_auroc": "Probability that a correct prediction has a higher confidence than a wrong one, ties "
    "counting one half: how well confidence tells failures. 0.5 is chance. NaN where all are right or all wrong. "
    "Confidences are ranked by log-odds in steps of 1/32 nat; a model that reports an uncertainty of its own, by that.",
    "generic/experts": "Mean number of experts asked for a test sample; of learners that may ask fewer than they have "
    "(`tlc` with `exit_below`, `ride` with `router`).",
    "generic/nc1": "Neural collapse, variability: trace(S_W S_B^+) / C of the features of the global test set, with "
    "the covariances within and between classes. 0 where all features of a class are equal. Papyan et al., PNAS 2020. "
    "Theirs is over training samples.",
    "generic/nc2_norms": "Neural collapse, equal norms: standard deviation over mean of |mu_c - mu|, the class means "
    "less their mean. 0 where all classes are equally far from the centre.",
    "generic/nc2_angles": "Neural collapse, equal angles: mean over all pairs of classes of "
    "|cos(mu_c - mu, mu_d - mu) + 1/(C-1)|. 0 for a simplex, whose classes are as far apart as can be.",
    "generic/nc3": "Neural collapse, self-duality: distance between the head's rows and the centred class means, both "
    "scaled to a Frobenius norm of 1; 0 to 2. NaN where the head is private or has no row for each class.",
    "generic/head_norms": "Standard deviation over mean of the norms of the head's rows. Under a long tail the rows of "
    "head classes grow longer; `head_norm` in the table of classes shows which.",
    "generic/head_angles": "Mean over all pairs of the head's rows of |cos + 1/(C-1)|; 0 for a simplex.",
    "generic/alignment": "Mean over the clients of `clients.alignment`. Below 1 where clients' features are shifted, "
    "beyond what their mix of classes explains. Defined where all personal models share the generic backbone.",
    "personal/accuracy": f"Accuracy of the personal models on {OWN}. {MEAN}; over samples, large clients would decide.",
    "personal/std": "Standard deviation of the clients' accuracies (over n, not n - 1): how unequally they are served.",
    "personal/worst_decile": "Mean accuracy of the worst tenth of the clients, rounded up.",
    "personal/many": "Accuracy on a client's head classes: the largest that hold 75 % of its own training samples. "
    f"{MEAN} of its head.",
    "personal/medium": "Accuracy on a client's medium classes: those that follow, up to 95 % of its training samples.",
    "personal/few": "Accuracy on a client's tail classes: beyond 95 % of its training samples, or never seen by it.",
    "personal/balanced_accuracy": f"Mean recall over the classes in a client's test set. {MEAN}.",
    "personal/macro_f1": f"Mean F1 over the classes in a client's test set. {MEAN}.",
    "personal/clients": "Clients that the averages are over: those evaluated that have a test sample.",
    "personal/ece": f"Expected calibration error as for `generic/ece`. {POOLED}, since that of a client's few samples "
    "would mostly be noise.",
    "personal/nll": f"Mean negative log-likelihood of the true class in nats, at most 20 a sample. {MEAN}.",
    "personal/brier": f"Brier score as for `generic/brier`. {MEAN}.",
    "personal/failure_auroc": f"As for `generic/failure_auroc`. {POOLED}.",
    "personal/experts": f"As for `generic/experts`. {POOLED}.",
    "cost/seconds": "Seconds per round, all of it, median over the rounds. In comparisons.",
    "cost/mb_up": "Megabytes (10^6 bytes) that a client sends per round. In comparisons.",
    "cost/mb_down": "Megabytes (10^6 bytes) that a client receives per round. In comparisons.",
}
"""Metrics by name, for the headline models. All but costs, losses, norms and experts are fractions."""

MASKED = (
    "Masked: classes without a training sample at the client cannot be predicted by its personal model. Always "
    "reported beside the unmasked figure, for every method: the mask alone is worth many points."
)
VARIANT = "Brackets name a variant of the model that the strategy reports beside its headline."

VALIDATION = (
    "On validation data (`data.validation`): the generic model on a balanced global set, personal models on a share of "
    "each client's own samples that was set apart. For choosing; the figure without `validation/` is the result."
)

COLUMNS: dict[str, str] = {
    "rounds.round": "1-based.",
    "rounds.ended": "Time at which the round was over, in seconds since 1970-01-01 UTC.",
    "rounds.seconds": "All of the round: exchange, evaluation of the last round's models, aggregation.",
    "rounds.exchange_seconds": "From sending the messages to the last answer.",
    "rounds.aggregate_seconds": "The strategy's aggregation on the server.",
    "rounds.train_seconds": "Training, summed over the workers.",
    "rounds.evaluate_seconds": "Evaluation, summed over the workers.",
    "rounds.move_seconds": "Packing and moving tensors, summed over the workers.",
    "rounds.workers": "Worker nodes.",
    "rounds.train_loss": "Mean training loss over the round's samples, each at the time of its step.",
    "rounds.clients": "Clients whose updates were used.",
    "rounds.samples": "Training samples processed, repeats included.",
    "rounds.steps": "Steps of SGD.",
    "rounds.backward_samples": "Samples that passed forward and backward, repeats and further views included.",
    "rounds.forward_samples": "Samples that only passed forward, such as for features that are kept.",
    "rounds.skipped": "Sampled clients that failed, under `federation.on_error: skip`.",
    "rounds.dropped": "Sampled clients that did not answer, by `federation.dropout`.",
    "rounds.late": "Clients that trained in this round and whose updates arrive later, by `federation.late`.",
    "rounds.arrived": "Late updates of earlier rounds that were used in this one; they count among the clients.",
    "rounds.attackers": "Attackers among the clients whose updates were used, by `federation.attack`.",
    "rounds.clip": "Norm to which a client's longer change of the weights was scaled down, by the link `dp`.",
    "rounds.clipped": "Clients whose change was longer; the exact number, which the guarantee does not cover.",
    "rounds.epsilon": "Epsilon of all rounds so far, where one client's data are replaced by others, by the link `dp`.",
    "rounds.bytes_up": "Bytes from clients to the server: the shared vector and what the strategy adds, 4 per number "
    "unless a link compresses it.",
    "rounds.bytes_down": "Bytes from the server to clients, likewise.",
    "metrics.metric": "Name of a metric.",
    "metrics.value": "Its value; NaN: not defined.",
    "clients.variant": "Variant of the personal model; empty: the headline.",
    "clients.client": "Number of the client.",
    "clients.train_samples": "Training samples of the client.",
    "clients.test_samples": "Samples in the client's own test set.",
    "clients.accuracy": "Accuracy of the client's personal model on its own test set.",
    "clients.accuracy_masked": "The same with the classes excluded that the client never saw in training.",
    "clients.many": "Accuracy on the client's head classes: 75 % of its training samples.",
    "clients.medium": "Accuracy on its medium classes: up to 95 %.",
    "clients.few": "Accuracy on its tail classes: beyond.",
    "clients.nll": "Mean negative log-likelihood of the client's test samples, in nats.",
    "clients.brier": "Mean Brier score of the client's test samples.",
    "clients.alignment": "Cosine between the mean feature of the client's test samples under the generic backbone and "
    "the mean that its mix of classes would give, both less the mean of all class means. 1 where the client's samples "
    "look like everyone's of the same class; lower where its inputs differ (another writer, another scanner).",
    "classes.model": "Generic model: `generic`, or `generic[variant]`.",
    "classes.class": "Number of the class.",
    "classes.name": "Its name.",
    "classes.train_count": "Training samples of the class over all clients.",
    "classes.test_count": "Samples of the class in the global test set.",
    "classes.recall": "Share of these that were predicted correctly.",
    "classes.group_count": "many, medium or few by training samples: above 100, 20 to 100, below 20.",
    "classes.group_mass": "many, medium or few by mass: 75, 95 and 100 % of the clients' local test samples.",
    "classes.feature_norm": "Distance of the class's mean feature from the mean of all class means.",
    "classes.head_norm": "Norm of the class's row in the generic head.",
    "classes.duality": "Cosine between the class's row in the head and its centred mean feature.",
    "calibration.model": "Generic or personal models, as in the names of metrics.",
    "calibration.bin": "0 to 14: confidence in (bin/15, (bin+1)/15].",
    "calibration.samples": "Predictions in the bin; of all clients together for personal models.",
    "calibration.accuracy": "Share of these that are correct.",
    "calibration.confidence": "Their mean confidence.",
    "confusion.model": "Generic or personal models, as in the names of metrics.",
    "confusion.client": "Number of the client; -1: the generic model.",
    "confusion.true": "True class.",
    "confusion.pred": "Predicted class.",
    "confusion.count": "Samples of the one that were taken for the other; cells with none are left out.",
}
"""Columns of the run folder's tables."""


@dataclass(frozen=True)
class Entry:
    """One figure and its meaning."""

    name: str
    text: str


def entries() -> list[Entry]:
    """All entries: metrics, then columns of tables."""
    return [Entry(name, text) for name, text in {**METRICS, **COLUMNS}.items()]


def explain(name: str) -> list[Entry]:
    """The entries that a name stands for: a metric (`personal_masked[psi]/few`), a column (`clients.nll`), or the
    last part of either (`few`). Raises `ScenarioError` with the nearest right spelling."""
    tested = name.removeprefix("validation/")
    plain = re.sub(r"\[[^]]*\]", "", tested)
    found = plain.replace("personal_masked/", "personal/")
    exact = {**METRICS, **COLUMNS}.get(found)
    if exact is not None:
        notes = [exact, *([MASKED] if found != plain else []), *([VARIANT] if plain != tested else [])]
        notes += [VALIDATION] if tested != name else []
        return [Entry(name, " ".join(notes))]
    matches = [entry for entry in entries() if re.split("[/.]", entry.name)[-1] == found]
    if matches:
        return matches
    known = {key for entry in entries() for key in (entry.name, re.split("[/.]", entry.name)[-1])}
    raise ScenarioError(Problem("explain", f"unknown figure {name!r}{suggest(found, sorted(known))}"))


def page() -> str:
    """docs/metrics.md."""
    head = (
        "# Metrics\n\n<!-- written by: fedlt explain --markdown > docs/metrics.md -->\n\n"
        "A metric's name says whose model and which figure: `generic/few`, `personal/accuracy`. All accuracies are "
        "fractions; NaN\nmeans that a figure is not defined. `fedlt explain METRIC` prints an entry.\n\n"
        f"{wrap(f'`personal_masked/...` — {MASKED}')}\n\n{wrap(f'`generic[name]/...` — {VARIANT}')}\n\n"
        f"{wrap(f'`validation/...` — {VALIDATION}')}\n\n"
        "A run reports the last evaluation (`final`) and the mean of the last five (`last_five`), never the best "
        "round:\nthat one is chosen on the test set.\n"
    )
    parts = [head]
    for title, kind in (("The generic model", "generic/"), ("Personal models", "personal/"), ("Cost", "cost/")):
        parts.append(_section(title, {k: v for k, v in METRICS.items() if k.startswith(kind)}))
    for table in dict.fromkeys(name.split(".")[0] for name in COLUMNS):
        found = {k: v for k, v in COLUMNS.items() if k.startswith(f"{table}.")}
        parts.append(_section(f"Table `{table}.parquet`", found))

    return "\n".join(parts)


def _section(title: str, found: dict[str, str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"`{name}`\n: {wrap(text, '  ').lstrip()}\n" for name, text in found.items())


def wrap(text: str, indent: str = "") -> str:
    """The text in lines of at most 118 characters, indented."""
    return fill(text, 118, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
