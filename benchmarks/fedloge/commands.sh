#!/usr/bin/env bash
# Every run behind cifar100.csv. Repeat it to go on after an interruption: what is finished is skipped.
#   FEDLT_DATA=/your/data benchmarks/fedloge/commands.sh
set -euo pipefail
out=${OUT:-runs/fedloge/cifar100}
scenario=fedloge_cifar100_if100_a05_k40_cpu
loge='{name: fedloge, norm: 1.0}'
psi='{name: fedloge, norm: 1.0, backbone_from: psi}'
dense='{name: fedloge, norm: 1.0, sparsity: 0.0}'
metrics=generic/accuracy,generic/many,generic/medium,generic/few
metrics+=,personal/accuracy,personal_masked/accuracy,personal_masked/worst_decile

# fednpc trains as FedAvg does, and reports FedAvg itself as its variant plain
fedlt sweep "$scenario" "strategy=fednpc,$loge,$psi" --seeds 0-4 --out "$out"
fedlt sweep "$scenario" "strategy=fedrod,fedavg_la,$dense,{name: fedgela, temperature: 1.0},fedetf" --seeds 0-2 --out "$out"
fedlt compare "$out" --by strategy,strategy.backbone_from,strategy.sparsity --variants '*' --metrics "$metrics" \
    --reference 'fednpc - - [plain]' -o benchmarks/fedloge/cifar100.csv
