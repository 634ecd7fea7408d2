"""Public class counts of well-known data sets, and the names by which the Hugging Face hub has them.

With these counts a partition can be shown on a machine that holds no data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedlt.data.raw import RawLabels
from fedlt.data.targets import Targets

_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
    "castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin "
    "elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster "
    "man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck "
    "pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk "
    "skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger "
    "tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)
_FASHION = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"

EMBEDDED = ("digits", "city_requests", "book_loans")
"""Data sets that every machine has (`fedlt.data.sources`)."""

GLYPHS = "glyphs"
"""The data set that is drawn from a font of the machine (`fedlt.data.glyphs`)."""


@dataclass(frozen=True)
class Known:
    """A well-known data set.

    Attributes:
        hub: its name on the Hugging Face hub.
        target: its label column there.
        class_names: C names, in the order of the labels.
        train: C numbers of training samples.
        test: C numbers of test samples.
    """

    hub: str
    target: str
    class_names: tuple[str, ...]
    train: tuple[int, ...]
    test: tuple[int, ...]

    def labels(self, name: str) -> RawLabels:
        """Labels made from the counts, class by class."""
        classes = np.arange(len(self.class_names))
        y_train, y_test = np.repeat(classes, self.train), np.repeat(classes, self.test)
        number = len(classes)
        targets = Targets.of_classes(y_train, number), Targets.of_classes(y_test, number)
        return RawLabels(name, *targets, self.class_names, in_source_order=False)


KNOWN = {
    "cifar10": Known("uoft-cs/cifar10", "label", tuple(_CIFAR10.split()), (5000,) * 10, (1000,) * 10),
    "cifar100": Known("uoft-cs/cifar100", "fine_label", tuple(_CIFAR100.split()), (500,) * 100, (100,) * 100),
    "mnist": Known(
        "ylecun/mnist",
        "label",
        tuple("0123456789"),
        (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    ),
    "fashion_mnist": Known(
        "zalando-datasets/fashion_mnist", "label", tuple(_FASHION.split(",")), (6000,) * 10, (1000,) * 10
    ),
}
