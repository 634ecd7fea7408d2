"""Flower's own server strategies, read from their source text: Flower itself is not imported."""

from __future__ import annotations

import ast
from functools import lru_cache

from fedlt.config.schema import Field
from fedlt.config.source import constructor, source_of


@lru_cache(maxsize=1)
def flower_classes() -> dict[str, tuple[str, ast.FunctionDef]]:
    """Summary and constructor of each strategy that Flower exports and that can be the server half of one of ours."""
    folder = source_of("flwr").parent / "serverapp" / "strategy"
    trees = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.py"))}
    nodes = {node.name: node for tree in trees.values() for node in tree.body if isinstance(node, ast.ClassDef)}
    imports = [node for node in trees["__init__"].body if isinstance(node, ast.ImportFrom)]
    # Left out: strategies that need more of a client than its weights and its number of samples. Flower's FedProx is
    # FedAvg on the server; its penalty is the client's to add, as our own fedprox does.
    beyond = ("FedXgb", "QFedAvg", "FedProx", "DifferentialPrivacyClientSide")
    found = {}
    for name in (alias.name for item in imports for alias in item.names):
        init = constructor(name, nodes)
        if init is not None and not name.startswith(beyond):
            found[name] = ((ast.get_docstring(nodes[name]) or name).splitlines()[0], init)
    return found


def flower_fields(init: ast.FunctionDef) -> tuple[Field, ...]:
    """Constructor arguments that are hyper-parameters: numbers, texts and switches that the scenario does not set."""
    ours = {"weighted_by_key", "arrayrecord_key", "configrecord_key", "num_sampled_clients", "strategy"}
    plain = {"int", "float", "str", "bool", "None"}

    positional = init.args.args[1:]
    missing = [None] * (len(positional) - len(init.args.defaults))
    pairs = [*zip(positional, [*missing, *init.args.defaults], strict=True)]
    pairs += zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)

    fields = []
    for argument, default in pairs:
        annotation = ast.unparse(argument.annotation) if argument.annotation else "Any"
        sampling = argument.arg.startswith(("fraction_", "min_"))
        if sampling or argument.arg in ours or not plain.issuperset(annotation.split(" | ")):
            continue
        required = default is None
        fields.append(Field(argument.arg, annotation, None if default is None else ast.literal_eval(default), required))
    return tuple(fields)
