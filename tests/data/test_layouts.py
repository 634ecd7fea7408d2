"""Files as people have them: layouts of folders, tables, turned pictures, data without a test set."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Data
from fedlt.data import sources
from fedlt.data.coding import ordered
from fedlt.data.split_share import cut
from fedlt.data.table_columns import input_columns
from fedlt.errors import ScenarioError

PIXELS = np.arange(6, dtype=np.uint8).reshape(2, 3)
ANIMALS = ("train/cat/1.png", "train/cat/2.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("FEDLT_DATA", raising=False)


def pictures(folder: Path, *places: str) -> Data:
    """A folder with a picture at each place; place k has the pixels k, k + 1, ..."""
    import PIL.Image

    for number, place in enumerate(places):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(PIXELS + number).save(folder / place)
    return Data(name=str(folder))


def refusal(config: Data) -> str:
    """`key: message` of the one problem, the same for the labels alone."""
    said = set()
    for call in (sources.load, sources.labels):
        with pytest.raises(ScenarioError) as caught:
            call(config)
        (problem,) = caught.value.problems
        said.add(str(problem))
    assert len(said) == 1
    return said.pop()


# Image folders: every depth and mixture.


@pytest.mark.parametrize(
    "moved",
    [
        {2: "train/dog/part/1.png"},  # all of a class
        {1: "train/cat/part/2.png"},  # some of a class: it would join the tail in silence
        {2: "train/dog/a/b/1.png"},
        {0: "train/1.png"},  # above the classes
        {4: "test/dog/part/1.png"},  # of the test set
        {0: "train/cat/images/1.png", 1: "train/cat/images/2.png", 2: "train/dog/images/1.png"},  # of all classes
    ],
    ids=["class", "some", "deeper", "above", "test", "all"],
)
def test_pictures_at_another_depth_are_refused_with_an_example(moved: dict[int, str], tmp_path: Path) -> None:
    places = [moved.get(number, place) for number, place in enumerate(ANIMALS)]
    said = refusal(pictures(tmp_path / "pets", *places))
    assert said.startswith("data.name: ") and "lies at another depth than CLASS/FILE" in said
    assert any(str(tmp_path / "pets" / place) in said for place in moved.values())
    one_deeper = all(place.count("/") == 3 for place in moved.values())
    assert ("data.group_columns=[site]" in said) == one_deeper


def test_hidden_names_are_no_data(tmp_path: Path) -> None:
    config = pictures(
        tmp_path / "pets", *ANIMALS, "train/.ipynb_checkpoints/1.png", "train/cat/.1.png", "train/.hidden/x/y/1.png"
    )
    (tmp_path / "pets/train/.DS_Store").write_bytes(b"x")
    (tmp_path / "pets/train/cat/labels.txt").write_text("x")
    (tmp_path / "pets/train/cat/Thumbs.db").write_bytes(b"x")
    assert sources.labels(config).class_names == ("cat", "dog")
    assert np.bincount(sources.load(config).y_train).tolist() == [2, 1]


def test_files_that_would_vanish_are_refused(tmp_path: Path) -> None:
    config = pictures(tmp_path / "pets", *ANIMALS)
    (tmp_path / "pets/train/cat/3.heic").write_bytes(b"x")  # a class of three would become one of two
    assert "3.heic is no picture by its ending (.png, " in refusal(config)


@pytest.mark.parametrize("split", ["train", "test"])
def test_empty_class_folders_are_named(split: str, tmp_path: Path) -> None:
    config = pictures(tmp_path / "pets", *ANIMALS)
    (tmp_path / "pets" / split / "elk").mkdir()
    assert f"the class folder {tmp_path / 'pets' / split / 'elk'} holds no picture" in refusal(config)


def test_a_class_without_a_test_picture_may_have_an_empty_folder(tmp_path: Path) -> None:
    config = pictures(tmp_path / "pets", *ANIMALS[:4])
    (tmp_path / "pets/test/dog").mkdir()
    assert sources.labels(config).y_test.tolist() == [0]


SITES = ("b/cat/1.png", "a/dog/1.png", "a/cat/1.png", "b/cat/2.png")


def test_sites_beneath_the_splits(tmp_path: Path) -> None:
    places = [*(f"train/{place}" for place in SITES), "test/b/dog/1.png"]
    config = pictures(tmp_path / "scans", *places)
    said = refusal(config)
    assert (
        "set data.group_columns=[site] if 'a' is a site and 'cat' a class" in said
    )  # or CLASS/PART: not to be guessed
    raw = sources.load(replace(config, group_columns=["site"]))
    assert raw.class_names == ("cat", "dog") and raw.y_train.tolist() == [0, 1, 0, 0]
    assert raw.train_targets.groups["site"].tolist() == [0, 0, 1, 1] and raw.test_targets.groups["site"].tolist() == [1]
    assert raw.x_train[:, 0, 0, 0].tolist() == [2, 1, 0, 3]  # the pictures go with their labels
    pictures(tmp_path / "scans", "train/cat/9.png")
    said = refusal(replace(config, group_columns=["site"]))
    assert said.startswith("data.group_columns: has no effect: ") and "cat/9.png has no folder of a site" in said


def test_a_folder_per_site(tmp_path: Path) -> None:
    config = pictures(tmp_path / "scans", *(p.replace("/", "/train/", 1) for p in SITES), "c/test/dog/1.png")
    for given in (config, replace(config, group_columns=["site"])):
        raw = sources.load(given)
        assert raw.y_train.tolist() == [0, 1, 0, 0] and raw.y_test.tolist() == [1]
        assert raw.train_targets.groups["site"].tolist() == [0, 0, 1, 1] and raw.test_targets.groups[
            "site"
        ].tolist() == [2]
    assert refusal(replace(config, group_columns=["ward"])).startswith("data.group_columns: has no effect: ")
    pictures(tmp_path / "scans", "d/training/cat/1.png")
    assert "d/training/cat/1.png belongs to no split; put it into d/train/CLASS" in refusal(config)


def test_a_folder_without_splits(tmp_path: Path) -> None:
    places = [f"{label}/{number}.png" for label in ("cat", "dog") for number in range(4)]
    config = pictures(tmp_path / "pets", *places)
    assert "holds no data set" in refusal(config)
    raw = sources.load(replace(config, test_share=0.25))
    assert np.bincount(raw.y_train).tolist() == [3, 3] and np.bincount(raw.y_test).tolist() == [1, 1]
    pixels = np.concatenate([raw.x_train, raw.x_test])[:, 0, 0, 0].tolist()
    assert sorted(pixels) == list(range(8))  # every picture is in one of the two
    assert refusal(replace(pictures(tmp_path / "two", *ANIMALS), test_share=0.25)).startswith("data.test_share: ")


# One decoder for all sources.


@pytest.mark.slow
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_pictures_are_the_same_from_a_folder_and_from_a_table(orientation: int, tmp_path: Path) -> None:
    import PIL.Image
    import PIL.ImageOps

    picture = PIL.Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    exif, file = PIL.Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    picture.save(file, "JPEG", exif=exif)
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            (tmp_path / "dir" / split / label).mkdir(parents=True)
            (tmp_path / "dir" / split / label / "1.jpg").write_bytes(file.getvalue())
        (tmp_path / "struct").mkdir(exist_ok=True)
        (tmp_path / "bytes").mkdir(exist_ok=True)
        labels = ["cat", "dog"]
        content = [{"bytes": file.getvalue(), "path": None}] * 2
        pd.DataFrame({"image": content, "label": labels}).to_parquet(tmp_path / "struct" / f"{split}.parquet")
        content = [file.getvalue()] * 2
        pd.DataFrame({"image": content, "label": labels}).to_parquet(tmp_path / "bytes" / f"{split}.parquet")
    seen = [sources.load(Data(name=str(tmp_path / name))).x_train for name in ("dir", "struct", "bytes")]
    turned = PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(file.getvalue())))
    for array in seen:
        assert (array[..., 0] == np.asarray(turned)).all()
    assert (np.asarray(turned) == np.asarray(PIL.Image.open(io.BytesIO(file.getvalue())))).all() == (orientation == 1)


def test_a_torn_picture_in_a_table_is_named_by_its_row(tmp_path: Path) -> None:
    for split in ("train", "test"):
        frame = pd.DataFrame({"image": [b"torn", b"too"], "label": ["a", "b"]})
        frame.to_parquet(tmp_path / f"{split}.parquet")
    with pytest.raises(ScenarioError, match="the picture in row 0 of 'image' is not a readable picture"):
        sources.load(Data(name=str(tmp_path)))


# Tables.


def table(folder: Path, rows: dict[str, dict[str, Any]], kind: str = "parquet") -> Data:
    """Files `NAME.parquet` or `NAME.csv` of columns."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, columns in rows.items():
        frame = pd.DataFrame(columns)
        if kind == "parquet":
            frame.to_parquet(folder / f"{name}.parquet", index=False)
        else:
            frame.to_csv(folder / f"{name}.csv", index=False)
    return Data(name=str(folder))


