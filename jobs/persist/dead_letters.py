"""Dead letters: what PostgreSQL refused, and what an operator decides about it.

A letter is the one durable copy of an acknowledged write. It goes only in the transaction that
commits the write, or because an operator discards it.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import structlog
from sqlalchemy import Connection, Row, delete, func, select, update

from jobs.audit import AuditTrail
from jobs.persist.batch import Batch
from jobs.persist.dead_letter_copies import RefusedCopies, RefusedWrite
from models.records import HEAD_BYTES, Address, address_of, deleted_through, repaired
from models.tables import dead_letters, messages, threads
from storage.availability.hidden import archive_boundary
from storage.errors import NotFound, StillRefused, TierError, headline
from storage.postgres import locks
from storage.postgres.driver import record_of, rows_of, translated
from storage.postgres.partitions import Partitions
from storage.postgres.states import known_version
from storage.redis.pending_log import LogEntry
from storage.tiers import Tiers

log = structlog.get_logger(__name__)

_COLUMNS = (
    *(column for column in dead_letters.c if column.name != "record"),
    func.octet_length(dead_letters.c.record).label("size_bytes"),
)


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A refused log entry without its record. `slot` and `entry_id` say where in the log it was;
    `message_id`, `user_id` and `thread_id` are null where the record does not tell. `reason` is
    PostgreSQL's, without the row's values."""

    id: int
    kind: str
    slot: int
    entry_id: str
    message_id: str | None
    user_id: str | None
    thread_id: str | None
    reason: str
    attempts: int
    refused_at: str
    attempted_at: str | None
    size_bytes: int


class DeadLetterRecord(DeadLetter, frozen=True, kw_only=True):
    """A refused log entry with its record, as text or, where it is none, as base64 (the other is
    null), and the whole reason. Both may hold what somebody wrote."""

    record: str | None
    record_base64: bytes | None
    whole_reason: str


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """A letter that was written and is gone. `written` is false for a message of which PostgreSQL
    had this version or a newer one, or whose thread was deleted since. `evictable` is false where
    Redis failed after the commit, so that the hot copy stays without a TTL."""

    id: int
    message_id: str | None
    written: bool
    evictable: bool


class Discarded(msgspec.Struct, frozen=True, kw_only=True):
    """A letter that was given up; `removed_from_redis` says whether its version was there."""

    id: int
    message_id: str | None
    removed_from_redis: bool


Letter = TypeVar("Letter", bound=DeadLetter)


class DeadLetterService:
    """What operators do with letters. Each raises `NotFound` where there is no such letter (any
    more), and `TierUnavailable` with nothing changed."""

    def __init__(self, tiers: Tiers, audit: AuditTrail) -> None:
        self._engine = tiers.job_engine
        self._copies = RefusedCopies(tiers)
        self._audit = audit
        self._partitions = Partitions(tiers.job_engine)

    def get(self, letter_id: int, *, by: str) -> DeadLetterRecord:
        """One letter, whole, for whoever is named in the audit trail."""
        query = select(*_COLUMNS, dead_letters.c.record).where(dead_letters.c.id == letter_id)
        found = rows_of(self._engine, query)
        if not found:
            raise NotFound
        (row,) = found
        self._audit.note(by, "dead_letter.read", f"dead_letter:{letter_id}")
        record = bytes(row.record)
        text = _as_text(record)
        own = {"record": text, "record_base64": record if text is None else None}
        return _shown(DeadLetterRecord, row, record, whole_reason=row.reason, **own)

    def replay(self, letter_id: int, *, by: str, record: bytes | None = None) -> Replayed:
        """Writes the letter's record, or a repaired one in its place, and deletes the letter.

        Raises `StillRefused` where PostgreSQL refuses again: the letter stays, with the new reason.
        Raises `InvalidMessage` for a record that cannot take its place.
        """
        # Without Redis the copy of what is committed could not be made evictable.
        self._copies.ping()
        with translated(), self._engine.begin() as connection:
            letter = _locked(connection, letter_id)
            refused = bytes(letter.record)
            tried = refused if record is None else repaired(letter.kind, refused, record)
            batch = Batch(connection, self._partitions)
            batch.write([LogEntry(letter.shard, letter.entry_id, letter.kind, tried)])
            address = address_of(letter.kind, tried)
            reason = _why_not(connection, batch, address)
            if reason is None:
                connection.execute(delete(dead_letters).where(dead_letters.c.id == letter_id))
            else:
                attempts = _note(connection, letter_id, reason)
            details = {
                "kind": letter.kind,
                "message_id": address.message_id,
                "repaired": record is not None,
            }
            verb = "replayed" if reason is None else "refused"
            self._record(connection, by, verb, letter_id, details)
        facts = {"letter": letter_id, "message_id": address.message_id, "by": by}
        if reason is not None:
            again = StillRefused(headline(reason), attempts)
            log.error("dead_letter_refused", **facts, reason=again.reason, attempts=attempts)
            raise again
        write = RefusedWrite(letter.shard, letter.kind, address)
        evictable = self._settle(letter_id, write, batch, tried if record is not None else None)
        written = batch.written > 0 or letter.kind == "thread"
        log.info("dead_letter_replayed", **facts, repaired=record is not None, written=written)
        return Replayed(
            id=letter_id, message_id=address.message_id, written=written, evictable=evictable
        )

    def discard(self, letter_id: int, *, by: str) -> Discarded:
        """Deletes a letter and its version in Redis, so that no tier shows what none keeps."""
        with translated(), self._engine.begin() as connection:
            letter = _locked(connection, letter_id)
            address = address_of(letter.kind, bytes(letter.record))
            # Redis comes first: should the commit fail, the letter still has the record.
            gone = self._withdraw(connection, letter, address)
            connection.execute(delete(dead_letters).where(dead_letters.c.id == letter_id))
            details = {"kind": letter.kind, "message_id": address.message_id, "removed": gone}
            self._record(connection, by, "discarded", letter_id, details)
        facts = {"letter": letter_id, "message_id": address.message_id, "by": by}
        log.warning("dead_letter_discarded", **facts, removed_from_redis=gone)
        return Discarded(id=letter_id, message_id=address.message_id, removed_from_redis=gone)

    def numbers(self) -> Sequence[int]:
        """The ids of all letters, oldest first."""
        query = select(dead_letters.c.id).order_by(dead_letters.c.id)
        return [row.id for row in rows_of(self._engine, query)]

    def list(self, *, limit: int, cursor: int | None) -> tuple[Sequence[DeadLetter], int | None]:
        """At most `limit` letters below the id `cursor`, newest first, and the next cursor."""
        head = func.substring(dead_letters.c.record, 1, HEAD_BYTES).label("head")
        query = select(*_COLUMNS, head).order_by(dead_letters.c.id.desc()).limit(limit + 1)
        if cursor is not None:
            query = query.where(dead_letters.c.id < cursor)
        rows = rows_of(self._engine, query)
        shown = [_shown(DeadLetter, row, bytes(row.head)) for row in rows[:limit]]
        return shown, shown[-1].id if len(rows) > limit else None

    def _record(
        self, connection: Connection, by: str, verb: str, letter_id: int, details: dict[str, Any]
    ) -> None:
        subject = f"dead_letter:{letter_id}"
        self._audit.record(connection, by, f"dead_letter.{verb}", subject, details=details)

    def _settle(
        self, letter_id: int, write: RefusedWrite, batch: Batch, repair: bytes | None
    ) -> bool:
        """After the commit, which stands even where Redis fails; gives whether it did not."""
        try:
            if repair is not None:
                self._copies.replace(write, repair)
            self._copies.settle(write, batch.outcome.committed())
        except TierError as error:
            log.warning("copy_not_settled", letter=letter_id, tier=error.tier, reason=error.reason)
            return False
        return True

    def _withdraw(self, connection: Connection, letter: Row[Any], address: Address) -> bool:
        if address.version is None or not address.is_whole(letter.kind):
            return False
        known, older_below = _known_version(connection, letter.kind, address)
        if known is not None and known >= address.version:
            return False
        watermark = deleted_through(bytes(letter.record)) if letter.kind == "thread" else ""
        write = RefusedWrite(letter.shard, letter.kind, address)
        return self._copies.withdraw(write, watermark, older_below=older_below)


