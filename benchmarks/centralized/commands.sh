#!/usr/bin/env bash
# Every run behind the tables of this folder. Repeat it to go on after an interruption: what is finished is skipped.
#   FEDLT_DATA=/your/data benchmarks/centralized/commands.sh lt_small
set -euo pipefail
out=${OUT:-runs/centralized}
here=benchmarks/centralized
# cross-entropy is the variant `plain` of posthoc_logit_adjustment, tau_norm and ncm, bit for bit
first=posthoc_logit_adjustment,logit_adjustment,ldam,batchformer,tlc
more=tau_norm,ncm,crt,focal,class_balanced,resampling,mixup,ride,value_of_labels,rcal
metrics=generic/accuracy,generic/many,generic/medium,generic/few,generic/ece
metrics+=,personal/accuracy,personal_masked/accuracy,personal/worst_decile

case ${1:-all} in lt_small | all) # centralized, a minute of one core for each run
    fedlt sweep lt_small strategy=centralized "learner=$first" --seeds 0-4 --out "$out/lt_small"
    fedlt sweep lt_small strategy=centralized "learner=$more" --seeds 0-2 --out "$out/lt_small"
    python -m benchmarks.centralized.table "$out/lt_small" "$here/lt_small.csv" ;;
esac
case ${1:-all} in federation | all) # the same learners beside each other in a federation, in one place, and alone
    fedlt sweep fedloge_cifar10_if100_a05_k40_cpu strategy=fedavg,centralized,local "learner=$first,crt,focal,mixup" \
        --seeds 0-2 --out "$out/federation"
    fedlt compare "$out/federation" --by strategy,learner --variants plain --metrics "$metrics" \
        -o "$here/federation.csv" ;;
esac
case ${1:-all} in noise | all) # CIFAR-10N: labels that people gave, 40 % of them wrong
    fedlt sweep lt_small strategy=centralized learner=posthoc_logit_adjustment,class_balanced,crt,rcal \
        data.noise.kind=file "data.noise.file=${FEDLT_DATA:?}/cifar10n_labels.npz:y10n_worse" --seeds 0-2 --out "$out/noise"
    python -m benchmarks.centralized.table "$out/noise" "$here/noise.csv" ;;
esac
case ${1:-all} in lt_small100 | all) # CIFAR-100-LT, four minutes of one core for each run
    fedlt sweep lt_small100 strategy=centralized "learner=$first" --seeds 0-2 --out "$out/lt_small100"
    python -m benchmarks.centralized.table "$out/lt_small100" "$here/lt_small100.csv" ;;
esac
python -m benchmarks.centralized.summary # the tables of README.md
