"""A stack with real history that loses Redis and PostgreSQL with their disks, and what must be the
same after it came back."""

import hashlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import text

import settings as configuration
from embedded.supervision import procfs
from jobs.transfer.bulk_import import BulkImporter
from models import codec
from models.message import Message
from selftest.bed.launching import Launched, clean_environment, launch_up
from support.calls.api import Api
from support.data.exporting import messages_of
from support.stack.processes import PATIENT, SHIPS_SOON
from support.stack.tiers import tiers
from support.waiting import eventually
from webapp.http.auth import Tokens
from wiring.process import Services

SCRIPT = Path(sys.executable).with_name("threadkeep")
LOST = ("redis-data", "redis-broker", "postgres")
"""Servers, which are also the folders of their data."""
COMMAND_SECONDS = 400
QUIET_SECONDS = 180
SNAPSHOT_SECONDS = 300.0
STOP_SECONDS = 60
OF_SOMEBODY_ELSE = {"PGTZ": "America/New_York", "PGDATESTYLE": "SQL, DMY", "TZ": "Asia/Kolkata"}
"""In the environment of every program; none of it changes a time that is read."""
_TOOK = re.compile(r"recovered in ([\d.]+) s")
_SAME = {
    "archive_boundary": "SELECT below::text FROM archive_boundary",
    "archive_slices": "SELECT * FROM archive_slices ORDER BY unit_id, period, share",
    "archive_units": "SELECT * FROM archive_units ORDER BY id",
    # Beat purges once an hour, whatever else goes on.
    "audit_trail": (
        "SELECT * FROM audit_trail WHERE action NOT LIKE 'recovery.%'"
        " AND action <> 'messages.purged' ORDER BY id"
    ),
    "checkpoints": "SELECT *, state::text FROM checkpoints ORDER BY user_id, run_id, version",
    "dead_letters": "SELECT * FROM dead_letters ORDER BY id",
    "held_versions": "SELECT * FROM held_versions ORDER BY id, version",
    "installation": "SELECT installation::text FROM redis_state",
    "retention_policies": "SELECT * FROM retention_policies ORDER BY user_id, thread_id",
    "state_records": "SELECT *, state::text FROM state_records ORDER BY kind, user_id, name",
    "threads": 'SELECT * FROM threads ORDER BY user_id COLLATE "C", id COLLATE "C"',
    "user_erasures": (
        "SELECT user_id, erased_through, erased_at, requested_by, requested_at, finished_at"
        " FROM user_erasures ORDER BY user_id"
    ),
}
_IN_POSTGRES = """
SELECT id::text AS id, version, content_hash, deleted_at IS NOT NULL AS gone FROM messages
WHERE id >= (SELECT below FROM archive_boundary) ORDER BY id
"""
_WAITING = """
SELECT (SELECT count(*) FROM clickhouse_outbox), (SELECT count(*) FROM row_copies_outbox),
       (SELECT count(*) FROM audit_outbox)
"""


class Remembered(NamedTuple):
    """Everything that is to be the same: rows of PostgreSQL by their table, and the export."""

    tables: dict[str, list[tuple[Any, ...]]]
    messages: int
    export: str


class Recovered(NamedTuple):
    """What `threadkeep recover` said, and how long it said and the whole of it took, in seconds."""

    said: str
    seconds: float
    whole_seconds: float


class RecoveryDrill:
    """One stack on one folder of data, which is started more than once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.data = folder / "data"
        self._stack: Launched | None = None

    @contextmanager
    def up(self) -> Iterator[Services]:
        """Runs it; gives its tiers. Stopped as an operator would, unless it was killed."""
        env = clean_environment() | SHIPS_SOON | PATIENT | OF_SOMEBODY_ELSE
        # One that was killed has not taken its addresses back.
        (self._folder / "env").unlink(missing_ok=True)
        with launch_up(self._folder, env, "flower", "realtime", data=self.data) as stack:
            stack.env |= PATIENT
            self._stack = stack
            long = {"THREADKEEP_DATABASE_JOB_TIMEOUT_SECONDS": f"{SNAPSHOT_SECONDS:g}"}
            with tiers(stack.env | long) as services:
                yield services

    @property
    def stack(self) -> Launched:
        assert self._stack is not None
        return self._stack

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A command of the program, on the stack that runs."""
        return subprocess.run(
            [str(SCRIPT), *arguments],
            env=clean_environment() | OF_SOMEBODY_ELSE | self.stack.env | variables,
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def done(self, *arguments: str) -> str:
        """What a command prints that must succeed."""
        ended = self.run(*arguments)
        assert ended.returncode == 0, f"{arguments}: {ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def lose(self) -> None:
        """Kills all of it, and Redis and PostgreSQL lose every byte."""
        stack = self.stack
        doomed = [stack.pid, *(pid for name in stack.pids_now() for pid in stack.members(name))]
        procfs.send(doomed, signal.SIGKILL)
        eventually(lambda: not any(map(_lives, doomed)), STOP_SECONDS)
        for name in LOST:
            shutil.rmtree(self.data / name)

    def recover(self, began: float) -> Recovered:
        """Has the operator ask for it, who need not know that a worker may have begun."""
        said = self.done("recover", "--from", "clickhouse")
        found = _TOOK.search(said)
        assert found is not None, said
        return Recovered(said, float(found[1]), time.monotonic() - began)

    def api(self, user: str) -> Api:
        """The API as a user."""
        tokens = Tokens(configuration.load(self.stack.env))
        return Api(self.stack.url, tokens.issue(user, is_admin=False, ttl_seconds=3600))


def import_all(services: Services, messages: Iterable[Message]) -> int:
    """Imports history; gives how many messages."""
    importer = BulkImporter(services.tiers)
    written = 0
    for step in importer.run(messages):
        written = step.written
    return written


def quiet(services: Services) -> None:
    """Waits until nothing is on its way anywhere."""

    def is_quiet() -> bool:
        with services.tiers.job_engine.connect() as connection:
            waiting = connection.execute(text(_WAITING)).one()
        return not any(waiting) and not sum(services.tiers.pending_log.backlog())

    eventually(is_quiet, QUIET_SECONDS)


def remembered(services: Services) -> Remembered:
    """What there is now."""
    with services.tiers.job_engine.connect() as connection:
        found = {
            name: [tuple(row) for row in connection.execute(text(query))]
            for name, query in (_SAME | {"messages": _IN_POSTGRES}).items()
        }
    exporter = services.jobs.exporter
    digest, count = hashlib.sha256(), 0
    for message in messages_of(exporter):
        assert codec.is_intact(message)
        digest.update(codec.encode(message) + b"\n")
        count += 1
    return Remembered(found, count, digest.hexdigest())


def assert_same(before: Remembered, after: Remembered) -> None:
    """Tells of the first few rows that are not."""
    for name, rows in before.tables.items():
        lost = _missing(rows, after.tables[name])
        new = _missing(after.tables[name], rows)
        assert not lost and not new, (
            f"{name}: {len(lost)} are not as before, {len(new)} are new: {lost[:3]} {new[:3]}"
        )
    assert (after.messages, after.export) == (before.messages, before.export)


def _missing(rows: Sequence[tuple[Any, ...]], among: Sequence[tuple[Any, ...]]) -> list[str]:
    there = set(map(repr, among))
    return [one for one in map(repr, rows) if one not in there]


def _lives(pid: int) -> bool:
    found = procfs.entry(pid)
    return found is not None and found.alive
