"""Reads the fields and comments of dataclasses from source text: nothing is imported, nothing is executed."""

from __future__ import annotations

import ast
import importlib.util
import io
import re
import sys
import tokenize
from functools import lru_cache
from pathlib import Path
from typing import Any

from fedlt.config.declarations import RENAMED, renamed
from fedlt.config.schema import Field
from fedlt.errors import Problem, ScenarioError

_MARKER = re.compile(r"^#\s*(type: ignore(\[[^]]*\])?\s*#?)?")  # what introduces a comment, and marks for type checkers


def source_of(module: str) -> Path:
    """The source file of a module, found without executing anything."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or not (spec.submodule_search_locations or spec.origin):
        raise ScenarioError(Problem("", f"the module {module!r} is not installed"))
    if not spec.submodule_search_locations:
        return Path(str(spec.origin))
    base = Path(next(iter(spec.submodule_search_locations))).joinpath(*rest)
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


@lru_cache(maxsize=4096)
def _text(node: ast.AST) -> str:
    """The text of a node; the same few are asked for whenever a scenario is read."""
    return ast.unparse(node)


@lru_cache(maxsize=256)
def _parsed(path: Path, content: bytes) -> tuple[ast.Module, dict[int, str]]:
    """A file's syntax tree, and its comments by line.

    Raises:
        ScenarioError: where it is not readable Python.
    """
    try:
        source = content.decode("utf-8-sig")
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise ScenarioError(Problem("", f"{path} is not readable Python: {error}")) from error
    lines = io.StringIO(source, newline=None)
    tokens = [t for t in tokenize.generate_tokens(lines.readline) if t.type == tokenize.COMMENT]
    return tree, {token.start[0]: _MARKER.sub("", token.string).strip() for token in tokens}


def read(path: Path) -> tuple[ast.Module, dict[int, str]]:
    """The syntax tree of a source file, and its comments by line number."""
    return _parsed(path, path.read_bytes())  # by content: two edits may bear the same time


def is_dataclass(node: ast.ClassDef) -> bool:
    """Whether the class is decorated as a dataclass."""
    return any("dataclass" in _text(decorator) for decorator in node.decorator_list)


def is_recipe(tree: ast.Module, comments: dict[int, str], node: ast.ClassDef) -> bool:
    """Whether the class or one of its bases is a dataclass; else it is an ordinary class."""
    bases = (_base(tree, comments, _text(base)) for base in node.bases)
    return is_dataclass(node) or any(is_recipe(*base) for base in bases if base)


def dataclass_fields(tree: ast.Module, comments: dict[int, str], node: ast.ClassDef) -> list[Field]:
    """The fields of a dataclass, inherited ones first; class variables are no fields."""
    fields: list[Field] = []
    for base in node.bases:
        fields += _base_fields(tree, comments, _text(base))
    for item in node.body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        if _is_class_variable(item):
            continue
        try:
            default = None if item.value is None else _default(item.value)
        except ValueError as error:
            message = f"the default of {node.name}.{item.target.id} must be a plain literal, so that it can be shown"
            raise ScenarioError(Problem("", message)) from error
        # Formatters put the comment of a long field behind its default, inside the brackets.
        ends = (part.end_lineno or part.lineno for part in (item, item.value) if part is not None)
        doc = next((comments[line] for line in ends if line in comments), "")
        fields.append(Field(item.target.id, _text(item.annotation), default, item.value is None, doc))
    return fields


def constructor(name: str, nodes: dict[str, ast.ClassDef]) -> ast.FunctionDef | None:
    """The `__init__` of the class of that name, its own or inherited; None where none of `nodes` has one."""
    if name not in nodes:
        return None
    own = (item for item in nodes[name].body if isinstance(item, ast.FunctionDef) and item.name == "__init__")
    inherited = (constructor(_text(base), nodes) for base in nodes[name].bases)
    return next(own, None) or next(filter(None, inherited), None)


def class_literal(tree: ast.Module, node: ast.ClassDef, name: str) -> Any:
    """The literal that a class or the nearest of its bases assigns to `name` in its body; None where none does."""
    for item in node.body:
        target = item.target if isinstance(item, ast.AnnAssign) else None
        if isinstance(target, ast.Name) and target.id == name and isinstance(item, ast.AnnAssign) and item.value:
            return ast.literal_eval(item.value)
    for base in node.bases:
        origin = _base(tree, {}, _text(base))
        value = origin and class_literal(origin[0], origin[2], name)
        if value is not None:
            return value
    return None


def refuse_renamed(kind: str, path: Path, tree: ast.Module, node: ast.ClassDef) -> None:
    """Raise `ScenarioError`, with the new spelling, where a class assigns class variables of an earlier version."""
    if kind not in RENAMED:
        return
    problems = [Problem(kind, f"{path}: {sentence}") for sentence in renamed(kind, class_variables(tree, node))]
    if problems:
        raise ScenarioError(problems)


def refuse_plain(kind: str, path: Path, node: ast.ClassDef) -> None:
    """Raise `ScenarioError` where a class has fields or an `__init__`, and no `@dataclass` that makes them keys."""
    if is_dataclass(node):
        return
    annotated = [item for item in node.body if isinstance(item, ast.AnnAssign) and not _is_class_variable(item)]
    names = [item.target.id for item in annotated if isinstance(item.target, ast.Name)]
    init = next((i for i in node.body if isinstance(i, ast.FunctionDef) and i.name == "__init__"), None)
    if not names and init is None:
        return

    keeps = any(_text(base).rpartition(".")[2] == "Statistic" for base in node.bases)  # it counts as it goes
    mark = "@dataclass" if keeps else "@dataclass(frozen=True)"
    if names:
        what = (
            f"{', '.join(names)} of {node.name} {'is no key' if len(names) == 1 else 'are no keys'} of a scenario yet"
        )
        remedy = f"write {mark} above class {node.name}"
    else:
        what = f"{node.name} is made by an __init__ of its own, whose arguments no scenario can set"
        remedy = f"write {mark} above class {node.name}, and its keys as fields: mu: float = 0.1"
    raise ScenarioError(Problem(kind, f"{path.name}: {what}; {remedy}"))


def class_variables(tree: ast.Module, node: ast.ClassDef) -> dict[str, str]:
    """The class variables that a class and its bases assign, each with the name of the class that does; no fields."""
    variables: dict[str, str] = {}
    for base in node.bases:
        if origin := _base(tree, {}, _text(base)):
            variables |= class_variables(origin[0], origin[2])
    for item in node.body:
        if isinstance(item, ast.Assign):
            targets = item.targets
        elif isinstance(item, ast.AnnAssign) and _is_class_variable(item):
            targets = [item.target]
        else:
            continue
        variables |= {target.id: node.name for target in targets if isinstance(target, ast.Name)}
    return variables


def _is_class_variable(item: ast.AnnAssign) -> bool:
    return _text(item.annotation).startswith(("ClassVar", "typing.ClassVar"))


def _default(node: ast.expr) -> Any:
    """The value of a literal, or of `field(default_factory=...)` (an empty container; None for a nested section)."""
    if isinstance(node, ast.Call) and _text(node.func) == "field":
        given = next((k.value for k in node.keywords if k.arg == "default"), None)
        if given is not None:
            return ast.literal_eval(given)
        factory = next((_text(k.value) for k in node.keywords if k.arg == "default_factory"), "")
        return {"list": [], "dict": {}}.get(factory)
    return ast.literal_eval(node)


def _base_fields(tree: ast.Module, comments: dict[int, str], base: str) -> list[Field]:
    """The fields that a base hands down: annotations of a class that is no dataclass make none."""
    origin = _base(tree, comments, base)
    if origin is None or is_dataclass(origin[2]):
        return dataclass_fields(*origin) if origin else []
    home, its_comments, node = origin
    return [field for further in node.bases for field in _base_fields(home, its_comments, _text(further))]


def _base(
    tree: ast.Module, comments: dict[int, str], base: str
) -> tuple[ast.Module, dict[int, str], ast.ClassDef] | None:
    """The class that is called `base` in a module, and the module that it comes from; None where it is not ours."""
    names, modules = _origins(tree)
    definition = names.get(base)
    if isinstance(definition, ast.ClassDef):
        return tree, comments, definition
    if definition is not None:
        return _base_in(*definition)
    for dot in (place for place, sign in enumerate(base) if sign == "."):
        if base[:dot] in modules:
            return _base_in(modules[base[:dot]], base[dot + 1 :])
    return None


@lru_cache(maxsize=256)
def _origins(tree: ast.Module) -> tuple[dict[str, ast.ClassDef | tuple[str, str]], dict[str, str]]:
    """What the names in a module are: classes of its own, or (module, name) of another; and its names of modules."""
    names: dict[str, ast.ClassDef | tuple[str, str]] = {}
    modules: dict[str, str] = {}
    for item in ast.walk(tree):
        if isinstance(item, ast.ClassDef):
            names.setdefault(item.name, item)
        elif isinstance(item, ast.ImportFrom) and item.module:
            for alias in item.names:
                names.setdefault(alias.asname or alias.name, (item.module, alias.name))
        elif isinstance(item, ast.Import):
            for alias in item.names:
                modules.setdefault(alias.asname or alias.name, alias.name)
    return names, modules


def _base_in(module: str, base: str) -> tuple[ast.Module, dict[int, str], ast.ClassDef] | None:
    """The same of another module. Python's own have no component's fields, and some of them (`abc`) have no file."""
    if module.partition(".")[0] in sys.stdlib_module_names:
        return None
    return _base(*read(source_of(module)), base)
