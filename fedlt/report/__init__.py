"""One self-contained page about runs: `fedlt report RUNS -o report.html`.

The page holds its data, its style and its scripts, reaches no network, and is readable without scripts: its tables are
plain HTML, and pictures stand in for the interactive ones.
"""

from fedlt.report.page import write_report

__all__ = ["write_report"]
