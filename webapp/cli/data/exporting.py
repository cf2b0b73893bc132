"""`threadkeep export`."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click
import msgspec

import settings
from jobs.audit import subject_of
from jobs.transfer.files import created
from jobs.transfer.formats import thread_lines
from models import codec
from models.message import Message, Thread, check_thread_id, check_user_id
from storage.clickhouse.pages import Selection
from webapp.cli.operator import operator
from webapp.cli.options import checked
from webapp.cli.progress import progress_bar
from wiring.process import Services

PROGRESS_STEP = 1_000
SNAPSHOT_SECONDS = 600.0
"""The longest that PostgreSQL may take to sort everything for an export."""


@click.command("export")
@click.option("--user", help="Only this user's threads and messages.")
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
    """Write all threads and messages of all tiers as JSON Lines, by user, thread and id.

    `threadkeep import` reads them back exactly. The same threads and messages give the same bytes.
    """
    selection = Selection(checked(check_user_id, user), checked(check_thread_id, thread))
    own = msgspec.structs.replace(settings.load(), database_job_timeout_seconds=SNAPSHOT_SECONDS)
    services = Services(own)
    started = time.monotonic()
    services.jobs.audit.note(operator(), "messages.exported", subject_of(*selection))
    with _written(output) as stream:
        threads, count, damaged = _write(services.jobs.exporter.everything(selection), stream)
    seconds = round(time.monotonic() - started, 3)
    summary = {
        "format": kind,
        "threads": threads,
        "exported": count,
        "damaged": damaged,
        "seconds": seconds,
    }
    if as_json:
        click.echo(msgspec.json.encode(summary), err=True)
    if damaged:
        raise click.ClickException(f"{damaged} messages do not match their own hash")


@contextmanager
def _written(output: Path | None) -> Iterator[IO[bytes]]:
    """Stdout, or a file that gets its name only when it is complete and on disk."""
    if output is None:
        try:
            yield sys.stdout.buffer
        except BrokenPipeError:
            # The reader closed the pipe; buffered output has nowhere to go.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        return
    draft = output.with_name(f"{output.name}.{os.getpid()}.part")
    try:
        with created(draft) as file:
            yield file
        draft.replace(output)
    finally:
        draft.unlink(missing_ok=True)


def _write(records: Iterable[Thread | Message], stream: IO[bytes]) -> tuple[int, int, int]:
    """Writes lines; gives the numbers of threads, of messages, and of messages that do not match
    their hash."""
    threads = count = damaged = 0
    with progress_bar("exporting", None) as bar:
        for record in records:
            if isinstance(record, Thread):
                threads += 1
                stream.write(thread_lines.encode(record) + b"\n")
                continue
            count += 1
            damaged += not codec.is_intact(record)
            stream.write(codec.encode(record) + b"\n")
            if count % PROGRESS_STEP == 0:
                bar.update(bar.task_ids[0], completed=count)
    stream.flush()
    return threads, count, damaged
