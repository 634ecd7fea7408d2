"""A small set of texts that is always at hand: requests to a city's offices, put together by a grammar.

2,280 texts, 150 for training and 40 to test of each of 12 offices, from 8 districts (the group column `district`), each
with streets of its own and more of some requests than of others. What is wrong is said in words that offices share (a
lamp that is broken is the power office's, a bench the park's), one request in five names another matter by the way, and
one in twelve says only what several offices have in common. So no word tells all, and no method is always right.

All words are this project's. The draws know no seed of a scenario: everybody has the same texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import refuse
from fedlt.data.digests import stamp
from fedlt.data.image_folder import without_columns
from fedlt.data.inputs import Given
from fedlt.data.kind_of import chosen
from fedlt.data.raw import RawData, RawLabels, checked, checked_labels
from fedlt.data.split_share import check_share
from fedlt.data.tables import columns_of

if TYPE_CHECKING:
    from fedlt.config.sections import Data

ROWS = {"train": 150, "test": 40}  # of each class
ASIDE, VAGUE = 0.2, 1 / 12  # shares of texts that name another matter, and that say what two offices have in common


class Office(NamedTuple):
    """What people write to an office about.

    Attributes:
        things, troubles: separated by commas; any thing may have any trouble.
    """

    things: str
    troubles: str


OFFICES = {
    "waste": Office(
        "the bin, our bins, the paper bin, the glass container, the rubbish, bulky waste, the compost, an old fridge",
        "was not collected, is overflowing, has not been emptied, is full again, was left outside, smells badly",
    ),
    "roads": Office(
        "the road, the pavement, the kerb, the cycle path, the crossing, the bridge, a manhole, the surface",
        "has a deep hole, is broken, has cracks, is slippery, has been dug up, is dangerous, was never repaired",
    ),
    "water": Office(
        "the tap, the water pipe, the drain, the sewer, the cellar, a hydrant, the meter, our water",
        "is leaking, is blocked, smells badly, is brown, has no pressure, burst in the night, is overflowing",
    ),
    "power": Office(
        "the street lamp, the light, the cable, the fuse box, the meter, the traffic light, the current, a socket",
        "is broken, flickers, is out, went dark, hums all night, is dangerous, has failed again",
    ),
    "parking": Office(
        "a car, my parking permit, the ticket machine, the parking space, a van, the fine, the garage, a trailer",
        "blocks the entrance, has expired, was not valid, is broken, stands on the pavement, was towed away",
    ),
    "noise": Office(
        "the bar, a neighbour, the building site, loud music, a dog, the air conditioner, the party, a generator",
        "hums all night, goes on until three, wakes the children, barks without end, is too loud, starts at six",
    ),
    "parks": Office(
        "a tree, the bench, the playground, the hedge, the lawn, the fountain, the swing, a branch",
        "has fallen, is broken, is too high, has not been cut, was cut down, is dangerous, blocks the path",
    ),
    "building": Office(
        "the building permit, my plan, the extension, the garage, the fence, the roof, the balcony, the building site",
        "has not been approved, is too high, was started without a permit, needs a permit, was refused, is delayed",
    ),
    "taxes": Office(
        "the tax bill, the fee, my payment, the reminder, the refund, the dog tax, the invoice, the account",
        "is wrong, was paid twice, has not arrived, is too high, was sent to the old address, is delayed",
    ),
    "schools": Office(
        "the school, the nursery, my daughter, the teacher, the lunch, the school bus, the class, a place for my son",
        "has not been confirmed, is full, starts at eight, was cancelled, is too far, needs a form, was refused",
    ),
    "transport": Office(
        "the bus, the tram, the bus stop, the timetable, my ticket, the last train, the driver, the ticket machine",
        "was late, did not come, is full again, was cancelled, is out of order, is not valid, has no shelter",
    ),
    "registry": Office(
        "my passport, the identity card, the birth certificate, my address, the appointment, the form, the signature",
        "has expired, has not arrived, is wrong, was sent to the old address, was cancelled, has been lost",
    ),
}
"""By the name of the class."""

DISTRICTS = {
    "north": "Mill Lane, Harbour Road",
    "south": "Station Street, Elm Court",
    "east": "Baker Row, Chapel Hill",
    "west": "River Walk, Orchard Way",
    "old town": "Market Square, Bell Alley",
    "new town": "Tower Avenue, Glass Street",
    "hillside": "Quarry Steps, Fox Lane",
    "docks": "Anchor Road, Rope Walk",
}
OPENINGS = ("hello,", "good morning,", "dear all,", "I write because", "please note that", "for weeks", "once more", "")
TIMES = (
    "since Monday",
    "again",
    "this morning",
    "for two weeks now",
    "every night",
    "after the storm",
    "in winter",
    "",
)
CLOSINGS = (
    "please help.", "who is in charge?", "when will this be done?", "thank you.", "this cannot go on!",
    "what can I do?", "I have called twice.", "",
)  # fmt: skip


class Request(NamedTuple):
    """One text, its class and its district, both as their places above."""

    text: str
    office: int
    district: int


@dataclass(frozen=True)
class CityRequests:
    """The requests as a data set."""

    config: Data
    name: str = "city_requests"

    def identity(self) -> list[Any]:
        """This file, which holds the words and the draws."""
        return [stamp([Path(__file__)]), columns_of(self.config)]

    def read(self, place: Path | None = None) -> RawData:
        """All of it."""
        train, test = map(_given, self._splits)
        return checked(self.read_labels(), train, test, self.config, place)

    def read_labels(self) -> RawLabels:
        """Offices and districts."""
        (y, sites), (y_test, test_sites) = (
            (np.array([each.office for each in split]), np.array([each.district for each in split]))
            for split in self._splits
        )
        groups = {"district": sites}, {"district": test_sites}
        return checked_labels(self.name, y, y_test, *groups, list(OFFICES), kind=chosen(self.config))

    @cached_property
    def _splits(self) -> tuple[list[Request], list[Request]]:
        """The requests for training and for test, with a share of the former where the scenario says so."""
        what = f"the built-in set {self.name}"
        without_columns(self.config, what, groups="district")
        for key in ("train_split", "test_split"):
            if getattr(self.config, key) != key.removesuffix("_split"):
                raise refuse(f"{self.name} has the splits train and test; remove it", f"data.{key}")
        check_share(self.config.test_share, self.name, "test", found=True)
        return requests("train"), requests("test")


def requests(split: str) -> list[Request]:
    """The texts of `train` or `test`, class by class. Which texts are drawn twice follows from chance, as in life."""
    return [_request(Random(f"{split} {office} {row}"), office) for office in range(12) for row in range(ROWS[split])]


def _request(random: Random, office: int) -> Request:
    """One text.

    Args:
        random: of this text alone; of its methods `random` alone gives the same numbers in every release.
    """
    names = list(OFFICES)
    # Requests of an office come from one district and those next to it twice and more as often as from the others.
    district = (office + int(8 * random.random() ** 2)) % len(DISTRICTS)
    matter = _matter(random, names[office], vague=random.random() < VAGUE)
    street = _one(random, [*DISTRICTS.values()][district].split(", "))
    parts = [_one(random, OPENINGS), matter, f"in {street}" if random.random() < 0.6 else "", _one(random, TIMES)]

    text = " ".join(part for part in parts if part) + "."
    if random.random() < ASIDE:
        text += f" by the way, {_matter(random, _one(random, names))}."
    return Request(f"{text} {_one(random, CLOSINGS)}".strip(), office, district)


def _matter(random: Random, office: str, vague: bool = False) -> str:
    """A thing and its trouble; of a vague one a trouble that other offices have as well, without the thing."""
    things, troubles = (part.split(", ") for part in OFFICES[office])
    if vague:
        others = [other.troubles.split(", ") for name, other in OFFICES.items() if name != office]
        shared = [trouble for trouble in troubles if any(trouble in other for other in others)]
        return f"it {_one(random, shared)}"
    return f"{_one(random, things)} {_one(random, troubles)}"


def _one(random: Random, items: Sequence[str]) -> str:
    return items[int(random.random() * len(items))]


def _given(split: Sequence[Request]) -> Given:
    texts: NDArray[Any] = np.empty(len(split), object)
    texts[:] = [each.text for each in split]
    return Given(texts)