AGES = {"age": [40.5, 50.5, 60.5, 70.5], "bp": [1.0, 2.0, 3.0, 4.0], "label": ["b", "a", "b", "a"]}


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_one_column_per_feature(kind: str, tmp_path: Path) -> None:
    config = table(tmp_path / "t", {"train": AGES, "test": AGES}, kind)
    expected = [[40.5, 1.0], [50.5, 2.0], [60.5, 3.0], [70.5, 4.0]]
    raw = sources.load(config)
    assert raw.x_train.tolist() == expected and raw.y_train.tolist() == [1, 0, 1, 0]
    assert sources.load(replace(config, input_column=["bp", "age"])).x_test.tolist() == [row[::-1] for row in expected]
    assert sources.load(replace(config, input_column="bp")).x_test.tolist() == [[row[1]] for row in expected]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_columns_that_may_be_no_features_are_not_taken_for_them(kind: str, tmp_path: Path) -> None:
    rows = {**AGES, "patient": [7, 7, 8, 9]}
    config = table(tmp_path / "t", {"train": rows, "test": rows}, kind)
    with pytest.raises(ScenarioError, match=r"data.input_column: .*'patient' could be features, ids or groups"):
        sources.load(config)
    raw = sources.load(replace(config, group_columns=["patient"]))
    assert raw.x_train.shape == (4, 2) and raw.train_targets.groups["patient"].tolist() == [7, 7, 8, 9]
    assert sources.load(replace(config, input_column=["age", "patient"])).x_train[0].tolist() == [40.5, 7.0]
    with pytest.raises(ScenarioError, match=r"data.input_column: .*'label' is the label, and no input"):
        sources.load(replace(config, input_column=["age", "label"]))
    with pytest.raises(ScenarioError, match=r"data.input_column: .*no column 'height'"):
        sources.load(replace(config, input_column=["age", "height"]))


