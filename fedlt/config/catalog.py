"""What components there are, read from their source text without importing it.

A component is a frozen dataclass: its fields are its hyper-parameters, its YAML keys and its documentation.
Strategies and learners are found by file name (`strategies/fedprox.py` is `fedprox`); a user's own is written
`./mine.py:Mine`, or comes from an entry point in the groups `fedlt.strategies` and `fedlt.learners`.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fedlt.config import optimizers, schedules
from fedlt.config.component import (
    CONTRACTS,
    FLOWER_PREFIX,
    LIBRARY,
    OF_LIBRARIES,
    Component,
    FlowerComponent,
    LibraryComponent,
    Made,
)
from fedlt.config.flower_source import flower_classes, flower_fields
from fedlt.config.module_source import YOUNG, fields_of, key_of, module_fields, with_keys
from fedlt.config.own_code import import_file
from fedlt.config.own_spelling import meant
from fedlt.config.schema import suggest
from fedlt.config.source import (
    class_literal,
    dataclass_fields,
    is_dataclass,
    is_recipe,
    read,
    refuse_plain,
    refuse_renamed,
    source_of,
)
from fedlt.errors import Problem, ScenarioError
from fedlt.process.own_packages import ROOT as ROOT

MODELS = {
    "mlp": "fedlt.nn.mlp:MLP",
    "cnn": "fedlt.nn.cnn:CNN",
    "resnet8": "fedlt.nn.resnet:ResNet8",
    "resnet20": "fedlt.nn.resnet:ResNet20",
    "resnet32": "fedlt.nn.resnet:ResNet32",
    "resnet18": "fedlt.nn.resnet:ResNet18",
    "resnet34": "fedlt.nn.resnet:ResNet34",
    "efficientnet_lite0": "fedlt.nn.efficientnet_lite0:EfficientNetLite0",
    "hash_bag": "fedlt.nn.text.hash_bag:HashBag",
    "bilstm_tagger": "fedlt.nn.text.bilstm_tagger:BiLSTMTagger",
    "text_cnn": "fedlt.nn.text.text_cnn:TextCNN",
    "bilstm": "fedlt.nn.text.bilstm:BiLSTM",
    "transformer": "fedlt.nn.text.transformer:Transformer",
    "window_transformer": "fedlt.nn.text.window_transformer:WindowTransformer",
    "chunked": "fedlt.nn.text.chunked:Chunked",
    "ss3": "fedlt.nn.text.ss3:SS3",
    "naive_bayes": "fedlt.nn.text.naive_bayes:NaiveBayes",
    "clauses": "fedlt.nn.clauses:ClauseModel",
    "behaviour_experts": "fedlt.nn.behaviour_experts:BehaviourExpertsModel",
    "two_towers": "fedlt.nn.two_towers:TwoTowers",
}
PARTITIONS = {
    "iid": "fedlt.data.partitions.flower:Iid",
    "dirichlet_per_class": "fedlt.data.partitions.per_class:DirichletPerClass",
    "dirichlet": "fedlt.data.partitions.flower:Dirichlet",
    "pathological": "fedlt.data.partitions.flower:Pathological",
    "shards": "fedlt.data.partitions.flower:Shards",
    "natural": "fedlt.data.partitions.natural:Natural",
    "given": "fedlt.data.partitions.given:Given",
    "size_skewed": "fedlt.data.partitions.flower:SizeSkewed",
    "dirichlet_capped": "fedlt.data.partitions.pfllib:DirichletCapped",
    "dirichlet_extended": "fedlt.data.partitions.pfllib:DirichletExtended",
    "class_blocks": "fedlt.data.partitions.pfllib:ClassBlocks",
    "dirichlet_equal": "fedlt.data.partitions.equal:DirichletEqual",
    "local_tail": "fedlt.data.partitions.local_tails:LocalTail",
    "mixed_tail": "fedlt.data.partitions.local_tails:MixedTail",
    "shifted_tail": "fedlt.data.partitions.local_tails:ShiftedTail",
}
ENCODERS = {
    "efficientnet_lite0": "fedlt.encoders.efficientnet_lite0:EfficientNetLite0",
    "minilm": "fedlt.encoders.minilm:MiniLM",
}
TOKENIZERS = {
    "federated": "fedlt.tokenizers.federated:Federated",
    "hashing": "fedlt.tokenizers.hashing:Hashing",
}
GENERATORS = {
    "markov": "fedlt.tokenizers.markov:Markov",
    "swap_drop": "fedlt.tokenizers.swap_drop:SwapDrop",
}
LINKS = {
    "dp": "fedlt.links.dp:DP",
    "quantise": "fedlt.links.quantise:Quantise",
    "top_k": "fedlt.links.top_k:TopK",
}
SELECTIONS = {
    "uniform": "fedlt.cohorts.uniform:Uniform",
    "by_size": "fedlt.cohorts.by_size:BySize",
    "power_of_choice": "fedlt.cohorts.power_of_choice:PowerOfChoice",
    "class_balanced": "fedlt.cohorts.class_balanced:ClassBalanced",
}
CLOCKS = {
    "log_normal": "fedlt.cohorts.log_normal:LogNormal",
    "listed": "fedlt.cohorts.listed:Listed",
}
ADAPTERS = {
    "lora": "fedlt.nn.adapters.lora:LoRA",
    "bitfit": "fedlt.nn.adapters.bitfit:BitFit",
    "mlp": "fedlt.nn.adapters.bottleneck:Bottleneck",
    "vpt": "fedlt.nn.adapters.prompts:Prompts",
}
FOLDERS = {
    "strategy": ("strategies", "fedlt.strategies"),
    "learner": ("fedlt/learners", "fedlt.learners"),
    "target": ("fedlt/data/kinds", "fedlt.targets"),
}

KINDS = (*CONTRACTS, "model", "partition", "optimizer", "schedule")
LISTED = {
    "model": MODELS,
    "partition": PARTITIONS,
    "selection": SELECTIONS,
    "clock": CLOCKS,
    "link": LINKS,
    "adapter": ADAPTERS,
    "encoder": ENCODERS,
    "tokenizer": TOKENIZERS,
    "generator": GENERATORS,
}
"""The built-in components of the kinds that have no folder of their own."""


def names(kind: str) -> list[str]:
    """The built-in components of a kind, sorted."""
    if kind in FOLDERS:
        folder = ROOT / FOLDERS[kind][0]
        return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
    if kind == "optimizer":
        return optimizers.names()
    if kind == "schedule":
        return schedules.names()
    return sorted({**LISTED, "metric": ()}[kind])


def flower_names() -> list[str]:
    """Flower's own server strategies, as scenarios name them."""
    return [FLOWER_PREFIX + name for name in sorted(flower_classes())]


