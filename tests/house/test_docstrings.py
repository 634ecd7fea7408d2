"""How the API reference reads docstrings: arguments become fields, and no character is taken for a mark by mistake."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def docstrings() -> ModuleType:
    pytest.importorskip("docutils", reason="pip install -e '.[docs]' to build the pages")
    spec = importlib.util.spec_from_file_location("docstrings", ROOT / "docs" / "docstrings.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(docstrings: ModuleType, found: Any, text: str) -> str:
    lines = text.splitlines()
    docstrings.to_rest(None, "class" if isinstance(found, type) else "function", "", found, None, lines)
    return "\n".join(lines).strip()


def weigh(samples: int, low: float, high: float) -> float:
    return samples * (high - low)


def test_entries_of_sections_become_fields(docstrings: ModuleType) -> None:
    text = (
        "Weigh a client.\n\nArgs:\n    samples: its number, `n_k`.\n    low, high: ends of the\n        range.\n\n"
        "Returns:\n    The weight: a number.\n\n"
        "Raises:\n    ValueError: for none, or a client that\n        fails, or is new."
    )
    assert read(docstrings, weigh, text).split("\n") == [
        "Weigh a client.",
        "",
        ":param samples: its number, ``n_k``.",
        ":param low: ends of the range.",
        ":param high: ends of the range.",
        "",
        ":returns: The weight: a number.",
        "",
        ":raises ValueError: for none, or a client that fails, or is new.",
    ]


def test_words_that_head_no_section_stay_in_the_sentence(docstrings: ModuleType) -> None:
    assert read(docstrings, weigh, "A note. samples: these.") == "A note. samples: these."


def test_marks_of_restructuredtext_are_escaped(docstrings: ModuleType) -> None:
    assert read(docstrings, weigh, "Names `a*`, those of `Run`s, *.png and x|y.") == (
        "Names ``a*``, those of ``Run``\\ s, \\*.png and x\\|y."
    )


def test_names_that_end_in_an_underscore_are_no_references(docstrings: ModuleType) -> None:
    assert read(docstrings, weigh, "Fitted.\n\nAttributes:\n    classes_: [C].") == (
        "Fitted.\n\n:param classes\\_: [C]."
    )


def test_code_and_lists_keep_their_lines(docstrings: ModuleType) -> None:
    text = "As here:\n\n    weigh(1, 0, 1)\n\n- one `x`\n- two,\n  and more"
    assert read(docstrings, weigh, text) == (
        "As here:\n\n.. code-block:: python\n\n    weigh(1, 0, 1)\n\n- one ``x``\n- two, and more"
    )


@dataclass(frozen=True)
class Method:
    # Parameters that a client keeps.
    private: ClassVar[tuple[str, ...]] = ()

    rate: float = 0.1


def test_class_variables_have_the_comments_above_them(docstrings: ModuleType) -> None:
    assert read(docstrings, Method, "A method.\n\nAttributes:\n    rate: of its steps.") == (
        "A method.\n\n:param rate: of its steps.\n\n:cvar private: Parameters that a client keeps."
    )