def test_switches_and_large_numbers_are_features_by_name(tmp_path: Path) -> None:
    rows = {**AGES, "smokes": [True, False, True, False], "id": [2**60 + 1] * 4}
    config = table(tmp_path / "t", {"train": rows, "test": rows})
    raw = sources.load(replace(config, input_column=["smokes", "id"]))
    assert raw.x_train[:, 0].tolist() == [1.0, 0.0, 1.0, 0.0] and raw.x_train[0, 1] == np.float32(2.0**60)


def test_row_numbers_of_pandas_are_no_feature(tmp_path: Path) -> None:
    for split in ("train", "test"):
        pd.DataFrame(AGES, index=[3, 1, 0, 2]).to_parquet(tmp_path / f"{split}.parquet")
    assert sources.load(Data(name=str(tmp_path))).x_train.shape == (4, 2)


def test_missing_numbers_are_kept_and_huge_ones_refused_by_feature(tmp_path: Path) -> None:
    holes = {**AGES, "bp": [1.0, None, None, 4.0]}
    raw = sources.load(table(tmp_path / "columns", {"train": holes, "test": AGES}))
    assert np.isnan(raw.x_train[:, 1]).tolist() == [False, True, True, False]
    assert raw.inputs.meta()["indicators"] == (1,)
    lists = {"x": [[1.0, 2.0, np.nan], [1.0, 2.0, 3.0]], "label": ["a", "b"]}
    nulls = {"x": [[1.0, None, 3.0], [1.0, 2.0, 3.0]], "label": ["a", "b"]}
    for name, rows, feature in (("lists", lists, 2), ("nulls", nulls, 1)):
        raw = sources.load(table(tmp_path / name, {"train": rows, "test": rows}))
        assert raw.inputs.meta()["indicators"] == (feature,)
    huge = {"x": [[1.0, 2.0], [1.0, 1e39]], "label": ["a", "b"]}
    with pytest.raises(ScenarioError, match="feature 1 has infinite or huge values; mend them first"):
        sources.load(table(tmp_path / "huge", {"train": huge, "test": huge}))


