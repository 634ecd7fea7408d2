#!/usr/bin/env bash
# fluke 0.8.1: FedNova multiplies the global model by more than one in each round, wherever clients make unequal steps.
#
# Expected: normalised averaging concerns the clients' updates, so that a round in which no client moves changes nothing.
# Seen: with two clients of 10 and 990 samples, batches of ten and a learning rate of zero, the parameters are 1.96 times
# as large after one round and 29 times after five. The weights p_i * (sum_j p_j a_j) / a_i are put on the clients' whole
# models, not on their differences from the global one, and they add up to 1 only where all a_i, the steps of a client,
# are equal. FedAvg leaves the model as it is. The longer the tail of the clients' sizes, the sooner FedNova has left
# every reasonable model, which looks like a method that diverges.
#
#     bash findings/fluke_fednova_scales_the_model.sh        # exits with 1 when that has changed
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
from fluke.algorithms.fednova import FedNova
from fluke.data import DataSplitter, DummyDataContainer, FastDataLoader


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.head(x)


def client(size):
    return FastDataLoader(torch.zeros(size, 2), torch.arange(size) % 2, num_labels=2, batch_size=10, shuffle=False)


def grown(algorithm, rounds):
    FlukeENV().set_seed(0)
    FlukeENV().set_eval_cfg(pre_fit=False, post_fit=False, locals=False, server=False)
    settings = DDict(
        model=Net(),
        client=DDict(
            batch_size=10,
            local_epochs=1,
            loss="CrossEntropyLoss",
            optimizer=DDict(name="SGD", lr=0.0),
            scheduler=DDict(name="StepLR", step_size=1, gamma=1.0),
        ),
        server=DDict(weighted=True),
    )
    data = DummyDataContainer([client(10), client(990)], [None, None], None, 2)
    federation = algorithm(2, DataSplitter(data), settings)
    size = [sum(float((p**2).sum()) for p in federation.server.model.parameters()) ** 0.5]
    federation.run(rounds, 1.0)
    size.append(sum(float((p**2).sum()) for p in federation.server.model.parameters()) ** 0.5)
    return size[1] / size[0]


found = {algorithm.__name__: [grown(algorithm, rounds) for rounds in (1, 5)] for algorithm in (FedAVG, FedNova)}
for name, (once, five) in found.items():
    print(f"{name}: parameters x {once:.2f} after a round without steps, x {five:.2f} after five")
same = all(abs(x - 1) < 1e-6 for x in found["FedAVG"]) and found["FedNova"][0] > 1.9 and found["FedNova"][1] > 20
raise SystemExit(0 if same else "the behaviour has changed")
PY