def _locked(connection: Connection, letter_id: int) -> Row[Any]:
    """The letter, with its slot locked against drains and other decisions."""
    found = select(dead_letters).where(dead_letters.c.id == letter_id)
    letter = connection.execute(found).one_or_none()
    if letter is None:
        raise NotFound
    locks.lock_slots(connection, [letter.shard], locks.PATIENCE)
    # Whoever held the lock may have decided on it.
    letter = connection.execute(found.with_for_update()).one_or_none()
    if letter is None:
        raise NotFound
    return letter


def _why_not(connection: Connection, batch: Batch, address: Address) -> str | None:
    """Why PostgreSQL does not have the write, None where it does."""
    if batch.outcome.refused:
        return batch.outcome.refused[0].reason
    if batch.written or address.message_id is None:
        return None
    owner = select(messages.c.user_id).where(messages.c.id == address.message_id)
    found = connection.execute(owner).scalar_one_or_none()
    return None if found in {None, address.user_id} else "its id is another user's message"


def _note(connection: Connection, letter_id: int, reason: str) -> int:
    refused = (
        update(dead_letters)
        .where(dead_letters.c.id == letter_id)
        .values(
            reason=reason, attempts=dead_letters.c.attempts + 1, attempted_at=func.clock_timestamp()
        )
        .returning(dead_letters.c.attempts)
    )
    return int(connection.execute(refused).scalar_one())


def _known_version(connection: Connection, kind: str, address: Address) -> tuple[int | None, bool]:
    """The version that PostgreSQL has, if any, and whether it or the archive may have an older."""
    if kind == "thread":
        query = select(threads.c.version).where(
            threads.c.user_id == address.user_id, threads.c.id == address.thread_id
        )
        # Messages may be below whatever the thread itself is.
        return connection.execute(query).scalar_one_or_none(), True
    if kind == "state":
        return known_version(connection, address.user_id or "", address.thread_id or ""), True
    query = select(messages.c.version).where(
        messages.c.id == address.message_id, messages.c.user_id == address.user_id
    )
    known = connection.execute(query).scalar_one_or_none()
    boundary = archive_boundary(connection)
    return known, known is not None or (address.message_id or "") < boundary


def _shown(kind: type[Letter], row: Row[Any], head: bytes, **own: Any) -> Letter:
    """A letter, of whose record the beginning says whose it is."""
    address = address_of(row.kind, head)
    names = {name: getattr(address, name) for name in ("message_id", "user_id", "thread_id")}
    return record_of(kind, row, slot=row.shard, reason=headline(row.reason), **names, **own)


def _as_text(record: bytes) -> str | None:
    try:
        return record.decode()
    except UnicodeDecodeError:
        return None