def test_lists_of_two_lengths_and_missing_lists(tmp_path: Path) -> None:
    for name, cells in (("two", [[1.0], [1.0, 2.0]]), ("none", [[1.0], None])):
        rows = {"x": cells, "label": ["a", "b"]}
        config = table(tmp_path / name, {"train": rows, "test": rows})
        with pytest.raises(ScenarioError, match="'x' holds neither pictures nor feature rows of one length"):
            sources.load(config)


def test_a_test_split_may_have_further_columns(tmp_path: Path) -> None:
    rows = {"x": [[1.0, 2.0], [3.0, 4.0]], "label": ["a", "b"]}
    config = table(tmp_path / "t", {"train": rows, "test": {**rows, "fold": [0, 0]}})
    raw = sources.load(config)
    assert raw.x_test.tolist() == rows["x"] and sources.labels(config).y_test.tolist() == [0, 1]
    said = refusal(replace(config, group_columns=["fold"]))
    assert said.startswith("data.group_columns: ") and "training set has no column 'fold'; it has: " in said


def test_class_codes_of_two_splits_are_compared(tmp_path: Path) -> None:
    import datasets

    for split, names in (("train", ["cat", "dog"]), ("test", ["dog", "cat"])):
        features = datasets.Features({"x": datasets.Value("float32"), "label": datasets.ClassLabel(names=names)})
        columns = {"x": [1.0, 2.0], "label": [0, 1]}
        datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / f"{split}.parquet")
    said = refusal(Data(name=str(tmp_path)))
    assert said.startswith("data.target_column: ") and "class 0 is 'cat' in the training set, 'dog' in the test" in said


def test_the_cause_of_a_failure_is_shown(tmp_path: Path) -> None:
    config = table(tmp_path / "t", {"train": AGES, "test": AGES})
    (tmp_path / "t/test.parquet").write_bytes(b"PAR1 torn")
    assert "not readable as parquet (test.parquet): " in refusal(config)
    assert "magic bytes" in refusal(config).lower() or "footer" in refusal(config).lower()


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_split_names_are_exact(kind: str, tmp_path: Path) -> None:
    other = {key: values * 5 for key, values in AGES.items()}
    config = table(tmp_path / "t", {"train": AGES, "train_small": other, "training": other, "test": AGES}, kind)
    assert len(sources.load(config).y_train) == 4
    assert len(sources.load(replace(config, train_split="train_small")).y_train) == 20
    (tmp_path / "t" / f"train.{kind}").unlink()
    assert f"train_small.{kind} is not of the split 'train' by its name (data.train_split)" in refusal(config)


@pytest.mark.parametrize("parts", [("-00000-of-00002", "-00001-of-00002"), ("0", "1"), ("_0", "_1")])
def test_numbered_parts_are_one_split(parts: tuple[str, str], tmp_path: Path) -> None:
    config = table(tmp_path / "t", {**{f"train{part}": AGES for part in parts}, "test": AGES})
    assert len(sources.load(config).y_train) == 8


def test_splits_in_several_folders_are_not_joined(tmp_path: Path) -> None:
    for name in ("adult", "bank"):
        table(tmp_path / name, {"train": AGES, "test": AGES})
    assert "holds 'train' in several folders (adult, bank)" in refusal(Data(name=str(tmp_path)))


def test_csv_keeps_texts_that_look_missing(tmp_path: Path) -> None:
    rows = {**AGES, "label": ["NA", "None", "NA", "nan"]}
    raw = sources.load(table(tmp_path / "t", {"train": rows, "test": rows}, "csv"))
    assert raw.class_names == ("NA", "None", "nan")


