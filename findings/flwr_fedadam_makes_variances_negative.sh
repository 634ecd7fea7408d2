#!/usr/bin/env bash
# Flower 1.42.0: FedAdam steps the running variance of a normalisation layer like a weight, past zero.
#
# Expected: of a state dict that is sent whole, as Flower's PyTorch examples do, what is no parameter is averaged; or the
# running variance at least goes where all clients say it is, 0.04, and stays there.
# Seen: from PyTorch's initial 1 it sinks by some 0.09 a round, whatever the clients bring, is below zero from round 12 on
# and at -0.24 in round 20, with the default settings: Adam's momentum carries it past the mark. Evaluation takes its root.
# FedAvg is at 0.04 after eight rounds.
# The clients here are what a layer does whose inputs have variance 0.04: ten batches, each a tenth of the way.
#
#     bash findings/flwr_fedadam_makes_variances_negative.sh        # exits with 1 when that has changed
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
export PATH="$work/venv/bin:$PATH" FLWR_TELEMETRY_ENABLED=0
pip install -q flwr==1.42.0 "typer>=0.20"
python - <<'PY'
import logging

import flwr.serverapp.strategy as strategies
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1  # which Flower's runtimes set
logging.getLogger("flwr").handlers.clear()


class Grid:
    def get_node_ids(self):
        return [1, 2]


def arrays(variance):
    return ArrayRecord({"running_var": Array(np.float32([variance]))})


def reply(node, variance):
    records = {"arrays": arrays(variance), "metrics": MetricRecord({"num-examples": 10})}
    return Message(RecordDict(records), dst_node_id=node, message_type="train")


found = {}
for name in ("FedAvg", "FedAdam"):
    strategy, variance, found[name] = getattr(strategies, name)(), 1.0, []
    for number in range(1, 21):
        list(strategy.configure_train(number, arrays(variance), ConfigRecord(), Grid()))
        trained = 0.04 + 0.9**10 * (variance - 0.04)
        after, _ = strategy.aggregate_train(number, [reply(1, trained), reply(2, trained)])
        variance = float(after["running_var"].numpy()[0])
        found[name].append(variance)
    print(f"{name}:", *(f"{variance:.2f}" for variance in found[name]))

same = abs(found["FedAvg"][-1] - 0.04) < 0.001 and min(found["FedAdam"][:10]) > 0 > found["FedAdam"][11] > found["FedAdam"][-1]
raise SystemExit(0 if same else "the behaviour has changed")
PY
