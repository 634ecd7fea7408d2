"""Strategies and learners by what they are for, as README.md and docs/choose-a-strategy.md show them."""

from __future__ import annotations

STRATEGIES = {
    "yardsticks": ("Yardsticks", ("local", "fedavg", "centralized")),
    "drift": (
        "One model for clients that differ",
        (
            *("fedprox", "moon", "fedntd", "feddf", "feddecorr", "feduv", "fedavgm", "fedexp", "scaffold", "feddyn"),
            *("fedcm", "fednova", "feddisco", "climb", "qfedavg", "flower:FedAdam", "flower:FedYogi"),
        ),
    ),
    "tail": (
        "One model and its tail",
        (
            *("fedavg_la", "fedrela", "balancefl", "fedlc", "fedlf", "fedrs", "fedir", "fedgrab", "fedbb", "fedyoyo"),
            *("rucr", "creff", "clip2fl", "fednh", "fedcrac", "fedwcm", "fedcgnm", "fedhoo", "ratio_loss", "fedic"),
        ),
    ),
    "afterwards": ("Corrected after training", ("fedavg_posthoc", "fednpc", "ccvr", "closed_form")),
    "personal": ("Personal models only", ("fedper", "fedrep", "lg_fedavg", "fedproto", "fedamp", "fedbn")),
    "both": (
        "A generic model and personal ones",
        (
            *("fedloge", "fedrod", "fedetf", "fedpurel", "fedgela", "ditto", "apfl", "fedavg_ft", "per_fedavg"),
            *("pfedme", "fedala", "fedas", "fedpac", "fedwolf", "pfedfda", "fedbabu", "ecl", "knnper"),
        ),
    ),
    "robust": ("Robust against attackers", ("flower:FedTrimmedAvg", "flower:Krum")),
    "counted": ("Counted or joined, not averaged", ("exact_sum", "joined_clauses")),
}
"""Key of a family -> its title and its strategies; every built-in one stands in one of them."""

LEARNERS = {
    "losses": (
        "Losses and priors",
        ("cross_entropy", "class_balanced", "focal", "ldam", "logit_adjustment", "posthoc_logit_adjustment"),
    ),
    "samples": (
        "Sampling, mixing and making",
        ("resampling", "upweighting", "mixup", "cmo", "glmc", "brl", "adr", "augmented_conditioning"),
    ),
    "classifier": ("Representation first, then the head", ("crt", "lws", "mislas", "h2t", "tau_norm", "ncm", "lift")),
    "experts": ("Experts and branches", ("bbn", "ride", "sade", "dirmixe", "tlc", "foundation_bias")),
    "contrast": ("Contrast and batches", ("bcl", "sbcl", "proco", "rcal", "batchformer", "m3i")),
    "flatness": ("Flat minima", ("sam", "focal_sam")),
    "structure": ("Trees, domains and sequences", ("label_tree", "sibling_softmax", "crf")),
    "items": ("Items to recommend", ("item_ssl", "aw_moe")),
    "several": ("Several labels a sample", ("asymmetric_loss", "comic")),
    "unlabelled": (
        "Samples without labels",
        ("pseudo_labels", "value_of_labels", "word_pretraining", "self_pretraining"),
    ),
    "counts": ("Counts and rules, for texts", ("counting", "tsetlin")),
}
"""Key of a family -> its title and its learners; every built-in one stands in one of them."""
