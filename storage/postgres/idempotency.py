"""The Idempotency-Keys as PostgreSQL knows them: Redis may lose or evict its own. Of two messages
of one key, each taken while the other's tier was down, the later stays, since its caller was
answered last; the earlier becomes a tombstone."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, Engine, Row, and_, func, select

from models import codec, ids
from models.appends import Key, Made
from models.message import Message
from models.tables import messages, threads
from storage.postgres.driver import execute, message_of, transact

_KNOWN = """
SELECT known.user_id, known.thread_id, known.key, known.message_id::text AS message_id
FROM json_to_recordset(CAST(:given AS json)) AS r (user_id text, thread_id text, {name} {type})
JOIN idempotency_keys known USING (user_id, thread_id, {name})
WHERE known.made_at >= clock_timestamp() - make_interval(secs => :seconds)
"""
_FIND = _KNOWN.format(name="key", type="text")
_OF_MESSAGES = _KNOWN.format(name="message_id", type="uuid")
_NEWEST = """
SELECT user_id, thread_id, key, message_id::text AS message_id FROM idempotency_keys
WHERE made_at >= (SELECT max(made_at) FROM idempotency_keys) - make_interval(secs => :seconds)
"""
_CLAIM = """
INSERT INTO idempotency_keys AS known (user_id, thread_id, key, message_id, content_hash)
SELECT user_id, thread_id, key, message_id, content_hash
FROM json_to_recordset(CAST(:given AS json)) AS r (
    user_id text, thread_id text, key text, message_id uuid, content_hash text)
ORDER BY user_id, thread_id, key
ON CONFLICT (user_id, thread_id, key) DO UPDATE SET
    message_id = CASE
        WHEN known.made_at < clock_timestamp() - make_interval(secs => :seconds)
            THEN excluded.message_id
        WHEN :later_wins THEN greatest(known.message_id, excluded.message_id)
        ELSE known.message_id END,
    content_hash = CASE
        WHEN known.made_at < clock_timestamp() - make_interval(secs => :seconds)
            OR known.message_id = excluded.message_id
            OR (:later_wins AND known.message_id < excluded.message_id)
            THEN excluded.content_hash ELSE known.content_hash END,
    made_at = CASE
        WHEN known.made_at < clock_timestamp() - make_interval(secs => :seconds)
            OR (:later_wins AND known.message_id < excluded.message_id)
            THEN excluded.made_at ELSE known.made_at END
RETURNING user_id, thread_id, key, message_id::text AS message_id
"""
_TELL = """
INSERT INTO idempotency_keys (user_id, thread_id, key, message_id, content_hash)
SELECT user_id, thread_id, key, message_id, content_hash
FROM json_to_recordset(CAST(:given AS json)) AS r (
    user_id text, thread_id text, key text, message_id uuid, content_hash text)
ORDER BY user_id, thread_id, key
ON CONFLICT DO NOTHING
"""
_HASH = (
    "SELECT content_hash FROM idempotency_keys"
    " WHERE user_id = :user_id AND thread_id = :thread_id AND key = :key AND message_id = :made"
)
# Whoever frees keys puts what they stand for now in their place, in the same transaction.
_FREE = """
DELETE FROM idempotency_keys known
USING json_to_recordset(CAST(:given AS json)) AS r (
    user_id text, thread_id text, key text, message_id uuid)
WHERE (known.user_id, known.thread_id, known.key) = (r.user_id, r.thread_id, r.key)
  AND known.message_id <= r.message_id
"""
_FORGET = (
    "DELETE FROM idempotency_keys"
    " WHERE made_at < clock_timestamp() - make_interval(secs => :seconds)"
)


def find(connection: Connection, wanted: Iterable[Key], seconds: int) -> dict[Key, str]:
    """The messages that these keys made within the last `seconds`."""
    wanted = list(wanted)
    if not wanted:
        return {}
    values = {"given": _json(key._asdict() for key in wanted), "seconds": seconds}
    return _by_key(execute(connection, _FIND, values).all())


def of_messages(connection: Connection, made: Iterable[Message], seconds: int) -> dict[Key, str]:
    """The keys that made these messages within the last `seconds`."""
    given = (
        {"user_id": one.user_id, "thread_id": one.thread_id, "message_id": one.id} for one in made
    )
    return _by_key(execute(connection, _OF_MESSAGES, given=_json(given), seconds=seconds).all())


def newest(connection: Connection, seconds: int) -> dict[Key, str]:
    """The keys of the last `seconds` before the newest was made."""
    return _by_key(execute(connection, _NEWEST, seconds=seconds).all())


def claim(
    connection: Connection, made: Mapping[Key, Made], seconds: int, *, later_wins: bool = False
) -> dict[Key, str]:
    """Takes keys for new messages; gives for each the message that it stands for: the first one's,
    unless the later wins."""
    if not made:
        return {}
    values = {"given": _noted(made), "seconds": seconds, "later_wins": later_wins}
    return _by_key(execute(connection, _CLAIM, values).all())


def free(connection: Connection, gone: Mapping[Key, str]) -> None:
    """Lets go of keys that stand for a message at or below this id, which is gone."""
    if gone:
        given = ({**key._asdict(), "message_id": name} for key, name in gone.items())
        execute(connection, _FREE, given=_json(given))


def tell(connection: Connection, made: Mapping[Key, Made]) -> None:
    """Notes keys of acknowledged messages where there is none yet, as cheaply as that goes."""
    execute(connection, _TELL, given=_noted(made))


def hash_of(connection: Connection, key: Key, message_id: str) -> str:
    """The hash of the message that a key made, empty where that was not told."""
    found = execute(connection, _HASH, **key._asdict(), made=message_id)
    return str(found.scalar_one_or_none() or "")


def record(connection: Connection, made: Iterable[tuple[Key, Made]], seconds: int) -> list[Message]:
    """Notes the keys of acknowledged messages; gives the live ones that lose theirs to a later."""
    in_order = sorted(made, key=lambda pair: pair[1].message_id)
    latest = dict(in_order)
    before = find(connection, latest, seconds)
    stays = claim(connection, latest, seconds, later_wins=True)
    met = {*((key, one.message_id) for key, one in in_order), *before.items()}
    lost = {message_id: key for key, message_id in met if stays[key] != message_id}
    if not lost:
        return []
    query = (
        select(messages)
        .outerjoin(
            threads,
            and_(threads.c.user_id == messages.c.user_id, threads.c.id == messages.c.thread_id),
        )
        .where(
            messages.c.id.in_(lost),
            messages.c.deleted_at.is_(None),
            # What its thread took along is for whoever erases it, or keeps it under a hold.
            messages.c.id > func.coalesce(threads.c.deleted_through, ids.LOWEST),
        )
    )
    found = [message_of(row) for row in connection.execute(query)]
    return [one for one in found if lost[one.id].user_id == one.user_id]


def forget(engine: Engine, seconds: int) -> int:
    """Drops keys older than `seconds`; gives how many. Raises `TierUnavailable`."""
    return int(transact(engine, execute, _FORGET, seconds=seconds).rowcount)


def _noted(made: Mapping[Key, Made]) -> str:
    return _json({**key._asdict(), **one._asdict()} for key, one in made.items())


def _json(rows: Iterable[dict[str, str]]) -> str:
    return codec.text(list(rows))


def _by_key(rows: Sequence[Row[tuple[str, str, str, str]]]) -> dict[Key, str]:
    return {Key(row.user_id, row.thread_id, row.key): row.message_id for row in rows}
