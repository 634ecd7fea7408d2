"""How much of a document its class takes, and how hard that is to find: scope and dispersion.

Goldman, Jacovi, Slobodkin, Maimon, Dagan, Tsarfaty: Is It Really Long Context if All You Need Is Retrieval? EMNLP 2024
(arXiv 2407.00402) tells long texts apart by how much of them a task needs (scope) and how hard it is to find
(dispersion). It is a position paper without formulas; these are ours, for a trained classifier. A document that the
model has right is cut into ten segments of equal length. Then

    contribution  of a segment: by how much the margin of the true class falls without it (its logit less the largest
                  other)
    scope         the share of segments that must be taken out, the largest contribution first, until the model is
                  wrong; 1 where no nine are enough
    dispersion    the entropy of the positive contributions, as a share of what it can be: 0 where one segment has all
    lead          whether the first segment alone is enough to be right

All are of the model as much as of the texts: one that reads little of a document finds its scope small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedlt.config.scenario import load_scenario
from fedlt.data.federation import Federation, federate
from fedlt.data.groups import SHOTS, Grouping
from fedlt.data.inputs.tokens import PADDING, TokenKind
from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.plots.chart import Axis, Chart, Dots
from fedlt.plots.style import looks
from fedlt.process.files import replace_file
from fedlt.process.threads import one_thread

if TYPE_CHECKING:
    from fedlt.results.runs import Run
    from fedlt.results.trained import Trained

Tokens = NDArray[np.int32]
KEY = "--scope"
SEGMENTS = 10
DOCUMENTS = 500
"""Test documents that are looked at, unless said otherwise."""


def without(documents: Tokens, kept: NDArray[np.bool_]) -> Tokens:
    """Documents without some of their tokens; those that stay move together, and padding fills the end.

    Args:
        documents: int32 [N, L], -1: padding.
        kept: bool [N, L] which tokens stay.
    """
    order = np.argsort(~kept, axis=1, kind="stable")
    moved = np.take_along_axis(documents, order, axis=1)
    return np.where(np.take_along_axis(kept, order, axis=1), moved, PADDING).astype(documents.dtype)


def segments_of(documents: Tokens, segments: int = SEGMENTS) -> NDArray[np.int64]:
    """To which of a document's segments, of about the same length, each token belongs.

    Args:
        documents: int32 [N, L], -1: padding, which comes last.
        segments: into how many a document is cut.

    Returns:
        [N, L], 0..segments-1; -1 for padding.
    """
    real = documents != PADDING
    lengths = real.sum(axis=1, keepdims=True)
    places = np.arange(documents.shape[1]) * segments // np.maximum(lengths, 1)
    return np.where(real, places, PADDING)


def scopes(
    documents: Tokens, labels: NDArray[np.int64], logits: Callable[[Tokens], NDArray[np.floating]]
) -> pd.DataFrame:
    """A row for each document: right, tokens, scope, dispersion, lead; the last three are NaN where it is not right.

    A document none of whose segments helps alone has no dispersion.

    Args:
        documents: int32 [N, L], -1: padding; each of `SEGMENTS` tokens at least.
        labels: int64 [N].
        logits: gives those of such documents, [n, C].
    """
    size, whole = len(documents), np.asarray(logits(documents), np.float64)
    right = whole.argmax(axis=1) == labels
    found = pd.DataFrame({"right": right, "tokens": (documents != PADDING).sum(axis=1)})
    for name in ("scope", "dispersion", "lead"):
        found[name] = np.full(size, np.nan)
    if not right.any():
        return found

    x, y = documents[right], labels[right]
    place, margin = segments_of(x), _margins(whole[right], y)
    lost = [margin - _margins(logits(without(x, (place >= 0) & (place != each))), y) for each in range(SEGMENTS)]
    contributions = np.stack(lost, axis=1)

    ranks = np.argsort(np.argsort(-contributions, axis=1, kind="stable"), axis=1)
    of_token = np.where(place >= 0, np.take_along_axis(ranks, np.maximum(place, 0), axis=1), PADDING)
    scope, stands = np.ones(len(x)), np.ones(len(x), bool)
    for taken in range(1, SEGMENTS):
        rows = np.flatnonzero(stands)
        if not len(rows):
            break
        less = np.asarray(logits(without(x[rows], of_token[rows] >= taken)), np.float64)
        fallen = rows[less.argmax(axis=1) != y[rows]]
        scope[fallen], stands[fallen] = taken / SEGMENTS, False

    found.loc[right, "scope"] = scope
    found.loc[right, "dispersion"] = dispersions(contributions)
    lead = np.asarray(logits(without(x, place == 0))).argmax(axis=1) == y
    found.loc[right, "lead"] = lead.astype(float)
    return found


def dispersions(contributions: NDArray[np.floating]) -> NDArray[np.float64]:
    """[N] entropies of the positive contributions [N, S], 0..1; NaN where none is positive."""
    positive = np.maximum(np.asarray(contributions, np.float64), 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = positive / positive.sum(axis=1, keepdims=True)
        bits = np.where(shares > 0, shares * np.log(shares), np.where(np.isnan(shares), np.nan, 0.0))
    return np.asarray(-bits.sum(axis=1) / np.log(contributions.shape[1]) + 0.0)


def _margins(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The true class's logit less the largest other one."""
    scores, rows = np.array(logits, np.float64), np.arange(len(labels))
    own = scores[rows, labels]
    scores[rows, labels] = -np.inf
    return np.asarray(own - scores.max(axis=1))


