#!/usr/bin/env bash
# PyTorch 2.13.0: label smoothing under class weights can make a rare class the best answer to a sample of a common one.
#
# Expected: a class's weight multiplies the smoothed loss of its samples, so that the loss of a sample labelled 0 is least
# where class 0 has 0.91, as without weights (ten classes, label_smoothing=0.1).
# Seen: with weights by inverse frequency, under an imbalance of 100, it is least where class 9, the rarest, has 0.30 and
# class 0 has 0.27. What smoothing gives to each other class is multiplied by that class's weight, not by the label's:
# 0.01 * 100 for the rarest, beside 0.91 * 1 for the label. So batches of common classes pull towards the rare ones, the
# more the longer the tail, and `weight` together with `label_smoothing` is another loss than either lets expect.
#
#     bash findings/torch_smoothing_prefers_weighted_classes.sh        # exits with 1 when that has changed
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
export PATH="$work/venv/bin:$PATH"
pip install -q torch==2.13.0 numpy
python - <<'PY'
import torch
from torch.nn import functional as F

CLASSES = 10
counts = 500 * 100 ** (-torch.arange(CLASSES) / (CLASSES - 1))
weights, label = counts[0] / counts, torch.tensor([0])


def best(weight):
    """The probabilities at which the loss of one sample labelled 0 is least."""
    logits = torch.zeros(1, CLASSES, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=2000, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = F.cross_entropy(logits, label, weight=weight, label_smoothing=0.1)
        value.backward()
        return value

    optimizer.step(loss)
    return logits.softmax(1)[0].detach()


plain, weighted = best(None), best(weights)
print("without weights:", " ".join(f"{p:.2f}" for p in plain))
print("inverse frequency:", " ".join(f"{p:.2f}" for p in weighted))
raise SystemExit(0 if int(plain.argmax()) == 0 and int(weighted.argmax()) == CLASSES - 1 else "the behaviour has changed")
PY