def find(kind: str, name: str, relative_to: Path | None = None) -> Component:
    """The component of that name; a user's file is looked for relative to the folder `relative_to`.

    Raises:
        ScenarioError: with the nearest right spelling.
    """
    if kind == "optimizer":
        _, summary, fields = optimizers.fields(name)
        return Made(kind, name, "", summary, fields, make=partial(optimizers.create, name))
    if kind == "schedule":
        summary, fields = schedules.fields(name)
        return Component(kind, name, "", summary, fields)
    if ".py:" in name:
        return _find_file(kind, name, relative_to or Path.cwd())
    if kind == "strategy" and name.startswith(FLOWER_PREFIX):
        return _find_flower(name)
    if name.partition(":")[0] in OF_LIBRARIES.get(kind, ()):
        module, _, attribute = LIBRARY[kind].partition(":")
        like = _component(kind, name, source_of(module), attribute, module)
        return LibraryComponent.of_name(name, relative_to or Path.cwd(), like)

    named = _find_name(kind, name)
    if named is not None:
        return named

    remedy = meant(kind, name, relative_to or Path.cwd())
    if not remedy:
        own = f"{'' if names(kind) else '; there is none built in'} (your own: './file.py:{kind.capitalize()}')"
        remedy = f"{suggest(name, names(kind))}{own}"
    raise ScenarioError(Problem(kind, f"unknown {kind} {name!r}{remedy}"))


