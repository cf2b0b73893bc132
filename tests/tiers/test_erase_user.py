"""A user who is erased is nowhere, does not come back, and nobody else is touched."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import msgspec
import pytest
from sqlalchemy import text

from models import codec
from models.message import Message
from storage import postgres_writes
from storage import redis_keys as keys
from storage.dead_letters import DeadLetterService
from storage.erasure.receipt import UserErasure
from storage.errors import NotFound
from storage.failover.direct_clickhouse import DirectWrite
from storage.persistence import Drained
from storage.services import Services
from support.everywhere import places
from support.letters import listed
from support.moving import archived
from support.refusing import refusing
from support.samples import append_of, message

MARKER = "a marker that nobody else writes"
DETACHED = "messages_2020_01_06"


def erase(alone: Services, user: str) -> UserErasure:
    alone.user_erasure.request(user, by="an admin")
    done = alone.user_erasure.carry_on(user)
    assert done is not None
    assert done.state == "done", done.waits_for
    return done


@pytest.fixture
def detached(alone: Services) -> Iterator[str]:
    """A week that is no longer part of `messages`, as the archive leaves it for a while."""
    with alone.job_engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE {DETACHED} (LIKE messages INCLUDING ALL)")
    yield DETACHED
    with alone.job_engine.begin() as connection:
        connection.exec_driver_sql(f"DROP TABLE {DETACHED}")


def insert_into(alone: Services, table: str, one: Message) -> None:
    with alone.job_engine.begin() as connection:
        connection.execute(
            text(
                f"INSERT INTO {table} (id, user_id, thread_id, role, content, metadata, created_at,"
                " updated_at, version, content_hash) SELECT id, user_id, thread_id, role, content,"
                " metadata, created_at, updated_at, version, content_hash"
                " FROM json_populate_record(NULL::messages, CAST(:record AS json))"
            ),
            {"record": codec.encode(one).decode()},
        )


def scatter(
    alone: Services, user: str, drain: Callable[[], Drained], bad: ExitStack, detached: str
) -> dict[str, list[Message]]:
    """Messages of a user in every place there is."""

    def made(count: int, thread: str = "t") -> list[Message]:
        return [
            message(user, thread, content=MARKER, metadata={"note": MARKER}) for _ in range(count)
        ]

    found: dict[str, list[Message]] = {"old": made(2, "archived")}
    alone.redis.append([append_of(*found["old"])], 60)
    drain()
    alone.replication.ship_all()
    bad.enter_context(archived(alone, [msgspec.to_builtins(one) for one in found["old"]]))
    found["detached"] = made(1, "archived")
    insert_into(alone, detached, found["detached"][0])
    found["committed"] = made(3)
    alone.threads.create(user, "titled", MARKER, {"note": MARKER})
    alone.redis.append([append_of(found["committed"][0], key=f"key {MARKER}")], 60)
    alone.redis.append([append_of(*found["committed"][1:])], 60)
    drain()
    alone.replication.ship_all()
    with refusing(alone, "thread_id <> 'refused'"):
        found["refused"] = made(1, "refused")
        alone.redis.append([append_of(*found["refused"])], 60)
        assert drain().refused == 1
    found["direct"] = made(1, "direct")
    one = found["direct"][0]
    alone.failover._clickhouse._insert([DirectWrite(one, codec.encode(one), MARKER)])
    with alone.job_engine.begin() as connection:
        postgres_writes.queue_backfill(connection, found["committed"])
    found["pending"] = made(2)
    alone.redis.append([append_of(*found["pending"])], 60)
    return found


def test_no_byte_of_an_erased_user_is_left_anywhere(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
    detached: str,
) -> None:
    # Names that could be taken for each other's, or for a pattern.
    other, user = user, f"{user}:it's 100% {{1}} * \N{LATIN SMALL LETTER A WITH DIAERESIS}"
    kept = [message(other, content="of somebody else") for _ in range(3)]
    alone.redis.append([append_of(*kept)], 60)
    made = scatter(alone, user, drain, bad, detached)
    whose = [user, keys.encode(user)]
    ahead = places(alone, MARKER)
    assert {place.split(":")[0] for place in ahead} == {"redis", "postgresql", "clickhouse"}
    assert {"postgresql: dead_letters.record", f"postgresql: {detached}.content"} <= ahead
    assert {"clickhouse: messages.content", "clickhouse: direct_writes.record"} <= ahead

    done = erase(alone, user)

    assert places(alone, MARKER) == set()
    assert places(alone, *whose) == {
        "postgresql: audit_trail.subject",
        "postgresql: user_erasures.user_id",
        "postgresql: user_erasures.receipt",
        "clickhouse: user_erasures.user_id",
        "clickhouse: user_erasures.receipt",
    }
    assert listed(alone, other) == [one.id for one in kept]
    removed = done.removed
    assert removed["redis"]["log_entries"] == 2
    assert removed["redis"]["messages"] == 6
    assert removed["redis"]["index_entries"] == 6
    assert removed["redis"]["threads"] == 1
    assert removed["redis"]["idempotency_keys"] == 1
    assert removed["postgresql"]["messages"] == 3
    assert removed["postgresql"][detached] == 1
    assert removed["postgresql"]["threads"] == 3
    assert removed["postgresql"]["dead_letters"] == 1
    assert removed["postgresql"]["idempotency_keys"] == 1
    assert removed["postgresql"]["redis_backfill"] == 3
    assert removed["clickhouse"]["messages"] == 6
    assert removed["clickhouse"]["direct_writes"] == 1
    assert done.requested_by == "an admin"
    assert done.finished_at is not None
    for one in (one for batch in made.values() for one in batch):
        with pytest.raises(NotFound):
            alone.retrieval.get(user, one.id)
