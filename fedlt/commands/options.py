"""What becomes of options that no command has: a scenario's keys are often typed as such (`--rounds 5`)."""

from __future__ import annotations

import shlex
from typing import IO, Any

import click
from typer.core import TyperCommand, TyperGroup

from fedlt.commands.typed import content


class Group(TyperGroup):
    """The commands.

    One that there is none of is refused with those that are spelt alike, once: click and typer would both name them.
    """

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of that name, or the one that may have been meant."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from fedlt.config.schema import suggest

            ctx.fail(f"there is no command {args[0]!r}{suggest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


class Command(TyperCommand):
    """A command that says how a key is set, where one is typed as an option, and whose help is plain text."""

    def get_help(self, ctx: click.Context) -> str:
        return super().get_help(ctx).replace("\\[", "[")  # typer escapes brackets for rich wherever that is installed

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Options anywhere; one that is a key without `--` is told so."""
        typed = list(args)  # parsing takes them away
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if any(parameter.name == "overrides" for parameter in self.params):
                _refuse_keys(ctx, self, typed)
            raise error


class KeyAsOption(click.ClickException):
    """Keys of the scenario were typed as options. The message ends with the command to type."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"error: {self.message}", file=file, err=file is None)


def _refuse_keys(ctx: click.Context, command: click.Command, typed: list[str]) -> None:
    """Raise `KeyAsOption` if every option that the command lacks may be meant as a key of the scenario."""
    from fedlt.config.keys import assignments, key_owners, meant

    options, positional, unknown = _parted(command, typed)
    scenario = content(positional)
    told = []
    for option, value in unknown:
        word = option.lstrip("-")
        found, owners = meant(word, value, scenario), key_owners(word)
        if found:
            also = f" (or {', '.join(found[1:])})" if found[1:] else ""
        elif owners:
            holder, components = next(iter(owners.items()))
            found, also = [f"{holder}.{word}"], f", of {holder}={' or '.join(components)}"
            positional.append(f"{holder}={components[0]}")
        else:
            return
        told.append(f"{option}: no option of fedlt {command.name}; the key is {found[0]}{also}")
        positional.append(next(assignments(found[0], value)))

    if told:
        line = shlex.join([*positional, *options])
        raise KeyAsOption("\n".join([*told, f"keys are written key=value:\n  fedlt {command.name} {line}"]))


def _parted(command: click.Command, typed: list[str]) -> tuple[list[str], list[str], list[tuple[str, str]]]:
    """What was typed, in three: options of the command with their values; other words, those that are no key=value
    first; and options that the command lacks, each with its value.
    """
    own = {name: option for option in command.params if isinstance(option, click.Option) for name in option.opts}

    options: list[str] = []
    positional: list[str] = []
    unknown: list[tuple[str, str]] = []

    rest = list(typed)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        follows = not equals and bool(rest) and not rest[0].startswith("--")

        if name in own:
            options += [word, rest.pop(0)] if follows and not own[name].is_flag else [word]
        elif name.startswith("--") and name != "--":
            given = value if equals else rest.pop(0) if follows and "=" not in rest[0] else "true"
            unknown.append((name, given))
        else:
            positional.append(word)

    return options, sorted(positional, key=lambda word: "=" in word), unknown
