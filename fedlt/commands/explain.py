"""`fedlt explain`: what a figure, a key, a component or a scenario is, from the text that defines it."""

from __future__ import annotations

import difflib
import json
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedlt.commands.completion import complete_explained
from fedlt.commands.words import WORDS, explained
from fedlt.errors import Problem, ScenarioError

if TYPE_CHECKING:
    from fedlt.config.component import Component
    from fedlt.config.schema import Field
    from fedlt.measures.figure import Figure


def explain(
    name: Annotated[str, typer.Argument(show_default=False, autocompletion=complete_explained)] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="All figures as a page of Markdown.")] = False,
) -> None:
    """Say what a word, a figure, a key, a method or a scenario is.

    NAME: a word as any paper of the field has it (cohort, straggler, many-shot), a figure or column of a run's tables
    (generic/few, clients.nll), the heading of one (tail, 'worst 10 %'), a key (federation.rounds, strategy.mu) or
    section (data.longtail), whatever `fedlt ls` lists (fedprox, dirichlet, digits_lt), the last part of any of them,
    what methods declare (class_prior), or something of your own, ./mine.py:Mine. The names of all figures unless given.
    """
    from fedlt.measures import glossary

    if markdown:
        if name:
            raise ScenarioError(Problem("--markdown", "writes all entries; leave out the name"))
        print(glossary.page(), end="")
    elif name:
        if ".py:" in name:
            entries = _own(name)
        else:
            entries = [
                *_words(name),
                *_figures(name),
                *_keys(name),
                *_components(name),
                *_scenario(name),
                *_needs(name),
            ]
        if not entries:
            raise ScenarioError(Problem("explain", f"there is nothing called {name!r}{_near(name)}"))
        print("\n\n".join(entries))
    else:
        print("\n".join(entry.name for entry in glossary.entries()))


def _near(name: str) -> str:
    """The names that are spelt alike, in full or in their last part."""
    from fedlt.commands.listing import explained_names
    from fedlt.config.declarations import NEEDS
    from fedlt.measures import glossary

    known = explained_names()
    ends = {end: full for full in known for end in (full, full.replace("/", ".").rpartition(".")[2])}
    ends |= dict.fromkeys((*glossary.headings(), *NEEDS, *(name for word in WORDS for name in word.names)), "")
    near = difflib.get_close_matches(name.lower(), ends, n=3, cutoff=0.6)
    words = f"did you mean {' or '.join(map(repr, near))}?" if near else "`fedlt ls` and `fedlt explain` list what is"
    return f"; {words}"


def _words(name: str) -> Iterator[str]:
    """Words of the field with that name or synonym."""
    for word in explained(name):
        also = f"Also: {', '.join(word.also)}."
        yield "\n".join([f"{word.name} (word)", wrapped(word.text), *([wrapped(also)] if word.also else [])])


def _figures(name: str) -> list[str]:
    """Metrics and columns of that name, with or without a mask, a variant and the set; or of that last part."""
    from fedlt.measures import glossary

    try:
        return [_figure_text(figure) for figure in glossary.explain(name)]
    except ScenarioError:
        return []


def _figure_text(figure: Figure) -> str:
    from fedlt.measures import glossary

    title = f" ({figure.title})" if figure.title else ""
    return f"{figure.name}{title}\n{wrapped(glossary.full_text(figure))}".rstrip()


def _keys(name: str) -> Iterator[str]:
    """Sections and keys of a scenario with that name or last part, and keys of components: `strategy.mu`, or `mu`."""
    from fedlt.config import catalog, keys

    for section, summary in keys.section_names().items():
        if name in (section, _ends(section)):
            inside = [key for key in keys.scenario_keys() if key.name.startswith(f"{section}.")]
            yield "\n".join([f"{section} (section of a scenario)", wrapped(summary), "  keys:", *_key_lines(inside)])

    known = {key.name: key for key in keys.scenario_keys()}
    if name in known:
        yield _key_text(known[name], f"{name} (key of a scenario)")
        return
    yield from (_key_text(key, f"{full} (key of a scenario)") for full, key in known.items() if _ends(full) == name)

    # Keys of components that say the same of it are told together.
    holder, _, last = name.rpartition(".")
    for place, components in keys.key_owners(last).items():
        if holder in ("", place, _ends(place)):
            alike: list[tuple[Field, list[str]]] = []
            for component in components:
                fields = catalog.find(keys.kind(known[place]), component).fields
                key = next(field for field in fields if field.name == last)
                same = next((names for other, names in alike if other == key), None)
                if same is None:
                    alike.append((key, [component]))
                else:
                    same.append(component)
            for key, names in alike:
                yield _key_text(key, wrapped(f"{place}.{last} (key of {place}={', '.join(names)})", ""))


def _ends(name: str) -> str:
    """The last part of a key's name."""
    return name.rpartition(".")[2]


