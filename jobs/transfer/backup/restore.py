"""Puts a backup back, beside whatever is there: newer versions stay, erased users stay out.

Messages go to PostgreSQL and by its outbox to ClickHouse; those that were archived go to
ClickHouse alone, as they lay there. Every step may be repeated. A backup that this installation
has not signed is restored only if it is trusted, and what it says of who did what is left out.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec
from sqlalchemy import Engine, text

from jobs.audit import AuditTrail
from jobs.migrate import migrate_all
from jobs.recover.loading import load
from jobs.recover.redis import RedisRecoveryService
from jobs.recover.thread_counts import ThreadCounter
from jobs.replicate import audit_outbox
from jobs.transfer.backup.manifest import AUDIT, MESSAGES, Manifest, SignedManifest
from jobs.transfer.backup.snapshot import small_tables
from jobs.transfer.backup.verify import lines, verify
from jobs.transfer.backup.write import Tell
from models import codec, ids
from storage.availability import hidden
from storage.clickhouse.driver import ClickHouse
from storage.errors import Refused
from storage.postgres import restore as restoring
from storage.postgres import writes
from storage.postgres.driver import translated
from storage.postgres.partitions import Partitions
from storage.resilience.retries import retry_until_available

BATCH_MESSAGES = 5_000

_IS_EMPTY = text(
    "SELECT NOT EXISTS (SELECT FROM messages) AND NOT EXISTS (SELECT FROM threads) AS is_empty"
)
_IN_CLICKHOUSE = "SELECT count() FROM messages"
_RAISE_BOUNDARY = text(
    "UPDATE archive_boundary SET below = greatest(below, CAST(:boundary AS uuid))"
)

_KEPT_WHOLE = frozenset({"user_erasures", "audit_trail"})
"""Tables that say what became of a user, and so hold rows of those who were erased."""


class RestoreService:
    """Restores backups."""

    def __init__(
        self,
        engine: Engine,
        server: ClickHouse,
        redis: RedisRecoveryService,
        audit: AuditTrail,
        ships: tuple[Callable[[], object], ...],
        slots: int,
        weeks_ahead: int,
        key: bytes,
    ) -> None:
        """The key is that with which this installation signs its backups."""
        self._engine = engine
        self._server = server
        self._redis = redis
        self._audit = audit
        self._ships = ships
        self._counter = ThreadCounter(engine, server, slots)
        self._partitions = Partitions(engine)
        self._weeks_ahead = weeks_ahead
        self._key = key

    def restore(
        self,
        folder: Path,
        actor: str,
        *,
        merge: bool = False,
        trust: bool = False,
        tell: Tell = lambda *_: None,
    ) -> SignedManifest:
        """Restores a backup after every byte and every message of it was verified; gives its
        manifest, and whether it was signed.

        Raises `Refused` for a damaged one, for one that this installation has not signed unless it
        is to be trusted, and for a target that is not empty unless the two are to be merged; and
        `TierError`, after which it may be repeated with `merge`.
        """
        tell("verifying", 0, 0)
        verified = verify(folder, self._key, trust=trust)
        found = verified.manifest
        migrate_all(self._engine, self._server, self._weeks_ahead)
        is_empty = self._is_empty()
        if not (is_empty or merge):
            raise Refused("there are messages or threads already: --merge restores it beside them")
        retry_until_available(self._restore_tables, folder, verified, is_empty)
        self._restore_messages(folder, found, tell)
        with translated(), self._engine.begin() as connection:
            connection.execute(_RAISE_BOUNDARY, {"boundary": found.boundary})
        done = 0
        for step in self._counter.run(found.boundary):
            done += step
            tell("threads", done, found.rows.get("threads", 0))
        tell("redis and clickhouse", 0, 0)
        self._redis.invalidate_all()
        for ship in self._ships:
            retry_until_available(ship)
        details = {"is_signed": verified.is_signed}
        self._audit.note(actor, "backup.restored", f"backup:{found.made_at}", found.rows, details)
        return verified

    def _is_empty(self) -> bool:
        with translated(), self._engine.connect() as connection:
            if not connection.execute(_IS_EMPTY).scalar_one():
                return False
        return not int(self._server.lines(f"{_IN_CLICKHOUSE} AS n").split(b":")[1].strip(b'"}\n '))

    def _restore_tables(self, folder: Path, found: SignedManifest, is_empty: bool) -> None:
        with translated(), self._engine.begin() as connection:
            erased = hidden.erasures(connection)
            # Only those that a backup may have, whatever its manifest names.
            wanted = set(small_tables(connection)) - (set() if found.is_signed else {AUDIT})
            tables = {
                name: list(_kept(name, lines(folder, part), erased))
                for name, part in found.manifest.parts.items()
                if name in wanted
            }
            restoring.restore_tables(connection, tables, replace=is_empty)
            restoring.restore_threads(connection, tables.get("threads", []))
            audit_outbox.queue_all(connection)

    def _restore_messages(self, folder: Path, found: Manifest, tell: Tell) -> None:
        part = found.parts[MESSAGES]
        with translated(), self._engine.connect() as connection:
            erased = hidden.erasures(connection)
        done = 0
        rows = lines(folder, part)
        while batch := list(islice(rows, BATCH_MESSAGES)):
            retry_until_available(self._restore_batch, batch, found.boundary, erased)
            done += len(batch)
            tell("messages", done, part.rows)

    def _restore_batch(self, batch: Sequence[bytes], boundary: str, erased: dict[str, str]) -> None:
        here: list[tuple[str, bytes]] = []
        archived: list[tuple[str, bytes]] = []
        threads: set[hidden.Thread] = set()
        for record in batch:
            message = codec.decode(record)
            if message.id > erased.get(message.user_id, ""):
                (here if message.id >= boundary else archived).append((message.id, record))
                threads |= {hidden.thread_of(message)} if message.id < boundary else set()
        if archived:
            self._server.insert("messages", b"\n".join(record for _, record in archived))
            with translated(), self._engine.begin() as connection:
                # What went with its thread is to leave once more.
                writes.purge_again(connection, threads)
        if here:
            self._partitions.ensure_for(name for name, _ in here)
            with translated(), self._engine.begin() as connection:
                load(connection, (record for _, record in here), ship=True)


def _kept(name: str, rows: Iterable[bytes], erased: dict[str, str]) -> Iterator[str]:
    """The rows that are not of somebody who was erased after they were made."""
    for row in rows:
        if erased and name not in _KEPT_WHOLE:
            named = msgspec.json.decode(row, type=_Owned)
            through = erased.get(named.user_id)
            made_at = named.created_at or named.updated_at
            if through is not None and made_at <= ids.timestamp(ids.time_us_of(through)):
                continue
        yield row.decode()


class _Owned(msgspec.Struct):
    """What a row says of its owner and its age; one that does not say is as old as can be."""

    user_id: str = ""
    created_at: str = ""
    updated_at: str = ""
