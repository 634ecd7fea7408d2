"""The sections of a scenario: every key with its type, its default, and what it means.

They are also read as source text, for `fedlt ls keys` and for errors before anything is imported.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from fedlt.config.component import Choice


@dataclass(frozen=True)
class LongTail:
    """How the training set is made long-tailed; the test set stays as it is. `data.longtail=none` sets the profile."""

    shorthand: ClassVar[str] = "profile"

    profile: Literal["exponential", "step", "pareto", "counts", "none"] = "none"  # shape; none: as the data are
    imbalance_factor: Annotated[float, ">= 1"] | None = None  # largest class / smallest class; null: 100
    mode: Literal["seeded", "official"] = "seeded"  # official: the very subsets of the LDAM / FedLoGe code
    largest: Annotated[int, ">= 1"] | None = None  # samples of the largest class; null: as many as there are
    head_share: Annotated[float, "> 0", "< 1"] | None = None  # step: share of classes that keep all; null: 0.5
    counts: list[int] | str | None = None  # counts: samples per class, or a file that lists them
    order: Literal["natural", "seeded"] = "natural"  # which class is the largest: class 0, or drawn by the seed
    seed: Annotated[int, ">= 0"] | None = None  # null: the scenario's


@dataclass(frozen=True)
class Noise:
    """Wrong training labels. Who holds what, tests and class groups follow from the true ones."""

    kind: Literal["none", "symmetric", "frequency", "missing", "file"] = (
        "none"  # frequency: flips go to frequent classes; missing: positives of several labels are seen as negatives
    )
    rate: Annotated[float, "> 0", "< 1"] | None = None  # share of the training labels that are flipped, or hidden
    file: str | None = None  # labels of all training rows of the source, as labels.npz:NAME
    seed: Annotated[int, ">= 0"] | None = None  # null: the scenario's


@dataclass(frozen=True)
class Unlabelled:
    """Training samples without labels, for semi-supervised methods; the others do not see them."""

    hidden: Annotated[float, ">= 0", "< 1"] = 0.0  # share of each client's samples that lose their label
    extra: Annotated[float, ">= 0"] = 0.0  # further samples that the clients get, times the labelled ones
    imbalance_factor: Annotated[float, ">= 1"] = 1.0  # largest class / smallest class of the further samples
    seed: Annotated[int, ">= 0"] | None = None  # null: the scenario's


@dataclass(frozen=True)
class ServerUnlabelled:
    """Samples without labels at the server, for strategies that need them: training samples that nobody else has, as a
    long tail leaves them out, unless a share or a file is given. `data.server_unlabelled=0.1` sets the share alone.
    """

    shorthand: ClassVar[str] = "share"

    share: Annotated[float, "> 0", "< 1"] | None = (
        None  # of each class, set apart before the long tail is cut; null: what nobody else has
    )
    file: str | None = None  # inputs of another data set instead, as others.npz:NAME
    most: Annotated[int, ">= 1"] | None = None  # samples, drawn by the seed; null: all
    seed: Annotated[int, ">= 0"] | None = None  # null: the scenario's


@dataclass(frozen=True)
class Validation:
    """Samples set apart to choose by; nobody trains on them. `data.validation=0.2` sets the share alone."""

    shorthand: ClassVar[str] = "share"

    share: Annotated[float, ">= 0", "< 1"] | None = (
        None  # of each client's own samples; null: none, or 0.2 beside per_class
    )
    per_class: Annotated[int, ">= 0"] | None = (
        None  # global samples of each class; null: the share of a class, at most 100
    )
    seed: Annotated[int, ">= 0"] | None = None  # null: the scenario's

    @property
    def active(self) -> bool:
        """Whether anything is set apart."""
        return bool(self.share) or bool(self.per_class)


@dataclass(frozen=True)
class Shorten:
    """What is taken out of texts before tokens are made of them. `data.shorten=english` sets the stop words alone."""

    shorthand: ClassVar[str] = "stop_words"

    stop_words: str | None = None  # english, or a file with a word a line; null: none are taken out
    keep: list[str] | None = None  # stop words that stay all the same; null: no, nor, not, never
    punctuation: bool = False  # signs that are no words are taken out, too
    recurring: bool = False  # of a word that recurs in a text, all but the first are

    @property
    def active(self) -> bool:
        """Whether anything is taken out."""
        return self.stop_words is not None or self.punctuation or self.recurring


@dataclass(frozen=True)
class Glyphs:
    """Characters that are drawn, the classes of `data.name=glyphs`. `data.glyphs=5000` sets their number alone."""

    shorthand: ClassVar[str] = "classes"

    classes: Annotated[int, ">= 2"] = 1000  # as many characters; fewer are the first of more
    font: str = "HanaMinA.ttf"  # a file, or the name of one in the folders where systems keep fonts
    characters: Literal["han", "letters"] = "han"  # Chinese characters, or letters of all scripts
    train: Annotated[int, ">= 1"] = 50  # training pictures of each class, before a long tail is cut
    test: Annotated[int, ">= 1"] = 5  # test pictures of each class


@dataclass(frozen=True)
class Interactions:
    """A table of who took which item when: each row becomes a history of items and the next one, in the order of time.
    `data.interactions=userId` sets the column of users alone.
    """

    shorthand: ClassVar[str] = "user"

    user: str | None = None  # column of who; null: the data are no interactions
    item: str = "item"  # column of what
    time: str = "time"  # column of when, numbers or dates; rows need not be sorted
    rating: str | None = None  # column of how much it was liked; null: all rows count
    scale: list[float] = field(default_factory=list)  # lowest and highest rating there may be; []: any
    least: float | None = None  # rating from which on a row counts; null: all rows do
    features: list[str] = field(default_factory=list)  # columns of the item; several values are separated by |
    history: Annotated[int, ">= 1"] = 20  # items of a history, the latest
    rows: Literal["next", "liked"] = "next"  # what is told: the item that comes next, or whether a rated one is liked
    tested: Annotated[int, ">= 1"] = 1  # rows of each user, the latest, that are the test set


@dataclass(frozen=True)
class Data:
    """The data set: built in, a hub name, a folder, an .npz file, or one table."""

    # `to_dict` leaves them out at their defaults: hashes stay.
    young: ClassVar[tuple[str, ...]] = (
        "validation", "test_share", "targets", "category_columns", "size", "crop", "encoder", "class_names",
        "server_unlabelled", "tokenizer", "parents", "shorten", "glyphs",
        "interactions",
    )  # fmt: skip

    name: str = "digits"  # digits, glyphs, a well-known name, a hub name, or a path
    input_column: str | list[str] | None = None  # a list: a feature each; null: found by type
    target_column: str | list[str] | None = None  # null: found by type and name; a list: 0 and 1, a class each
    targets: Annotated[Choice | None, "target"] = None  # null: as the data say; see: fedlt ls targets
    class_names: list[str] = field(default_factory=list)  # of labels that are numbers, in their order; []: the numbers
    category_columns: list[str] = field(default_factory=list)  # inputs whose numbers name something; texts always do
    group_columns: list[str] = field(default_factory=list)  # columns such as site or writer, for natural clients
    parents: str | list[str] | None = None  # a tree: the group column of parent classes, or one for each class
    size: Annotated[int, ">= 1"] | None = None  # pixels to which pictures are brought, size x size; null: as they are
    crop: Literal["center", "squash"] | None = None  # center: the middle square; squash: all of it; null: center
    train_split: str = "train"  # of the hub, or of a folder; or a file there that lists pictures and labels
    test_split: str = "test"  # likewise
    test_share: Annotated[float, "> 0", "< 1"] | None = None  # of each class, to be the test set of data without one
    encoder: Annotated[Choice | None, "encoder"] = None  # frozen: its features are made once; see: fedlt ls encoders
    tokenizer: Annotated[Choice | None, "tokenizer"] = None  # makes token ids of texts; see: fedlt ls tokenizers
    shorten: Shorten = field(default_factory=Shorten)
    glyphs: Glyphs = field(default_factory=Glyphs)
    interactions: Interactions = field(default_factory=Interactions)
    auxiliary: Annotated[int, ">= 0"] = 0  # samples of each class that the server keeps; no client gets them
    longtail: LongTail = field(default_factory=LongTail)
    validation: Validation = field(default_factory=Validation)
    noise: Noise = field(default_factory=Noise)
    unlabelled: Unlabelled = field(default_factory=Unlabelled)
    server_unlabelled: ServerUnlabelled = field(default_factory=ServerUnlabelled)


@dataclass(frozen=True)
class Late:
    """Sampled clients whose answers arrive rounds later; the change is then made to the model of that round."""

    chance: Annotated[float, ">= 0", "<= 1"] = 0.0  # that a sampled client's update comes late
    rounds: Annotated[int, ">= 1"] | None = None  # by which it is late; null: 1
    weight: Annotated[float, ">= 0", "<= 1"] | None = None  # its weight, times the usual; 0: discarded; null: 1


@dataclass(frozen=True)
class Attack:
    """Clients that lie. Their personal models are not tested."""

    kind: Literal["none", "sign_flip", "scaled", "label_flip"] = "none"  # label_flip: learns class C - 1 - c for c
    share: Annotated[float, "> 0", "< 1"] | None = None  # of the clients that attack, drawn by the seed
    clients: list[int] | None = None  # these attack, in place of a share
    factor: Annotated[float, "> 0"] | None = None  # size of the false change; null: 1 for sign_flip, 10 for scaled


@dataclass(frozen=True)
class Federation:
    """The clients, what each of them holds, and how often they take part."""

    young: ClassVar[tuple[str, ...]] = ("links", "selection", "clock", "left_out")

    clients: Annotated[int, ">= 1"] | None = 40  # null: as many as the partition finds (natural, given)
    participation: Annotated[float, "> 0", "<= 1"] = 0.3  # share of the clients in each round's cohort
    selection: Annotated[Choice, "selection"] = "uniform"  # type: ignore[assignment]  # see: fedlt ls selections
    rounds: Annotated[int, ">= 1"] = 100  # rounds of training
    partition: Annotated[Choice, "partition"] = "dirichlet_per_class"  # type: ignore[assignment]  # see: fedlt ls partitions
    local_test: Literal["matched", "official", "natural"] = "matched"  # how clients' test sets are drawn
    empty: Literal["error", "redraw"] = "error"  # when a client would get no sample
    held_out: Annotated[int, ">= 0"] = 0  # the last so many clients take no part; they join later: fedlt join
    left_out: list[int] = field(default_factory=list)  # these have no samples and take no part; all else stays
    block: Annotated[int, ">= 1"] = 5  # clients pre-summed together; part of the result's definition
    on_error: Literal["fail", "skip"] = "fail"  # when a client raises; skips are counted in the results
    timeout: Annotated[float, "> 0"] | None = None  # seconds for one client's training or test; null: no limit
    dropout: Annotated[float, ">= 0", "< 1"] = 0.0  # chance that a sampled client never answers
    clock: Annotated[Choice | None, "clock"] = None  # simulated seconds of the clients' devices; see: fedlt ls clocks
    late: Late = field(default_factory=Late)
    attack: Attack = field(default_factory=Attack)
    links: Annotated[list[Choice], "link"] = field(default_factory=list)  # what updates pass; see: fedlt ls links


@dataclass(frozen=True)
class Local:
    """What one client does in one round."""

    young: ClassVar[tuple[str, ...]] = ("last_batch", "clip", "optimizer", "steps", "batches", "generated")

    epochs: Annotated[int, ">= 1"] = 5  # passes over the client's data
    steps: Annotated[int, ">= 1"] | None = None  # of every client in a round, however much it holds, instead of epochs
    batch_size: Annotated[int, ">= 1"] = 32  # samples in one step; the last batch of a pass may be smaller
    last_batch: Literal["keep", "merge", "drop"] = "keep"  # of one sample; merge: joins the one before; drop: left out
    batches: Literal["drawn", "bucketed"] = "drawn"  # bucketed: of sequences of like lengths, for less padding
    optimizer: Annotated[Choice, "optimizer"] = "sgd"  # type: ignore[assignment]  # see: fedlt ls optimizers
    lr: Annotated[float, "> 0"] = 0.03  # step size of the optimiser
    schedule: Annotated[Choice, "schedule"] = "constant"  # type: ignore[assignment]  # of lr; see: fedlt ls schedules
    warmup: Annotated[float, ">= 0", "< 1"] = 0.0  # share of the run over which lr first rises from 0
    momentum: Annotated[float, ">= 0", "< 1"] = 0.9  # of sgd; new in every round, but goes on at a centralized site
    nesterov: bool = False  # of sgd; the gradient is corrected by the momentum that is to come
    weight_decay: Annotated[float, ">= 0"] = 0.0  # times the weight, added to the gradient or as the optimiser has it
    clip: Annotated[float, "> 0"] | None = None  # norm to which a step's longer gradient is scaled down; null: none
    together: Annotated[int, ">= 1"] = 1  # clients of a block trained in one batched step; changes the rounding
    augment: Literal[
        "none", "crop", "flip", "crop_flip", "crop_flip_cutout", "crop_cutout", "strong", "shift", "shift_flip", "views"
    ] = "none"  # of images; crop finds black beyond the image, shift the mean colour; views: those of data.encoder
    generated: Annotated[Choice | None, "generator"] = None  # texts for classes of few; see: fedlt ls generators


@dataclass(frozen=True)
class InitFrom:
    """Weights to begin with, in place of random ones. `init_from=runs/RUN` sets the name alone."""

    shorthand: ClassVar[str] = "name"

    name: str | list[str] | None = (
        None  # a finished run's folder, or a .safetensors or .pt file of tensors by name; null: none; a list: one each
    )
    without: list[str] = field(default_factory=list)  # patterns of tensors that begin anew all the same: [head.*]

    def __post_init__(self) -> None:
        """Workers may be started in another folder."""
        if isinstance(self.name, str):
            object.__setattr__(self, "name", _absolute(self.name))
        elif isinstance(self.name, list):
            object.__setattr__(self, "name", [_absolute(name) for name in self.name])

    @property
    def names(self) -> list[str]:
        """What is named, one for each of the models side by side; none where all weights are drawn."""
        return [self.name] if isinstance(self.name, str) else self.name or []


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


@dataclass(frozen=True)
class ClassGroups:
    """Which classes are head, medium and tail for the generic model. `evaluation.groups=rank` sets the rule alone."""

    shorthand: ClassVar[str] = "by"

    by: Literal["count", "rank"] = "count"  # bounds on training samples, or shares of the classes, the largest first
    many: Annotated[int, ">= 0"] = 100  # count: a head class has more training samples
    few: Annotated[int, ">= 0"] = 20  # count: a tail class has fewer
    head: Annotated[float, "> 0", "<= 1"] = 0.5  # rank: share of the classes that are head
    medium: Annotated[float, "> 0", "<= 1"] = 0.8  # rank: share of the classes that are head or medium


@dataclass(frozen=True)
class Evaluation:
    """When and how the models are tested."""

    young: ClassVar[tuple[str, ...]] = ("patience", "watch", "metrics", "groups")

    every: Annotated[int, ">= 1"] = 10  # rounds between evaluations; the last round is always evaluated
    batch_size: Annotated[int, ">= 1"] = 256  # test samples in one forward pass; part of the result's definition
    clients: Annotated[int, ">= 1"] | None = None  # personal models evaluated each time (drawn by the seed); null: all
    patience: Annotated[int, ">= 1"] | None = None  # evaluations without a better one after which the run stops
    watch: str | None = None  # what patience follows; null: validation/generic/accuracy
    metrics: Annotated[list[Choice], "metric"] = field(default_factory=list)  # of your own: [./mine.py:TopK]
    groups: ClassGroups = field(default_factory=ClassGroups)


@dataclass(frozen=True)
class Resources:
    """Where the run is computed. Changes no bit of the result, except `precision`."""

    young: ClassVar[tuple[str, ...]] = ("keep",)

    backend: Literal["auto", "inline", "processes", "ray", "flower"] = "auto"  # auto: the quickest for the run
    workers: Annotated[int, ">= 1"] | Literal["auto"] = "auto"  # auto: one per core, four per GPU
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: a GPU where there is one
    precision: Literal["float32", "bfloat16"] = "float32"  # of the arithmetic in training; changes the result
    checkpoint: Annotated[int, ">= 0"] | Literal["auto"] = "auto"  # rounds between two; auto: one a minute; 0: none
    keep: bool = False  # the models of all evaluations, so that a run which trains the same has to test only