def test_csv_with_semicolons_is_told(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text("age;label\n1.5;a\n2.5;b\n")
    assert "separated by semicolons" in refusal(Data(name=str(tmp_path)))


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_one_table_without_a_test_set(ending: str, tmp_path: Path) -> None:
    rows = {key: values * 5 for key, values in AGES.items()}
    path = tmp_path / f"ages.{ending}"
    if ending == "parquet":
        pd.DataFrame(rows).to_parquet(path, index=False)
    else:
        pd.DataFrame(rows).to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
    config = Data(name=str(path))
    assert "data.test_share=0.2" in refusal(config)
    raw = sources.load(replace(config, test_share=0.2))
    assert np.bincount(raw.y_train).tolist() == [8, 8] and np.bincount(raw.y_test).tolist() == [2, 2]
    assert raw.name == "ages"


def test_what_datasets_saved(tmp_path: Path) -> None:
    import datasets

    both = {split: datasets.Dataset.from_dict(AGES) for split in ("train", "test")}
    datasets.DatasetDict(both).save_to_disk(str(tmp_path / "both"))
    raw, labels = (call(Data(name=str(tmp_path / "both"))) for call in (sources.load, sources.labels))
    assert raw.x_train.shape == (4, 2) and labels.y_train.tolist() == [1, 0, 1, 0]
    datasets.Dataset.from_dict(AGES).save_to_disk(str(tmp_path / "one"))
    raw = sources.load(Data(name=str(tmp_path / "one"), test_share=0.5))
    assert raw.x_train.shape == raw.x_test.shape == (2, 2)


# Arrays.


def test_the_arrays_of_medmnist(tmp_path: Path) -> None:
    pixels = np.arange(5 * 4, dtype=np.uint8).reshape(5, 2, 2)
    labels = np.array([[0], [1], [1], [0], [1]], np.uint8)
    parts = {"train": slice(0, 2), "val": slice(2, 3), "test": slice(3, 5)}
    arrays = {f"{split}_images": pixels[rows] for split, rows in parts.items()}
    arrays |= {f"{split}_labels": labels[rows] for split, rows in parts.items()}
    np.savez(tmp_path / "breastmnist.npz", **arrays)
    config = Data(name=str(tmp_path / "breastmnist.npz"))
    raw = sources.load(config)
    assert (raw.x_train[..., 0] == pixels[:2]).all() and raw.y_train.tolist() == [0, 1]
    assert (raw.x_test[..., 0] == pixels[3:]).all() and raw.y_test.tolist() == [0, 1]
    assert raw.train_targets.groups == {}
    assert sources.load(replace(config, test_split="val")).y_test.tolist() == [1]
    several = {f"{split}_labels": np.zeros((len(pixels[rows]), 14), np.uint8) for split, rows in parts.items()}
    np.savez(tmp_path / "chestmnist.npz", **{**arrays, **several})
    said = refusal(Data(name=str(tmp_path / "chestmnist.npz")))
    assert "2 rows of the training set (row 0 first) have no label" in said


@pytest.mark.parametrize("suffix", ["_train", ""])
def test_npz_without_a_test_set(suffix: str, tmp_path: Path) -> None:
    y = np.repeat([0, 1], [8, 2])
    x = np.arange(10.0)[:, None]
    np.savez(tmp_path / "s.npz", **{f"x{suffix}": x, f"y{suffix}": y, f"site{suffix}": np.arange(10) % 3})
    config = Data(name=str(tmp_path / "s.npz"))
    assert "and no test set (x_test, y_test); provide a test set, or take one" in refusal(config)
    raw = sources.load(replace(config, test_share=0.25))
    assert np.bincount(raw.y_train).tolist() == [6, 1] and np.bincount(raw.y_test).tolist() == [2, 1]
    for rows, labels, groups in (
        (raw.x_train, raw.y_train, raw.train_targets.groups),
        (raw.x_test, raw.y_test, raw.test_targets.groups),
    ):
        source = rows[:, 0].astype(int)
        assert labels.tolist() == y[source].tolist() and groups["site"].tolist() == (source % 3).tolist()
    np.savez(tmp_path / "both.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    said = refusal(Data(name=str(tmp_path / "both.npz"), test_share=0.25))
    assert said.startswith("data.test_share: has no effect: ") and said.endswith("has a test set (test); remove it")


def test_the_share_of_each_class_is_the_same_whoever_asks() -> None:
    labels = np.repeat(["tail", "head", "one"], [3, 40, 1])
    train, test = cut(labels, 0.2)
    assert sorted([*train, *test]) == list(range(44))
    assert [int((labels[test] == label).sum()) for label in ("head", "tail", "one")] == [8, 1, 0]
    again = cut(labels, 0.2)
    assert again[1].tolist() == test.tolist() and test.tolist() != list(range(3, 11))


def test_a_share_beside_a_set_that_has_a_test_set() -> None:
    said = refusal(Data(name="digits", test_share=0.2))
    assert said == "data.test_share: has no effect: digits has a test set (test); remove it"


def test_the_hash_knows_the_share_and_old_scenarios_keep_theirs() -> None:
    plain = load_scenario("digits_lt", [])
    assert "test_share" not in plain.to_dict()["data"]
    assert (
        load_scenario("digits_lt", ["data.name=./x.csv", "data.test_share=0.2"]).to_dict()["data"]["test_share"] == 0.2
    )


# Texts.


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["10", "2", "1"], ["1", "2", "10"]),
        (["class10", "class9", "b"], ["b", "class9", "class10"]),
        (["0.5", "-1", "0.25", "-2"], ["-2", "-1", "0.25", "0.5"]),
        (["a", "B", "1"], ["1", "B", "a"]),
        (["01", "1", "1"], ["01", "1"]),
        (["grade 2", "grade 10", "grade 2 b"], ["grade 2", "grade 2 b", "grade 10"]),
        (["dog", "cat"], ["cat", "dog"]),
    ],
)
def test_numbers_in_names_sort_as_numbers(texts: list[str], expected: list[str]) -> None:
    assert ordered(np.array(texts)) == expected


