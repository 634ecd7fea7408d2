"""The scenarios of published sets of texts: what is said without them, and what is read by the lines of their page."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fedlt.config.scenario import load_scenario
from fedlt.data import sources
from fedlt.data.federation import federate
from fedlt.data.published import PUBLISHED
from fedlt.data.raw import RawData
from fedlt.errors import ScenarioError

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
PAGE = (ROOT / "docs/howto/known-sets.md").read_text(encoding="utf-8")
SCENARIOS = {
    "trec50_lt": "trec",
    "r52_lt": "r52",
    "clinc150_domains": "clinc150",
    "goemotions_lt": "goemotions",
    "mtsamples_specialties": "mtsamples",
    "indicnews": "indicnews",
}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FEDLT_DATA", str(tmp_path / "data"))
    for name in SCENARIOS.values():
        (tmp_path / "data" / name).mkdir(parents=True)


def shared(name: str) -> Path:
    """A file of the real data."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"real data are not there: {path}")
    return path


def follow(scenario: str, title: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run the lines of the page for this set in its folder."""
    monkeypatch.chdir(tmp_path / "data" / SCENARIOS[scenario])
    told = PAGE.split(f"**{title}.**")[1].split("\n**")[0]
    exec(re.findall(r"```python\n(.*?)```", told, flags=re.DOTALL)[0], {})


def as_published(scenario: str, raw: RawData) -> None:
    """Compare the counts; a warning of others would have been an error."""
    known, counts = PUBLISHED[SCENARIOS[scenario]], raw.train_targets.counts()
    found = len(raw.y_train), len(raw.y_test), len(counts), int(counts.max()), int(counts.min())
    assert found == (known.train, known.test, known.classes, known.largest, known.smallest)


@pytest.mark.parametrize(("scenario", "name"), SCENARIOS.items())
def test_what_is_missing_is_said_with_its_source_and_its_place(scenario: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "data" / name).rmdir()
    data, known = load_scenario(scenario).data, PUBLISHED[name]
    assert data.name == name and known.things == "texts"
    with pytest.raises(ScenarioError) as caught:
        sources.load(data)
    assert known.source in str(caught.value) and f"{tmp_path / 'data'}/{name}: {known.layout}" in str(caught.value)
    assert f"| `{scenario}` |" in PAGE and f"{known.train:,}" in PAGE


def test_other_counts_are_told_of_texts(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"data/r52/{split}.jsonl").write_text('{"text": "a b", "label": "x"}\n')
    with pytest.warns(UserWarning, match=r"not as it was published: 1 training texts .published: 6,532"):
        raw = sources.load(load_scenario("r52_lt").data)
    assert raw.x_train.shape == (1, 2)


@pytest.mark.filterwarnings("error::UserWarning")
def test_trec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(shared("text_extra/qc.zip")) as archive:
        for name, file in (("train.txt", "train_5500.label"), ("test.txt", "TREC_10.label")):
            (tmp_path / "data/trec" / file).write_bytes(archive.read(f"qc/{name}"))
    follow("trec50_lt", "TREC", monkeypatch, tmp_path)
    raw = sources.load(load_scenario("trec50_lt").data)
    as_published("trec50_lt", raw)
    assert (np.bincount(raw.y_test, minlength=50) == 0).sum() == 8
    coarse = sources.labels(load_scenario("trec50_lt", ["data.target_column=coarse_label"]).data)
    assert coarse.class_names == ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")


@pytest.mark.filterwarnings("error::UserWarning")
def test_r52(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = pd.read_parquet(shared("reuters21578.parquet"))
    held = held[held.r52.notna()]
    for split in ("train", "test"):
        rows = held[held.split == split]
        texts = (rows.title + " " + rows.body).str.split().str.join(" ")
        (tmp_path / f"data/r52/r52-{split}-all-terms.txt").write_text("".join(rows.r52 + "\t" + texts + "\n"))
    follow("r52_lt", "R52", monkeypatch, tmp_path)
    as_published("r52_lt", sources.load(load_scenario("r52_lt").data))


@pytest.mark.filterwarnings("error::UserWarning")
def test_domains_of_clinc150_are_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, held = tmp_path / "data/clinc150", pd.read_parquet(shared("clinc150.parquet"))
    held = held[held.label != "oos"]
    by_split = {split: rows[["text", "label"]].to_numpy().tolist() for split, rows in held.groupby("split")}
    (folder / "data_full.json").write_text(json.dumps(by_split))
    (folder / "domains.json").write_bytes(shared("text_extra/domains.json").read_bytes())
    follow("clinc150_domains", "CLINC150", monkeypatch, tmp_path)

    scenario = load_scenario("clinc150_domains")
    as_published("clinc150_domains", sources.load(scenario.data))
    federation = federate(scenario)
    assert len(federation.clients) == 10
    held_by = federation.client_counts().astype(bool)
    assert (held_by.sum(axis=0) == 1).all() and (held_by.sum(axis=1) == 15).all()  # each intent is one domain's


@pytest.mark.filterwarnings("error::UserWarning")
def test_go_emotions_as_the_hub_has_it(tmp_path: Path) -> None:
    import datasets

    held = pd.read_parquet(shared("goemotions.parquet"))
    names = sorted({name for cell in held.labels for name in cell.split()})
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "labels": datasets.List(datasets.ClassLabel(names=names)),
            "id": datasets.Value("string"),
        }
    )
    for split in ("train", "test"):
        rows = held[held.split == split]
        columns: dict[str, Any] = {"text": rows.text.tolist(), "id": [str(row) for row in rows.index]}
        columns["labels"] = [[names.index(name) for name in cell.split()] for cell in rows.labels]
        path = tmp_path / f"data/goemotions/{split}-00000-of-00001.parquet"
        datasets.Dataset.from_dict(columns, features=features).to_parquet(path)
    raw = sources.load(load_scenario("goemotions_lt").data)
    as_published("goemotions_lt", raw)
    assert raw.train_targets.kind.name == "multilabel" and raw.class_names == tuple(names)


def test_medical_notes_are_kept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = pd.read_parquet(shared("mtsamples.parquet")).rename(columns={"label": "medical_specialty"})
    held["medical_specialty"] = " " + held.medical_specialty  # as in Kaggle's file
    held.to_csv(tmp_path / "data/mtsamples/mtsamples.csv")
    follow("mtsamples_specialties", "Medical transcriptions", monkeypatch, tmp_path)
    raw = sources.load(load_scenario("mtsamples_specialties").data)
    assert len(raw.y_train) + len(raw.y_test) == PUBLISHED["mtsamples"].train
    assert len(raw.class_names) == 40 and raw.train_targets.counts().min() >= 4
    (remark,) = raw.inputs.remarks()
    assert "being cut to 512 tokens (head)" in remark


@pytest.mark.filterwarnings("error::UserWarning")
def test_headlines_without_a_label_are_refused_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data/indicnews"
    for split in ("train", "test"):
        content = shared(f"text_extra/shc_{split}.csv").read_bytes()
        for file in (f"shc_{split}.csv", f"{split}.csv"):
            (folder / file).write_bytes(content)
    data = load_scenario("indicnews").data
    with pytest.raises(
        ScenarioError, match=r"20 rows of the training set .* have an empty text as label; leave them out"
    ):
        sources.labels(data)
    follow("indicnews", "IndicNews", monkeypatch, tmp_path)
    raw = sources.load(data)
    as_published("indicnews", raw)
    (remark,) = raw.inputs.remarks()
    assert "252 texts without a token are one that says so" in remark
