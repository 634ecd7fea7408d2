"""Whether runs have what is asked of them: a metric that none has would be a column of dashes, or an empty panel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedlt.config.schema import suggest
from fedlt.errors import Problem, ScenarioError
from fedlt.measures.figures import COSTS

if TYPE_CHECKING:
    from fedlt.results.runs import Run


def check_recorded(metrics: Sequence[str], runs: Sequence[Run], option: str = "--metrics") -> None:
    """Raise `ScenarioError`, with those that are meant, for metrics that no run has; a variant's count, too.

    Args:
        option: by which they were asked for.
    """
    recorded = {name for run in runs for name in run.final}
    plain = {name for name in recorded if "[" not in name}
    missing = [metric for metric in metrics if metric not in recorded | {_bare(name) for name in recorded}]
    problems = [Problem(option, f"no run has {metric!r}{_meant(metric, plain)}") for metric in missing]
    if problems:
        raise ScenarioError(problems)


def _bare(name: str) -> str:
    """`generic/few` of `generic[psi]/few`."""
    model, _, rest = name.partition("[")
    return f"{model}{rest.partition(']')[2]}"


def _meant(metric: str, known: set[str]) -> str:
    """The metrics that end so (`few`), else the one that is spelt alike, else some that there are."""
    ends = sorted(name for name in known if not name.startswith("validation/") and name.endswith(f"/{metric}"))
    hint = f"; did you mean {' or '.join(map(repr, ends))}?" if ends else suggest(metric, {*known, *COSTS})
    return hint if "did you mean" in hint else "; `fedlt explain` lists them"
