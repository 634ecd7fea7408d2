"""Long-tailed and naturally federated sets of pictures and texts: where they come from and go, what they hold.

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

    Attributes:
        source: where its samples and lists come from.
        layout: the files, from its folder.
        train, test: samples.
        classes: in the training list.
        largest, smallest: training samples of those classes. None: not known for certain.
        splits: the splits that are meant.
        things: what its samples are.
    """

    source: str
    layout: str
    train: int
    test: int
    classes: int | None = None
    largest: int | None = None
    smallest: int | None = None
    splits: tuple[str, str] = ("train", "test")
    things: str = "pictures"

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
    "trec": Published(
        "Li and Roth, COLING 2002 (cogcomp.seas.upenn.edu/Data/QA/QC, on the hub CogComp/trec)",
        "train.jsonl, test.jsonl, with columns text, coarse_label and fine_label",
        5452, 500, 50, 962, 4, things="texts",
    ),
    "clinc150": Published(
        "Larson et al., EMNLP 2019 (github.com/clinc/oos-eval, CC BY 3.0)",
        "train.jsonl, test.jsonl, with columns text, label and domain",
        15_000, 4500, 150, 100, 100, things="texts",
    ),
    "mtsamples": Published(
        "mtsamples.com (kaggle.com/datasets/tboyle10/medicaltranscriptions, CC0)",
        "train.jsonl, with columns transcription and medical_specialty",
        2357, 0, things="texts",
    ),
    "soap_notes": Published(
        "mtsamples.com (kaggle.com/datasets/tboyle10/medicaltranscriptions, CC0)",
        "soap_notes.npz, made by python -m fedlt.data.note_sections",
        538, 180, 4, things="notes",
    ),
    "r52": Published(
        "Reuters-21578 (archive.ics.uci.edu/dataset/137), its ModApte split and the 52 topics of single-label texts",
        "train.jsonl, test.jsonl, with columns text and label",
        6532, 2568, 52, 2840, 1, things="texts",
    ),
    "goemotions": Published(
        "Demszky et al., ACL 2020 (github.com/google-research/google-research/tree/master/goemotions, on the hub "
        "google-research-datasets/go_emotions)",
        "train and test, as .parquet of the hub or .jsonl, with columns text and labels",
        43_410, 5427, 28, 14_219, 77, things="texts",
    ),
    "indicnews": Published(
        "IndicNews by L3Cube (github.com/l3cube-pune/indic-nlp, the English short headlines)",
        "train.csv, test.csv, with columns text and labels, rows without a label left out",
        36_857, 4608, 12, 4011, 1677, things="texts",
    ),
}  # fmt: skip


def warn_of_other_counts(config: Data, labels: RawLabels) -> None:
    """Warn where a set is not what its authors published: a download that was cut short, or another list."""
    known = PUBLISHED.get(config.name)
    if known is None or (config.train_split, config.test_split) != known.splits or config.test_share is not None:
        return

    counts = labels.train_targets.counts()
    found = [len(labels.y_train), len(labels.y_test), len(counts), int(counts.max()), int(counts.min())]
    said = [known.train, known.test, known.classes, known.largest, known.smallest]
    names = (
        f"training {known.things}",
        f"test {known.things}",
        "classes",
        "in the largest class",
        "in the smallest class",
    )

    other = [
        f"{here:,} {what} (published: {there:,})"
        for here, there, what in zip(found, said, names, strict=True)
        if there is not None and here != there
    ]
    if other:
        warnings.warn(f"{config.name} is not as it was published: {', '.join(other)}", stacklevel=3)
