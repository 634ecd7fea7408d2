#!/usr/bin/env bash
# Every run behind the tables of this folder. Repeat it to go on after an interruption: what is finished is skipped.
#   FEDLT_DATA=/your/data benchmarks/fedloge/commands.sh
set -euo pipefail
out=${OUT:-runs/fedloge}
loge='{name: fedloge, norm: 1.0}'
dense='{name: fedloge, norm: 1.0, sparsity: 0.0}'
psi='{name: fedloge, norm: 1.0, backbone_from: psi}'
rivals='fednpc,fedavg_la,fedrod,fedetf,fedgela,fedprox'   # fednpc trains as FedAvg does, and reports it as [plain]

for data in cifar100 cifar10; do
    scenario=fedloge_${data}_if100_a05_k40_cpu
    fedlt sweep "$scenario" "strategy=$rivals,$loge,$dense,$psi" --seeds 0-2 --out "$out/$data"
    fedlt compare "$out/$data" --reference 'fednpc [plain]' --variants '*' -o "benchmarks/fedloge/$data.csv"
done
