"""Data sources: every format, the order of look-up, the cache, and the errors."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedlt.config.sections import Data
from fedlt.data import sources, table_columns, tables
from fedlt.data.cache import Entry
from fedlt.errors import ScenarioError

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

# Three 2x3 gray pictures for training and two for testing.
GRAY = np.arange(30, dtype=np.uint8).reshape(5, 2, 3)
COLOUR = np.arange(90, dtype=np.uint8).reshape(5, 2, 3, 3)
LABELS = np.array([0, 1, 1, 1, 0])


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FEDLT_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hub"))


def write_npz(path: Path, **changes: Any) -> Data:
    arrays = {"x_train": GRAY[:3], "y_train": LABELS[:3], "x_test": GRAY[3:], "y_test": LABELS[3:]} | changes
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
    return Data(name=str(path))


def refusal(config: Data, call: Any = sources.load) -> str:
    """`key: message` of the one problem."""
    with pytest.raises(ScenarioError) as caught:
        call(config)
    (problem,) = caught.value.problems
    return str(problem)


def test_importing_costs_numpy_only() -> None:
    heavy = ["torch", "sklearn", "pandas", "pyarrow", "datasets", "flwr_datasets", "flwr", "PIL", "matplotlib"]
    code = f"import sys, fedlt.data.federation, fedlt.data.groups; print([m for m in {heavy} if m in sys.modules])"
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_npz_with_groups_and_class_names(tmp_path: Path) -> None:
    config = write_npz(
        tmp_path / "set.npz",
        site_train=np.array(["b", "a", "c"]),
        site_test=np.array(["c", "d"]),
        writer_train=np.array([7, 7, 3], np.int32),
        weight_train=np.array([0.5, 0.5, 1.0]),
        class_names=np.array(["cat", "dog"]),
    )
    raw = sources.load(config)
    assert raw.name == "set" and raw.class_names == ("cat", "dog")
    assert raw.x_train.shape == (3, 2, 3, 1) and raw.x_train.dtype == np.uint8 and raw.y_train.dtype == np.int64
    assert (raw.x_test[..., 0] == GRAY[3:]).all()
    assert {name: codes.tolist() for name, codes in raw.train_targets.groups.items()} == {
        "site": [1, 0, 2],
        "writer": [7, 7, 3],
    }
    assert {name: codes.tolist() for name, codes in raw.test_targets.groups.items()} == {"site": [2, 3]}
    assert sources.load(replace(config, group_columns=["writer"])).train_targets.groups.keys() == {"writer"}


def test_npz_columns_and_splits_by_name(tmp_path: Path) -> None:
    config = write_npz(
        tmp_path / "set.npz",
        z_train=COLOUR[:3],
        z_val=COLOUR[3:],
        c_train=LABELS[:3],
        c_val=LABELS[:2],
        class_names=np.array(["only one"]),
    )
    raw = sources.load(replace(config, input_column="z", target_column="c", test_split="val"))
    assert (raw.x_test == COLOUR[3:]).all() and raw.y_test.tolist() == [0, 1]
    assert raw.train_targets.groups.keys() == {"y"}


def test_text_labels_are_coded_alphabetically(tmp_path: Path) -> None:
    config = write_npz(tmp_path / "set.npz", y_train=np.array(["dog", "cat", "dog"]), y_test=np.array(["cat", "dog"]))
    raw = sources.load(config)
    assert raw.y_train.tolist() == [1, 0, 1] and raw.y_test.tolist() == [0, 1] and raw.class_names == ("cat", "dog")
    unknown = write_npz(tmp_path / "s.npz", y_train=np.array(["dog", "cat", "dog"]), y_test=np.array(["cat", "elk"]))
    assert "'elk', which the training set lacks; leave those rows out of the test set, or give" in refusal(unknown)


def test_moments_of_pictures_and_of_feature_rows(tmp_path: Path) -> None:
    pixels = np.zeros((2, 1, 2, 3), np.uint8)
    pixels[..., 0] = [
        [[0, 51]],
        [[102, 255]],
    ]  # 0, 0.2, 0.4, 1: mean 0.4, variance 0.14; the others are constant
    raw = sources.load(write_npz(tmp_path / "a.npz", x_train=pixels, y_train=LABELS[:2], x_test=pixels))
    assert raw.inputs.arrays()["mean"] == pytest.approx([0.4, 0, 0])
    assert raw.inputs.arrays()["std"] == pytest.approx([0.14**0.5, 1, 1])
    rows = np.array([[1.0, 5.0], [3.0, 5.0]])
    raw = sources.load(write_npz(tmp_path / "b.npz", x_train=rows, y_train=LABELS[:2], x_test=rows))
    assert raw.x_train.dtype == np.float32
    assert {name: values.tolist() for name, values in raw.inputs.arrays().items()} == {
        "mean": [2.0, 5.0],
        "std": [1.0, 1.0],
    }


BAD_ARRAYS: list[tuple[dict[str, Any], str]] = [
    ({"x_test": None}, "lacks the array x_test; it has: x_train, y_train, y_test; save them under"),
    ({"y_train": None}, "lacks the array y_train"),
    ({"x_train": GRAY[:2]}, "training inputs of shape [2, 2, 3] for 3 labels"),
    ({"x_test": GRAY[3:, :1]}, "one shape"),
    ({"x_train": GRAY[:3] / 255, "x_test": GRAY[3:] / 255}, "expected inputs as"),
    ({"x_train": GRAY[:3, 0], "x_test": GRAY[3:, 0]}, "expected inputs as"),
    ({"x_train": np.zeros((3, 3, 2, 5), np.uint8), "x_test": np.zeros((2, 3, 2, 5), np.uint8)}, "channels last"),
    ({"x_train": np.full((3, 2), np.inf), "x_test": np.zeros((2, 2))}, "feature 0 has infinite"),
    ({"x_train": np.zeros((3, 2)), "x_test": np.zeros((2, 2), np.int64)}, "two kinds, float64 [3, 2] (training)"),
    ({"x_train": np.array([{}, {}, {}])}, "plain arrays"),
    ({"y_train": LABELS[:3, None, None]}, "one number per row"),
    ({"y_train": LABELS[:3] + 0.5}, "whole numbers"),
    ({"y_train": np.array([0, 2, 2])}, "(class 1 first) have no training sample"),
    ({"y_train": np.array([0, 2, 2]), "y_test": np.array([1, 1])}, "2 test samples; leave their test samples out and"),
    ({"y_test": np.array([0, 2])}, "test set hold 2, and those of the training set end at 1; leave those rows out"),
    ({"y_test": np.array([0, -2])}, "test labels must lie in 0..1, got -2; renumber the classes from 0 on"),
    ({"y_test": np.array([0, 2]), "class_names": np.array(["a", "b"])}, "the data name 2 classes, got 2; name all"),
    ({"y_train": np.array([-1, 0, 1])}, "training labels must lie in 0..1"),
    ({"y_test": LABELS[:0], "x_test": GRAY[:0]}, "test set is empty"),
    ({"class_names": np.array(["a", "b", "c"])}, "1 of 3 classes ('c' first) have no training sample; take them out"),
    ({"class_names": np.array("a")}, "class_names must be one text per class, got shape []"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_ARRAYS, ids=[message for _, message in BAD_ARRAYS])
def test_npz_that_cannot_be_used(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    said = refusal(write_npz(tmp_path / "set.npz", **changes))
    assert said.startswith("data.name: ") and message in said


def test_arrays_of_other_names_are_told_how_they_are_taken(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", data=np.repeat(GRAY, 2, axis=0), target=np.repeat(LABELS, 2))
    config = Data(name=str(tmp_path / "set.npz"), test_share=0.5)
    said = refusal(config)
    assert "lacks the array y_train; it has: data, target; save them under these names (a single set as x and y" in said
    assert "or name yours in data.input_column and data.target_column" in said
    assert len(sources.load(replace(config, input_column="data", target_column="target")).y_train) == 5


def test_group_columns_that_cannot_be_used(tmp_path: Path) -> None:
    config = write_npz(tmp_path / "set.npz", site_train=np.array([0.5, 1.0, 2.0]), short_train=np.array([1]))
    said = refusal(replace(config, group_columns=["writer"]))
    assert "lacks the array writer_train" in said and "save them" not in said
    assert "must hold whole numbers or texts" in refusal(replace(config, group_columns=["site"]))
    assert "shape [1] for 3 rows" in refusal(replace(config, group_columns=["short"]))


def test_files_that_are_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 torn")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "notes.npz").write_text("x")
    (tmp_path / "empty").mkdir()
    with (tmp_path / "single.npz").open("wb") as file:
        np.save(file, GRAY)
    assert "not a readable .npz" in refusal(Data(name=str(tmp_path / "torn.npz")))
    assert "it is no archive of arrays, as numpy.savez writes it" in refusal(Data(name=str(tmp_path / "notes.npz")))
    assert "single array" in refusal(Data(name=str(tmp_path / "single.npz")))
    assert "no such file" in refusal(Data(name=str(tmp_path / "absent.npz")))
    assert "no such file or folder" in refusal(Data(name=str(tmp_path / "absent")))
    assert "neither a folder nor an .npz" in refusal(Data(name=str(tmp_path / "notes.txt")))
    assert "holds no data set: expected train.parquet" in refusal(Data(name=str(tmp_path / "empty")))


def test_cache_is_written_once_and_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_npz(tmp_path / "set.npz", site_train=np.array([4, 4, 5]))
    first = sources.load(config)
    assert isinstance(first.x_train, np.memmap) and not first.x_train.flags.writeable
    (entry,) = (tmp_path / "cache").iterdir()  # no draft is left behind
    assert entry.name.startswith("set-")

    def forbidden(*_: Any) -> None:
        raise AssertionError("read the source again")

    monkeypatch.setattr("fedlt.data.files.Npz.read", forbidden)
    monkeypatch.setattr("fedlt.data.files.Npz.read_labels", forbidden)
    again, labels = sources.load(config), sources.labels(config)
    assert (again.x_train == first.x_train).all() and again.inputs.arrays()["mean"] == first.inputs.arrays()["mean"]
    assert labels.y_train.tolist() == [0, 1, 1] and labels.train_targets.groups["site"].tolist() == [4, 4, 5]
    monkeypatch.undo()
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path / "cache"))
    time.sleep(0.01)
    # The file changed, though not in size: another entry.
    write_npz(tmp_path / "set.npz", site_train=np.array([4, 4, 5]), y_train=np.array([1, 0, 0]))
    assert sources.load(config).y_train.tolist() == [1, 0, 0]
    assert sources.load(config, tmp_path / "other").y_train.tolist() == [1, 0, 0]
    assert len(list((tmp_path / "other").iterdir())) == 1


def test_a_process_that_comes_second_takes_the_entry_of_the_first(tmp_path: Path) -> None:
    config = write_npz(tmp_path / "set.npz")
    raw = sources.load(config)
    (folder,) = (tmp_path / "cache").iterdir()
    assert isinstance(Entry(folder).store(replace(raw, x_train=np.array(raw.x_train))).x_train, np.memmap)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [folder.name]


def test_a_cache_that_cannot_be_written_costs_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="stays in memory.*set FEDLT_CACHE"):
        raw = sources.load(write_npz(tmp_path / "set.npz"), tmp_path / "file" / "cache")
    assert raw.x_train.shape == (3, 2, 3, 1)


def test_digits() -> None:
    raw = sources.load(Data(name="digits"))
    assert raw.x_train.shape == (1497, 8, 8, 1) and raw.x_test.shape == (300, 8, 8, 1)
    assert np.bincount(raw.y_train).tolist() == [148, 152, 147, 153, 151, 152, 151, 149, 144, 150]
    assert np.bincount(raw.y_test).tolist() == [30] * 10
    from sklearn.datasets import load_digits

    bunch = load_digits()
    assert raw.x_train[0, 0, :4, 0].tolist() == [0, 0, 80, 207]  # 0, 0, 5, 13 sixteenths of 255
    last_zero = np.flatnonzero(bunch.target == 0)[-1]
    assert (raw.x_test[raw.y_test == 0][-1, ..., 0] == np.rint(bunch.images[last_zero] * 255 / 16)).all()
    assert sources.labels(Data(name="digits")).y_train.tolist() == raw.y_train.tolist()
    assert refusal(Data(name="digits", target_column="y")).startswith("data.target_column: has no effect")
    assert refusal(Data(name="digits", test_split="val")).startswith("data.test_split: digits has the splits")


def test_image_folder(tmp_path: Path) -> None:
    import PIL.Image

    places = ["train/dog/1.png", "train/cat/1.png", "train/dog/2.png", "test/cat/1.png", "test/dog/1.png"]
    for picture, place in zip(GRAY, places, strict=True):
        (tmp_path / "pets" / place).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(picture).save(tmp_path / "pets" / place)
    config = Data(name=str(tmp_path / "pets"))
    assert sources.labels(config).y_train.tolist() == [0, 1, 1]
    raw = sources.load(config)
    assert raw.name == "pets" and raw.class_names == ("cat", "dog") and raw.y_test.tolist() == [0, 1]
    assert (raw.x_train[..., 0] == GRAY[[1, 0, 2]]).all() and (raw.x_test[..., 0] == GRAY[3:]).all()
    assert refusal(replace(config, group_columns=["site"])).startswith("data.group_columns: has no effect")
    assert "has no folder 'val'" in refusal(replace(config, test_split="val"))
    PIL.Image.fromarray(COLOUR[0]).save(tmp_path / "pets/test/dog/2.png")  # one in colour: all become RGB
    raw = sources.load(config)
    assert raw.x_train.shape == (3, 2, 3, 3) and (raw.x_train[0] == GRAY[1][..., None]).all()
    assert (raw.x_test[2] == COLOUR[0]).all()
    PIL.Image.fromarray(GRAY[0, :1]).save(tmp_path / "pets/test/dog/3.png")
    assert "picture 0 is 3x2, picture 3 is 3x1" in refusal(config)
    (tmp_path / "pets/test/dog/3.png").write_bytes(b"torn")
    assert "3.png is not a readable picture" in refusal(config)


def write_parquet(folder: Path, pictures: NDArray[np.uint8] = COLOUR) -> Data:
    """A data set as the hub stores it: encoded pictures, class names, and a further column."""
    import datasets
    import PIL.Image

    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"]), "site": datasets.Value("string")}
    )
    folder.mkdir(parents=True)
    for split, rows in (("train", slice(0, 3)), ("test", slice(3, 5))):
        images = [PIL.Image.fromarray(picture) for picture in pictures[rows]]
        columns = {"img": images, "label": LABELS[rows], "site": ["b", "a", "b", "c", "a"][rows]}
        table = datasets.Dataset.from_dict(columns, features=features)
        table.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return Data(name=str(folder.parent), group_columns=["site"])


def test_parquet_in_the_form_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_parquet(tmp_path / "pets" / "data")
    monkeypatch.setattr(table_columns, "_pictures", None)
    labels = sources.labels(config)  # decodes no picture
    monkeypatch.undo()
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path / "cache"))
    raw = sources.load(config)
    assert raw.class_names == labels.class_names == ("cat", "dog")
    assert raw.y_train.tolist() == labels.y_train.tolist() == [0, 1, 1] and raw.y_test.tolist() == [1, 0]
    assert (raw.x_train == COLOUR[:3]).all() and (raw.x_test == COLOUR[3:]).all()
    assert raw.train_targets.groups["site"].tolist() == [1, 0, 1] and raw.test_targets.groups["site"].tolist() == [2, 0]


def test_parquet_without_the_hub_s_metadata(tmp_path: Path) -> None:
    import io

    import PIL.Image
    import pyarrow as pa
    import pyarrow.parquet

    def encoded(picture: NDArray[np.uint8]) -> dict[str, Any]:
        file = io.BytesIO()
        PIL.Image.fromarray(picture).save(file, "png")
        return {"bytes": file.getvalue(), "path": None}

    for split, rows in (("train", slice(0, 3)), ("test", slice(3, 5))):
        pictures = pa.array(
            [encoded(p) for p in GRAY[rows]], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        )
        feature_rows = pa.array([[1.5, 2.5]] * len(pictures), pa.list_(pa.float32()))
        columns = {"picture": pictures, "target": LABELS[rows], "kind": LABELS[rows], "row": feature_rows}
        pa.parquet.write_table(pa.table(columns), tmp_path / f"{split}.parquet")
    config = Data(name=str(tmp_path))
    raw = sources.load(config)
    assert (raw.x_train[..., 0] == GRAY[:3]).all() and raw.y_train.tolist() == [0, 1, 1]
    assert sources.load(replace(config, input_column="row")).x_train.tolist() == [[1.5, 2.5]] * 3
    assert sources.load(replace(config, target_column="kind")).y_test.tolist() == [1, 0]
    assert refusal(replace(config, target_column="sort")).startswith("data.target_column: ")
    assert refusal(replace(config, input_column="sort")).startswith("data.input_column: ")
    assert refusal(replace(config, group_columns=["site"])).startswith("data.group_columns: ")
    (tmp_path / "test.parquet").unlink()
    assert "none of 'test'" in refusal(config)


def test_parquet_whose_columns_are_not_plain(tmp_path: Path) -> None:
    import datasets

    for split in ("train", "test"):
        datasets.Dataset.from_dict({"a": [1.0, 2.0], "b": [0, 1]}).to_parquet(tmp_path / f"{split}.parquet")
    config = Data(name=str(tmp_path))
    assert refusal(config).startswith("data.target_column: ")
    assert sources.load(replace(config, target_column="b")).x_train.tolist() == [[1.0], [2.0]]  # decimal numbers
    assert "labels must be whole numbers or texts" in refusal(replace(config, target_column="a"))


def test_the_hub_is_read_through_its_own_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    config = write_parquet(tmp_path / "pets" / "data")
    asked = []

    def load_dataset(name: str) -> Any:
        asked.append((name, datasets.config.HF_HUB_OFFLINE))
        files = {split: str(tmp_path / f"pets/data/{split}-00000-of-00001.parquet") for split in ("train", "test")}
        return original("parquet", data_files=files, cache_dir=str(tmp_path / "arrow"))

    original = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(tables, "_told_offline", lambda: False)
    monkeypatch.setattr(tables, "_reachable", lambda: True)
    raw = sources.load(replace(config, name="someone/pets"))
    assert (raw.x_train == COLOUR[:3]).all() and raw.name == "someone/pets"
    assert sources.load(Data(name="cifar10")).y_train.tolist() == [0, 1, 1]
    monkeypatch.setattr(tables, "_reachable", lambda: False)
    (tmp_path / "hub" / "uoft-cs___cifar100").mkdir(parents=True)  # not reachable, but in the hub's cache
    assert refusal(Data(name="cifar100")).startswith("data.target_column: ")  # looks for its fine_label
    assert asked == [("someone/pets", False), ("uoft-cs/cifar10", False), ("uoft-cs/cifar100", True)]
    assert refusal(replace(config, name="cifar100", test_split="val")).startswith("data.test_split: ")


def test_a_set_that_is_nowhere_names_the_three_ways_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing answers there
    start = time.perf_counter()
    said = refusal(Data(name="someone/nothing"))
    assert time.perf_counter() - start < 2
    assert said.startswith("data.name: 'someone/nothing' was not found (the hub cannot be reached")
    assert all(way in said for way in (".npz file or a folder", "$FEDLT_DATA", "Hugging Face hub"))


def test_a_hub_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow() -> bool:
        time.sleep(1)
        return True

    monkeypatch.setattr(tables, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(tables, "_answers", slow)
    assert not tables._reachable()
    monkeypatch.setattr(tables, "_answers", lambda: True)
    assert tables._reachable()


def test_the_folder_of_the_environment_comes_before_what_is_built_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_npz(tmp_path / "digits.npz")
    write_parquet(tmp_path / "mnist" / "data")
    monkeypatch.setenv("FEDLT_DATA", str(tmp_path))
    assert len(sources.load(Data(name="digits")).y_train) == 3
    assert sources.load(Data(name="mnist")).y_train.tolist() == [0, 1, 1]
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEDLT_DATA")
    assert len(sources.labels(Data(name="mnist")).y_train) == 60_000  # a folder beside us does not shadow a known name


def test_labels_of_well_known_sets_need_no_data() -> None:
    sizes = {"cifar10": (50_000, 10), "cifar100": (50_000, 100), "mnist": (60_000, 10), "fashion_mnist": (60_000, 10)}
    for name, (rows, classes) in sizes.items():
        labels = sources.labels(Data(name=name))
        assert (len(labels.y_train), len(labels.y_test), len(labels.class_names)) == (rows, 10_000, classes)
        assert len(set(labels.class_names)) == classes and not labels.in_source_order
    assert np.bincount(sources.labels(Data(name="mnist")).y_train)[[0, 9]].tolist() == [5923, 5949]
    for change in ({"target_column": "coarse_label"}, {"group_columns": ["coarse_label"]}, {"train_split": "all"}):
        assert "was not found" in refusal(replace(Data(name="cifar100"), **change), sources.labels)


def unpacked(name: str, folder: Path) -> Data:
    """A real set, unpacked from the shared data."""
    if not (SHARED / "unpack.py").is_file():
        pytest.skip(f"real data are not there: {SHARED}")
    script = [sys.executable, str(SHARED / "unpack.py"), name, "--to", str(folder)]
    subprocess.run(script, check=True, capture_output=True)
    return Data(name=str(folder / f"{name}.npz"))


def test_real_ham10000_with_its_sites(tmp_path: Path) -> None:
    raw = sources.load(unpacked("ham10000", tmp_path))
    assert raw.x_train.shape == (4789, 32, 32, 3) and len(raw.y_test) == 1195 and len(raw.class_names) == 7
    assert np.bincount(raw.train_targets.groups["site"]).tolist() == [2528, 1077, 1008, 176]
    assert len(raw.test_targets.groups["site"]) == 1195


def test_real_cifar10_and_its_official_subsets(tmp_path: Path) -> None:
    from fedlt.config.sections import LongTail
    from fedlt.data.longtail import select

    config = unpacked("cifar10", tmp_path)
    labels = sources.labels(config)
    known = sources.labels(Data(name="cifar10"))
    assert np.bincount(labels.y_train).tolist() == np.bincount(known.y_train).tolist()
    assert labels.class_names == known.class_names
    for factor, rows in ((100, 12406), (50, 13996)):
        assert len(select(labels.train_targets, LongTail("exponential", factor, "official"), 0)) == rows


def test_an_npz_that_unpacks_to_more_than_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A packed file of zeros is a thousandth of its content."""
    zeros = np.zeros((3, 500, 500), np.uint8)
    np.savez_compressed(tmp_path / "bomb.npz", x_train=zeros, y_train=LABELS[:3], x_test=zeros, y_test=LABELS[:3])
    assert (tmp_path / "bomb.npz").stat().st_size < 10_000
    monkeypatch.setattr("fedlt.data.npz._memory", lambda: 500_000)
    with pytest.raises(ScenarioError, match=r"unpacks to .* GiB, more than this machine's memory"):
        sources.load(Data(str(tmp_path / "bomb.npz")))
