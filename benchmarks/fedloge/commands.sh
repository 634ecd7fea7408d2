#!/usr/bin/env bash
# Every run behind cifar100.csv, cifar100_if50.csv and cifar10_if50.csv. Repeat it to go on after an interruption: what is
# finished is skipped.
#   FEDLT_DATA=/your/data benchmarks/fedloge/commands.sh            (or one of: cifar100, cifar100_if50, cifar10_if50)
set -euo pipefail
out=${OUT:-runs/fedloge}
loge='{name: fedloge, norm: 1.0}'
psi='{name: fedloge, norm: 1.0, backbone_from: psi}'
dense='{name: fedloge, norm: 1.0, sparsity: 0.0}'
rivals="fedrod,fedavg_la,$dense,{name: fedgela, temperature: 1.0},fedetf,fedprox"
metrics=generic/accuracy,generic/many,generic/medium,generic/few
metrics+=,personal/accuracy,personal_masked/accuracy,personal_masked/worst_decile

compare() {
    fedlt compare "$out/$1" --by strategy,strategy.backbone_from,strategy.sparsity --variants '*' --metrics "$metrics" \
        --reference 'fednpc - - [plain]' -o "benchmarks/fedloge/$1.csv"
}

# fednpc trains as FedAvg does, and reports FedAvg itself as its variant plain
case ${1:-all} in cifar100 | all)
    fedlt sweep fedloge_cifar100_if100_a05_k40_cpu "strategy=fednpc,$loge,$psi" --seeds 0-4 --out "$out/cifar100"
    fedlt sweep fedloge_cifar100_if100_a05_k40_cpu "strategy=$rivals" --seeds 0-2 --out "$out/cifar100"
    compare cifar100 ;;
esac
case ${1:-all} in cifar100_if50 | all)
    fedlt sweep fedloge_cifar100_if100_a05_k40_cpu data.longtail.imbalance_factor=50 "strategy=fednpc,$loge,$psi,$rivals" \
        --seeds 0-2 --out "$out/cifar100_if50"
    compare cifar100_if50 ;;
esac
case ${1:-all} in cifar10_if50 | all)
    fedlt sweep fedloge_cifar10_if100_a05_k40_cpu data.longtail.imbalance_factor=50 federation.rounds=20 evaluation.every=20 \
        "strategy=fedavg,fednpc,$loge,$psi,$rivals" --seeds 0-2 --out "$out/cifar10_if50"
    compare cifar10_if50 ;;
esac
