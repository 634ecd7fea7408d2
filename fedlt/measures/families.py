"""Figures that come in families, each for generic and for personal models: last part of the name, text, title."""

from __future__ import annotations

GROUPS = (("many", "head"), ("medium", "medium"), ("few", "tail"))
ORDINAL = (
    ("mae", "Mean number of classes between prediction and truth, of classes that have an order.", "ordinal error"),
    (
        "macro_mae",
        "The mean over classes of each class's `mae`: under a long tail `mae` is that of the head.",
        "ordinal error by class",
    ),
)

TREE = (
    ("parent_accuracy", "Share of the predictions under the right parent in the tree of classes (`data.parents`).",
     "right parent"),
    ("parent_recall", "Mean over the parents of the share of their samples that are predicted under the right parent.",
     "recall of parents"),
    ("sibling_errors", "Share of the wrong predictions that name a class of the right parent. NaN where none is wrong.",
     "errors under the right parent"),
)  # fmt: skip

_RECALL = (
    "Share of the samples whose item is among the first K (`data.targets.at`) of all, those of the history left out."
)
_NDCG = (
    "Mean of 1 / log2(1 + rank) of the right item, 0 beyond K: one right item a sample makes this the normalised gain."
)

RANKS = (
    ("recall", _RECALL, "recall at K"),
    *((f"recall_{group}", f"`recall` on {word} items, by all clients' training counts.", f"recall at K, {word} items")
      for group, word in GROUPS),
    ("recall_short", "`recall` on histories of at most `data.targets.short` items.", "recall at K, short histories"),
    ("ndcg", _NDCG, "NDCG at K"),
    *((f"ndcg_{group}", f"`ndcg` on {word} items, by all clients' training counts.", f"NDCG at K, {word} items")
      for group, word in GROUPS),
    ("ndcg_short", "`ndcg` on histories of at most `data.targets.short` items.", "NDCG at K, short histories"),
)  # fmt: skip

AREAS = (
    ("auc", "Area under the ROC curve: the chance that a liked item is scored above one that is not; ties are half.",
     "area under the ROC curve"),
    ("auc_short", "`auc` on histories of at most `data.targets.short` items.",
     "area under the ROC curve, short histories"),
)  # fmt: skip
