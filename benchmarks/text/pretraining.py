"""Words before labels on medical notes, and how much of a note is read.

    FEDLT_DATA=/your/data python -m benchmarks.text.pretraining --table benchmarks/text/pretraining.csv

MTSamples' notes by 40 specialties (`mtsamples_specialties`), one site, a fifth of each class held out for the test.

`words`: seven of ten notes have no label (`data.unlabelled`). A transformer of one layer, 128 tokens a note, is trained
on the others for 200 steps: at once (`none`), or after 300 steps on the words of all notes (`mlm`, `rtd`). The steps of
`rtd` take longest, so that there are rows of as many seconds, too: `mlm` with more steps on words, `none` with more
steps on labels. Seconds are the process's own time, measured with the first seed.

`length`: a transformer of windows with all labels, five passes, on the first 128 tokens of a note, or on 1,024.

One rate a part, set before. PASS where `rtd` is 1.5 points above `none` and not behind `mlm`, by steps and by seconds;
`mlm` is not behind `none`; and 1,024 tokens are not behind 128.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import fedlt
from benchmarks.rows import write_rows

STEPS = 50  # of a round, in the first part
WORDS, LABELS = 6, 4  # rounds of it on words, and on labels
LENGTHS = (128, 1024)
PASSES = 5


def scenario(
    length: int, rounds: int, seed: int, name: str | None, local: dict[str, Any], **other: Any
) -> dict[str, Any]:
    """One site. name: of the data set. other: further sections."""
    tokenizer = {"name": "hashing", "buckets": 4096, "length": length}
    data = {"tokenizer": tokenizer, "unlabelled": other.pop("unlabelled", {})}

    named = {} if name is None else {"name": name}

    return {
        "data": {
            "name": "mtsamples",
            "input_column": "transcription",
            "target_column": "medical_specialty",
            "test_share": 0.2,
            **data,
            **named,
        },
        # One site.
        "federation": {"clients": 1, "participation": 1.0, "rounds": rounds, "partition": "iid"},
        "local": {"optimizer": "adam", "batches": "bucketed", **local},
        "strategy": "centralized",
        "evaluation": {"every": rounds},
        "resources": {"backend": "inline", "checkpoint": 0},
        "seed": seed,
        **other,
    }


def after_words(kind: str, words: int, labels: int, seed: int, name: str | None) -> dict[str, Any]:
    """So many rounds on words and on labels. kind: `mlm` or `rtd`."""
    first = {"name": "word_pretraining", "pretrain": kind, "share": words / (words + labels)}
    return scenario(
        128,
        words + labels,
        seed,
        name,
        {"steps": STEPS, "batch_size": 16, "lr": 2e-3},
        unlabelled={"hidden": 0.7},
        model={"name": "transformer", "width": 64, "depth": 1},
        learner=first if words else "cross_entropy",
    )


def by_length(length: int, seed: int, name: str | None) -> dict[str, Any]:
    """All labels, notes cut to so many tokens."""
    keys = {"name": "window_transformer", "width": 32, "depth": 1, "window": 64, "positions": "sinusoidal"}
    return scenario(length, PASSES, seed, name, {"epochs": 1, "batch_size": 8, "lr": 3e-3}, model=keys)


def seconds_of(made: dict[str, Any], out: Path) -> tuple[fedlt.Run, float]:
    """The run, and the processor's seconds that it took."""
    began = time.process_time()
    return fedlt.run(made, out=out), time.process_time() - began


def words_rows(seeds: Sequence[int], name: str | None, out: Path) -> list[dict[str, str]]:
    """The table's first part."""
    arms = {"none": ("mlm", 0, LABELS), "mlm": ("mlm", WORDS, LABELS), "rtd": ("rtd", WORDS, LABELS)}
    scores: dict[str, list[float]] = {}
    took = {}
    for arm, (kind, words, labels) in arms.items():
        for seed in seeds:
            run, seconds = seconds_of(after_words(kind, words, labels, seed, name), out)
            scores.setdefault(arm, []).append(run.final["generic/accuracy"])
            took.setdefault(arm, seconds)

    # What a round of each kind takes beyond a run without words, whose own rounds are all on labels.
    start = seconds_of(after_words("mlm", 0, 1, seeds[0], name), out)[1]
    of_labels = (took["none"] - start) / (LABELS - 1)
    of_words = {arm: (took[arm] - took["none"]) / WORDS for arm in ("mlm", "rtd")}
    total = WORDS * of_words["rtd"]
    longer = {
        "mlm, seconds of rtd": ("mlm", round(total / of_words["mlm"]), LABELS),
        "none, seconds of rtd": ("mlm", 0, LABELS + round(total / of_labels)),
    }
    for arm, (kind, words, labels) in longer.items():
        for seed in seeds:
            run, seconds = seconds_of(after_words(kind, words, labels, seed, name), out)
            scores.setdefault(arm, []).append(run.final["generic/accuracy"])
            took.setdefault(arm, seconds)
    rounds = arms | longer
    return [
        line("words", arm, f"{STEPS * rounds[arm][1]} + {STEPS * rounds[arm][2]}", took[arm], each)
        for arm, each in scores.items()
    ]


def length_rows(seeds: Sequence[int], name: str | None, out: Path) -> list[dict[str, str]]:
    """The table's second part."""
    lines = []
    for length in LENGTHS:
        found = [seconds_of(by_length(length, seed, name), out) for seed in seeds]
        scores = [run.final["generic/accuracy"] for run, _ in found]
        lines.append(line("length", f"{length} tokens", f"{PASSES} passes", found[0][1], scores))
    return lines


def line(part: str, arm: str, steps: str, seconds: float, scores: Sequence[float]) -> dict[str, str]:
    """A line of the table. seconds: of the first seed's run, its start and test included."""
    found = {"part": part, "row": arm, "steps": steps, "seconds": f"{seconds:.0f}"}
    found |= {"accuracy mean": f"{100 * mean(scores):.1f}", "accuracy std": f"{100 * stdev(scores):.1f}"}
    print(found, flush=True)
    return found


def claims(lines: Sequence[Mapping[str, str]]) -> list[tuple[str, bool]]:
    """What the table is to bear out, with its figures, and whether it does."""
    found = {row["row"]: float(row["accuracy mean"]) for row in lines}
    short, long = (found[f"{length} tokens"] for length in LENGTHS)
    said = [
        (f"rtd {found['rtd']} is at least none {found[none]} + 1.5 ({how})", found["rtd"] >= found[none] + 1.5)
        for none, how in (("none", "same steps on labels"), ("none, seconds of rtd", "same seconds"))
    ]
    said += [
        (f"rtd {found['rtd']} is at least mlm {found[mlm]} ({how})", found["rtd"] >= found[mlm])
        for mlm, how in (("mlm", "same steps"), ("mlm, seconds of rtd", "same seconds"))
    ]
    said.append((f"mlm {found['mlm']} is at least none {found['none']}", found["mlm"] >= found["none"]))
    return [*said, (f"{LENGTHS[1]} tokens {long} are at least {LENGTHS[0]} tokens {short}", long >= short)]


def main() -> None:
    """Measure what the command line asks for, print it, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="the data set's folder; mtsamples in $FEDLT_DATA")
    parser.add_argument("--table", type=Path, help="a CSV file for the rows")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="fedlt-pretraining-") as made:
        seeds, out = range(given.seeds), Path(made)
        lines = words_rows(seeds, given.data, out) + length_rows(seeds, given.data, out)
    write_rows(given.table, lines)
    for text, holds in claims(lines):
        print("PASS" if holds else "FAIL", text)


if __name__ == "__main__":
    main()
