#!/usr/bin/env bash
# fluke 0.8.1: APFL's personal models are never trained.
#
# Expected: a client steps both the shared model and its personal one; with a mixing weight `lam` of 1 the personal model is
# alone, and learns from the client's data.
# Seen: with lam=1 it has its initial parameters after three rounds, to the bit, while the shared model has moved by 0.5. The
# mixed model is a copy, so that its gradients do not reach the personal one, and the second optimiser has none to step by.
# With lam below 1 the personal model becomes a running mean of the client's shared models. It costs what the method costs,
# a second pass of every batch in both directions.
#
#     bash findings/fluke_apfl_leaves_personal_models_untrained.sh        # exits with 1 when that has changed
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
from fluke.algorithms.apfl import APFL
from fluke.data import DataSplitter, DummyDataContainer, FastDataLoader

drawn = torch.randn(2, 20, 2, generator=torch.Generator().manual_seed(0))


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.head(x)


def flat(model):
    return torch.cat([p.detach().flatten().clone() for p in model.parameters()])


FlukeENV().set_seed(0)
FlukeENV().set_eval_cfg(pre_fit=False, post_fit=False, locals=False, server=False)
settings = DDict(
    model=Net(),
    client=DDict(
        model=Net(),
        batch_size=10,
        local_epochs=1,
        loss="CrossEntropyLoss",
        optimizer=DDict(name="SGD", lr=0.1),
        scheduler=DDict(name="StepLR", step_size=1, gamma=1.0),
        lam=1.0,
    ),
    server=DDict(weighted=True, tau=1),
)
held = [FastDataLoader(x, (x[:, 0] > 0).long(), num_labels=2, batch_size=10, shuffle=False) for x in drawn]
federation = APFL(2, DataSplitter(DummyDataContainer(held, [None, None], None, 2)), settings)

owners = []
fit = type(federation.clients[0]).fit


def noted(client, *arguments):
    """A client's training, and how far its personal model has moved in it."""
    before = flat(client.personalized_model)
    loss = fit(client, *arguments)
    owners.append(float((flat(client.personalized_model) - before).norm()))
    return loss


type(federation.clients[0]).fit = noted
start = flat(federation.server.model)
federation.run(3, 1.0)
shared = float((flat(federation.server.model) - start).norm())
print(f"in {len(owners)} trainings the personal models moved by {max(owners):.3f} at most; the shared one by {shared:.3f}")
raise SystemExit(0 if len(owners) == 6 and max(owners) == 0 and shared > 0.1 else "the behaviour has changed")
PY
