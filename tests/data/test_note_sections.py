"""Notes as sentences with their parts, found by headings that are then taken out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedlt.data.note_sections import LONGEST, WIDTH, main, role, sentences, usable, vector

NOTE = (
    "Dictated by nobody.  CHIEF COMPLAINT:, Cough.,HISTORY OF PRESENT ILLNESS:  He coughs. It hurts. "
    "PHYSICAL EXAMINATION:,HEENT: Normal; no redness.\nNECK: Supple.,ANESTHESIA: None. "
    "ASSESSMENT AND PLAN: Bronchitis., PLAN:  Rest."
)


def test_sentences_get_the_part_of_their_heading_and_headings_are_gone() -> None:
    assert sentences(NOTE) == [
        ("Cough", 0), ("He coughs", 0), ("It hurts", 0), ("Normal", 1), ("no redness", 1), ("Supple", 1),
        ("Bronchitis", 2), ("Rest", 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("heading", "part"),
    [
        ("PAST PSYCHIATRIC HISTORY", "subjective"),
        ("DISCHARGE MEDICATIONS", "plan"),
        ("MEDICATIONS", "subjective"),
        ("VITAL SIGNS", "objective"),
        ("IMPRESSION/PLAN", "assessment"),
        ("ESTIMATED BLOOD LOSS", None),
    ],
)
def test_headings_open_parts(heading: str, part: str | None) -> None:
    assert role(heading) == part


def test_numbers_of_a_sentence_are_of_length_one_and_know_the_order_of_words() -> None:
    assert np.linalg.norm(vector("no chest pain")) == pytest.approx(1)
    assert np.array_equal(vector("No chest pain"), vector("no chest pain"))
    assert not np.array_equal(vector("no chest pain"), vector("pain chest no"))
    assert vector("...   ", 8).shape == (8,)
    assert np.count_nonzero(vector("pain")) == 1


def test_a_table_becomes_a_data_set_of_the_departments_with_enough_notes(tmp_path: Path) -> None:
    lines = ["transcription,medical_specialty"]
    lines += [f'"{NOTE} Number {n}.", Urology' for n in range(8)] + [f'"{NOTE} Or {n}.",ENT' for n in range(7)]
    lines[1] = lines[1].replace("It hurts.", "It hurts. Much. Very.")  # the first note, which goes to the test
    lines += ['"PLAN: Rest. Drink. Sleep. Eat. Walk. Run. Sing.",Urology', f'"{NOTE} Number 1.",Urology', ",Urology"]
    (tmp_path / "notes.csv").write_text("\n".join(lines))
    main(str(tmp_path / "notes.csv"), str(tmp_path / "out.npz"))
    found = np.load(tmp_path / "out.npz")
    assert found["x_train"].shape == (6, 11, WIDTH) and found["x_test"].shape == (2, 11, WIDTH)
    assert found["y_train"][0].tolist() == [0, 0, 0, 1, 1, 1, 2, 3, 3, -100, -100]
    assert set(found["department_train"]) == {"Urology"}
    assert found["mask_test"].sum(1).tolist() == [11, 9]

    long = "PLAN: A. ASSESSMENT: B. EXAM: " + "C. " * (2 * LONGEST)
    ((held, _),) = usable([(long, "x")])
    assert len(held) == LONGEST