def test_classes_and_sites_are_in_that_order(tmp_path: Path) -> None:
    y, site = np.array(["10", "9", "1"]), np.array(["s10", "s2", "s2"])
    x = np.ones((3, 1))
    np.savez(tmp_path / "s.npz", x_train=x, y_train=y, x_test=x, y_test=y, site_train=site)
    raw = sources.load(Data(name=str(tmp_path / "s.npz")))
    assert raw.class_names == ("1", "9", "10") and raw.y_train.tolist() == [2, 1, 0]
    assert raw.train_targets.groups["site"].tolist() == [1, 0, 0]


BAD_VALUES: list[tuple[NDArray[Any], str]] = [
    (np.array([1.0, np.nan, 2.0]), "have 1 missing ones"),
    (np.array([0.5, 1.0, 2.0]), "are decimal numbers such as 0.5"),
    (np.array([3.0, 1.0, 2.0]), r"are stored as decimal numbers \(3.0\); store them as whole numbers"),
    (np.array(["2020-01-01"] * 3, "datetime64[D]"), "are dates; write them as texts"),
    (np.array([b"a", b"b", b"c"]), "are bytes; decode them"),
]


@pytest.mark.parametrize(("values", "message"), BAD_VALUES, ids=[message for _, message in BAD_VALUES])
def test_values_that_are_no_labels_and_no_groups_are_told_plainly(
    values: NDArray[Any], message: str, tmp_path: Path
) -> None:
    x, y = np.ones((3, 1)), np.array([0, 1, 1])
    np.savez(tmp_path / "l.npz", x_train=x, y_train=values, x_test=x, y_test=y)
    with pytest.raises(ScenarioError, match=f"labels must be whole numbers or texts, but those of the .* {message}"):
        sources.load(Data(name=str(tmp_path / "l.npz")))
    np.savez(tmp_path / "g.npz", x_train=x, y_train=y, x_test=x, y_test=y, site_train=values)
    with pytest.raises(ScenarioError, match=f"'site' must hold whole numbers or texts, but its values {message}"):
        sources.load(Data(name=str(tmp_path / "g.npz"), group_columns=["site"]))


def test_texts_with_missing_values_are_counted(tmp_path: Path) -> None:
    rows = {**AGES, "label": ["a", None, "b", None]}
    with pytest.raises(ScenarioError, match="the labels have 2 missing values; fill them in first"):
        sources.load(table(tmp_path / "t", {"train": rows, "test": AGES}))


def test_inputs_by_type_prefer_pictures_then_lists() -> None:
    import datasets

    value = datasets.Value
    features = {"x": datasets.List(value("float32")), "w": value("float32"), "label": value("int64")}
    assert input_columns("t", features, Data()) == ["x"]
    assert input_columns("t", {**features, "p": datasets.Image()}, Data()) == ["p"]
    with pytest.raises(ScenarioError, match="2 columns may be the inputs; name one of x, z"):
        input_columns("t", {**features, "z": features["x"]}, Data())
