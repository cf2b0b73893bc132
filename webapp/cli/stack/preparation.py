"""The supervisor's side of `webapp.cli.stack.prepare`. What it would take to load the application
stays out of a process that lives as long as the stack."""

import subprocess
import sys
from types import TracebackType
from typing import Self

import click
import msgspec

PREPARED = "prepared"
READY = "ready"
REALTIME = "realtime"
FLOWER_PROBE = "/healthcheck"
"""What Flower says without its password."""
SAMPLE_USER = "alice"
SAMPLE_ADMIN = "operator"


class Order(msgspec.Struct):
    """What is to be prepared: the programs, and what their environment has beside the caller's."""

    env: dict[str, str]
    programs: list[str]
    is_ours: bool
    """Whether PostgreSQL is one of this stack's own servers."""


class Preparation:
    """The process; a context manager that leaves none behind. `is_over` says that it was ended."""

    def __init__(self) -> None:
        self.is_over = False

    def __enter__(self) -> Self:
        debug = ["--debug"] if "--debug" in sys.argv[1:2] else []
        self._process = subprocess.Popen(
            # Without the current folder on its path, as the caller.
            [sys.executable, "-P", "-m", "webapp.cli.stack.prepare", *debug],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C is the supervisor's alone.
            start_new_session=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.is_over = True
        self._process.kill()
        self._process.wait()

    def prepare(self, order: Order) -> None:
        """Waits until the servers are fit for the programs. A refusal ends the command with the
        process's status; the process has said why."""
        assert self._process.stdin is not None
        print(msgspec.json.encode(order).decode(), file=self._process.stdin, flush=True)
        if self._until(PREPARED) is None:
            raise click.exceptions.Exit(self._process.wait() or 1)

    def tokens(self) -> list[str] | None:
        """A token for the sample user and one for an admin, once everything answers; None if that
        takes too long."""
        found = self._until(READY)
        return None if found is None else found.split()

    def _until(self, word: str) -> str | None:
        """What follows the word at the start of a line; None if none comes."""
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            first, _, rest = line.strip().partition(" ")
            if first == word:
                return rest
            click.echo(line, nl=False)
            sys.stdout.flush()
        return None


def say(line: str) -> None:
    """Prints a line at once."""
    click.echo(f"threadkeep: {line}")
    sys.stdout.flush()
