"""A group whose commands are imported when one of them runs: each imports only what it does."""

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click


class Deferred(NamedTuple):
    """Where a command is, and what the list of commands says of it."""

    module: str
    attribute: str
    help: str

    def load(self) -> click.Command:
        """The command itself."""
        command = getattr(importlib.import_module(self.module), self.attribute)
        assert isinstance(command, click.Command)
        return command


class LazyGroup(click.Group):
    """Lists its commands without importing any."""

    def __init__(self, *args: Any, deferred: Mapping[str, Deferred], **options: Any) -> None:
        super().__init__(*args, **options)
        self.deferred = deferred
        for name, one in deferred.items():
            self.add_command(click.Command(name, help=one.help))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Replaces the entry of the list by the command that it stands for."""
        name, entry, rest = super().resolve_command(ctx, args)
        found = self.deferred.get(name or "")
        return name, found.load() if found else entry, rest
