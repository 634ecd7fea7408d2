"""Long-tailed and naturally federated sets of pictures: where they come from, where they are put, what they hold.

FedLT ships none of them. A scenario names one as `data.name`; it is looked for in the folder that `$FEDLT_DATA` names.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedlt.config.sections import Data
    from fedlt.data.raw import RawLabels


@dataclass(frozen=True)
class Published:
    """What a set holds, as its authors say.

    source: where its pictures and lists come from. layout: the files, from its folder. train, test: pictures. classes:
    in the training list. largest, smallest: training pictures of those classes. None: not known for certain. splits:
    the splits that are meant.
    """

    source: str
    layout: str
    train: int
    test: int
    classes: int | None = None
    largest: int | None = None
    smallest: int | None = None
    splits: tuple[str, str] = ("train", "test")

    def where(self, name: str) -> str:
        """Where it comes from and goes, as a sentence."""
        root = os.environ.get("FEDLT_DATA")
        folder = root or "$FEDLT_DATA (which is not set)"
        file = self.layout.endswith(".npz")
        what = f"{self.layout} into {folder}" if file else f"into {folder}/{name}: {self.layout}"
        return f"{name} comes from {self.source}; put {what} (docs/howto/known-sets.md)"


_LISTS = "the lists of Liu et al., CVPR 2019 (github.com/zhmiao/OpenLongTailRecognition-OLTR)"
_MEDMNIST = "MedMNIST v2 (medmnist.com, CC BY 4.0, or by pip install medmnist)"

PUBLISHED = {
    "imagenet_lt": Published(
        f"ImageNet 2012 (image-net.org) and {_LISTS}",
        "train/, val/, ImageNet_LT_train.txt, ImageNet_LT_test.txt",
        115_846, 50_000, 1000, 1280, 5, ("ImageNet_LT_train.txt", "ImageNet_LT_test.txt"),
    ),
    "places_lt": Published(
        f"Places365 (places2.csail.mit.edu) and {_LISTS}",
        "the folders that the lists name (data_256/ or train/, val_256/), Places_LT_train.txt, Places_LT_test.txt",
        62_500, 36_500, 365, 4980, 5, ("Places_LT_train.txt", "Places_LT_test.txt"),
    ),
    "inaturalist2018": Published(
        "the iNaturalist competition of 2018 (github.com/visipedia/inat_comp)",
        "train_val2018/, train2018.json, val2018.json",
        437_513, 24_426, 8142, 1000, 2, ("train2018.json", "val2018.json"),
    ),
    "inaturalist_users": Published(
        "the iNaturalist competition of 2017 (github.com/visipedia/inat_comp) and the lists of Hsu et al., ECCV 2020 "
        "(github.com/google-research/google-research/tree/master/federated_vision_datasets)",
        "train_val_images/, train.csv, test.csv, with a column of files",
        120_300, 35_641, 1203, splits=("train.csv", "test.csv"),
    ),
    "tiny_imagenet": Published(
        "the Stanford course CS231n (cs231n.stanford.edu/tiny-imagenet-200.zip)",
        "train/, val/, train.txt, val.txt",
        100_000, 10_000, 200, 500, 500, ("train.txt", "val.txt"),
    ),
    "iwildcam_v2.0/train": Published(
        "WILDS (wilds.stanford.edu, or by pip install wilds)",
        "the pictures, with metadata.csv in the folder above",
        129_809, 8154, splits=("../metadata.csv:train", "../metadata.csv:id_test"),
    ),
    "dermamnist": Published(_MEDMNIST, "dermamnist.npz", 7007, 2005, 7, 4693, 80),
    "pathmnist": Published(_MEDMNIST, "pathmnist.npz", 89_996, 7180, 9, 12_885, 7886),
    "retinamnist": Published(_MEDMNIST, "retinamnist.npz", 1080, 400, 5, 486, 66),
}  # fmt: skip


def warn_of_other_counts(config: Data, labels: RawLabels) -> None:
    """Warn where a set is not what its authors published: a download that was cut short, or another list."""
    known = PUBLISHED.get(config.name)
    if known is None or (config.train_split, config.test_split) != known.splits or config.test_share is not None:
        return
    counts = labels.train_targets.counts()
    found = [len(labels.y_train), len(labels.y_test), len(counts), int(counts.max()), int(counts.min())]
    said = [known.train, known.test, known.classes, known.largest, known.smallest]
    names = ("training pictures", "test pictures", "classes", "in the largest class", "in the smallest class")
    other = [
        f"{here:,} {what} (published: {there:,})"
        for here, there, what in zip(found, said, names, strict=True)
        if there is not None and here != there
    ]
    if other:
        warnings.warn(f"{config.name} is not as it was published: {', '.join(other)}", stacklevel=3)
