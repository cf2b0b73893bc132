"""A user who is erased is nowhere any more, and nobody else is touched."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from jobs.erase.clickhouse import ClickHouseEraser
from jobs.persist.dead_letters import DeadLetterService
from jobs.persist.drain import Drained
from models import codec
from models.message import Message
from storage.errors import NotFound, TierError, TierUnavailable
from storage.messages.clickhouse_writes import DirectWrite
from storage.messages.posts import Draft
from storage.postgres import writes
from storage.redis import keys
from support.calls.erasing import copied_tables, erase, finish, marker_of, persisted
from support.data.everywhere import append_only_files, places
from support.data.letters import listed
from support.data.moving import archived
from support.data.samples import append_of, message
from support.faults.outages import process
from support.faults.refusing import refusing
from support.waiting import eventually
from wiring.process import Services

DETACHED = "messages_2020_01_06"


@pytest.fixture
def detached(alone: Services) -> Iterator[str]:
    """A week that is no longer part of `messages`, as the archive leaves it for a while."""
    with alone.tiers.migrate_engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE {DETACHED} (LIKE messages INCLUDING ALL)")
    yield DETACHED
    with alone.tiers.migrate_engine.begin() as connection:
        connection.exec_driver_sql(f"DROP TABLE {DETACHED}")


def insert_into(alone: Services, table: str, one: Message) -> None:
    with alone.tiers.job_engine.begin() as connection:
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
            message(user, thread, content=marker_of(user), metadata={"note": marker_of(user)})
            for _ in range(count)
        ]

    alone.tiers.events.open([user])
    found: dict[str, list[Message]] = {"old": made(2, "archived")}
    alone.tiers.redis.append([append_of(*found["old"])], 60)
    drain()
    alone.jobs.replication.ship_all()
    bad.enter_context(archived(alone, [msgspec.to_builtins(one) for one in found["old"]]))
    found["detached"] = made(1, "archived")
    insert_into(alone, detached, found["detached"][0])
    found["committed"] = made(3)
    alone.threads.create(user, "titled", marker_of(user), {"note": marker_of(user)})
    alone.tiers.redis.append([append_of(found["committed"][0], key=f"key {marker_of(user)}")], 60)
    alone.tiers.redis.append([append_of(*found["committed"][1:])], 60)
    drain()
    alone.jobs.replication.ship_all()
    with refusing(alone, "thread_id <> 'refused'"):
        found["refused"] = made(1, "refused")
        alone.tiers.redis.append([append_of(*found["refused"])], 60)
        assert drain().refused == 1
    found["direct"] = made(1, "direct")
    one = found["direct"][0]
    alone.failover.writes._clickhouse._insert(
        [DirectWrite(one, codec.encode(one), marker_of(user))]
    )
    with alone.tiers.job_engine.begin() as connection:
        writes.queue_backfill(connection, found["committed"])
    found["pending"] = made(2)
    alone.tiers.redis.append([append_of(*found["pending"])], 60)
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
    alone.tiers.redis.append([append_of(*kept)], 60)
    made = scatter(alone, user, drain, bad, detached)
    whose = [user, keys.encode(user)]
    ahead = places(alone, marker_of(user))
    assert {place.split(":")[0] for place in ahead} == {"redis", "postgresql", "clickhouse"}
    assert {"postgresql: dead_letters.record", f"postgresql: {detached}.content"} <= ahead
    assert {"clickhouse: messages.content", "clickhouse: direct_writes.record"} <= ahead

    done = erase(alone, user)

    assert places(alone, marker_of(user)) == set()
    alone.jobs.row_copies.ship()
    assert copied_tables(alone, user) == {"user_erasures"}
    assert places(alone, *whose) == {
        "clickhouse: row_copies.key",
        "clickhouse: row_copies.row",
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
            alone.failover.retrieval.get(user, one.id)


def test_who_comes_again_is_new(alone: Services, user: str, drain: Callable[[], Drained]) -> None:
    persisted(alone, drain, user, 2)
    first = erase(alone, user)
    assert alone.jobs.user_erasure.request(user, by="another") == alone.jobs.user_erasure.receipt(
        user
    )
    again = alone.messages.post(user, "t", Draft("user", "again", {})).message
    drain()
    assert listed(alone, user) == [again.id]
    assert alone.threads.get(user, "t").message_count == 1
    second = alone.jobs.user_erasure.request(user, by="another")
    assert second.erased_through > first.erased_through
    assert erase(alone, user).requested_by == "another"
    assert listed(alone, user) == []
    acts = [entry.action for entry in alone.jobs.audit.entries(limit=4)]
    assert acts == ["user.erased", "user.erase", "user.erased", "user.erase"]


@pytest.mark.parametrize("tier", ["redis", "clickhouse"])
def test_a_tier_that_is_out_is_erased_when_it_is_back(
    alone: Services, user: str, drain: Callable[[], Drained], tier: str
) -> None:
    persisted(alone, drain, user, 2)
    gone = {
        "redis": {"redis_url": "redis://127.0.0.1:1/0"},
        "clickhouse": {"clickhouse_url": "clickhouse+http://default:@127.0.0.1:1/threadkeep"},
    }[tier]
    without = process(alone, **gone)
    without.jobs.user_erasure.request(user, by="an admin")
    waiting = without.jobs.user_erasure.carry_on(user)
    assert waiting is not None
    assert waiting.state == "pending"
    assert set(waiting.waits_for) == {tier}
    assert {place.split(":")[0] for place in places(alone, marker_of(user))} == {tier}
    # Nobody is shown what is still there.
    assert listed(alone, user) == []
    done = finish(alone, user)
    assert done.state == "done"
    assert places(alone, marker_of(user)) == set()
    assert done.removed["postgresql"]["messages"] == 2
    assert done.removed["clickhouse"]["messages"] == 2


def test_a_mark_needs_postgresql(alone: Services, user: str) -> None:
    gone = "postgresql+psycopg2://nobody@127.0.0.1:1/none"
    without = process(alone, database_url=gone)
    with pytest.raises(TierUnavailable):
        without.jobs.user_erasure.request(user, by="an admin")


def test_the_files_of_redis_hold_nothing_once_they_are_written_anew(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    persisted(alone, drain, user, 2)
    assert marker_of(user).encode() in append_only_files(alone)
    # An erasure that finds the file being written for somebody else leaves it to a later run.
    redis: Any = alone.tiers.redis_client
    eventually(lambda: not redis.info("persistence")["aof_rewrite_in_progress"])
    done = erase(alone, user)
    assert set(done.files) == {"redis", "postgresql", "clickhouse"}
    assert done.to_vacuum == []
    eventually(lambda: marker_of(user).encode() not in append_only_files(alone))


def test_writers_go_on_while_one_of_them_is_erased(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    other, stop = f"{user}-other", threading.Event()
    made: dict[str, list[str]] = {user: [], other: []}

    def write(who: str) -> None:
        number = 0
        while not stop.is_set():
            draft = Draft("user", "hello", {}, f"key {number}")
            made[who].append(alone.messages.post(who, "t", draft).message.id)
            number += 1

    def carry() -> None:
        while not stop.is_set():
            # What one round cannot do another will.
            with suppress(TierError):
                alone.jobs.persistence.drain_backlog()
                alone.jobs.replication.ship_all()

    workers = [threading.Thread(target=write, args=(who,), daemon=True) for who in made]
    workers.append(threading.Thread(target=carry, daemon=True))
    for worker in workers:
        worker.start()
    try:
        eventually(lambda: min(map(len, made.values())) > 50)
        done = erase(alone, user)
        seen = len(made[user])
        eventually(lambda: len(made[user]) > seen + 20)
    finally:
        stop.set()
        for worker in workers:
            worker.join(timeout=20)
    drain()
    alone.jobs.replication.ship_all()
    kept = [one for one in made[user] if one > done.erased_through]
    assert kept
    assert len(kept) < len(made[user])
    everything = {"limit": 1000, "cursor": None, "order": "asc"}
    for who, wanted in ((user, kept), (other, made[other])):
        found: list[str] = []
        while True:
            page = alone.failover.retrieval.page(
                who, "t", **everything | {"cursor": found[-1] if found else None}
            )
            found += [one.id for one in page.messages]
            if page.next_cursor is None:
                break
        assert found == wanted
        assert alone.threads.get(who, "t").message_count == len(wanted)
        query = f"SELECT count() FROM messages WHERE user_id = '{who}' SETTINGS final = 0"
        with alone.tiers.job_clickhouse.engine.connect() as connection:
            assert int(connection.exec_driver_sql(query).scalar_one()) == len(wanted)


def test_whoever_dies_midway_is_carried_on_for(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    persisted(alone, drain, user, 2)
    alone.jobs.user_erasure.request(user, by="an admin")

    def die(*_: object) -> None:
        raise RuntimeError("as a process that is killed here")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClickHouseEraser, "clear", die)
        with pytest.raises(RuntimeError):
            alone.jobs.user_erasure.carry_on(user)
    assert alone.jobs.user_erasure.receipt(user).state == "pending"
    done = finish(alone, user)
    assert done.state == "done"
    assert places(alone, marker_of(user)) == set()
    # What went before counts as well.
    assert done.removed["postgresql"]["messages"] == 2
    assert done.removed["clickhouse"]["messages"] == 2


def test_two_do_not_work_on_one_erasure(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    persisted(alone, drain, user, 2)
    alone.jobs.user_erasure.request(user, by="an admin")
    found = ThreadPoolExecutor().map(alone.jobs.user_erasure.carry_on, [user] * 4)
    assert sum(one is not None for one in found) >= 1
    assert finish(alone, user).removed["postgresql"]["messages"] == 2
