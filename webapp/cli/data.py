"""`threadkeep import` and `threadkeep export`."""

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

import click
import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

import settings
from models import codec
from models.message import InvalidMessage, Message, check_thread_id, check_user_id
from storage.archived_rows import Selection
from storage.bulk_import import BulkImporter, Imported
from storage.doctor import safety
from storage.export import Exporter
from storage.importers import chitchat, jsonl
from storage.importers.source import Refusal, Source, UnreadableSource, time_us_from
from storage.services import Services

FORMATS = ("jsonl", "chitchat")
SHOWN_PLACES = 10
"""Of each kind of refusal, so many places are named."""
KINDS = 50
"""So many kinds of refusal are told apart; a file that is nothing but errors stays short."""
PROGRESS_STEP = 1_000
SNAPSHOT_SECONDS = 600.0
"""The longest that PostgreSQL may take to sort everything for an export."""


class Refusals:
    """Sorts refusals out of a source and keeps the first places of each kind."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.places: dict[str, list[str]] = {}

    @property
    def total(self) -> int:
        """How many there were."""
        return self.counts.total()

    def add(self, refusal: Refusal) -> None:
        """Takes note of one."""
        is_known = refusal.reason in self.counts or len(self.counts) < KINDS
        reason = refusal.reason if is_known else "other reasons"
        self.counts[reason] += 1
        places = self.places.setdefault(reason, [])
        if len(places) < SHOWN_PLACES:
            places.append(refusal.where)

    def sieve(self, items: Iterable[Message | Refusal]) -> Iterator[Message]:
        """The messages among the items."""
        for item in items:
            if isinstance(item, Refusal):
                self.add(item)
            else:
                yield item

    def show(self) -> None:
        """Says on stderr what was refused, how often, and where first."""
        for reason, count in self.counts.most_common():
            places = ", ".join(self.places[reason])
            more = f" and {count - SHOWN_PLACES} more" if count > SHOWN_PLACES else ""
            click.echo(f"threadkeep: refused {count}: {reason} ({places}{more})", err=True)


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    help="The file's format; told from the file when left out.",
)
@click.option("--user", help="The owner of all messages, whoever sent them.")
@click.option(
    "--time",
    "start",
    metavar="RFC3339",
    help="The time of a thread's first message in JSON Lines where the line has none.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def import_history(
    file: Path, kind: str | None, user: str | None, start: str | None, as_json: bool
) -> None:
    """Import conversations of the past from FILE (- for JSON Lines on stdin).

    Importing a file again changes nothing, so an import that was stopped is simply repeated.
    The messages of a thread keep the order in which the file has them.
    """
    services = Services(settings.load())
    safety.check(services.settings)
    defaults = jsonl.Defaults(_checked(check_user_id, user), _time_us(start))
    refusals = Refusals()
    started = time.monotonic()
    with _opened(file) as stream:
        source = _source(file, stream, kind, defaults)
        importer = BulkImporter(services.job_engine, services.redis_repair, services.archived)
        done = Imported()
        with progress_bar("importing", source.total) as bar:
            for done in importer.run(refusals.sieve(source.items)):
                for refusal in done.refusals:
                    refusals.add(refusal)
                bar.update(bar.task_ids[0], completed=done.read + refusals.total)
    _say_imported(done, refusals, time.monotonic() - started, as_json)
    if refusals.total:
        sys.exit(1)


@click.command("export")
@click.option("--user", help="Only this user's messages.")
@click.option("--thread", help="Only threads of this id.")
@click.option("--format", "kind", type=click.Choice(["jsonl"]), default="jsonl", show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write here, all or nothing, instead of to stdout.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON (on stderr).")
def export_history(
    user: str | None, thread: str | None, kind: str, output: Path | None, as_json: bool
) -> None:
    """Write all messages of all tiers as JSON Lines, by user, thread and id.

    What `threadkeep import` reads back exactly. The same messages are the same bytes.
    """
    selection = Selection(_checked(check_user_id, user), _checked(check_thread_id, thread))
    own = msgspec.structs.replace(settings.load(), database_job_timeout_seconds=SNAPSHOT_SECONDS)
    services = Services(own)
    exporter = Exporter(
        services.job_engine, services.job_clickhouse, services.pending_log, services.persistence
    )
    started = time.monotonic()
    with _written(output) as stream:
        count, damaged = _write(exporter.messages(selection), stream)
    seconds = round(time.monotonic() - started, 3)
    summary = {"format": kind, "exported": count, "damaged": damaged, "seconds": seconds}
    if as_json:
        click.echo(msgspec.json.encode(summary), err=True)
    if damaged:
        raise click.ClickException(f"{damaged} messages do not match their own hash")


@contextmanager
def progress_bar(title: str, total: int | None) -> Iterator[Progress]:
    """A bar of one task on stderr, on a terminal only."""
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        bar.add_task(title, total=total)
        yield bar


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    if str(file) == "-":
        yield sys.stdin.buffer
        return
    with file.open("rb") as stream:
        yield stream


def _source(file: Path, stream: BinaryIO, kind: str | None, defaults: jsonl.Defaults) -> Source:
    is_stdin = str(file) == "-"
    if (kind or ("jsonl" if is_stdin else _guessed(file))) == "jsonl":
        return jsonl.source(stream, defaults, total=None if is_stdin else _line_count(file))
    try:
        return chitchat.source(chitchat.read(stream.read()), defaults.user_id)
    except UnreadableSource as error:
        raise click.ClickException(f"{file}: {error}") from None


def _guessed(file: Path) -> str:
    """A dataset is one object over many lines, or at least names its messages in the first."""
    if file.suffix in {".jsonl", ".ndjson"}:
        return "jsonl"
    with file.open("rb") as stream:
        first = stream.readline(jsonl.MAX_LINE_BYTES).strip()
    return "chitchat" if first == b"{" or b'"messages"' in first else "jsonl"


def _checked(check: Callable[[str], None], value: str | None) -> str | None:
    try:
        if value is not None:
            check(value)
    except InvalidMessage as error:
        raise click.UsageError(str(error)) from None
    return value


def _time_us(text: str | None) -> int | None:
    try:
        return None if text is None else time_us_from(text)
    except InvalidMessage as error:
        raise click.UsageError(f"--time: {error}") from None


def _line_count(file: Path) -> int:
    with file.open("rb") as stream:
        return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))


def _say_imported(done: Imported, refusals: Refusals, seconds: float, as_json: bool) -> None:
    refusals.show()
    summary = {
        "written": done.written,
        "unchanged": done.unchanged,
        "deleted": done.deleted,
        "refused": refusals.total,
        "refusals": [
            {"reason": reason, "count": count, "where": refusals.places[reason]}
            for reason, count in refusals.counts.most_common()
        ],
        "seconds": round(seconds, 3),
        "per_second": round(done.read / seconds),
    }
    if as_json:
        click.echo(msgspec.json.encode(summary))
        return
    line = f"{done.written:,} written, {done.unchanged:,} already there"
    if done.deleted:
        line += f", {done.deleted:,} left out because their thread was deleted"
    click.echo(f"{line}, {refusals.total:,} refused in {seconds:.1f} s")


@contextmanager
def _written(output: Path | None) -> Iterator[IO[bytes]]:
    """Stdout, or a file that has its name only when it is whole and on disk."""
    if output is None:
        try:
            yield sys.stdout.buffer
        except BrokenPipeError:
            # The reader has seen enough, and whatever is still buffered has nowhere to go.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        return
    draft = output.with_name(f"{output.name}.{os.getpid()}.part")
    try:
        # Conversations are nobody else's business.
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(output)
    finally:
        draft.unlink(missing_ok=True)


def _write(messages: Iterable[Message], stream: IO[bytes]) -> tuple[int, int]:
    """Writes lines; gives how many, and how many of them do not match their hash."""
    count = damaged = 0
    with progress_bar("exporting", None) as bar:
        for message in messages:
            count += 1
            damaged += not codec.is_intact(message)
            stream.write(codec.encode(message) + b"\n")
            if count % PROGRESS_STEP == 0:
                bar.update(bar.task_ids[0], completed=count)
    stream.flush()
    return count, damaged
