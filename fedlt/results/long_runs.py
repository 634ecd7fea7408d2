"""A word about runs that take hours, with what makes them shorter."""

from __future__ import annotations

from fedlt.process.cores import available_cores
from fedlt.process.wording import duration

HOUR = 3600.0  # seconds from which on a command is worth a word

MINUTE = 60.0  # seconds from which on a run is long enough to be shortened
FEW = 20  # clients whose tests are not worth sparing

_EVALUATIONS_WEIGH = 0.2  # share of the time from which on fewer of them are worth it


def long_run(what: str, seconds: float, rounds: int, evaluating: float = 0.0, cores: int = 1) -> str:
    """A sentence about work that takes an hour or more; "" where it takes less.

    Args:
        what: takes so long.
        rounds: of a run.
        evaluating: seconds of its time that go into evaluations.
        cores: of this machine that could share it, and of which only one works; 1: none more.
    """
    if seconds < HOUR:
        return ""
    remedies = [f"fewer rounds (federation.rounds={max(1, rounds // 4)} for a first look)"]
    if evaluating > _EVALUATIONS_WEIGH * seconds:
        remedies.append("fewer evaluations (a larger evaluation.every)")
    if cores > 1:
        remedies.append(f"--backend processes, which shares each round among {cores} cores")
    return (
        f"{what} about {duration(seconds)}. Shorter: {'; '.join(remedies)}. Ctrl-C keeps what is done, and the same "
        "command goes on from there"
    )


def costly_evaluations(
    training: float, evaluating: float, every: int, evaluations: int, clients: int, goes: str = "went"
) -> str:
    """A sentence about a run whose tests took longer than its training; "" where they did not, or where all was short.

    Args:
        training, evaluating: the workers' seconds.
        every: rounds between two of so many evaluations.
        clients: whose personal models are tested each time.
        goes: "goes" of a run that is still to come.
    """
    if evaluating <= training or training + evaluating < MINUTE:
        return ""
    remedies = [f"evaluation.every={4 * every}"] if evaluations > 2 else []
    remedies += [f"evaluation.clients={max(FEW, clients // 4)}"] if clients > FEW else []
    if not remedies:
        return ""
    share = f"{100 * evaluating / (training + evaluating):.0f} %"
    return f"{share} of the workers' time {goes} into evaluations; {' or '.join(remedies)} makes them cheaper"


def idle_cores(workers: int, clients: int, device: str) -> int:
    """Cores that could share the rounds of a run that one worker computes; 1 where there is nothing to share.

    Args:
        clients: of a cohort.
        device: `resources.device`.
    """
    if workers > 1 or clients < 2:
        return 1
    from fedlt.training.assembly import pick_device

    return available_cores() if pick_device(device).type == "cpu" else 1
