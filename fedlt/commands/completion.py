"""Completion in bash, zsh and fish: `fedlt completion SHELL` prints the script, which asks this module at every tab.

The scripts hand over the line up to the cursor. That is the only form in which every shell tells it alike: bash, for
one, takes `strategy=fedprox` for three words. An answer is a line for each completion, with a tab and a word about it
for the shells that show one. Nothing heavy is imported, so that an answer takes as long as `fedlt --help`.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Annotated

import click
import typer
from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, split_arg_string

from fedlt.commands.typed import DEFAULT_SCENARIO, content
from fedlt.errors import Problem, ScenarioError

VARIABLE = "_FEDLT_COMPLETE"
"""The variable of the environment by which a script asks."""

BASH = """\
_fedlt_completion() {
    local IFS=$'\\n'
    COMPREPLY=($(COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        _FEDLT_COMPLETE=complete_bash "$1"))
    if [[ ${COMPREPLY[0]} == *[=.] ]]; then compopt -o nospace; fi
}
complete -o default -F _fedlt_completion fedlt"""

ZSH = """\
#compdef fedlt
_fedlt_completion() {
    local -a whole begun
    local value about
    while IFS=$'\\t' read -r value about; do
        [[ -n $value ]] || continue
        if [[ $value == *[=.] ]]; then begun+=("${value//:/\\\\:}:$about"); else whole+=("${value//:/\\\\:}:$about"); fi
    done < <(COMP_LINE="${(j: :)words[1,CURRENT]}" _FEDLT_COMPLETE=complete_zsh $words[1])
    if (( ! $#whole && ! $#begun )); then compset -P '*='; _files; return; fi
    (( $#begun )) && _describe key begun -S ''
    (( $#whole )) && _describe value whole
}
compdef _fedlt_completion fedlt"""

FISH = """\
function __fedlt_completion
    set -l found (COMP_LINE=(commandline -cp | string collect) _FEDLT_COMPLETE=complete_fish fedlt \\
        | string match -r '.+')
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        set -l key (string match -r '^[^=]*=' -- (commandline -ct))
        __fish_complete_path (string replace -r '^[^=]*=' '' -- (commandline -ct)) | string replace -r '^' "$key"
    end
end
complete --command fedlt --no-files --arguments '(__fedlt_completion)'"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
PLOTS = "curves, time, clients, classes, partition, accuracies, gain, norms, collapse, calibration"
"""Kinds of pictures, in the order of `fedlt.plots.figure.KINDS`, which takes longer to import."""


class LineComplete(ShellComplete):
    """Completions of a line that ends at the cursor."""

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ.get("COMP_LINE", "")
        words = split_arg_string(line)[1:]
        return (words, "") if not words or line[-1].isspace() else (words[:-1], words[-1])

    def format_completion(self, item: CompletionItem) -> str:
        about = " ".join((item.help or "").split())
        return f"{item.value}\t{about}" if about else str(item.value)


class BashComplete(LineComplete):
    """Bash completes what follows the last character that breaks words, and shows no help."""

    name = "bash"

    def format_completion(self, item: CompletionItem) -> str:
        _, incomplete = self.get_completion_args()
        breaks = set(os.environ.get("COMP_WORDBREAKS", "")) - set("\"'")
        start = max((place + 1 for place, letter in enumerate(incomplete) if letter in breaks), default=0)
        return str(item.value)[start:]


class ZshComplete(LineComplete):
    """Zsh, which shows help beside the values."""

    name = "zsh"


class FishComplete(LineComplete):
    """Fish, which shows help beside the values."""

    name = "fish"


def register() -> None:
    """Answer to the scripts above, instead of to typer's own."""
    for answer in (BashComplete, ZshComplete, FishComplete):
        add_completion_class(answer)


def completion(
    shell: Annotated[str, typer.Argument(show_default=False, autocompletion=lambda: list(SCRIPTS))] = "",
) -> None:
    """Print the script for completion in bash, zsh or fish.

    A tab then completes commands, options, scenarios, keys and their values.

    Bash: put the line `eval "$(fedlt completion bash)"` into ~/.bashrc. Zsh: `eval "$(fedlt completion zsh)"` into
    ~/.zshrc, below compinit. Fish: keep what is printed as ~/.config/fish/completions/fedlt.fish. SHELL: the one in
    use unless given.
    """
    chosen = shell or PurePath(os.environ.get("SHELL", "")).name
    if chosen not in SCRIPTS:
        raise ScenarioError(Problem("completion", f"expected one of {', '.join(SCRIPTS)}, got {chosen!r}"))
    print(SCRIPTS[chosen])


# What is completed ----------------------------------------------------------------------------------------------------

Found = Iterable[tuple[str, str]]


def complete_scenario(ctx: click.Context, incomplete: str) -> Found:
    """A scenario's name, or an override in its place."""
    return [*complete_shipped(), *complete_override(ctx, incomplete)]


def complete_shipped() -> Found:
    """The shipped scenarios, each with its first line."""
    from fedlt.commands.listing import listing

    return [(row["name"], row["summary"]) for row in listing("scenarios")]


def complete_override(ctx: click.Context, incomplete: str) -> Found:
    """`strategy=fedprox`, `strategy.mu=`: keys, and the values of those that have few."""
    from fedlt.config import keys

    known = {field.name: field for field in keys.scenario_keys()}
    words = [ctx.params.get("scenario") or DEFAULT_SCENARIO, *(ctx.params.get("overrides") or ())]
    for place, component in keys.component_keys(content(words)).items():
        known |= {f"{place}.{field.name}": field for field in component.fields}

    key, equals, value = incomplete.partition("=")
    if equals:
        listed = value[: value.rfind(",") + 1]  # `fedlt sweep strategy=fedavg,fedprox`
        found = _values(key, known[key].annotation) if key in known else ()
        return [(f"{key}={listed}{name}", about) for name, about in found]

    if not incomplete:  # sections, not a hundred keys
        return [(f"{name}.", about) for name, about in keys.section_names().items() if "." not in name] + [
            (f"{name}=", field.doc) for name, field in known.items() if "." not in name
        ]
    mark = "~" if incomplete.startswith("~") else ""
    return [(f"{mark}{name}{'' if mark else '='}", field.doc) for name, field in known.items()]


def complete_explained(incomplete: str) -> Found:
    """Names that `fedlt explain` knows, and headings of tables that need no quotation marks."""
    from fedlt.commands.listing import explained_names
    from fedlt.measures.glossary import headings

    words = {heading: "heading of a table" for heading in headings() if heading.isidentifier()}
    return (words | explained_names()).items()


def complete_plots() -> list[str]:
    """Kinds of pictures."""
    return [*PLOTS.split(", "), "all"]


def complete_formats() -> list[str]:
    """Formats of a comparison."""
    from fedlt.comparing.table import FORMATS

    return list(FORMATS)


def complete_kinds(incomplete: str) -> Found:
    """What `fedlt ls` lists."""
    from fedlt.commands.listing import KINDS

    return [(kind, "") for kind in KINDS]


def _values(key: str, annotation: str) -> Iterator[tuple[str, str]]:
    """The values of a key that has few: names of components, words, true and false."""
    from fedlt.commands.listing import listing
    from fedlt.config import catalog, keys
    from fedlt.config.schema import Field

    kind = keys.kind(Field(key, annotation))
    if kind:
        names = [*catalog.names(kind), *(catalog.flower_names() if kind == "strategy" else ())]
        yield from ((name, catalog.find(kind, name).summary) for name in names)
        return
    if key == "data.name":
        yield from ((row["name"], row["summary"]) for row in listing("datasets"))
        return
    for node in ast.walk(ast.parse(annotation, mode="eval")):
        if isinstance(node, ast.Name) and node.id == "bool":
            yield from (("true", ""), ("false", ""))
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
            words = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            yield from ((str(ast.literal_eval(word)), "") for word in words)
