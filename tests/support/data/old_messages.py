"""Old messages on a stack, an archiver as a process, and the proof that nothing of them changed."""

import random
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text

from jobs.transfer.bulk_import import BulkImporter
from models import codec
from models.message import Message
from selftest.bed.launching import clean_environment
from selftest.bed.stack import Testbed
from storage.clickhouse.pages import Selection
from support.calls.api import Api, ok
from support.calls.clients import api_of
from support.data.archives import old
from support.data.exporting import messages_of
from support.data.pending import entries
from support.data.users import fresh_user
from support.waiting import eventually

SCRIPT = Path(sys.executable).with_name("threadkeep")
ARCHIVE_SECONDS = 60


class OldMessages:
    """One user's messages of six years ago, a hundred for each of some weeks."""

    def __init__(self, bed: Testbed, weeks: int) -> None:
        self._bed = bed
        self.user = fresh_user()
        self.messages = [
            old(
                self.user,
                day=week * 7 + number / 20,
                thread=f"t{number % 4}",
                content=f"old {number}",
            )
            for week in range(weeks)
            for number in range(100)
        ]
        own = bed.services
        list(BulkImporter(own.tiers).run(self.messages))
        own.jobs.replication.ship_all()
        self.settle()

    def settle(self) -> None:
        """Waits until PostgreSQL has what is acknowledged by now, and ClickHouse what it has."""
        waiting = {entry.entry_id for entry in entries(self._bed.services)}
        eventually(
            lambda: not waiting & {entry.entry_id for entry in entries(self._bed.services)}, 20
        )
        eventually(lambda: self._count("clickhouse_outbox", "message_id") == 0, 20)

    def exported(self) -> list[bytes]:
        """All that the tiers have of the user."""
        own = self._bed.services
        exporter = own.jobs.exporter
        return [codec.encode(one) for one in messages_of(exporter, Selection(self.user))]

    def in_postgres(self) -> int:
        """How many of them `messages` still has."""
        return self._count("messages", "id")

    def _count(self, table: str, column: str) -> int:
        query = f"SELECT count(*) FROM {table} WHERE {column} = ANY(CAST(:ids AS uuid[]))"
        with self._bed.services.tiers.job_engine.connect() as connection:
            names = [one.id for one in self.messages]
            return int(connection.execute(text(query), {"ids": names}).scalar_one())

    def states(self) -> set[str]:
        """The states of all units."""
        with self._bed.services.tiers.job_engine.connect() as connection:
            return set(connection.execute(text("SELECT state FROM archive_units")).scalars())

    @contextmanager
    def being_changed(self, seed: int = 7) -> Iterator[dict[str, str | None]]:
        """Edits and deletes of them, one after the other, until the block ends.

        Gives what each changed message must be by then: its text, or None for a deleted one.
        """
        changed: dict[str, str | None] = {}
        stop = threading.Event()
        editor = Editor(api_of(self._bed, self.user), self.messages, changed, seed)
        thread = threading.Thread(target=editor.run, args=(stop,))
        thread.start()
        try:
            yield changed
        finally:
            stop.set()
            thread.join(30)
        assert editor.error is None, editor.error


class Editor:
    """Somebody who changes old messages at random."""

    def __init__(
        self, api: Api, messages: list[Message], changed: dict[str, str | None], seed: int
    ) -> None:
        self._api = api
        self._messages = messages
        self._changed = changed
        self._drawn = random.Random(seed)
        self.error: BaseException | None = None

    def run(self, stop: threading.Event) -> None:
        """Goes on until told to stop."""
        number = 0
        try:
            while not stop.is_set():
                number += 1
                self._change(self._drawn.choice(self._messages).id, number)
        except BaseException as error:
            self.error = error

    def _change(self, name: str, number: int) -> None:
        path = f"/api/messages/{name}"
        if name in self._changed and self._changed[name] is None:
            assert self._api.get(path).status_code == 404
        elif self._drawn.random() < 0.2:
            reply = self._api.delete(path)
            assert reply.status_code in (200, 204), reply.text
            self._changed[name] = None
        else:
            said = f"edit {number}"
            ok(self._api.patch(path, json={"message": said}))
            self._changed[name] = said
            assert ok(self._api.get(path))["content"] == said


def archive(bed: Testbed, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`threadkeep archive` of everything old, dropped at once, as a process behind the proxies."""
    return subprocess.run(
        command(*options),
        env=environment(bed, variables),
        cwd=Path(bed.folder_of("postgres")).parent,
        capture_output=True,
        text=True,
        timeout=ARCHIVE_SECONDS,
        check=False,
    )


@contextmanager
def archiving(bed: Testbed, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """The same while the block runs."""
    process = subprocess.Popen(
        command(),
        env=environment(bed, variables),
        cwd=Path(bed.folder_of("postgres")).parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def command(*options: str) -> list[str]:
    """The command line."""
    return [str(SCRIPT), "archive", *(options or ("--grace", "0"))]


def environment(bed: Testbed, variables: Mapping[str, str]) -> dict[str, str]:
    """What the programs of the stack have."""
    return clean_environment() | bed.env | dict(variables)


def struck_at(point: str, action: str = "kill") -> dict[str, Any]:
    """The variables by which the archiver is struck at the first pass of a point."""
    return {"THREADKEEP_DRILLS": "1", "THREADKEEP_FAULTPOINTS": f"{point}:1:{action}"}
