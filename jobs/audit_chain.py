"""The chain of the audit trail. Each entry's hash is over the hash before it, its position, and all
that it says, so that an entry that was changed, removed or put between is noticed; whoever could
rewrite the chain in PostgreSQL would still differ from its copy in ClickHouse."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row

from storage.clickhouse.driver import ClickHouse
from storage.postgres.driver import execute, rfc3339, rows_of

BATCH_ENTRIES = 5_000
SHOWN = 20
"""So many problems are named."""

_HEAD = "SELECT position, hash FROM audit_head"
_OUTSIDE = (
    "SELECT count(*) FROM audit_trail"
    " WHERE NOT EXISTS (SELECT FROM audit_chain WHERE audit_id = audit_trail.id)"
)
_LINKS = """
SELECT c.position, c.previous_hash, c.hash, c.audit_id::text AS audit_id, a.id::text AS id, a.at,
       a.actor, a.action, a.subject, a.counts::text AS counts, a.details::text AS details,
       EXISTS (SELECT FROM audit_outbox o WHERE o.audit_id = c.audit_id) AS waits
FROM audit_chain c LEFT JOIN audit_trail a ON a.id = c.audit_id
WHERE c.position > :after ORDER BY c.position LIMIT :batch
"""
_COPIES = (
    "SELECT position, hash FROM audit_trail FINAL WHERE position > {after} AND position <= {until}"
)
_NEWEST_COPY = "SELECT max(position) FROM audit_trail"
_COPIED_LINKS = (
    "SELECT position, id AS audit_id, previous_hash, hash FROM audit_trail FINAL"
    " WHERE position > {after} ORDER BY position LIMIT {batch}"
)
_RESTORE = """
INSERT INTO audit_chain (position, audit_id, previous_hash, hash)
SELECT position, audit_id, previous_hash, hash FROM json_to_recordset(CAST(:links AS json)) AS r (
    position bigint, audit_id uuid, previous_hash text, hash text)
ON CONFLICT DO NOTHING
"""
_RESTORE_HEAD = (
    "UPDATE audit_head SET (position, hash) ="
    " (SELECT position, hash FROM audit_chain ORDER BY position DESC LIMIT 1)"
    " WHERE EXISTS (SELECT FROM audit_chain)"
)


class AuditVerdict(msgspec.Struct, kw_only=True, frozen=True):
    """What a look at the chain found: how many entries were looked at, the head's position and
    hash, how many wait for ClickHouse, and what is wrong, the first problems in words."""

    entries: int
    position: int
    hash: str
    waiting: int
    problems: list[str]

    @property
    def is_whole(self) -> bool:
        """Whether nothing was changed, removed or put between."""
        return not self.problems


class _Copy(msgspec.Struct):
    position: int
    hash: str


def hash_of(previous_hash: str, position: int, entry: Row[Any]) -> str:
    """The hash of an entry: SHA-256, in hexadecimal, over netstrings, as PostgreSQL makes it."""
    fields = (
        *(previous_hash, str(position), entry.id, rfc3339(entry.at)),
        *(entry.actor, entry.action, entry.subject, entry.counts, entry.details),
    )
    encoded = (field.encode() for field in fields)
    return hashlib.sha256(b"".join(b"%d:%b," % (len(one), one) for one in encoded)).hexdigest()


def verify(engine: Engine, server: ClickHouse | None, last: int | None = None) -> AuditVerdict:
    """Computes the chain again, all of it or the `last` entries, and compares each with its copy in
    ClickHouse if a server is given. Raises `TierError`."""
    problems: list[str] = []
    # Asked first: what is added meanwhile is beyond it.
    (head,) = rows_of(engine, _HEAD)
    start = 0 if last is None else max(0, head.position - last)
    position, previous, waiting, entries = start, "" if start == 0 else None, 0, 0
    for links in _batches(engine, start, head.position):
        copies = {} if server is None else _copies(server, position, links[-1].position)
        for link in links:
            problems += _wrong(link, position + 1, previous)
            if server is not None and not link.waits:
                problems += _differs(link, copies.get(link.position))
            position, previous = link.position, link.hash
            waiting += link.waits
            entries += 1
    if (position, previous or "") != (head.position, head.hash):
        problems.append(f"the chain ends at {position}, and its head is {head.position}")
    (outside,) = rows_of(engine, _OUTSIDE)
    if outside[0]:
        problems.append(f"{outside[0]} entries are not in the chain")
    if server is not None and server.number(_NEWEST_COPY) > head.position:
        newest = server.number(_NEWEST_COPY)
        (again,) = rows_of(engine, _HEAD)
        if newest > again.position:
            problems.append(
                f"ClickHouse has entries up to {newest}, PostgreSQL to {again.position}"
            )
    return AuditVerdict(
        entries=entries,
        position=head.position,
        hash=head.hash,
        waiting=waiting,
        problems=problems[:SHOWN],
    )


def restore(connection: Connection, server: ClickHouse) -> None:
    """Puts the chain that ClickHouse has into an empty PostgreSQL, for the owner of its tables: the
    entries come back into their places, and new ones follow. Raises `TierError`."""
    after = 0
    while True:
        query = _COPIED_LINKS.format(after=after, batch=BATCH_ENTRIES)
        links = [line.decode() for line in server.lines(query).splitlines()]
        if not links:
            break
        execute(connection, _RESTORE, links=f"[{','.join(links)}]")
        after = msgspec.json.decode(links[-1], type=_Copy, strict=False).position
    execute(connection, _RESTORE_HEAD)


def _batches(engine: Engine, after: int, until: int) -> Iterator[Sequence[Row[Any]]]:
    while links := rows_of(engine, _LINKS, after=after, batch=BATCH_ENTRIES):
        links = [link for link in links if link.position <= until]
        if not links:
            return
        yield links
        after = links[-1].position


def _copies(server: ClickHouse, after: int, until: int) -> dict[int, str]:
    lines = server.lines(_COPIES.format(after=after, until=until)).splitlines()
    found = (msgspec.json.decode(line, type=_Copy, strict=False) for line in lines)
    return {copy.position: copy.hash for copy in found}


def _wrong(link: Row[Any], position: int, previous: str | None) -> Iterator[str]:
    if link.position != position:
        yield f"{position}: missing in the chain"
    elif previous is not None and link.previous_hash != previous:
        yield f"{position}: it does not follow from the entry before"
    if link.id is None:
        yield f"{link.position}: the entry {link.audit_id} is gone"
    elif hash_of(link.previous_hash, link.position, link) != link.hash:
        yield f"{link.position}: the entry {link.id} was changed"


def _differs(link: Row[Any], copied: str | None) -> Iterator[str]:
    if copied is None:
        yield f"{link.position}: not in ClickHouse"
    elif copied != link.hash:
        yield f"{link.position}: ClickHouse has another entry"
