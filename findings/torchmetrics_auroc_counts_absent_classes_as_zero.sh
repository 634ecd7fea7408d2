#!/usr/bin/env bash
# torchmetrics 1.9.0: a perfect classifier has a macro AUROC of 0.2 where two of ten classes are among the targets, as on the
# test set of one client.
#
# Expected: classes without a target have no ROC curve and are left out of the mean, as the macro average precision of the
# same library leaves them out (1.0); scikit-learn gives NaN or raises.
# Seen: each of them counts as 0, so that clients with few classes look bad however good their model is. MulticlassAccuracy
# and MulticlassAveragePrecision are 1.0 on the same scores; MultilabelAveragePrecision is 0.2 again. A warning speaks of
# "returning zero tensor in true positive score", not of the mean.
#
#     bash findings/torchmetrics_auroc_counts_absent_classes_as_zero.sh        # exits with 1 when that has changed
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
export PATH="$work/venv/bin:$PATH"
pip install -q torch==2.13.0 torchmetrics==1.9.0 numpy==2.4.6
python -W ignore - <<'PY'
import torch
from torchmetrics import classification as metrics

targets = torch.tensor([3] * 8 + [7] * 2)
scores = torch.full((10, 10), -10.0)
scores[range(10), targets] = 10.0  # the right class is far ahead everywhere
several = torch.nn.functional.one_hot(targets, 10)

found = {
    "MulticlassAUROC": metrics.MulticlassAUROC(10, average="macro")(scores, targets),
    "MulticlassAveragePrecision": metrics.MulticlassAveragePrecision(10, average="macro")(scores, targets),
    "MulticlassAccuracy": metrics.MulticlassAccuracy(10, average="macro")(scores, targets),
    "MultilabelAveragePrecision": metrics.MultilabelAveragePrecision(10, average="macro")(scores.sigmoid(), several),
}
print(*(f"{name} {float(value):.2f}" for name, value in found.items()), sep="\n")
same = [round(float(value), 4) for value in found.values()] == [0.2, 1.0, 1.0, 0.2]
raise SystemExit(0 if same else "the behaviour has changed")
PY
