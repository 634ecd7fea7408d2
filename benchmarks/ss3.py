"""Seconds of SS3 beside its official code, from texts to predictions.

python -m benchmarks.ss3 --json benchmarks/results/ss3.json

20,000 generated texts of 20 to 180 words and 20 classes, the words by Zipf's law: half of a text's words are common to
all classes, half are drawn in an order of the class's own. Both programs get the texts, split them at spaces, count all
of them and then predict all of them, with one thread and the official defaults; they take turns as often as `--repeats`
says. The file has medians, and the share of texts whose prediction is the same.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from fedlt.nn.text.ss3 import SS3
from fedlt.nn.text.word_counts import WordCounts

CLASSES, WORDS = 20, 20_000
CHUNK = 2048  # texts that are counted or predicted at a time


def generated(count: int) -> tuple[list[str], list[int]]:
    """Texts and their classes."""
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, WORDS + 1)
    shares /= shares.sum()
    orders = np.array([rng.permutation(WORDS) for _ in range(CLASSES)])
    labels = rng.integers(CLASSES, size=count)
    texts = []
    for label in labels:
        drawn = rng.choice(WORDS, int(rng.integers(20, 181)), p=shares)
        own = rng.random(len(drawn)) < 0.5
        texts.append(" ".join(f"w{word}" for word in np.where(own, orders[label][drawn], drawn)))
    return texts, labels.tolist()


def ours(texts: Sequence[str], labels: Sequence[int]) -> tuple[list[int], float, float]:
    """Predictions, and the seconds that counting and predicting took."""
    started = time.perf_counter()
    numbers: dict[str, int] = {}
    found = [[numbers.setdefault(word, len(numbers)) for word in text.split(" ")] for text in texts]
    ids = torch.full((len(found), max(map(len, found))), -1)
    for row, words in enumerate(found):
        ids[row, : len(words)] = torch.tensor(words)

    table = WordCounts(SS3(), len(numbers), CLASSES)
    y = torch.tensor(labels)
    for x, each in zip(ids.split(CHUNK), y.split(CHUNK), strict=True):
        table.add(x, each)
    counted = time.perf_counter()

    predicted: list[Tensor] = [table(x, x >= 0).argmax(1) for x in ids.split(CHUNK)]
    return torch.cat(predicted).tolist(), counted - started, time.perf_counter() - counted


def official(texts: Sequence[str], labels: Sequence[int]) -> tuple[list[int], float, float]:
    """The same of pyss3."""
    import pyss3

    pyss3.set_verbosity(0)
    names = [f"c{label}" for label in labels]
    started = time.perf_counter()
    model = pyss3.SS3()
    model.train(texts, names, prep=False, leave_pbar=False)
    counted = time.perf_counter()
    predicted = model.predict(texts, prep=False, leave_pbar=False)
    return [int(name[1:]) for name in predicted], counted - started, time.perf_counter() - counted


def main() -> None:
    """Measure what the command line asks for, print it, and write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--texts", type=int, default=20_000, help="texts that are generated")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each program")
    parser.add_argument("--json", type=Path, help="file to write")
    given = parser.parse_args()

    torch.set_num_threads(1)
    texts, labels = generated(given.texts)
    systems = {"fedlt": ours, "pyss3": official}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in systems}
    predictions: dict[str, list[int]] = {}
    for repeat in range(given.repeats):
        for name, system in systems.items():
            predictions[name], fit, predict = system(texts, labels)
            seconds[name].append((fit, predict))
            print(f"repeat {repeat}  {name}  fit {fit:.2f} s  predict {predict:.2f} s", flush=True)

    same = float(np.mean(np.equal(*predictions.values())))
    row: dict[str, float] = {"texts": len(texts), "words": sum(text.count(" ") + 1 for text in texts)}
    row |= {"classes": CLASSES, "repeats": given.repeats, "same_predictions": same}
    for name, found in seconds.items():
        row |= {f"{name}_fit_s": round(median(fit for fit, _ in found), 2)}
        row |= {f"{name}_predict_s": round(median(predict for _, predict in found), 2)}
        row |= {f"{name}_s": round(median(map(sum, found)), 2)}
    row["times_as_fast"] = round(row["pyss3_s"] / row["fedlt_s"], 1)
    print(json.dumps(row, indent=1))
    if given.json:
        given.json.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
