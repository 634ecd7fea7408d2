"""What the keys of a scenario demand of each other, beyond the type of each."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from fedlt.config.sections import ClassGroups, Glyphs, Interactions
from fedlt.errors import Problem
from fedlt.process.wording import counted

if TYPE_CHECKING:
    from fedlt.config.sections import Attack, Data, Evaluation, Federation, InitFrom, Late, Local, Validation


FIND_CLIENTS = ("natural", "given")
"""The built-in partitions that make as many clients as they find."""


def cross_check(
    data: Data, federation: Federation, local: Local, evaluation: Evaluation, problems: list[Problem]
) -> None:
    """Add a problem for each combination that has no meaning, and for each option that would change nothing."""
    natural = federation.partition.name == "natural"
    chosen = federation.partition.name
    if federation.clients is None and chosen not in FIND_CLIENTS and ".py:" not in chosen:
        message = f"expected a whole number; null is for the partitions {' and '.join(FIND_CLIENTS)}, and for your own"
        problems.append(Problem("federation.clients", message))
    tail = data.longtail
    if data.auxiliary and tail.mode == "official" and tail.profile != "none":
        problems.append(Problem("data.auxiliary", "the official subsets leave nothing aside; use longtail.mode=seeded"))

    _check_server_unlabelled(data, problems)
    if data.crop is not None and data.size is None:
        problems.append(Problem("data.crop", "has no effect without data.size; remove it"))

    _check_texts(data, problems)
    _check_interactions(data.interactions, problems)
    if data.name != "glyphs" and data.glyphs != Glyphs():
        problems.append(Problem("data.glyphs", "is for data.name=glyphs, and has no effect here; remove it"))
    _check_validation(data.validation, evaluation, problems)
    _check_groups(evaluation.groups, problems)
    _check_views(data, local, problems)
    if federation.local_test == "natural" and not natural:
        problems.append(Problem("federation.local_test", "natural needs federation.partition=natural; use matched"))
    _check_local(local, federation.rounds, problems)

    _check_faults(federation.late, federation.attack, problems)
    if federation.clock is not None and federation.late.chance:
        message = "says who is late, and so does federation.clock; take one of the two"
        problems.append(Problem("federation.late.chance", message))


def _check_local(local: Local, rounds: int, problems: list[Problem]) -> None:
    """Of local training: options that the chosen optimiser or schedule lacks, and what rules out `local.together`.

    Args:
        rounds: of the run.
    """
    other = None if isinstance(local.optimizer, str) or local.optimizer.name == "sgd" else local.optimizer.name
    if other and local.nesterov:
        problems.append(
            Problem("local.nesterov", f"is of sgd, and has no effect with local.optimizer={other}; remove it")
        )
    if other and local.together > 1:
        problems.append(Problem("local.together", "trains several clients by local.optimizer=sgd only; take 1"))

    # What trains several clients at once knows neither further texts nor steps.
    if local.generated is not None and local.together > 1:
        message = "trains clients of equally many texts at once, and local.generated adds to them; take 1"
        problems.append(Problem("local.together", message))
    if local.steps is not None and local.together > 1:
        problems.append(Problem("local.together", "goes by epochs, and local.steps is given; take 1"))

    if not isinstance(local.schedule, str) and local.schedule.name == "OneCycleLR":
        steps = local.schedule.options["total_steps"]
        if steps is not None and steps < rounds:
            ends = f"ends after {counted(steps, 'round')}"
            message = f"{ends}, and the run has {rounds}; null stands for all of them"
            problems.append(Problem("local.schedule.total_steps", message))

    if local.nesterov and not local.momentum:
        problems.append(Problem("local.nesterov", "needs local.momentum > 0"))
    if local.clip is not None and local.together > 1:
        message = "is of one client's gradient, and local.together trains several in one step; take local.together=1"
        problems.append(Problem("local.clip", message))


def check_initial(init_from: InitFrom, problems: list[Problem]) -> None:
    """Refuse a list of nothing, and patterns of what is left out of nothing."""
    if init_from.name == []:
        problems.append(Problem("init_from.name", "is an empty list; name runs or files in it, or remove it"))
    elif init_from.name is None and init_from.without:
        problems.append(Problem("init_from.without", "has no effect without init_from.name; remove it"))


def _check_server_unlabelled(data: Data, problems: list[Problem]) -> None:
    """Refuse a share beside a file, one that published subsets leave no room for, and a seed that draws nothing."""
    given, tail = data.server_unlabelled, data.longtail
    key = "data.server_unlabelled"
    if given.share is not None and given.file is not None:
        problems.append(Problem(f"{key}.share", "has no effect beside a file; remove one of the two"))
    elif given.share is not None and tail.mode == "official" and tail.profile != "none":
        message = "the official subsets leave nothing aside; remove it, and the server has what they leave out"
        problems.append(Problem(f"{key}.share", message))
    if given.seed is not None and given.share is None and given.most is None:
        problems.append(Problem(f"{key}.seed", "has no effect without share or most; remove it"))


def _check_texts(data: Data, problems: list[Problem]) -> None:
    """Refuse to shorten what is no text, and to keep words that nothing takes out."""
    shorten = data.shorten
    if shorten.active and data.tokenizer is None:
        problems.append(Problem("data.shorten", "has no effect without data.tokenizer; remove it"))
    if shorten.stop_words is None and shorten.keep is not None:
        problems.append(Problem("data.shorten.keep", "has no effect without data.shorten.stop_words; remove it"))


def _check_interactions(asked: Interactions, problems: list[Problem]) -> None:
    """Refuse keys of a table that is none, and ratings that cannot be."""
    key = "data.interactions"
    if asked.user is None:
        for field in fields(asked):
            if getattr(asked, field.name) != getattr(Interactions(), field.name):
                message = "has no effect without data.interactions.user, the column of users; name it"
                problems.append(Problem(f"{key}.{field.name}", message))
        return

    for name in ("scale", "least"):
        if asked.rating is None and getattr(asked, name) not in (None, []):
            message = "is of ratings; name their column in data.interactions.rating, or remove it"
            problems.append(Problem(f"{key}.{name}", message))
    if asked.rows == "liked" and asked.least is None:
        message = "liked needs data.interactions.rating, and in data.interactions.least what makes a rating one"
        problems.append(Problem(f"{key}.rows", message))
    if asked.scale and (len(asked.scale) != 2 or asked.scale[0] >= asked.scale[1]):
        problems.append(Problem(f"{key}.scale", f"expected the lowest and the highest rating, got {asked.scale}"))
    elif asked.scale and asked.least is not None and not asked.scale[0] <= asked.least <= asked.scale[1]:
        between = " to ".join(f"{bound:g}" for bound in asked.scale)
        problems.append(Problem(f"{key}.least", f"{asked.least:g} is outside of the scale, {between}"))


def _check_validation(validation: Validation, evaluation: Evaluation, problems: list[Problem]) -> None:
    """Refuse what would choose without validation data, and every option that would change nothing."""
    if not validation.active and validation.seed is not None:
        problems.append(Problem("data.validation.seed", "has no effect without data.validation.share; remove it"))
    if evaluation.patience is None and evaluation.watch is not None:
        problems.append(Problem("evaluation.watch", "has no effect without evaluation.patience; remove it"))
    if evaluation.patience is not None and not validation.active:
        message = "needs validation data, since nothing is chosen on the test set; set data.validation=0.2"
        problems.append(Problem("evaluation.patience", message))
    if evaluation.watch is not None and not evaluation.watch.startswith("validation/"):
        message = f"expected validation/..., as nothing is chosen on the test set, got {evaluation.watch!r}"
        problems.append(Problem("evaluation.watch", message))


def _check_groups(groups: ClassGroups, problems: list[Problem]) -> None:
    """Refuse bounds of the other rule, and those between which no class can be."""
    mine, other = ("count", "rank") if groups.by == "count" else ("rank", "count")
    bounds = {"count": ("many", "few"), "rank": ("head", "medium")}
    for key in bounds[other]:
        if getattr(groups, key) != getattr(ClassGroups, key):
            message = f"is a bound of groups.by={other}, and has no effect with {mine}; remove it, or set by={other}"
            problems.append(Problem(f"evaluation.groups.{key}", message))

    if groups.by == "count" and groups.few > groups.many:
        message = f"head classes have more than {groups.many} samples, so tail classes cannot have up to {groups.few}"
        problems.append(Problem("evaluation.groups.few", f"{message}; take {groups.many} at most, or a larger many"))
    if groups.by == "rank" and groups.head > groups.medium:
        message = f"is the share of head and medium classes together, and head alone is {groups.head:g}"
        problems.append(Problem("evaluation.groups.medium", f"{message}; take {groups.head:g} at least"))


def _check_views(data: Data, local: Local, problems: list[Problem]) -> None:
    """Refuse views that no encoder has seen, and augmentations of pictures where there are features."""
    encoder = data.encoder
    if local.augment == "views" and encoder is None:
        remedy = "set data.encoder={name: efficientnet_lite0, views: 4}"
        message = f"views draws from those that an encoder has seen; {remedy}"
        problems.append(Problem("local.augment", message))
    elif encoder is None or local.augment == "none":
        return
    elif local.augment == "views" and not encoder.options.get("views"):
        problems.append(Problem("local.augment", "views needs some; set data.encoder.views=4, for example"))
    elif local.augment != "views":
        message = f"{local.augment} is for images, and data.encoder makes features of them; use none, or views"
        problems.append(Problem("local.augment", message))


def _check_faults(late: Late, attack: Attack, problems: list[Problem]) -> None:
    """Refuse what is missing, and every option that would change nothing."""
    unused = {f"late.{key}": "late.chance=0" for key in ("rounds", "weight")} if not late.chance else {}
    given = {f"late.{f.name}": getattr(late, f.name) for f in fields(late)}
    given |= {f"attack.{f.name}": getattr(attack, f.name) for f in fields(attack)}
    lies = attack.kind in ("sign_flip", "scaled")
    attack_keys = ("share", "clients", "factor") if attack.kind == "none" else () if lies else ("factor",)
    unused |= {f"attack.{key}": f"attack.kind={attack.kind}" for key in attack_keys}
    for key, setting in unused.items():
        if given[key] is not None:
            problems.append(Problem(f"federation.{key}", f"has no effect with {setting}; remove it"))

    if attack.kind != "none" and (attack.share is None) == (attack.clients is None):
        problems.append(Problem("federation.attack", "who attacks? Give either its share of the clients, or clients"))
    if attack.clients == []:
        problems.append(Problem("federation.attack.clients", "names nobody; remove it, or take attack.kind=none"))
    if attack.kind == "scaled" and attack.factor == 1:
        problems.append(Problem("federation.attack.factor", "1 is no attack: the weights are sent as they are"))
