"""Clinical notes as sequences of sentences, each with its part of the note: S, O, A or P.

    python -m fedlt.data.note_sections mtsamples/train.jsonl soap_notes.npz

Subjective (what the patient says), objective (what was found), assessment, plan. Yang and others: SOAP Classification
for Free-text Clinical Notes with Domain Adaptation. 2022 (arXiv 2211.14539), who take the part of a sentence from the
heading above it, by rules. The rules here are our own, for notes whose headings are words in capitals before a colon,
as those of MTSamples. Headings are taken out of the text, or they would tell the answer. These are weak labels:
what a model learns is to find headings again.

A sentence's numbers are its words and pairs of words, hashed with a sign (Weinberger et al., ICML 2009), as logarithms
of their counts, of length one: nothing is fitted to texts.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedlt.data.kinds.tags import PADDING
from fedlt.tokenizers.words import words

ROLES = ("subjective", "objective", "assessment", "plan")
WIDTH = 256
LONGEST = 100
"""Sentences of a note that are kept, the first ones."""

HEADING = re.compile(r"(?:(?<=^)|(?<=[\s,.;]))([A-Z][A-Z /&\-]{1,40}):")
ENDS = re.compile(r"(?<=[.!?;])[\s,]+|\n+")

# The first rule with a word of the heading decides, so that "assessment and plan" is an assessment.
RULES: tuple[tuple[str, str], ...] = (
    ("assessment", "ASSESSMENT IMPRESSION DIAGNOSIS DIAGNOSES CONCLUSION DISCUSSION AXIS"),
    ("plan", "PLAN RECOMMENDATION RECOMMENDATIONS FOLLOWUP FOLLOW DISPOSITION DISCHARGE INSTRUCTIONS TREATMENT DIET"),
    ("objective", "EXAM EXAMINATION VITAL VITALS HEENT ABDOMEN NECK LUNGS HEART SKIN CHEST EXTREMITIES NEUROLOGIC "
     "NEUROLOGICAL NEURO CARDIOVASCULAR RESPIRATORY GASTROINTESTINAL GENITOURINARY MUSCULOSKELETAL PSYCHIATRIC "
     "LABORATORY LABS FINDINGS GENERAL EYES EARS ENT BACK RECTAL PELVIC GENITALIA MOTOR SENSORY CARDIAC STUDIES DATA "
     "OBJECTIVE CONSTITUTIONAL APPEARANCE TEMPERATURE PULSE RESPIRATIONS WEIGHT BREASTS LYMPHATIC VASCULAR"),
    ("subjective", "SUBJECTIVE COMPLAINT COMPLAINTS HISTORY HISTORIES HPI PMH FHX SHX ROS SYSTEMS ALLERGIES ALLERGY "
     "MEDICATIONS MEDS REASON SYMPTOMS IMMUNIZATIONS"),
)  # fmt: skip
LATER = {"DISCHARGE MEDICATIONS": "plan", "PAST PSYCHIATRIC HISTORY": "subjective", "REVIEW OF SYSTEMS": "subjective"}


Note = tuple[list[tuple[str, int]], str]
"""Sentences with the numbers of their parts, and the department."""


def role(heading: str) -> str | None:
    """The part of a note that a heading opens; None where the rules do not know it."""
    if heading in LATER:
        return LATER[heading]
    words = set(re.split(r"[ /&\-]+", heading))
    if "HISTORY" in words:
        return "subjective"
    return next((name for name, known in RULES if not words.isdisjoint(known.split())), None)


def sentences(note: str) -> list[tuple[str, int]]:
    """The sentences of a note without its headings, and the number of the part that each belongs to.

    What stands under a heading that the rules do not know, or under none, is left out.
    """
    roles: list[tuple[str, int]] = []
    headed = HEADING.split(note)
    for heading, text in zip(headed[1::2], headed[2::2], strict=True):
        part = role(heading.strip())
        if part is not None:
            each = (sentence.strip(" ,.;\t\r") for sentence in ENDS.split(text))
            roles += [(sentence, ROLES.index(part)) for sentence in each if sentence]
    return roles


def vector(sentence: str, width: int = WIDTH) -> NDArray[np.float32]:
    """[width] the numbers of a sentence."""
    counts = np.zeros(width, np.float64)
    single = words(sentence.lower())
    for token in (*single, *(f"{a} {b}" for a, b in pairwise(single))):
        number = int.from_bytes(blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
        counts[number // 2 % width] += 1 if number % 2 else -1
    signed = np.sign(counts) * np.log1p(np.abs(counts))
    return (signed / max(float(np.linalg.norm(signed)), 1e-12)).astype(np.float32)


def usable(notes: Iterable[tuple[str, str]]) -> Iterator[Note]:
    """Sentences and department of the notes with six sentences and three parts at least.

    Args:
        notes: text, department.
    """
    for text, department in notes:
        note_sentences = sentences(text)[:LONGEST]
        if len(note_sentences) >= 6 and len({part for _, part in note_sentences}) >= 3:
            yield note_sentences, department


def arrays(notes: Sequence[Note], split: str, length: int | None = None) -> dict[str, NDArray[np.generic]]:
    """What an .npz file has of one split: x [N, L, F], mask [N, L], y [N, L] and department [N].

    Args:
        length: L; that of the longest note unless given.
    """
    shape = len(notes), length or max(len(found) for found, _ in notes)
    x, y = np.zeros((*shape, WIDTH), np.float32), np.full(shape, PADDING, np.int64)
    for row, (found, _) in enumerate(notes):
        for step, (sentence, part) in enumerate(found):
            x[row, step], y[row, step] = vector(sentence), part
    departments = np.array([department for _, department in notes])
    return {f"x_{split}": x, f"mask_{split}": y != PADDING, f"y_{split}": y, f"department_{split}": departments}


def save(path: Path, train: Sequence[Note], test: Sequence[Note], names: Sequence[str] = ROLES) -> None:
    """Write a data set of notes, as `usable` gives them.

    Args:
        names: of the parts.
    """
    length = max(len(found) for found, _ in (*train, *test))
    contents = {**arrays(train, "train", length), **arrays(test, "test", length)}
    np.savez_compressed(path, class_names=np.array(names), targets=np.array("tags"), **contents)  # type: ignore[arg-type]


def main(source: str, target: str, share: float = 0.25) -> None:
    """From a table of notes (columns transcription, medical_specialty) to a data set; the notes of each department are
    parted by their order, a fourth of them for the test. Departments of fewer than eight usable notes are left out.
    """
    import pandas as pd

    table = pd.read_json(source, lines=True) if source.endswith(".jsonl") else pd.read_csv(source)
    table = table.dropna(subset=["transcription"]).drop_duplicates("transcription")
    pairs = zip(table.transcription, table.medical_specialty.str.strip(), strict=True)
    by_department: dict[str, list[Note]] = {}
    for note in usable(pairs):
        by_department.setdefault(note[1], []).append(note)

    train, test = [], []
    for notes_held in by_department.values():
        if len(notes_held) >= 8:
            size = max(1, round(share * len(notes_held)))
            train += notes_held[size:]
            test += notes_held[:size]
    save(Path(target), train, test)
    print(
        f"{len(train)} notes for training and {len(test)} for the test, of {len({who for _, who in train})} departments"
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m fedlt.data.note_sections NOTES.csv|NOTES.jsonl TARGET.npz")
    main(sys.argv[1], sys.argv[2])
