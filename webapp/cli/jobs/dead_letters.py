"""`threadkeep dead-letters`: list, replay or discard writes that PostgreSQL refused."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

import settings
from jobs.persist.dead_letters import DeadLetter, DeadLetterService
from storage.errors import NotFound, StillRefused
from webapp.cli.operator import operator
from webapp.cli.terminal import plain
from wiring.process import Services

PAGE_LETTERS = 500

_LETTER = click.argument("letter_id", metavar="ID", type=click.IntRange(1, 2**63 - 1))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@click.group("dead-letters")
def dead_letters() -> None:
    """List, replay or discard writes that PostgreSQL refused.

    A refused write stays readable in Redis until somebody decides on it.
    """


@dead_letters.command("list")
@_JSON
def list_letters(as_json: bool) -> None:
    """List the refused writes, newest first, without their content."""
    letters = list(_all(_service()))
    if as_json:
        click.echo(msgspec.json.encode(letters))
    elif letters:
        Console(highlight=False).print(_table(letters))
    else:
        click.echo("PostgreSQL refused nothing")


@dead_letters.command("show")
@_LETTER
@_JSON
def show_letter(letter_id: int, as_json: bool) -> None:
    """Show one refused write with its content."""
    try:
        letter = _service().get(letter_id, by=operator())
    except NotFound:
        raise _unknown(letter_id) from None
    if as_json:
        click.echo(msgspec.json.encode(letter))
        return
    for name, value in msgspec.to_builtins(letter).items():
        if value is not None:
            click.echo(f"{name + ':':<15} {plain(str(value))}")


@dead_letters.command("replay")
@click.argument("letter_id", metavar="[ID]", type=click.IntRange(1, 2**63 - 1), required=False)
@click.option("--all", "everything", is_flag=True, help="Try all of them, oldest first.")
@click.option(
    "--record",
    "repaired",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Write this repaired record in the letter's place.",
)
def replay_letters(letter_id: int | None, everything: bool, repaired: Path | None) -> None:
    """Write a refused entry to PostgreSQL again; it leaves this list once that succeeds.

    Exit status 1 if anything was refused again.
    """
    if everything == (letter_id is not None):
        raise click.UsageError("give an ID or --all")
    if repaired is not None and everything:
        raise click.UsageError("a repaired record is that of one ID")
    record = None if repaired is None else repaired.read_bytes()
    service = _service()
    if letter_id is not None:
        landed = _replay(service, letter_id, record)
    else:
        outcomes = [_replay_if_there(service, number) for number in service.numbers()]
        landed = all(outcomes)
        click.echo(f"{sum(outcomes)} of {len(outcomes)} replayed")
    if not landed:
        sys.exit(1)


@dead_letters.command("discard")
@_LETTER
@click.option("--yes", is_flag=True, help="Do not ask.")
def discard_letter(letter_id: int, yes: bool) -> None:
    """Discard a refused write for good."""
    if not yes:
        click.confirm(f"Lose what letter {letter_id} holds for good?", abort=True, err=True)
    try:
        done = _service().discard(letter_id, by=operator())
    except NotFound:
        raise _unknown(letter_id) from None
    copy = "and its copy in Redis" if done.removed_from_redis else "and no copy was in Redis"
    click.echo(f"discarded {letter_id}, {copy}")


def _replay(service: DeadLetterService, letter_id: int, record: bytes | None) -> bool:
    try:
        done = service.replay(letter_id, by=operator(), record=record)
    except NotFound:
        raise _unknown(letter_id) from None
    except StillRefused as error:
        line = f"refused {letter_id} again, {error.attempts} times in all: {error.reason}"
        click.echo(f"threadkeep: {line}", err=True)
        return False
    what = "written" if done.written else "not needed: PostgreSQL has it, or its thread is gone"
    click.echo(f"replayed {letter_id}: {what}")
    return True


def _replay_if_there(service: DeadLetterService, letter_id: int) -> bool:
    """As above; a letter that another process has just resolved is no error."""
    try:
        return _replay(service, letter_id, None)
    except click.ClickException:
        return True


def _service() -> DeadLetterService:
    return Services(settings.load()).jobs.dead_letters


def _unknown(letter_id: int) -> click.ClickException:
    return click.ClickException(f"there is no dead letter {letter_id}")


def _all(service: DeadLetterService) -> Iterator[DeadLetter]:
    cursor = None
    while True:
        page, cursor = service.list(limit=PAGE_LETTERS, cursor=cursor)
        yield from page
        if cursor is None:
            return


def _table(letters: list[DeadLetter]) -> Table:
    table = Table(title="Dead letters")
    for heading in ("id", "refused at", "tried", "kind", "message or thread", "user", "reason"):
        table.add_column(heading, overflow="fold")
    for letter in letters:
        cells = (
            str(letter.id),
            letter.refused_at,
            str(letter.attempts),
            letter.kind,
            letter.message_id or letter.thread_id or "?",
            letter.user_id or "?",
            letter.reason,
        )
        # `Text`, so that users' content is not read as markup.
        table.add_row(*(Text(plain(cell)) for cell in cells))
    return table
