"""Restores a backup beside whatever is there: newer versions stay, erased users stay out. Archived
messages go to ClickHouse alone, the others to PostgreSQL and its outbox. Every step may be
repeated."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from jobs.audit import AuditTrail
from jobs.migrate import migrate_all
from jobs.recover.loading import load
from jobs.recover.redis import RedisRecoveryService
from jobs.recover.runs import OnProgress
from jobs.recover.thread_counts import ThreadCounter
from jobs.replicate import audit_outbox
from jobs.transfer.backup.manifest import (
    AUDIT,
    LINKS,
    MESSAGES,
    Manifest,
    SignedManifest,
    key_of,
)
from jobs.transfer.backup.snapshot import small_tables
from jobs.transfer.backup.verify import lines, verify
from models import codec, ids
from storage.availability import hidden
from storage.clickhouse import thread_links
from storage.clickhouse.thread_links import ThreadLink
from storage.errors import Refused
from storage.postgres import restore as restoring
from storage.postgres import writes
from storage.postgres.driver import execute, rows_of, transact, translated
from storage.postgres.partitions import Partitions
from storage.resilience.bites import batches
from storage.resilience.retries import retry_until_available
from storage.tiers import Tiers

BATCH_MESSAGES = 5_000
BATCH_LINKS = 20_000

_IS_EMPTY = (
    "SELECT NOT EXISTS (SELECT FROM messages) AND NOT EXISTS (SELECT FROM threads) AS is_empty"
)
_RAISE_BOUNDARY = "UPDATE archive_boundary SET below = greatest(below, CAST(:boundary AS uuid))"

_KEPT_WHOLE = frozenset({"user_erasures", "token_revocations", "audit_trail", "dead_letters"})
"""Tables that say what became of a user, and so hold rows of those who were erased; of a letter
only its record says how old it is."""


_ONLY_SIGNED = {AUDIT, "api_keys"}
"""Tables that whoever changed a backup must not write: what was done, and who may do anything."""


@dataclass(eq=False)
class RestoreService:
    """Restores backups. `_ships` carry what PostgreSQL has queued to ClickHouse."""

    _tiers: Tiers
    _redis: RedisRecoveryService
    _audit: AuditTrail
    _ships: Sequence[Callable[[], object]]

    def restore(
        self,
        folder: Path,
        actor: str,
        *,
        merge: bool = False,
        trust: bool = False,
        on_progress: OnProgress = lambda *_: None,
    ) -> SignedManifest:
        """Restores a backup once all of it is verified; gives its manifest, and whether it was
        signed. Raises `Refused` for a damaged one, for one that is not signed unless `trust`, for a
        target that is not empty unless `merge`; and `TierError`, after which it may be repeated
        with `merge`."""
        on_progress("verifying", 0, 0)
        tiers, settings = self._tiers, self._tiers.settings
        verified = verify(folder, key_of(settings.signing_secret), trust=trust)
        found = verified.manifest
        migrate_all(tiers.migrate_engine, tiers.job_clickhouse, settings.partition_weeks_ahead)
        (row,) = rows_of(tiers.job_engine, _IS_EMPTY)
        is_archive_empty = not tiers.job_clickhouse.lines("SELECT 1 FROM messages LIMIT 1")
        is_empty = row.is_empty and is_archive_empty
        if not (is_empty or merge):
            raise Refused("there are messages or threads already: --merge restores it beside them")
        retry_until_available(self._restore_tables, folder, verified, is_empty)
        self._restore_messages(folder, found, on_progress)
        self._restore_links(folder, found)
        transact(tiers.job_engine, execute, _RAISE_BOUNDARY, boundary=found.boundary)
        ThreadCounter(tiers).run(found.boundary, on_progress)
        on_progress("redis and clickhouse", 0, 0)
        self._redis.invalidate_all()
        for ship in self._ships:
            retry_until_available(ship)
        details = {"is_signed": verified.is_signed}
        self._audit.note(actor, "backup.restored", f"backup:{found.made_at}", found.rows, details)
        return verified

    def _restore_tables(self, folder: Path, found: SignedManifest, is_empty: bool) -> None:
        with translated(), self._tiers.job_engine.begin() as connection:
            erased = hidden.erasures(connection)
            # Only those that a backup may have, whatever its manifest names.
            wanted = set(small_tables(connection)) - (set() if found.is_signed else _ONLY_SIGNED)
            tables = {
                name: list(_kept(name, lines(folder, part), erased))
                for name, part in found.manifest.parts.items()
                if name in wanted
            }
            restoring.restore_tables(connection, tables, replace=is_empty)
            restoring.restore_threads(connection, tables.get("threads", []))
            audit_outbox.queue_all(connection)

    def _restore_messages(self, folder: Path, found: Manifest, on_progress: OnProgress) -> None:
        part = found.parts[MESSAGES]
        erased = transact(self._tiers.job_engine, hidden.erasures)
        partitions, done = Partitions(self._tiers.job_engine), 0
        for batch in batches(lines(folder, part), BATCH_MESSAGES):
            retry_until_available(self._restore_batch, partitions, batch, found.boundary, erased)
            done += len(batch)
            on_progress("messages", done, part.rows)

    def _restore_links(self, folder: Path, found: Manifest) -> None:
        if LINKS not in found.parts:
            return
        erased = transact(self._tiers.job_engine, hidden.erasures)
        for batch in batches(lines(folder, found.parts[LINKS]), BATCH_LINKS):
            kept = [line for line in batch if not _is_of_erased(line, erased)]
            retry_until_available(thread_links.insert, self._tiers.job_clickhouse, kept)

    def _restore_batch(
        self, partitions: Partitions, batch: Sequence[bytes], boundary: str, erased: dict[str, str]
    ) -> None:
        here: list[tuple[str, bytes]] = []
        archived: list[bytes] = []
        threads: set[hidden.Thread] = set()
        for record in batch:
            message = codec.decode(record)
            if message.id <= erased.get(message.user_id, ""):
                continue
            if message.id >= boundary:
                here.append((message.id, record))
            else:
                archived.append(record)
                threads.add(hidden.thread_of(message))
        if archived:
            self._tiers.job_clickhouse.insert("messages", b"\n".join(archived))
            # What went with its thread is to leave once more.
            transact(self._tiers.job_engine, writes.purge_again, threads)
        if here:
            partitions.ensure_for(name for name, _ in here)
            transact(self._tiers.job_engine, load, [record for _, record in here], ship=True)


def _is_of_erased(line: bytes, erased: dict[str, str]) -> bool:
    """Whether a link is of a message that was erased after it was made."""
    link = msgspec.json.decode(line, type=ThreadLink)
    return link.message_id <= erased.get(link.user_id, "")


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
