"""A small table of interactions that is always at hand: loans of a library's books, put together by chance.

Some 6,400 loans of 400 books by 280 readers of six branches: columns `reader`, `book`, `day`, `rating`, `branch`, and
of the book `subject`, `author`, `decade` and `words`, several of which are separated by |. A reader has a few subjects
and authors whom he prefers, branches differ in their subjects, the next book often resembles the last one, and few
books are lent much more often than most. The draws know no seed of a scenario: everybody has the same loans.
"""

from __future__ import annotations

from functools import cache
from random import Random
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pandas import DataFrame

BOOKS, READERS, LOANS = 400, 280, (4, 60)
BRANCHES = ("harbour", "hill", "market", "mill", "park", "station")
SUBJECTS = (
    "art",
    "cooking",
    "crime",
    "gardens",
    "history",
    "law",
    "music",
    "poetry",
    "science",
    "sea",
    "sport",
    "travel",
)
WORDS = ("night", "river", "stone", "letter", "winter", "house", "north", "bird", "road", "fire", "glass", "island",
         "garden", "star", "bread", "silence")  # fmt: skip
AUTHORS = 60
KEYS = "data.interactions={user: reader, item: book, time: day, features: [subject, author, decade, words]}"


class Book(NamedTuple):
    """A book of the library; `words` are those of its title."""

    subject: str
    author: str
    decade: int
    words: tuple[str, ...]


class Loan(NamedTuple):
    """A row of the table."""

    reader: str
    book: str
    day: int
    rating: int
    branch: str
    subject: str
    author: str
    decade: int
    words: str


@cache
def books() -> tuple[Book, ...]:
    """The library; the first books are lent most."""
    random = Random("books")
    found = []
    for _ in range(BOOKS):
        author = int(AUTHORS * random.random())
        # An author writes of one subject, now and then of another, and over three decades.
        subject = author if random.random() < 0.8 else int(len(SUBJECTS) * random.random())
        decade = 1930 + 10 * (author % 7 + int(3 * random.random()))
        topic = subject % len(SUBJECTS)
        words = {WORDS[(topic + int(5 * random.random())) % len(WORDS)] for _ in range(3)}
        found.append(Book(SUBJECTS[topic], f"author {author + 1}", decade, tuple(sorted(words))))
    return tuple(found)


@cache
def alike() -> tuple[dict[int, float], ...]:
    """For each book, by what others are taken more often right after it: those of its author, and of its words."""
    found = []
    for book in books():
        pull = {}
        for place, other in enumerate(books()):
            factor = (16.0 if other.author == book.author else 1.0) * (4.0 if {*other.words} & {*book.words} else 1.0)
            if factor > 1:
                pull[place] = factor
        found.append(pull)
    return tuple(found)


def table() -> DataFrame:
    """One row a loan, in no order of time."""
    import pandas as pd

    random = Random("rows")
    rows = sorted((row for reader in range(READERS) for row in loans(reader)), key=lambda row: random.random())
    return pd.DataFrame(rows, columns=[*Loan._fields])


def loans(reader: int) -> list[Loan]:
    """All loans of one reader. Of the methods of `Random`, `random` alone gives the same numbers in every release."""
    random, library = Random(f"reader {reader}"), books()
    branch = int(len(BRANCHES) * random.random())
    subjects = {SUBJECTS[(2 * branch + int(4 * random.random() ** 2)) % len(SUBJECTS)] for _ in range(2)}
    authors = {f"author {int(AUTHORS * random.random()) + 1}" for _ in range(3)}
    least, most = LOANS
    count, day = least + int((most - least + 1) * random.random() ** 2), int(200 * random.random())

    # How likely each book is taken: by how well known it is, and by the reader's taste.
    pull = [(1 + place) ** -0.7 for place in range(BOOKS)]
    for place, book in enumerate(library):
        pull[place] *= (12 if book.subject in subjects else 1) * (6 if book.author in authors else 1)

    rows: list[Loan] = []
    last: dict[int, float] = {}
    for _ in range(count):
        weights = [weight * last.get(place, 1.0) for place, weight in enumerate(pull)]
        drawn, place = random.random() * sum(weights), 0
        while drawn >= weights[place] and place < BOOKS - 1:
            drawn -= weights[place]
            place += 1

        pull[place], last, book = 0.0, alike()[place], library[place]  # nobody borrows a book twice
        day += 1 + int(20 * random.random())
        rating = int(2 + (book.subject in subjects) + (book.author in authors) + 2 * random.random())
        who, what = f"reader {reader + 1}", f"book {place + 1}"
        words = "|".join(book.words)
        rows.append(Loan(who, what, day, rating, BRANCHES[branch], book.subject, book.author, book.decade, words))
    return rows