@dataclass(frozen=True, eq=False)
class Scopes:
    """Scope and dispersion of a run's test documents.

    Attributes:
        documents: a row for each: row, label, group, and those of `scopes`.
        names: of the C classes.
        passed_over: how many documents have fewer tokens than segments.
    """

    documents: pd.DataFrame
    names: tuple[str, ...]
    passed_over: int

    def table(self) -> pd.DataFrame:
        """All documents, and those of head, medium and tail classes: of, documents, right, tokens (median), scope,
        dispersion, lead (means).
        """
        parts = {"all": self.documents} | dict(iter(self.documents.groupby("group")))
        order = [name for name in ("all", *SHOTS) if name in parts]
        return pd.DataFrame([{"of": name, **card(parts[name])} for name in order])

    def chart(self) -> Chart:
        """A dot for each class."""
        means = self.documents.groupby(["group", "label"]).agg(
            {"scope": "mean", "dispersion": "mean", "right": "sum"}
        ).dropna().reset_index()  # fmt: skip
        largest = int(means["right"].max()) if len(means) else 1
        marks = []
        for shot, look in looks(SHOTS).items():
            mine = means[means["group"] == shot]
            x, y, sizes = (mine[name].to_numpy() for name in ("dispersion", "scope", "right"))
            texts = tuple(self.names[label] for label in mine["label"])
            marks.append(Dots(shot, x, y, sizes, largest, look, empty="none is right", texts=texts))
        note = "A dot is a class; its area follows the test documents that the model has right."
        x_axis, y_axis = (Axis(word, low=-0.03, high=1.03, digits=2) for word in ("dispersion", "scope"))
        return Chart("scope", "What a class takes of its documents", x_axis, y_axis, tuple(marks), note)


def card(documents: pd.DataFrame) -> dict[str, float]:
    """documents, right, tokens (median), scope, dispersion and lead (means) of rows as `scopes` gives them."""
    means = {name: float(documents[name].mean()) for name in ("scope", "dispersion", "lead")}
    right, tokens = float(documents["right"].mean()), int(documents["tokens"].median())
    return {"documents": len(documents), "right": right, "tokens": tokens, **means}


def scope_of(run: Run, documents: int = DOCUMENTS, seed: int = 0) -> Scopes:
    """Scope and dispersion under the generic model of a finished run on token ids.

    Writes `scope.parquet` and `scope.png` into the run folder.

    Args:
        documents: how many of the global test set; all where there are no more.
        seed: of the draw.

    Raises:
        ScenarioError: where the run has no tokens.
    """
    model, federation = run.model(), _federation(run)
    tokens = (np.asarray(federation.x_test) != PADDING).sum(axis=1)
    long = np.flatnonzero(tokens >= SEGMENTS)
    if not len(long):
        raise ScenarioError(Problem(KEY, f"cuts documents into {SEGMENTS} segments, and none has as many tokens"))
    drawn = np.random.default_rng(seed).permutation(long)[:documents]
    rows = np.sort(drawn)

    labels = np.asarray(federation.y_test)[rows]
    groups = np.array(SHOTS)[Grouping.of_run(run.scenario)(federation.class_counts)][labels]
    found = scopes(np.asarray(federation.x_test)[rows], labels, _logits(model))
    told = pd.concat([pd.DataFrame({"row": rows, "label": labels, "group": groups}), found], axis=1)
    kept = Scopes(told, federation.class_names, len(tokens) - len(long))

    replace_file(run.folder / "scope.parquet", lambda draft: told.to_parquet(draft, index=False))
    _draw(kept, run.folder / "scope.png")
    return kept


def cards(runs: Sequence[Run], documents: int = DOCUMENTS, seed: int = 0) -> pd.DataFrame:
    """A row for each run, as `card` has it, with the run's data set, strategy and seed before it.

    Args:
        runs: finished runs on token ids.
        documents: how many of each run's test set are looked at; all where there are no more.
        seed: of their draw.

    Raises:
        ScenarioError: where a run has no tokens.
    """
    rows = []
    for run in runs:
        named = {"data": run.scenario["data"]["name"], "strategy": run.summary["strategy"], "seed": run.summary["seed"]}
        rows.append(named | card(scope_of(run, documents, seed).documents))
    return pd.DataFrame(rows)


def _federation(run: Run) -> Federation:
    """The run's federation with its data set."""
    federation = federate(load_scenario(run.folder / "scenario.yaml"))
    if not isinstance(federation.inputs, TokenKind) or federation.kind != "single":
        raise ScenarioError(Problem(KEY, "is of token ids with one class a document (data.tokenizer)"))
    if federation.digest() != run.summary["partition_hash"]:
        raise FedLTError(f"the data set of {run.folder} is not the one that the run was made of")
    return federation


def _logits(model: Trained) -> Callable[[Tokens], NDArray[np.floating]]:
    """Of documents of any lengths: those of one length together where the run has met no padding."""
    import torch

    padded = isinstance(model.kind, TokenKind) and model.kind.shorter

    @torch.no_grad()
    def logits(documents: Tokens) -> NDArray[np.floating]:
        lengths = (documents != PADDING).sum(axis=1)
        found = np.zeros((len(documents), len(model.class_names)))
        with one_thread():
            for length in [documents.shape[1]] if padded else np.unique(lengths):
                rows = np.arange(len(documents)) if padded else np.flatnonzero(lengths == length)
                parts = torch.from_numpy(np.ascontiguousarray(documents[rows, :length])).split(model.chunk)
                found[rows] = np.concatenate([model(part).float().numpy(force=True) for part in parts])
        return found

    return logits


def _draw(found: Scopes, path: Path) -> None:
    from fedlt.plots.figure import save, side_by_side
    from fedlt.plots.style import style

    chart = found.chart()
    with style():
        figure = side_by_side(chart.panels(), 7.0, columns=3, height=2.4, share=True)
    save(figure, path)
