"""Federated, local and centralized methods on texts: settings chosen on validation data, results over seeds.

    FEDLT_DATA=/your/data python -m benchmarks.text.study tune trec50_lt_pretrained
    FEDLT_DATA=/your/data python -m benchmarks.text.study run trec50_lt_pretrained --seeds 0-4

Four trials for each method, written with their validation figures to tuned.csv; `benchmarks.trials` says how one is
chosen. `run` takes the chosen settings and writes NAME.csv: every variant, mean and standard deviation, paired
differences to FedAvg. The test questions are few (500), and eight kinds have none.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.trials import Method, Setting, Study

METHODS = {
    method.strategy: method
    for method in (
        Method("fedavg"),
        Method("fedavg_la", own="tau", values=(1.0, 0.5)),
        Method("fedavg_posthoc", own="tau", values=(1.0, 0.5)),
        Method("fedloge", own="sparsity", values=(0.6, 0.3)),
        Method("fedrod", own="absent", values=(0.0, 1.0)),
        Method("local"),
        Method("centralized"),
    )
}

SETTINGS = {
    "trec50_lt_pretrained": Setting(
        "trec50_lt_pretrained",
        rates=(0.05, 0.1, 0.2, 0.4),
        narrow=(1, 2),
        changes=("evaluation.every=60",),
    ),
}

STUDY = Study(Path(__file__).parent, METHODS, SETTINGS)

if __name__ == "__main__":
    STUDY.main(__doc__, "runs/text", "0-4")