def own_class(key: str, name: str, relative_to: Path | None = None) -> type:
    """The class of `./file.py:Class`, which need not be a component.

    Args:
        key: what a problem is told under.
    """
    file, _, attribute = name.rpartition(":")
    path = _own_path(key, file, relative_to or Path.cwd())
    module = import_file(key, path)
    found = getattr(module, attribute, None)
    if not isinstance(found, type):
        own = [thing for thing, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        raise ScenarioError(Problem(key, f"{path} has no class {attribute!r}{suggest(attribute, own)}"))
    return found


def _find_file(kind: str, name: str, relative_to: Path) -> Component:
    file, _, attribute = name.rpartition(":")
    path = _own_path(kind, file, relative_to)
    return _component(kind, f"{path}:{attribute}", path, attribute, str(path))


def _own_path(key: str, file: str, relative_to: Path) -> Path:
    """The path of a user's file.

    Raises:
        ScenarioError: where there is none.
    """
    path = (relative_to / Path(file).expanduser()).resolve()
    if not path.is_file():
        remedy = "give the path from the folder you run in, or in a file from its own"
        raise ScenarioError(Problem(key, f"there is no file {path}; {remedy}"))
    return path


def _find_name(kind: str, name: str) -> Component | None:
    """A component that comes along, or that an installed package offers; None where there is none of that name."""
    if name in names(kind):
        if kind in FOLDERS:
            path = ROOT / FOLDERS[kind][0] / f"{name}.py"
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            return _component(kind, name, path, None, module)
        module, _, attribute = LISTED[kind][name].partition(":")
        return _component(kind, name, source_of(module), attribute, module)

    if kind in FOLDERS:
        for entry in importlib.metadata.entry_points(group=FOLDERS[kind][1], name=name):
            module, _, attribute = entry.value.partition(":")
            return _component(kind, name, source_of(module), attribute, module)
    return None


def _find_flower(name: str) -> Component:
    """A strategy of Flower's, whose constructor's arguments are its keys.

    Raises:
        ScenarioError: with the nearest right spelling.
    """
    classes = flower_classes()
    bare = name.removeprefix(FLOWER_PREFIX)
    if bare not in classes:
        raise ScenarioError(Problem("strategy", f"Flower has no strategy {bare!r}{suggest(bare, classes)}"))
    summary, init = classes[bare]
    return FlowerComponent("strategy", name, "server.flower_strategy:FlowerStrategy", summary, flower_fields(init))


def _own_module(name: str, path: Path, attribute: str) -> Component:
    """A model that is an ordinary module of a user's file: a class, a function, or what the file imports or assigns."""
    tree, comments = read(path)
    fields = module_fields(tree, comments, attribute)
    if fields is None:
        found = getattr(import_file("model", path), attribute, None)
        if not callable(found):
            known = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
            message = f"{path} has no class or function {attribute!r}{suggest(attribute, known)}"
            raise ScenarioError(Problem("model", message))
        fields = with_keys([replace(field, name=key_of(field.name)) for field in fields_of(found)])

    doc = next((ast.get_docstring(n) for n in tree.body if getattr(n, "name", "") == attribute), None)  # type: ignore[arg-type]
    summary = (doc or "").strip().splitlines() or [""]
    make = partial(_wrapped, path, attribute)
    return Made("model", name, f"{path}:{attribute}", summary[0], fields, young=YOUNG, make=make)


def _wrapped(path: Path, attribute: str, options: dict[str, Any]) -> Any:
    """The recipe of a user's module. A function of its own: what makes a component travels to other processes."""
    from fedlt.nn.wrapped import WrappedModule  # late: it imports torch

    options = {"name" if key == key_of("name") else key: value for key, value in options.items()}
    return WrappedModule.of(getattr(import_file("model", path), attribute), f"{path.name}:{attribute}", options)


def _component(kind: str, name: str, path: Path, attribute: str | None, module: str) -> Component:
    """A component from the source text of its file.

    Args:
        attribute: its class; None for the first dataclass of the file.
        module: what the component is imported from.

    Raises:
        ScenarioError: where the file has no such class, or the class no such form.
    """
    tree, comments = read(path)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    if kind == "model" and attribute and not (attribute in classes and is_recipe(tree, comments, classes[attribute])):
        return _own_module(name, path, attribute)

    if attribute is None:
        attribute = next((n for n, node in classes.items() if is_dataclass(node) and not n.startswith("_")), "")
    if attribute not in classes:
        raise ScenarioError(Problem(kind, f"{path} has no class {attribute!r}{suggest(attribute, classes)}"))
    refuse_renamed(kind, path, tree, classes[attribute])

    fields = {field.name: field for field in dataclass_fields(tree, comments, classes[attribute])}
    if kind != "model":
        refuse_plain(kind, path, classes[attribute])

    texts = docstrings(kind, path, tree, classes[attribute])
    summary = texts[0].splitlines() if texts else [""]
    needs, young = (class_literal(tree, classes[attribute], what) or () for what in ("needs", "young"))
    return Component(kind, name, f"{module}:{attribute}", summary[0], tuple(fields.values()), needs, young)


def docstrings(kind: str, path: Path, tree: ast.Module, node: ast.ClassDef) -> list[str]:
    """What is said of a component: its file's text first where the file is about it alone, else its own first."""
    alone = sum(isinstance(item, ast.ClassDef) for item in tree.body) == 1
    named = kind in FOLDERS and path.parent == ROOT / FOLDERS[kind][0]  # a file is named like its component
    texts = [ast.get_docstring(tree), ast.get_docstring(node)][:: 1 if alone or named else -1]
    return [text.strip() for text in texts if text and text.strip()]


def declaration(component: Component) -> tuple[list[str], dict[str, Any]]:
    """The texts about a component, and the class variables that tell where it applies: `scope`, where it has one."""
    module, _, attribute = component.target.partition(":")
    if not attribute or isinstance(component, FlowerComponent):
        return [component.summary], {}
    path = Path(module) if module.endswith(".py") else source_of(module)
    tree, _ = read(path)
    node = next((item for item in tree.body if isinstance(item, ast.ClassDef) and item.name == attribute), None)
    if node is None:
        return [component.summary], {}
    scope = class_literal(tree, node, "scope")
    return docstrings(component.kind, path, tree, node), {"scope": scope} if scope else {}
