"""Fifteen layouts in which people have their data: each loads, or is refused with a sentence that says how to convert.

The layouts of tables and of class folders are in test_layouts.py; here are those of other programs and of arrays.
"""

from __future__ import annotations

import gzip
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Data
from fedlt.data import sources
from fedlt.errors import ScenarioError

GRAY = np.arange(30, dtype=np.uint8).reshape(5, 2, 3)
LABELS = np.array([0, 1, 1, 1, 0])


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("FEDLT_DATA", raising=False)


def npz(path: Path, **changes: Any) -> Data:
    arrays = {"x_train": GRAY[:3], "y_train": LABELS[:3], "x_test": GRAY[3:], "y_test": LABELS[3:]} | changes
    np.savez(path, **arrays)
    return Data(name=str(path))


def refusal(config: Data, call: Any = sources.load) -> str:
    """`key: message` of the one problem."""
    with pytest.raises(ScenarioError) as caught:
        call(config)
    (problem,) = caught.value.problems
    return str(problem)


def picture(path: Path, pixels: Any, mode: str | None = None) -> None:
    import PIL.Image

    path.parent.mkdir(parents=True, exist_ok=True)
    image = PIL.Image.fromarray(np.asarray(pixels))
    (image if mode is None else image.convert(mode)).save(path)


# One folder per client.


def test_layout_1_a_folder_per_client_with_its_classes(tmp_path: Path) -> None:
    for number, place in enumerate(("b/cat/1.png", "a/dog/1.png", "a/cat/1.png", "b/cat/2.png", "b/dog/1.png")):
        picture(tmp_path / "scans" / place, GRAY[0] + number)
    config = Data(name=str(tmp_path / "scans"), test_share=0.25, group_columns=["site"])
    raw = sources.load(config)  # of 3 cats and 2 dogs, one each is tested
    assert np.bincount(raw.y_train).tolist() == [2, 1] and np.bincount(raw.y_test).tolist() == [1, 1]
    seen = {
        (int(x[0, 0, 0]), int(y), int(site))
        for rows, targets in ((raw.x_train, raw.train_targets), (raw.x_test, raw.test_targets))
        for x, y, site in zip(rows, targets.values, targets.groups["site"], strict=True)
    }
    assert seen == {(0, 0, 1), (1, 1, 0), (2, 0, 0), (3, 0, 1), (4, 1, 1)}


