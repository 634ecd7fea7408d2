"""The one table of figures: every metric of a run, and whatever is told of it anywhere.

`fedlt explain`, docs/metrics.md, comparisons, pictures, the report and the table at the end of a run read it. Columns
of a run's tables are in `fedlt.measures.columns`; records that a user's own metric brings are in its run's `run.json`.
"""

from __future__ import annotations

from functools import partial

from fedlt.measures.families import AREAS, GROUPS, ORDINAL, RANKS, TREE
from fedlt.measures.figure import Figure

TEST = "the global test set"
OWN = "each client's own test set, which by default is drawn to match its training mix"
MEAN = "Unweighted mean over the clients that have a test sample"
POOLED = "All clients' test samples together, each counted once"

_share = partial(Figure, unit="fraction", better="higher", axis="accuracy")
_error = partial(Figure, unit="number", better="lower")

_ALL = (
    # The generic model --------------------------------------------------------------------------------------------
    _share(
        "generic/accuracy",
        f"Share of {TEST} that the generic model predicts correctly. Where that set is not balanced, large classes "
        "decide it, and `generic/balanced_accuracy` is shown beside it.",
        title="generic model", header="generic", headline=True,
    ),
    _share(
        "generic/balanced_accuracy",
        "Mean recall over the classes that the global test set holds. Equals the accuracy where every class has "
        "equally many test samples.",
        title="generic model, mean of class recalls", header="balanced", column="balanced",
    ),
    _share(
        "generic/macro_f1",
        "Mean F1 over the classes that the global test set holds; 0 for a class that is never predicted. Falls when a "
        "class is predicted too often, which recall does not show.",
        title="generic model, mean F1 of the classes", axis="F1",
    ),
    _share(
        "generic/many",
        "Mean recall of the head classes: more than 100 training samples over all clients (Liu et al., CVPR 2019), or "
        "as `evaluation.groups` says. "
        "Classes without a test sample are left out; NaN where there is no other.",
        title="generic model, head classes", header="head", column="head (many)",
    ),
    _share(
        "generic/medium",
        "Mean recall of the medium classes: 20 to 100 training samples over all clients, or as "
        "`evaluation.groups` says.",
        title="generic model, medium classes", header="medium",
    ),
    _share(
        "generic/few",
        "Mean recall of the tail classes: fewer than 20 training samples over all clients, or as "
        "`evaluation.groups` says.",
        title="generic model, tail classes", header="tail", column="tail (few)",
    ),
    _share(
        "generic/mass_many",
        "Mean recall of the largest classes that together hold 75 % of the clients' local test samples: the head by "
        "mass, as the FedLoGe code groups classes.",
        title="generic model, head classes by mass",
    ),
    _share(
        "generic/mass_medium",
        "Mean recall of the classes that follow, up to 95 % of the mass.",
        title="generic model, medium classes by mass",
    ),
    _share(
        "generic/mass_few",
        "Mean recall of the classes beyond 95 % of the mass.",
        title="generic model, tail classes by mass",
    ),
    _error(
        "generic/ece",
        "Expected calibration error: |accuracy - confidence| in 15 equal bins of the confidence (the largest "
        "probability), weighted by the bins' samples. 0 is calibrated. Guo et al., ICML 2017. Bins of few samples make "
        "it larger than it is.",
        title="generic model, calibration error", section="confidence",
    ),
    _error(
        "generic/nll",
        "Mean negative log-likelihood of the true class in nats. A sample counts at most 20.",
        title="generic model, negative log-likelihood", axis="loss", unit="nats", section="confidence",
    ),
    _error(
        "generic/brier",
        "Mean Brier score: squared distance between the probabilities and the true class's unit vector, summed over "
        "the classes; 0 to 2.",
        title="generic model, Brier score", section="confidence",
    ),
    Figure(
        "generic/failure_auroc",
        "Probability that a correct prediction has a higher confidence than a wrong one, ties counting one half: how "
        "well confidence tells failures. 0.5 is chance. NaN where all are right or all wrong. Confidences are ranked "
        "by log-odds in steps of 1/32 nat; a model that reports an uncertainty of its own, by that.",
        title="generic model, AUROC of failures", unit="number", better="higher", section="confidence",
    ),
    Figure(
        "generic/experts",
        "Mean number of experts asked for a test sample; of learners that may ask fewer than they have (`tlc` with "
        "`exit_below`, `ride` with `router`).",
        title="generic model, experts asked", unit="number",
    ),
    _error(
        "generic/nc1",
        "Neural collapse, variability: trace(S_W S_B^+) / C of the features of the global test set, with the "
        "covariances within and between classes. 0 where all features of a class are equal. Papyan et al., PNAS 2020. "
        "Theirs is over training samples.",
        title="NC1: spread within the classes", axis="spread", section="features",
    ),
    _error(
        "generic/nc2_norms",
        "Neural collapse, equal norms: standard deviation over mean of |mu_c - mu|, the class means less their mean. 0 "
        "where all classes are equally far from the centre.",
        title="NC2: uneven norms of the class means", axis="unevenness", section="features",
    ),
    _error(
        "generic/nc2_angles",
        "Neural collapse, equal angles: mean over all pairs of classes of |cos(mu_c - mu, mu_d - mu) + 1/(C-1)|. 0 for "
        "a simplex, whose classes are as far apart as can be.",
        title="NC2: uneven angles of the class means", axis="unevenness", section="features",
    ),
    _error(
        "generic/nc3",
        "Neural collapse, self-duality: distance between the head's rows and the centred class means, both scaled to a "
        "Frobenius norm of 1; 0 to 2. NaN where the head is private or has no row for each class.",
        title="NC3: head against class means", axis="distance", section="features",
    ),
    _error(
        "generic/head_norms",
        "Standard deviation over mean of the norms of the head's rows. Under a long tail the rows of head classes grow "
        "longer; `head_norm` in the table of classes shows which.",
        title="uneven norms of the head's rows", section="features",
    ),
    _error(
        "generic/head_angles",
        "Mean over all pairs of the head's rows of |cos + 1/(C-1)|; 0 for a simplex.",
        title="uneven angles of the head's rows", section="features",
    ),
    Figure(
        "generic/alignment",
        "Mean over the clients of `clients.alignment`. Below 1 where clients' features are shifted, beyond what their "
        "mix of classes explains. Defined where all personal models share the generic backbone.",
        title="alignment of the clients' features", unit="number", better="higher", section="features",
    ),
    _share(
        "generic/map",
        "Mean average precision over the classes that have a positive sample in the global test set; of several labels "
        "a sample. Average precision: precision at each threshold times the step in recall, without interpolation.",
        title="generic model, mAP", header="generic", axis="mAP", headline=True,
    ),
    *(
        _share(
            f"generic/map_{group}", f"Mean average precision of the {word} classes: those of `generic/{group}`.",
            title=f"generic model, mAP of {word} classes", header=word, column=f"{word} ({group})", axis="mAP",
        )
        for group, word in GROUPS
    ),
    *(_error(f"generic/{name}", f"{text} Baccianella et al., ISDA 2009.", title=f"generic model, {title}")
      for name, text, title in ORDINAL),
    *(_share(f"generic/{name}", text, title=f"generic model, {title}") for name, text, title in TREE),
    *(
        _share(f"generic/{name}", text, title=f"generic model, {title}", axis=name.partition("_")[0],
               header="generic" if name == "recall" else "", headline=name == "recall")
        for name, text, title in RANKS
    ),
    *(
        _share(f"generic/{name}", text, title=f"generic model, {title}", axis="AUC",
               header="generic" if name == "auc" else "", headline=name == "auc")
        for name, text, title in AREAS
    ),
    # Personal models ----------------------------------------------------------------------------------------------
    _share(
        "personal/accuracy",
        f"Accuracy of the personal models on {OWN}. {MEAN}; over samples, large clients would decide.",
        title="personal models", header="personal", headline=True,
    ),
    Figure(
        "personal/std",
        "Standard deviation of the clients' accuracies (over n, not n - 1): how unequally they are served.",
        title="personal models, spread over the clients", column="spread", axis="standard deviation", unit="fraction",
        better="lower",
    ),
    _share(
        "personal/worst_decile",
        "Mean accuracy of the worst tenth of the clients, rounded up.",
        title="personal models, worst tenth of the clients", header="worst 10 %", column="worst decile",
    ),
    _share(
        "personal/many",
        "Accuracy on a client's head classes: the largest that hold 75 % of its own training samples. "
        f"{MEAN} of its head.",
        title="personal models, head classes of a client",
    ),
    _share(
        "personal/medium",
        "Accuracy on a client's medium classes: those that follow, up to 95 % of its training samples.",
        title="personal models, medium classes of a client",
    ),
    _share(
        "personal/few",
        "Accuracy on a client's tail classes: beyond 95 % of its training samples, or never seen by it.",
        title="personal models, tail classes of a client",
    ),
    _share(
        "personal/balanced_accuracy",
        f"Mean recall over the classes in a client's test set. {MEAN}.",
        title="personal models, mean of class recalls",
    ),
    _share(
        "personal/macro_f1",
        f"Mean F1 over the classes in a client's test set. {MEAN}.",
        title="personal models, mean F1 of the classes", axis="F1",
    ),
    Figure(
        "personal/clients",
        "Clients that the averages are over: those evaluated that have a test sample.",
        title="clients tested", unit="count",
    ),
    _error(
        "personal/ece",
        f"Expected calibration error as for `generic/ece`. {POOLED}, since that of a client's few samples would mostly "
        "be noise.",
        title="personal models, calibration error", section="confidence",
    ),
    _error(
        "personal/nll",
        f"Mean negative log-likelihood of the true class in nats, at most 20 a sample. {MEAN}.",
        title="personal models, negative log-likelihood", axis="loss", unit="nats", section="confidence",
    ),
    _error(
        "personal/brier",
        f"Brier score as for `generic/brier`. {MEAN}.",
        title="personal models, Brier score", section="confidence",
    ),
    Figure(
        "personal/failure_auroc",
        f"As for `generic/failure_auroc`. {POOLED}.",
        title="personal models, AUROC of failures", unit="number", better="higher", section="confidence",
    ),
    Figure(
        "personal/experts",
        f"As for `generic/experts`. {POOLED}.",
        title="personal models, experts asked", unit="number",
    ),
    _share(
        "personal/map",
        f"Mean average precision of the personal models on {OWN}. {MEAN}.",
        title="personal models, mAP", header="personal", axis="mAP", headline=True,
    ),
    *(
        _share(
            f"personal/map_{group}", f"Mean average precision of a client's {word} classes: as `personal/{group}`.",
            title=f"personal models, mAP of {word} classes", column=f"{word} ({group})", axis="mAP",
        )
        for group, word in GROUPS
    ),
    *(_error(f"personal/{name}", f"{text} {MEAN}.", title=f"personal models, {title}")
      for name, text, title in ORDINAL),
    *(_share(f"personal/{name}", f"{text} {MEAN}.", title=f"personal models, {title}") for name, text, title in TREE),
    *(
        _share(f"personal/{name}", f"{text} {MEAN}.", title=f"personal models, {title}",
               axis=name.partition("_")[0], header="personal" if name == "recall" else "", headline=name == "recall")
        for name, text, title in RANKS
    ),
    *(
        _share(f"personal/{name}", f"{text} {MEAN}.", title=f"personal models, {title}", axis="AUC",
               header="personal" if name == "auc" else "", headline=name == "auc")
        for name, text, title in AREAS
    ),
    # What it costs ------------------------------------------------------------------------------------------------
    Figure(
        "cost/seconds",
        "Seconds per round, all of it, median over the rounds. In comparisons.",
        header="s/round", unit="seconds", better="lower",
    ),
    Figure(
        "cost/mb_up",
        "Megabytes (10^6 bytes) that a client sends per round. In comparisons.",
        header="MB up", unit="MB", better="lower",
    ),
    Figure(
        "cost/mb_down",
        "Megabytes (10^6 bytes) that a client receives per round. In comparisons.",
        header="MB down", unit="MB", better="lower",
    ),
)  # fmt: skip

METRICS: dict[str, Figure] = {figure.name: figure for figure in _ALL}
"""By name, for the headline models of every strategy."""

COSTS = tuple(name for name in METRICS if name.startswith("cost/"))


def section(name: str) -> tuple[str, ...]:
    """Names of the metrics of one section of the report."""
    return tuple(figure.name for figure in METRICS.values() if figure.section == name)
