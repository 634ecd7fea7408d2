"""What every figure means and is called: the source of `fedlt explain`, of docs/metrics.md, and of headings and hints.

The records are in `fedlt.measures.figures` and `fedlt.measures.columns`. Here a name of any form finds its record: with
a variant of the model in brackets, for masked predictions, or on validation data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from textwrap import fill

from fedlt.config.schema import suggest
from fedlt.errors import Problem, ScenarioError
from fedlt.measures.columns import COLUMNS
from fedlt.measures.families import GROUPS
from fedlt.measures.figure import Figure
from fedlt.measures.figures import METRICS
from fedlt.statistic import VALIDATION

MASKED = (
    "Masked: classes without a training sample at the client cannot be predicted by its personal model. Always "
    "reported beside the unmasked figure, for every method: the mask alone is worth many points."
)
VARIANT = "Brackets name a variant of the model that the strategy reports beside its headline."

HELD_OUT = (
    "On validation data (`data.validation`): the generic model on a balanced global set, personal models on a share of "
    "each client's own samples that was set apart. For choosing; the figure without `validation/` is the result."
)

UNIT_TEXTS = {"": "", "number": "", "fraction": "A fraction"}
"""What is said of units; of others, that the figure is in them."""

MODELS = {"generic": "generic model", "personal": "personal models"}
"""What texts call the models that the names of metrics open with."""


def entries() -> list[Figure]:
    """All records: metrics, then columns of tables."""
    return [*METRICS.values(), *COLUMNS.values()]


def described(name: str, own: Mapping[str, Figure] | None = None) -> Figure:
    """The record of a metric or column, under the name given; one that tells no more than it where there is none.

    Args:
        name: such as `personal_masked[psi]/few`, `validation/generic/accuracy` or `clients.nll`.
        own: records of a run's own metrics by their names: those of one model, or the last parts alone.
    """
    plain = _plain(name)
    variant = "".join(re.findall(r"\[[^]]*\]", name))
    masked, held_out = "personal_masked" in name, name.startswith(VALIDATION)

    records = {**METRICS, **COLUMNS, **(own or {})}
    record = records.get(plain) or _of_any_model(plain, records)
    if record is None:
        return Figure(name, title=name, header=name)

    notes = [MASKED] * masked + [VARIANT] * bool(variant) + [HELD_OUT] * held_out
    title = (record.title or plain) + ", masked" * masked
    header = record.header or name
    if variant or held_out or masked:
        header = "masked" if record.headline and not (variant or held_out) else name

    return replace(
        record,
        name=name,
        text=" ".join(filter(None, [record.text, *notes])),
        title=" ".join(filter(None, [title, variant, "on validation data" * held_out])),
        header=header,
    )


def _plain(name: str) -> str:
    """A metric's name without the set, the variant and the mask: `personal/few`."""
    return re.sub(r"\[[^]]*\]", "", name.removeprefix(VALIDATION)).replace("personal_masked/", "personal/")


def _of_any_model(name: str, records: Mapping[str, Figure]) -> Figure | None:
    """The record that is told under the last part of a metric's name, as that of the metric's model."""
    model, _, last_part = name.rpartition("/")
    record = records.get(last_part)
    if record is None or model not in MODELS:
        return None
    words = "" if model == "generic" else f"{model} "
    title = f"{MODELS[model]}, {record.title or last_part}"
    return replace(record, name=name, title=title, header=f"{words}{record.header}" if record.header else "")


def explain(name: str) -> list[Figure]:
    """The records that a name stands for: a metric (`personal_masked[psi]/few`), a column (`clients.nll`), or the last
    part of either (`few`), or the heading of a table's column (`tail`, `worst 10 %`).

    Raises:
        ScenarioError: with the nearest right spelling.
    """
    record = described(name)
    if record.text:
        return [record]
    matches = [figure for figure in entries() if figure.last_part == _plain(name)]
    headed = [METRICS.get(metric) or described(metric) for metric in headings().get(name.lower(), ())]
    if matches or headed:
        return [*headed, *(figure for figure in matches if figure not in headed)]
    known = {key for figure in entries() for key in (figure.name, figure.last_part)}
    raise ScenarioError(Problem("explain", f"unknown figure {name!r}{suggest(_plain(name), sorted(known))}"))


def headings() -> dict[str, tuple[str, ...]]:
    """Headings of the tables of runs and comparisons, in lower case -> names of the metrics beneath them."""
    entries_of: dict[str, tuple[str, ...]] = {"masked": ("personal_masked/accuracy",)}
    for figure in METRICS.values():
        for heading in dict.fromkeys(filter(None, (figure.header.lower(), figure.column.lower()))):
            entries_of[heading] = (*entries_of.get(heading, ()), figure.name)

    # Those of head, medium and tail stand above the rows of both models.
    for part, word in GROUPS:
        both = (f"generic/{part}", f"personal/{part}")
        entries_of |= dict.fromkeys((word, f"{word} ({part})"), both)
    return entries_of


def facts(figure: Figure) -> str:
    """What a metric's values are, and in which direction they are better: `A fraction; higher is better.`"""
    unit = UNIT_TEXTS.get(figure.unit, f"In {figure.unit}")
    sentences = [unit, f"{figure.better} is better" if figure.better else ""]
    text = "; ".join(filter(None, sentences))
    return f"{text[0].upper()}{text[1:]}." if text else ""


def page() -> str:
    """docs/metrics.md."""
    head = (
        "# Metrics\n\n<!-- written by: fedlt explain --markdown > docs/metrics.md -->\n\n"
        "A metric's name says whose model and which figure: `generic/few`, `personal/accuracy`. NaN means that a "
        "figure is not\ndefined. `fedlt explain METRIC` prints an entry.\n\n"
        f"{wrap(f'`personal_masked/...` — {MASKED}')}\n\n{wrap(f'`generic[name]/...` — {VARIANT}')}\n\n"
        f"{wrap(f'`validation/...` — {HELD_OUT}')}\n\n"
        "A run reports the last evaluation (`final`) and the mean of the last five (`last_five`), never the best "
        "round:\nthat one is chosen on the test set.\n"
    )
    sections = [head]
    for title, kind in (("The generic model", "generic/"), ("Personal models", "personal/"), ("Cost", "cost/")):
        sections.append(_section(title, (figure for name, figure in METRICS.items() if name.startswith(kind))))
    for table in dict.fromkeys(name.split(".")[0] for name in COLUMNS):
        columns = (figure for name, figure in COLUMNS.items() if name.startswith(f"{table}."))
        sections.append(_section(f"Table `{table}.parquet`", columns))

    return "\n".join(sections)


def _section(title: str, found: Iterable[Figure]) -> str:
    return f"## {title}\n\n" + "\n".join(
        f"`{figure.name}`\n: {wrap(full_text(figure), '  ').lstrip()}\n" for figure in found
    )


def full_text(figure: Figure) -> str:
    """What a figure means and, of a metric, what its values are."""
    return " ".join(filter(None, [figure.text, "" if figure.name in COLUMNS else facts(figure)]))


def wrap(text: str, indent: str = "") -> str:
    """The text in lines of at most 118 characters, indented."""
    return fill(text, 118, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
