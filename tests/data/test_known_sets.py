"""The scenarios of published sets: what they say where the images are not there, and that their layouts are read."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedlt.config.scenario import load_scenario
from fedlt.data import sources
from fedlt.data.published import PUBLISHED
from fedlt.errors import ScenarioError

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT / "shared" / "data"
PAGE = (ROOT / "docs/howto/known-sets.md").read_text(encoding="utf-8")
SCENARIOS = {
    "imagenet_lt": "imagenet_lt",
    "places_lt": "places_lt",
    "inaturalist2018": "inaturalist2018",
    "inaturalist_users": "inaturalist_users",
    "tiny_imagenet_lt": "tiny_imagenet",
    "iwildcam_cameras": "iwildcam_v2.0/train",
    "dermamnist": "dermamnist",
    "pathmnist_lt": "pathmnist",
}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FEDLT_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()


def picture(path: Path, shade: int = 0) -> str:
    import PIL.Image

    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.full((40, 60, 3), shade, np.uint8)).save(path)
    return path.name


@pytest.mark.parametrize(("scenario", "name"), SCENARIOS.items())
def test_what_is_missing_is_said_with_its_source_and_its_place(scenario: str, name: str, tmp_path: Path) -> None:
    data = load_scenario(scenario).data
    assert data.name == name
    known = PUBLISHED[name]
    for call in (sources.load, sources.labels):
        with pytest.raises(ScenarioError) as caught:
            call(data)
        said = str(caught.value)
        assert f"{name!r} was not found" in said and known.source in said
        assert f"{tmp_path / 'data'}" in said and "docs/howto/known-sets.md" in said
    assert (data.train_split, data.test_split) == known.splits
    assert f"| `{scenario}` |" in PAGE and f"{known.train:,} / {known.test:,}" in PAGE


@pytest.mark.parametrize("scenario", ["imagenet_lt", "places_lt"])
def test_the_lists_of_long_tailed_recognition(scenario: str, tmp_path: Path) -> None:
    data, folder = load_scenario(scenario).data, tmp_path / "data" / scenario
    folder.mkdir()
    (folder / data.train_split).write_text("train/a/1.JPEG 0\ntrain/a/2.JPEG 0\ntrain/b/1.JPEG 1\n")
    (folder / data.test_split).write_text("val/3.JPEG 1\nval/4.JPEG 0\n")
    labels = sources.labels(data)  # the lists alone say who would hold what
    assert labels.y_train.tolist() == [0, 0, 1] and labels.y_test.tolist() == [1, 0]
    with pytest.raises(ScenarioError, match=r"train/a/1.JPEG, which is not in .* \(5 of 5 .*; put into .*known-sets"):
        sources.load(data)

    for place in ("train/a/1", "train/a/2", "train/b/1", "val/3", "val/4"):
        picture(folder / f"{place}.JPEG", 255)
    with pytest.warns(UserWarning, match="is not as it was published: 3 training pictures .published: "):
        raw = sources.load(data)
    assert raw.x_train.shape == (3, 64, 64, 3) and (raw.x_train == 255).all()
    (folder / data.test_split).write_text("val/3.JPEG 7\nval/4.JPEG 0\n")
    with pytest.raises(ScenarioError, match=r"1 of 2 pictures of \S+ are of 1 class \(7 first\)"):
        sources.labels(data)


def coco(folder: Path, file: str, categories: list[int], first: int) -> None:
    images = [{"id": first + i, "file_name": f"train_val/{first + i}.jpg"} for i in range(len(categories))]
    held = {
        "images": images,
        "annotations": [{"image_id": first + i, "category_id": label} for i, label in enumerate(categories)],
        "categories": [{"id": label, "name": str(label)} for label in set(categories)],
    }
    folder.mkdir(exist_ok=True)
    (folder / file).write_text(json.dumps(held))
    for image in images:
        picture(folder / image["file_name"])


def test_inaturalist_and_its_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data/inaturalist2018"
    coco(folder, "train2018.json", [10, 9, 10], 1)
    coco(folder, "val2018.json", [9, 10], 4)
    with pytest.warns(UserWarning, match="not as it was published"):
        raw = sources.load(load_scenario("inaturalist2018").data)
    assert raw.y_train.tolist() == [1, 0, 1] and raw.class_names == ("9", "10") and raw.y_test.tolist() == [0, 1]

    users = tmp_path / "data/inaturalist_users"
    coco(users, "train2017.json", [10, 9, 10], 1)
    coco(users, "val2017.json", [9, 10], 4)
    rows = ["user_id,image_id,class,label", "anna,1,0,10", "bob,2,1,9", "anna,3,0,10"]
    (users / "federated_train_user_120k.csv").write_text("\n".join(rows))
    (users / "test.csv").write_text("image_id,class,label\n4,1,9\n5,0,10\n")  # names no user
    monkeypatch.chdir(users)
    exec(re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)[0], {})
    with pytest.warns(UserWarning, match="not as it was published"):
        raw = sources.load(load_scenario("inaturalist_users").data)
    assert raw.y_train.tolist() == [0, 1, 0] and raw.train_targets.groups["user_id"].tolist() == [0, 1, 0]
    assert raw.test_targets.groups == {}


def test_tiny_imagenet_by_the_lines_of_the_page(tmp_path: Path) -> None:
    folder = tmp_path / "data/tiny_imagenet"
    for name in ("n02", "n01"):
        for number in range(2):
            picture(folder / f"train/{name}/images/{name}_{number}.JPEG")
    picture(folder / "val/images/val_0.JPEG")
    (folder / "val/val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t0\t62\t61\n")
    lines = next(block for block in re.findall(r"```text\n(.*?)```", PAGE, flags=re.DOTALL) if "find train" in block)
    subprocess.run(["bash", "-ec", lines], cwd=folder, check=True)
    with pytest.warns(UserWarning, match="not as it was published"):
        raw = sources.load(load_scenario("tiny_imagenet_lt").data)
    assert raw.class_names == ("n01", "n02") and raw.y_train.tolist() == [0, 0, 1, 1] and raw.y_test.tolist() == [1]


def test_cameras_are_clients(tmp_path: Path) -> None:
    folder = tmp_path / "data/iwildcam_v2.0"
    rows = [("train", 7, 0), ("train", 3, 99), ("val", 9, 0), ("id_test", 3, 0), ("test", 8, 99)]
    table = [f"{i},{split},{camera},{y},{i}.jpg" for i, (split, camera, y) in enumerate(rows)]
    for number in range(len(rows)):
        picture(folder / f"train/{number}.jpg", number)
    (folder / "metadata.csv").write_text("\n".join([",split,location_remapped,y,filename", *table]))
    with pytest.warns(UserWarning, match="2 training pictures"):
        raw = sources.load(load_scenario("iwildcam_cameras").data)
    assert raw.y_train.tolist() == [0, 1] and raw.class_names == ("0", "99")
    assert raw.train_targets.groups["location_remapped"].tolist() == [1, 0]
    assert raw.test_targets.groups["location_remapped"].tolist() == [0]


@pytest.mark.parametrize("scenario", ["dermamnist", "pathmnist_lt"])
def test_medmnist(scenario: str, tmp_path: Path) -> None:
    data = load_scenario(scenario).data
    arrays: dict[str, Any] = {}
    for split, labels in (("train", [0, 0, 1]), ("val", [0]), ("test", [1, 0])):
        arrays |= {f"{split}_images": np.zeros((len(labels), 28, 28, 3), np.uint8), f"{split}_labels": np.c_[labels]}
    np.savez(tmp_path / "data" / f"{data.name}.npz", **arrays)
    with pytest.warns(UserWarning, match="2 classes .published: [79]"):
        raw = sources.load(data)
    assert raw.y_train.tolist() == [0, 0, 1] and raw.y_test.tolist() == [1, 0]


def test_published_counts_are_those_of_the_lists_at_hand() -> None:
    if not (SHARED / "lt_class_counts.npz").is_file():
        pytest.skip(f"real data are not there: {SHARED}")
    counts = np.load(SHARED / "lt_class_counts.npz")["places_lt_train"]
    known = PUBLISHED["places_lt"]
    assert (counts.sum(), len(counts), counts.max(), counts.min()) == (
        known.train, known.classes, known.largest, known.smallest,
    )  # fmt: skip
    held = np.load(SHARED / "retinamnist.npz")
    counts, known = np.bincount(held["y_train"].ravel()), PUBLISHED["retinamnist"]
    assert (counts.sum(), len(held["y_test"]), len(counts), counts.max(), counts.min()) == (
        known.train, known.test, known.classes, known.largest, known.smallest,
    )  # fmt: skip