def _key_text(key: Field, head: str) -> str:
    """A key: what it means, its default, and what is allowed.

    Args:
        head: the line above.
    """
    from fedlt.config import catalog, keys
    from fedlt.config.schema import describe

    kind = keys.kind(key)
    allowed = f"one of {', '.join(catalog.names(kind))}" if kind and catalog.names(kind) else describe(key.annotation)
    default = "none: it must be given" if key.required else _value(key.default)
    lines = [key.doc, f"Default: {default}.", f"Allowed: {allowed}." if allowed else ""]
    return "\n".join([head, *(wrapped(line) for line in lines if line)])


def _key_lines(fields: Iterable[Field], prefix: str = "") -> list[str]:
    """A line for each key: its name, default and comment."""
    lines = [f"{prefix}{f.name} [{'required' if f.required else _value(f.default)}] {f.doc}" for f in fields]
    return [wrapped(line.rstrip(), "    ") for line in lines]


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def wrapped(text: str, indent: str = "  ") -> str:
    """A paragraph as wide as the terminal, 118 characters at most; lists and formulas stay as they are."""
    if any(line.startswith((" ", "- ", "* ")) for line in text.splitlines()):
        return textwrap.indent(text, indent)
    width = min(118, shutil.get_terminal_size((118, 24)).columns)
    return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _components(name: str) -> Iterator[str]:
    """Components of any kind with that name, or with that name in lower case: `FedProx` is `fedprox`."""
    from fedlt.config import catalog

    for kind in catalog.KINDS:
        for one in dict.fromkeys((name, name.lower())):
            if one in catalog.names(kind):
                yield _component_text(catalog.find(kind, one))
    if name in catalog.flower_names():
        yield _component_text(catalog.find("strategy", name))


def _component_text(component: Component, typed: str = "") -> str:
    """What it is, how it is chosen, where it applies, and its keys.

    Args:
        typed: what it was called, so that one of the user's own shows no path that was not typed.
    """
    from fedlt.config import catalog, keys
    from fedlt.config.declarations import NEEDS, SCOPES

    places = {keys.kind(key): key for key in keys.scenario_keys()}
    texts, declared = catalog.declaration(component)
    called = typed or component.name
    lines = [f"{called} ({component.kind})"]
    lines += [f"{wrapped(part)}\n" for text in texts for part in text.split("\n\n")]

    if component.kind not in places:
        place, prefix, choice = "model.adapter", "model.adapter.", called
    elif "list[" in places[component.kind].annotation:  # keys of one in a list stand beside its name
        place, prefix, choice = places[component.kind].name, "", f"[{called}]"
        choice += f", or [{{name: {called}, KEY: VALUE}}]" if component.fields else ""
    else:
        place, prefix, choice = places[component.kind].name, f"{places[component.kind].name}.", called
    lines.append(wrapped(f"chosen by: {place}={choice}"))

    scope = declared.get("scope", "federated")
    lines += [wrapped(f"trains: {SCOPES[scope]}")] if component.kind == "strategy" and scope in SCOPES else []
    lines += [wrapped(f"needs {need}: {NEEDS.get(need, '')}") for need in component.needs]
    lines += ["  keys:", *_key_lines(component.fields, prefix)] if component.fields else []
    return "\n".join(lines)


def _scenario(name: str) -> Iterator[str]:
    """What a shipped scenario says about itself."""
    from fedlt.config.scenario_file import FOLDER, scenario_names

    if name in scenario_names():
        lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
        head = next((place for place, line in enumerate(lines) if not line.startswith("#")), len(lines))
        about = [f"  {line.lstrip('#').removeprefix(' ')}".rstrip() for line in lines[:head]]
        yield "\n".join([f"{name} (scenario)", *about, f"  all its keys: fedlt show {name}"])


def _needs(name: str) -> Iterator[str]:
    """What methods declare that they are given, send, or ask of the model."""
    from fedlt.config.declarations import NEEDS

    if name in NEEDS:
        yield f"{name} (declared by strategies and learners)\n{wrapped(NEEDS[name])}"


def _own(name: str) -> list[str]:
    """A class of the user's own: what a metric tells of its figures, and the keys of any other component."""
    from fedlt.config import catalog
    from fedlt.config.component import CONTRACTS

    refused: ScenarioError | None = None
    for kind in CONTRACTS:
        try:
            component = catalog.find(kind, name)
            component.load()
        except ScenarioError as error:
            refused = refused or error
            continue
        if kind == "metric":
            return [_figure_text(figure) for figure in _told(component)]
        return [_component_text(component, name)]
    raise refused or ScenarioError(Problem("explain", f"{name} is no component"))


def _told(metric: Component) -> list[Figure]:
    """What a metric of the user's own tells of its figures, with its keys at their defaults."""
    from fedlt.training.own_statistics import records

    required = [field.name for field in metric.fields if field.required]
    if required:
        raise ScenarioError(Problem("explain", f"{metric.name} has keys without a default: {', '.join(required)}"))
    told = records(metric.create({}))
    if not told:
        raise ScenarioError(Problem("explain", f"{metric.name} tells nothing of its figures; give it a describe()"))
    return told
