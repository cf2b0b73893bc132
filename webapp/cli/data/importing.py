"""`threadkeep import`."""

import io
import os
import stat
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import click
import msgspec

import settings
from jobs.transfer.bulk_import import BulkImporter, Imported
from jobs.transfer.formats import chitchat, jsonl
from jobs.transfer.formats.opening import CHITCHAT, JSON_LINES, OpenSource
from jobs.transfer.formats.source import (
    Item,
    Kept,
    RefusedLine,
    UnreadableSource,
    time_us_from,
)
from models.message import InvalidMessage, check_user_id
from storage.availability.checks import safety
from webapp.cli.options import checked
from webapp.cli.progress import progress_bar
from wiring.process import Services

FORMATS = (JSON_LINES, CHITCHAT)
LINES_SUFFIXES = {".jsonl", ".ndjson"}
SHOWN_PLACES = 10
"""So many places are named for each kind of refusal."""
KINDS = 50
"""So many kinds of refusal are distinguished, so that the report of a bad file stays short."""
BLOCK_BYTES = 1 << 20


class Refusals:
    """Counts the refusals of a source by kind, with the first places of each."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.places: dict[str, list[str]] = {}
        self.ended_by: str | None = None
        """Why the source could not be read to its end, empty if it was."""

    @property
    def total(self) -> int:
        """How many items were refused."""
        return self.counts.total()

    def add(self, refusal: RefusedLine) -> None:
        """Counts one."""
        is_known = refusal.reason in self.counts or len(self.counts) < KINDS
        reason = refusal.reason if is_known else "other reasons"
        self.counts[reason] += 1
        places = self.places.setdefault(reason, [])
        if len(places) < SHOWN_PLACES:
            places.append(refusal.where)

    def sieve(self, items: Iterable[Item]) -> Iterator[Kept]:
        """The valid items, as far as the source can be read."""
        try:
            for item in items:
                if isinstance(item, RefusedLine):
                    self.add(item)
                else:
                    yield item
        except UnreadableSource as error:
            self.ended_by = str(error)

    def show(self) -> None:
        """Prints on stderr what was refused, how often, and where first."""
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
    """Import past conversations from FILE, which may be a pipe or gzip (- for stdin).

    Importing a file again changes nothing, so repeat an import that was interrupted. Every message
    keeps its time; messages of one thread with the same time keep the order of the file.
    """
    defaults = jsonl.Defaults(checked(check_user_id, user), _time_us(start))
    services = Services(settings.load())
    safety.check(services.settings)
    refusals = Refusals()
    started = time.monotonic()
    with _opened(file) as stream:
        try:
            total, items = _source(stream, kind or _expected(file), defaults)
        except UnreadableSource as error:
            raise click.ClickException(f"{file}: {error}") from None
        done = _run(services, items, total, refusals)
    _say_imported(done, refusals, time.monotonic() - started, as_json)
    if refusals.ended_by is not None:
        raise click.ClickException(
            f"{file}: {refusals.ended_by}; everything before that was imported"
        )
    if not done.read and not refusals.total:
        raise click.ClickException(f"{file}: there is no message in it")
    if refusals.total:
        sys.exit(1)


def _run(
    services: Services, items: Iterable[Item], total: int | None, refusals: Refusals
) -> Imported:
    importer = BulkImporter(services.tiers)
    done = Imported()
    with progress_bar("importing", total) as bar:
        for done in importer.run(refusals.sieve(items)):
            for refusal in done.refusals:
                refusals.add(refusal)
            bar.update(bar.task_ids[0], completed=done.read + refusals.total)
    return done


@contextmanager
def _opened(file: Path) -> Iterator[io.BufferedIOBase]:
    if str(file) == "-":
        yield cast(io.BufferedIOBase, sys.stdin.buffer)
        return
    with file.open("rb") as stream:
        yield stream


def _expected(file: Path) -> str | None:
    """The format by the name of the file."""
    suffixes = [suffix for suffix in file.suffixes if suffix != ".gz"]
    return JSON_LINES if suffixes and suffixes[-1] in LINES_SUFFIXES else None


def _source(
    stream: io.BufferedIOBase, kind: str | None, defaults: jsonl.Defaults
) -> tuple[int | None, Iterable[Item]]:
    """The number of messages or lines, if known, and the items of the source.

    Raises `UnreadableSource`.
    """
    total = _line_count(stream)
    opened = OpenSource(stream)
    if opened.format(kind) == CHITCHAT:
        conversations = chitchat.read(opened.stream.read(chitchat.MAX_BYTES + 1))
        return chitchat.count(conversations), chitchat.source(conversations, defaults.user_id)
    return None if opened.is_packed else total, jsonl.source(opened.stream, defaults)


def _line_count(stream: io.BufferedIOBase) -> int | None:
    """How many lines a regular file has, None for a pipe. Does not read from the stream."""
    descriptor = stream.fileno()
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return None
    lines = offset = 0
    while block := os.pread(descriptor, BLOCK_BYTES, offset):
        lines += block.count(b"\n")
        offset += len(block)
    return lines


def _time_us(text: str | None) -> int | None:
    try:
        return None if text is None else time_us_from(text)
    except InvalidMessage as error:
        raise click.UsageError(f"--time: {error}") from None


def _say_imported(done: Imported, refusals: Refusals, seconds: float, as_json: bool) -> None:
    refusals.show()
    summary = {
        "written": done.written,
        "unchanged": done.unchanged,
        "deleted": done.deleted,
        "threads": done.threads,
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
        line += f", {done.deleted:,} left out because their thread or their user was deleted"
    if done.threads_read:
        line += f", {done.threads:,} of {done.threads_read:,} threads written"
    click.echo(f"{line}, {refusals.total:,} refused in {seconds:.1f} s")