def leaf(folder: Path, users: dict[str, tuple[list[Any], list[Any]]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "users": list(users),
        "num_samples": [len(y) for _, y in users.values()],
        "user_data": {user: {"x": x, "y": y} for user, (x, y) in users.items()},
    }
    (folder / "all_data_0.json").write_text(json.dumps(content))


@pytest.mark.parametrize("above", [".", "data"])
def test_layout_2_leaf(above: str, tmp_path: Path) -> None:
    base = tmp_path / "femnist" / above
    leaf(base / "train", {"f10": ([[0.0, 0.2, 0.4, 1.0]], [1]), "f9": ([[0.6] * 4, [0.8] * 4], [0, 1])})
    leaf(base / "test", {"f9": ([[0.0] * 4], [0]), "f10": ([[1.0] * 4], [1])})
    config = Data(name=str(tmp_path / "femnist"))
    raw = sources.load(config)
    assert raw.x_train.shape == (3, 4) and raw.y_train.tolist() == [1, 0, 1]
    assert raw.train_targets.groups["user"].tolist() == [1, 0, 0]  # f9 before f10
    assert raw.test_targets.groups["user"].tolist() == [0, 1]
    assert sources.labels(config).y_test.tolist() == [0, 1]

    pictures = sources.load(replace(config, size=2))  # rows of 2 * 2 numbers in 0..1
    assert pictures.x_train[0, :, :, 0].tolist() == [[0, 51], [102, 255]]
    assert refusal(replace(config, size=3)).startswith(
        "data.size: has no effect: femnist: the inputs are float64 [3, 4]"
    )
    assert refusal(replace(config, group_columns=["writer"])).startswith("data.group_columns: has no effect")


def test_layout_2_leaf_that_cannot_be_used(tmp_path: Path) -> None:
    config = Data(name=str(tmp_path / "shakespeare"), test_share=0.5)
    leaf(tmp_path / "shakespeare/train", {"romeo": (["to be or not", "to sleep"], ["t", "o"])})
    assert "the inputs are texts or names of files, such as 'to be or not'; data.tokenizer=hashing makes" in refusal(
        config
    )
    leaf(tmp_path / "shakespeare/train", {"romeo": ([[1, 2], [3]], [0, 1])})
    assert "no lists of numbers of one length" in refusal(config)
    leaf(tmp_path / "shakespeare/train", {"romeo": ([[1, 2], [3, 4]], [0])})
    assert "user 'romeo' has 2 inputs and 1 labels" in refusal(config)
    (tmp_path / "shakespeare/train/all_data_0.json").write_text("{")
    assert "all_data_0.json is not in the layout of LEAF" in refusal(config)


def test_layout_3_pfllib(tmp_path: Path) -> None:
    """The lines of docs/howto/own-data.md bring it over."""
    for split, rows in (("train", slice(0, 3)), ("test", slice(3, 5))):
        (tmp_path / "mnist" / split).mkdir(parents=True)
        for client in (0, 1):
            data = {"x": GRAY[rows][client::2], "y": LABELS[rows][client::2]}
            np.savez_compressed(tmp_path / "mnist" / split / f"{client}.npz", data=data)
    said = refusal(Data(name=str(tmp_path / "mnist")))
    assert "PFLlib" in said and "pickled files may run any code" in said and "docs/howto/own-data.md" in said

    page = (Path(__file__).parents[2] / "docs/howto/own-data.md").read_text(encoding="utf-8")
    blocks = [block.partition("```")[0] for block in page.split("```python\n")[1:]]
    lines = next(block for block in blocks if "PFLlib" in block)
    script = lines.replace('"PFLlib/dataset/MNIST"', repr(str(tmp_path / "mnist")))
    exec(script.replace('"mine.npz"', repr(str(tmp_path / "mine.npz"))), {})
    raw = sources.load(Data(name=str(tmp_path / "mine.npz")))
    assert (raw.x_train[..., 0] == GRAY[[0, 2, 1]]).all() and raw.y_train.tolist() == LABELS[[0, 2, 1]].tolist()
    assert raw.train_targets.groups["client"].tolist() == [0, 0, 1]
    assert raw.test_targets.groups["client"].tolist() == [0, 1]


# Arrays.


def test_layout_4_medmnist_validates_and_keeps_natural_tails(tmp_path: Path) -> None:
    labels = np.array([[0], [0], [1], [0], [1]], np.uint8)
    parts = {"train": slice(0, 3), "val": slice(2, 3), "test": slice(3, 5)}
    arrays = {f"{split}_images": GRAY[rows] for split, rows in parts.items()}
    arrays |= {f"{split}_labels": labels[rows] for split, rows in parts.items()}
    np.savez(tmp_path / "dermamnist.npz", **arrays)
    raw = sources.load(Data(name=str(tmp_path / "dermamnist.npz")))
    assert raw.train_targets.counts().tolist() == [2, 1] and raw.y_test.tolist() == [0, 1]


def test_layout_5_a_folder_of_npy_files(tmp_path: Path) -> None:
    for name, array in (("x_train", GRAY[:3]), ("y_train", LABELS[:3]), ("x_test", GRAY[3:]), ("y_test", LABELS[3:])):
        np.save(tmp_path / f"{name}.npy", array)
    np.save(tmp_path / "site_train.npy", np.array(["b", "a", "b"]))
    raw = sources.load(Data(name=str(tmp_path)))
    assert (raw.x_train[..., 0] == GRAY[:3]).all() and raw.y_test.tolist() == [1, 0]
    assert raw.train_targets.groups["site"].tolist() == [1, 0, 1]
    assert "give its folder" in refusal(Data(name=str(tmp_path / "x_train.npy")))
    np.save(tmp_path / "x_test.npy", np.array([{}, {}]), allow_pickle=True)
    assert "x_test.npy is not a readable .npy file of plain values" in refusal(Data(name=str(tmp_path)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layout_6_images_as_decimal_numbers(dtype: Any, tmp_path: Path) -> None:
    scaled = (GRAY[..., None] / 255).astype(dtype)
    for part in (scaled, GRAY[..., None].astype(dtype)):  # in 0..1, and in 0..255
        raw = sources.load(npz(tmp_path / "s.npz", x_train=part[:3], x_test=part[3:]))
        assert raw.x_train.dtype == np.uint8 and (raw.x_train[..., 0] == GRAY[:3]).all()
    standardised = scaled - 0.5
    said = refusal(npz(tmp_path / "s.npz", x_train=standardised[:3], x_test=standardised[3:]))
    assert "must lie in 0..1, or be whole numbers in 0..255; these go from -0.5 to" in said
    assert "undo a standardisation (x * std + mean)" in said
    said = refusal(npz(tmp_path / "s.npz", x_train=scaled[:3, ..., 0], x_test=scaled[3:, ..., 0]))
    assert "gray images of other numbers than uint8 need an axis for their channel, as in x[..., None]" in said


def test_layout_7_labels_that_begin_at_1(tmp_path: Path) -> None:
    config = npz(tmp_path / "s.npz", y_train=np.array([1, 2, 2]), y_test=np.array([2, 1]))
    raw = sources.load(config)
    assert raw.y_train.tolist() == [0, 1, 1] and raw.y_test.tolist() == [1, 0] and raw.class_names == ("1", "2")
    named = npz(tmp_path / "s.npz", y_train=np.array([1, 2, 2]), class_names=np.array(["cat", "dog"]), y_test=[2, 2])
    assert sources.load(named).class_names == ("cat", "dog")
    gap = npz(tmp_path / "s.npz", y_train=np.array([1, 3, 3]), y_test=np.array([1, 3]))
    assert "leaves classes without any; renumber the classes" in refusal(gap)
    zero = npz(tmp_path / "s.npz", y_train=np.array([1, 2, 2]), y_test=np.array([0, 2]))
    assert "(class 0 first) have no training sample" in refusal(zero)


def test_layout_8_one_hot_labels(tmp_path: Path) -> None:
    hot = np.eye(2, dtype=np.float32)[LABELS]
    config = npz(tmp_path / "s.npz", y_train=hot[:3], y_test=hot[3:], class_names=np.array(["cat", "dog"]))
    assert "Set data.targets=single or data.targets=multilabel" in refusal(config)
    single = load_scenario("digits_lt", [f"data.name={config.name}", "data.targets=single"]).data
    raw = sources.load(single)
    assert raw.y_train.tolist() == [0, 1, 1] and raw.class_names == ("cat", "dog")


def test_layout_9_sequences_of_measurements(tmp_path: Path) -> None:
    x = np.arange(5 * 4 * 2, dtype=np.float32).reshape(5, 4, 2)
    bare = npz(tmp_path / "har.npz", x_train=x[:3], x_test=x[3:])
    assert "with a mask [N, L] (of ones where all steps are real)" in refusal(bare)
    mask = np.ones((5, 4), bool)
    raw = sources.load(npz(tmp_path / "har.npz", x_train=x[:3], x_test=x[3:], mask_train=mask[:3], mask_test=mask[3:]))
    assert raw.inputs.shape == (4, 2)


def test_layout_10_arrays_of_objects_are_not_unpickled(tmp_path: Path) -> None:
    mixed = np.empty(3, object)
    mixed[:] = [GRAY[0], GRAY[0, :1], GRAY[1]]
    said = refusal(npz(tmp_path / "s.npz", x_train=mixed))
    assert "is a pickle, which may run any code" in said and "folders (train/CLASS/1.png) with data.size" in said


def test_layout_11_pickles_and_other_binary_files(tmp_path: Path) -> None:
    for name, told in (("a.pkl", "may run any code"), ("a.pt", "numpy.savez"), ("a.mat", "scipy"), ("a.xlsx", "CSV")):
        (tmp_path / name).write_bytes(pickle.dumps({}))
        assert told in refusal(Data(name=str(tmp_path / name)))
    (tmp_path / "cifar").mkdir()
    (tmp_path / "cifar/data_batch_1").write_bytes(b"")
    assert "CIFAR's Python batches" in refusal(Data(name=str(tmp_path / "cifar")))
    (tmp_path / "tf").mkdir()
    (tmp_path / "tf/a.tfrecord-00000-of-00001").write_bytes(b"")
    assert "TFRecord file; write the split by datasets' save_to_disk" in refusal(Data(name=str(tmp_path / "tf")))


def test_layout_12_idx_files_as_of_mnist(tmp_path: Path) -> None:
    (tmp_path / "MNIST/raw").mkdir(parents=True)
    (tmp_path / "MNIST/raw/train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b""))
    assert "numpy.fromfile(FILE, numpy.uint8)[16:].reshape(-1, 28, 28)" in refusal(Data(name=str(tmp_path / "MNIST")))


# Tables and lists that name pictures.


def listed(folder: Path) -> list[str]:
    """Five pictures, as images/0.png and so on."""
    for number in range(5):
        picture(folder / f"images/{number}.png", GRAY[number])
    return [f"images/{number}.png" for number in range(5)]


def test_layout_13_lists_of_paths_and_labels(tmp_path: Path) -> None:
    paths = listed(tmp_path)
    (tmp_path / "LT_train.txt").write_text(
        "".join(f"{path} {y}\n" for path, y in zip(paths[:3], (0, 1, 1), strict=True))
    )
    (tmp_path / "LT_test.txt").write_text(f"{paths[3]} 1\n\n{paths[4]} 0\n")
    config = Data(name=str(tmp_path), train_split="LT_train.txt", test_split="LT_test.txt")
    raw = sources.load(config)
    assert (
        (raw.x_train[..., 0] == GRAY[:3]).all() and raw.y_train.tolist() == [0, 1, 1] and raw.y_test.tolist() == [1, 0]
    )

    (tmp_path / paths[3]).unlink()
    said = refusal(config)
    assert "LT_train.txt names images/3.png, which is not in" in said and "(1 of 5 pictures are missing)" in said
    assert sources.labels(config).y_test.tolist() == [1, 0]  # the lists alone say who would hold what
    (tmp_path / "LT_test.txt").write_text("images/3.png\n")
    assert "LT_test.txt line 1 is 'images/3.png'; expected PATH LABEL" in refusal(config)
    assert refusal(replace(config, test_split="no.txt")).startswith("data.test_split: ")


def test_layout_14_tables_that_name_pictures(tmp_path: Path) -> None:
    paths = listed(tmp_path)
    rows = [f"{path},{'cat' if y == 0 else 'dog'},{'ba'[y]}" for path, y in zip(paths, LABELS, strict=True)]
    (tmp_path / "train.csv").write_text("\n".join(["file,label,camera", *rows[:3]]))
    (tmp_path / "test.csv").write_text("\n".join(["file,label,camera", *rows[3:]]))
    config = Data(name=str(tmp_path), group_columns=["camera"])
    raw = sources.load(config)
    assert (raw.x_test[..., 0] == GRAY[3:]).all() and raw.class_names == ("cat", "dog")
    assert raw.train_targets.groups["camera"].tolist() == [1, 0, 0]
    assert refusal(replace(config, group_columns=["ward"])).startswith("data.group_columns: ")

    splits = ["train", "train", "train", "val", "test"]
    one = [f"{split},{path.removesuffix('.png')},{y + 5}" for split, path, y in zip(splits, paths, LABELS, strict=True)]
    (tmp_path / "meta.csv").write_text("\n".join(["split,image_id,dx", *one]))
    raw = sources.load(Data(name=str(tmp_path), train_split="meta.csv:train", test_split="meta.csv:test"))
    assert (
        raw.y_train.tolist() == [0, 1, 1] and raw.class_names == ("5", "6") and (raw.x_test[0, ..., 0] == GRAY[4]).all()
    )
    said = refusal(Data(name=str(tmp_path), train_split="meta.csv:all", test_split="meta.csv:test"))
    assert "lists no picture whose split is 'all'" in said

    (tmp_path / "mine.csv").write_text("\n".join(["path,y", *(f"{p},{y}" for p, y in zip(paths, LABELS, strict=True))]))
    raw = sources.load(Data(name=str(tmp_path / "mine.csv"), test_share=0.4))
    assert len(raw.y_train) == 3 and len(raw.y_test) == 2


def test_layout_15_json_of_inaturalist_and_camera_traps(tmp_path: Path) -> None:
    paths = listed(tmp_path)
    for split, rows in (("train", range(3)), ("val", range(3, 5))):
        content = {
            "images": [{"id": 10 + i, "file_name": paths[i], "location": 30 - i} for i in rows],
            "annotations": [{"image_id": 10 + i, "category_id": 7 + int(LABELS[i])} for i in rows],
            "categories": [{"id": 7, "name": "wolf"}, {"id": 8, "name": "bear"}],
        }
        (tmp_path / f"{split}2018.json").write_text(json.dumps(content))
    config = Data(
        name=str(tmp_path), train_split="train2018.json", test_split="val2018.json", group_columns=["location"]
    )
    raw = sources.load(config)
    assert raw.y_train.tolist() == [0, 1, 1] and raw.class_names == ("wolf", "bear")
    assert raw.train_targets.groups["location"].tolist() == [4, 3, 2] and raw.test_targets.groups[
        "location"
    ].tolist() == [1, 0]
    content["annotations"].append({"image_id": 13, "category_id": 7})
    (tmp_path / "val2018.json").write_text(json.dumps(content))
    assert "image 13 has several categories, 8 and 7" in refusal(config)


# Pictures of any size and mode.


def halves(width: int, height: int) -> NDArray[np.uint8]:
    """The left half black, the right half white."""
    return np.where(np.arange(width) < width // 2, 0, 255).astype(np.uint8)[None].repeat(height, axis=0)


def test_pictures_of_several_sizes_are_brought_to_one(tmp_path: Path) -> None:
    places = ("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png")
    wide = np.zeros((4, 8), np.uint8)
    wide[:, 2:6] = 200  # the middle square
    for place, pixels in zip(places, (wide, wide.T, halves(4, 4), halves(2, 2)), strict=True):
        picture(tmp_path / place, pixels)
    config = Data(name=str(tmp_path))
    assert "set data.size to bring them to one" in refusal(config)

    raw = sources.load(replace(config, size=4))
    assert raw.x_train.shape == (2, 4, 4, 1) and (raw.x_train == 200).all()
    assert (raw.x_test[0, ..., 0] == halves(4, 4)).all()  # of that size already: untouched
    squashed = sources.load(replace(config, size=4, crop="squash"))
    assert squashed.x_train[0, :, 0, 0].max() < 100 < squashed.x_train[0, :, 1, 0].min()  # the black edges are kept
    assert (squashed.x_train[1, ..., 0] == squashed.x_train[0, ..., 0].T).all()


def test_the_size_of_arrays_and_what_it_is_no_use_for(tmp_path: Path) -> None:
    colour = np.repeat(halves(4, 4)[None, ..., None], 5, axis=0).repeat(3, axis=3)
    raw = sources.load(replace(npz(tmp_path / "c.npz", x_train=colour[:3], x_test=colour[3:]), size=2))
    assert raw.x_train.shape == (3, 2, 2, 3) and raw.x_train[0, 0, 0].max() < 50 < 200 < raw.x_train[0, 0, 1].min()
    assert sources.load(Data(size=16)).x_train.shape == (1497, 16, 16, 1)  # the built-in digits
    rows = np.ones((5, 4))
    said = refusal(replace(npz(tmp_path / "r.npz", x_train=rows[:3], x_test=rows[3:]), size=16))
    assert said.startswith("data.size: has no effect: r: the inputs are float64 [3, 4], and no pictures")
    with pytest.raises(ScenarioError, match=r"data\.crop: has no effect without data\.size"):
        load_scenario("digits_lt", ["data.crop=squash"])


def test_hashes_and_cache_entries_know_the_size(tmp_path: Path) -> None:
    assert not {"size", "crop"} & load_scenario("digits_lt", []).to_dict()["data"].keys()
    assert load_scenario("digits_lt", ["data.size=4"]).to_dict()["data"]["size"] == 4
    config = npz(tmp_path / "s.npz", x_train=halves(4, 2)[None].repeat(3, 0), x_test=halves(4, 2)[None].repeat(2, 0))
    shapes = [sources.load(replace(config, size=size)).x_train.shape for size in (None, 2, 4)]
    assert shapes == [(3, 2, 4, 1), (3, 2, 2, 1), (3, 4, 4, 1)]
    centre, squashed = (sources.load(replace(config, size=2, crop=crop)).x_train for crop in ("center", "squash"))
    assert centre[0, 0, :, 0].tolist() == [0, 255] and squashed[0, 0, 0, 0] > 0


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK", "LA", "YCbCr"])
def test_pictures_of_any_mode(mode: str, tmp_path: Path) -> None:
    ending = {"CMYK": "tif", "YCbCr": "tif"}.get(mode, "png")
    gray = np.array([[0, 255], [255, 0]], np.uint8)
    for place in ("train/a/1", "train/b/1", "test/a/1"):
        picture(tmp_path / f"{place}.{ending}", gray, mode)
    raw = sources.load(Data(name=str(tmp_path)))
    assert raw.x_train.shape == (2, 2, 2, 3) and np.abs(raw.x_train[0].astype(int) - gray[..., None]).max() <= 1


def test_sixteen_bits_lose_the_lower_eight(tmp_path: Path) -> None:
    deep = np.array([[0, 255], [256, 65535]], np.uint16)
    for place in ("train/a/1.png", "train/b/1.tif", "test/a/1.png"):
        picture(tmp_path / place, deep)
    raw = sources.load(Data(name=str(tmp_path)))
    assert raw.x_train[:, :, :, 0].tolist() == [[[0, 0], [1, 255]]] * 2
    picture(tmp_path / "train/b/1.tif", deep.astype(np.float32))
    assert "picture 1 has mode F with values that are no shades of 0..65535" in refusal(Data(name=str(tmp_path)))


def test_a_saved_dataset_of_pictures_of_several_sizes(tmp_path: Path) -> None:
    import datasets
    import PIL.Image

    images = [PIL.Image.fromarray(halves(side, side)) for side in (2, 4, 8)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    saved = datasets.Dataset.from_dict({"image": images, "label": [0, 1, 2]}, features=features)
    datasets.DatasetDict({"train": saved, "test": saved}).save_to_disk(str(tmp_path / "saved"))
    config = Data(name=str(tmp_path / "saved"))
    assert "set data.size" in refusal(config)
    assert (sources.load(replace(config, size=4)).x_train[..., 0][:, :, [0, 3]] == [0, 255]).all()
