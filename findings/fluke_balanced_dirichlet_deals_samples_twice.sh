#!/usr/bin/env bash
# fluke 0.8.1: a balanced Dirichlet partition gives samples to two clients, and leaves as many out.
#
# Expected: `balanced=True` evens out the sizes; each sample still goes to one client at most, once.
# Seen (1,000 samples of ten classes, ten clients of 100 each, beta 0.5, NumPy's seed 0): 108 samples are dealt twice, 18 of
# them to the same client, and 108 to nobody. A client that is filled up draws from what the clients before it do not have,
# its own samples and those of later clients among them. Without `balanced` each sample is dealt once. So clients of one
# federation share data, and where such a partition is cut into training and test sets later, these may as well.
#
#     bash findings/fluke_balanced_dirichlet_deals_samples_twice.sh        # exits with 1 when that has changed
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
export PATH="$work/venv/bin:$PATH"
pip install -q torch==2.13.0 fluke-fl==0.8.1
python -W ignore - <<'PY'
import numpy as np
import torch
from fluke.data import DataSplitter

labels = torch.arange(10).repeat_interleave(100)
rows, twice = torch.arange(1000.0)[:, None], {}
for balanced in (False, True):
    np.random.seed(0)
    dealt, _ = DataSplitter.label_dirichlet_skew(rows, labels, None, None, n=10, beta=0.5, balanced=balanced)
    _, times = np.unique(np.concatenate(dealt), return_counts=True)
    own = sum(len(part) - len(np.unique(part)) for part in dealt)
    twice[balanced] = int((times > 1).sum())
    print(f"balanced={balanced}: clients of {min(map(len, dealt))} to {max(map(len, dealt))} samples; "
          f"{twice[balanced]} dealt twice, {own} of them to the same client; {1000 - len(times)} to nobody")

raise SystemExit(0 if twice[False] == 0 and twice[True] > 50 else "the behaviour has changed")
PY
