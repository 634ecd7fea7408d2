#!/usr/bin/env bash
# fluke 0.8.1: FedAvgM throws the first round away.
#
# Expected: the momentum is zero at the start, so that the first round is FedAvg's.
# Seen: after the first round the global model is what it was before, to the bit, and FedAvg's has moved by 0.17; after two
# rounds it is where FedAvg was after one. In the round that makes the momentum, the clients' mean is not added to it. So
# a comparison after few rounds, or a test of one round, finds a method that learns nothing.
#
#     bash findings/fluke_fedavgm_drops_the_first_round.sh        # exits with 1 when that has changed
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
from fluke.algorithms.fedavg import FedAVG
from fluke.algorithms.fedavgm import FedAVGM
from fluke.data import DataSplitter, DummyDataContainer, FastDataLoader

drawn = torch.randn(2, 20, 2, generator=torch.Generator().manual_seed(0))


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.head(x)


def moved(algorithm, rounds, **server):
    FlukeENV().set_seed(0)
    FlukeENV().set_eval_cfg(pre_fit=False, post_fit=False, locals=False, server=False)
    settings = DDict(
        model=Net(),
        client=DDict(
            batch_size=10,
            local_epochs=1,
            loss="CrossEntropyLoss",
            optimizer=DDict(name="SGD", lr=0.1),
            scheduler=DDict(name="StepLR", step_size=1, gamma=1.0),
        ),
        server=DDict(weighted=True, **server),
    )
    clients = [FastDataLoader(x, (x[:, 0] > 0).long(), num_labels=2, batch_size=10, shuffle=False) for x in drawn]
    federation = algorithm(2, DataSplitter(DummyDataContainer(clients, [None, None], None, 2)), settings)
    start = torch.cat([p.detach().flatten().clone() for p in federation.server.model.parameters()])
    federation.run(rounds, 1.0)
    return float((torch.cat([p.detach().flatten() for p in federation.server.model.parameters()]) - start).norm())


plain = [moved(FedAVG, rounds) for rounds in (1, 2)]
momentum = [moved(FedAVGM, rounds, momentum=0.9) for rounds in (1, 2)]
print("FedAvg: the global model has moved by {:.3f} after one round, {:.3f} after two".format(*plain))
print("FedAvgM: {:.3f} and {:.3f}".format(*momentum))
same = momentum[0] == 0 and plain[0] > 0.1 and abs(momentum[1] - plain[0]) < 1e-6
raise SystemExit(0 if same else "the behaviour has changed")
PY
