#!/usr/bin/env bash
# fluke 0.8.1: pFedMe's lambda, which ties the personal model to the shared one, changes nothing.
#
# Expected: lambda weighs the pull of the Moreau envelope, so that 15 (the paper's value) keeps clients nearer to the
# shared model than 0, which has no pull at all.
# Seen: with lambda 0, 1 and 15 three rounds end in the same parameters, bit for bit. The optimiser is given the trained
# parameters themselves as those that they are pulled to, so that their distance is always zero; the copy that lambda does
# move is overwritten at the end of a client's training. What is left is FedAvg with k steps a batch.
#
#     bash findings/fluke_pfedme_ignores_lambda.sh        # exits with 1 when that has changed
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
export PATH="$work/venv/bin:$PATH"
pip install -q torch==2.13.0 fluke-fl==0.8.1
cd "$work"
python -W ignore - <<'PY'
import torch

try:
    import torchvision  # noqa: F401  # which fluke imports, and which does not load beside a CPU-only PyTorch
except RuntimeError:
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float threshold) -> Tensor")

from fluke import DDict, FlukeENV
from fluke.algorithms.pfedme import PFedMe
from fluke.data import DataSplitter, DummyDataContainer, FastDataLoader

drawn = torch.randn(2, 20, 2, generator=torch.Generator().manual_seed(0))


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.head(x)


def after_three_rounds(lamda):
    FlukeENV().set_seed(0)
    FlukeENV().set_eval_cfg(pre_fit=False, post_fit=False, locals=False, server=False)
    settings = DDict(
        model=Net(),
        client=DDict(
            batch_size=10,
            local_epochs=1,
            loss="CrossEntropyLoss",
            optimizer=DDict(lr=0.05, lamda=lamda, mu=0.0),
            scheduler=DDict(name="StepLR", step_size=1, gamma=1.0),
            k=5,
        ),
        server=DDict(weighted=True, beta=1.0),
    )
    clients = [FastDataLoader(x, (x[:, 0] > 0).long(), num_labels=2, batch_size=10, shuffle=False) for x in drawn]
    federation = PFedMe(2, DataSplitter(DummyDataContainer(clients, [None, None], None, 2)), settings)
    start = torch.cat([p.detach().flatten().clone() for p in federation.server.model.parameters()])
    federation.run(3, 1.0)
    return start, torch.cat([p.detach().flatten() for p in federation.server.model.parameters()])


found = {lamda: after_three_rounds(lamda) for lamda in (0.0, 1.0, 15.0)}
for lamda, (start, end) in found.items():
    print(f"lambda {lamda}: moved by {float((end - start).norm()):.6f}")
_, without = found[0.0]
moved = not torch.equal(*found[0.0])
raise SystemExit(0 if moved and all(torch.equal(end, without) for _, end in found.values()) else "the behaviour has changed")
PY
