"""Writes what pages quote, or checks it: `python -m benchmarks.quoted [--check] [PAGE ...]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.quoted.pages import ROOT, quoting, stale, written


def main() -> None:
    """Write the pages, all of them unless some are named; with --check, exit with 1 where one is not current."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quoted")
    parser.add_argument("pages", nargs="*", type=Path, help="README.md and all of docs/ unless given")
    parser.add_argument("--check", action="store_true", help="say what is not current, and change nothing")
    given = parser.parse_args()
    old = 0

    for page in given.pages or quoting():
        page = page.resolve()
        if given.check:
            lines = stale(page)
            old += len(lines)
            print(*(f"{page.relative_to(ROOT)}: {line}" for line in lines), sep="\n", end="\n" if lines else "")
        else:
            text = page.read_text(encoding="utf-8")
            if (new := written(text)) != text:
                page.write_text(new, encoding="utf-8")
                print(f"{page.relative_to(ROOT)}: written")
    sys.exit(1 if old else 0)


if __name__ == "__main__":
    main()
