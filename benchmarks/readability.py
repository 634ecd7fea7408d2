"""How the code reads, in figures: airless functions, docstrings against code, comments, lengths of functions.

    python -m benchmarks.readability fedlt clients server strategies
    python -m benchmarks.readability benchmarks --worst 20
    pip install --no-deps --target /tmp/anchors fedjax pfl equinox imbalanced-learn torchtune
    python -m benchmarks.readability fedlt clients server strategies benchmarks --packages /tmp/anchors \
        --csv benchmarks/results/readability.csv

`tests/house/test_readability.py` holds the packages of this project to two limits.
"""

from __future__ import annotations

import argparse
import ast
import csv
import io
import statistics
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path
from typing import get_args

# Distribution and package of the projects that stand beside ours.
ANCHORS = {
    "fedjax": "fedjax",
    "pfl": "pfl",
    "equinox": "equinox",
    "imbalanced-learn": "imblearn",
    "torchtune": "torchtune",
}

# What may have a docstring.
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
DOCUMENTED = get_args(Documented)

# A function of fewer lines, its docstring left out, is seen at one glance.
LONG = 15

COLUMNS = ("package", "version", "modules", "functions", "median", "long", "airless", "share", "comments", "docstrings")


@dataclass(frozen=True)
class Function:
    """One function of a module.

    place: `path:line` of its `def`.
    name: as it is called, without its class.
    lines: from its `def` to its end, without its docstring.
    airless: whether its body has neither a blank line nor a comment.
    """

    place: str
    name: str
    lines: int
    airless: bool


@dataclass
class Reading:
    """What was counted in some modules.

    modules: their number.
    functions: all of their functions, methods and inner ones included.
    code: lines that hold code.
    comments: lines that hold a comment, whether alone or behind code.
    docstrings: lines of docstrings, blank ones among them.
    """

    modules: int = 0
    functions: list[Function] = field(default_factory=list)
    code: int = 0
    comments: int = 0
    docstrings: int = 0

    @property
    def long(self) -> list[Function]:
        """The functions of `LONG` lines or more."""
        return [function for function in self.functions if function.lines >= LONG]

    @property
    def airless(self) -> list[Function]:
        """Those of them that have neither a blank line nor a comment, longest first."""
        return sorted((each for each in self.long if each.airless), key=lambda each: -each.lines)

    @property
    def share(self) -> float:
        """Share of the long functions that are airless."""
        return len(self.airless) / max(len(self.long), 1)

    @property
    def docstring_ratio(self) -> float:
        """Lines of docstrings for each line of code."""
        return self.docstrings / max(self.code, 1)

    def add(self, source: str, name: str) -> None:
        """Count one more module.

        source: its text.
        name: what `Function.place` calls it.
        """
        lines = source.splitlines()
        commented = comment_lines(source)
        documented: set[int] = set()
        tree = ast.parse(source)

        for node in ast.walk(tree):
            if not isinstance(node, DOCUMENTED):
                continue
            docstring = lines_of_docstring(node)
            documented |= docstring
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.functions.append(_function(node, docstring, lines, commented, name))

        blank = {number for number, line in enumerate(lines, 1) if not line.strip()}
        comments_alone = {number for number in commented if lines[number - 1].lstrip().startswith("#")}
        self.modules += 1
        self.code += len(lines) - len(blank | documented | comments_alone)
        self.comments += len(commented)
        self.docstrings += len(documented)


def _function(
    node: ast.FunctionDef | ast.AsyncFunctionDef, docstring: set[int], lines: list[str], commented: set[int], name: str
) -> Function:
    """What is noted of one function; inner functions count as a part of it too."""
    end = node.end_lineno or node.lineno

    # A blank line between docstring and first statement is no step between two; a comment there is one.
    body = node.body[1:] if docstring else node.body
    first = body[0].lineno if body else end + 1
    above = max(docstring) + 1 if docstring else first
    blank = any(not line.strip() for line in lines[first - 1 : end])
    airless = not blank and not any(number in commented for number in range(above, end + 1))

    length = end - node.lineno + 1 - len(docstring)
    return Function(f"{name}:{node.lineno}", node.name, length, airless)


def lines_of_docstring(node: Documented) -> set[int]:
    """Numbers of the lines that the docstring of a module, class or function takes; none without one."""
    if ast.get_docstring(node, clean=False) is None:
        return set()
    text = node.body[0]
    return set(range(text.lineno, (text.end_lineno or text.lineno) + 1))


def comment_lines(source: str) -> set[int]:
    """Numbers of the lines that hold a comment."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0] for token in tokens if token.type == tokenize.COMMENT}


def read(folder: Path) -> Reading:
    """All modules below a folder, tests left out."""
    reading = Reading()
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder.parent)
        if not {"tests", "test"} & set(name.parts) and not path.name.endswith("_test.py"):
            reading.add(path.read_text(encoding="utf-8"), name.as_posix())
    return reading


def row(package: str, version: str, reading: Reading) -> dict[str, object]:
    """The figures of one package, by the names of `COLUMNS`."""
    return {
        "package": package,
        "version": version,
        "modules": reading.modules,
        "functions": len(reading.functions),
        "median": statistics.median([function.lines for function in reading.functions] or [0]),
        "long": len(reading.long),
        "airless": len(reading.airless),
        "share": f"{reading.share:.3f}",
        "comments": reading.comments,
        "docstrings": f"{reading.docstring_ratio:.2f}",
    }


def anchors(packages: Path) -> Iterator[dict[str, object]]:
    """The figures of the anchors that are installed in a folder.

    packages: what `pip install --target` has filled.
    """
    versions = {each.metadata["Name"]: each.version for each in distributions(path=[str(packages)])}
    for distribution, package in ANCHORS.items():
        if distribution in versions:
            yield row(distribution, versions[distribution], read(packages / package))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures of the folders given and of the anchors; with `--worst`, the airless functions too."""
    options = _options(arguments)
    readings = {folder: read(folder) for folder in options.folders}
    rows = [row(folder.name, "", reading) for folder, reading in readings.items()]
    if options.packages:
        rows += anchors(options.packages)

    print("\t".join(COLUMNS))
    for each in rows:
        print("\t".join(str(each[column]) for column in COLUMNS))

    for reading in readings.values():
        for function in reading.airless[: options.worst]:
            print(f"{function.place}: {function.name} has {function.lines} lines")

    if options.csv:
        with options.csv.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="packages, each a folder of modules")
    parser.add_argument("--packages", type=Path, help="a folder into which the anchors have been installed")
    parser.add_argument("--worst", type=int, default=0, help="name this many airless functions of each folder")
    parser.add_argument("--csv", type=Path, help="write the figures to this file too")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
