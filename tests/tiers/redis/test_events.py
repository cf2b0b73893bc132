"""What those who listen to a user are told: each write once, in order, and only while they do."""

from collections.abc import Callable

import msgspec

from jobs.persist.drain import Drained
from models import codec
from models.events import Event
from models.message import Thread
from storage.redis import keys
from support.data.samples import append_of, message, revised
from support.faults.outages import post, without
from wiring.process import Services


def listen(alone: Services, user: str) -> str:
    return alone.tiers.events.open([user])[user]


def told(alone: Services, user: str, place: str) -> list[Event]:
    return alone.tiers.events.after(user, place, 1_000) or []


def kinds(events: list[Event]) -> list[tuple[str, str | None, int]]:
    return [(one.type, one.message_id, one.version) for one in events]


def test_a_write_is_told_with_its_record_and_then_its_commit(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    place = listen(alone, user)
    first = post(alone, user)
    edited = alone.messages.edit(
        user, first.message.id, content="other", metadata=None, if_version=None
    )
    gone = alone.messages.delete(user, first.message.id, if_version=None)
    drain()
    events = told(alone, user, place)
    name = first.message.id
    assert kinds(events) == [
        ("message_received", name, 1),
        ("message_updated", name, 2),
        ("message_deleted", name, 3),
        ("message_persisted", name, 1),
        ("message_persisted", name, 2),
        ("message_persisted", name, 3),
    ]
    assert [one.record for one in events[:3]] == [first.record, edited.record, gone.record]
    assert len({one.id for one in events}) == len(events)


def test_where_nobody_listens_there_is_no_stream(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    post(alone, user)
    alone.threads.create(user, "named", None, {})
    drain()
    assert not alone.tiers.redis_client.exists(keys.events(user))


def test_a_repeat_is_not_told_again(alone: Services, user: str) -> None:
    place = listen(alone, user)
    first = post(alone, user, key="once")
    assert post(alone, user, key="once").message.id == first.message.id
    assert kinds(told(alone, user, place)) == [("message_received", first.message.id, 1)]


def test_a_commit_is_told_once_however_often_it_is_settled(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    place = listen(alone, user)
    made = message(user)
    alone.tiers.redis.append([append_of(made)], 60)
    (entry,) = [
        found
        for slot in range(alone.settings.shards)
        for found in alone.tiers.pending_log.page(slot, "-", 9)
    ]
    drain()
    # The worker that had read the entry before it was killed comes again.
    alone.tiers.redis_client.xadd(keys.pending(entry.slot), {"message": entry.record}, id="*")
    alone.tiers.redis_client.xdel(keys.pending(entry.slot), entry.entry_id)
    drain()
    assert [one.type for one in told(alone, user, place)].count("message_persisted") == 2
    drain()
    assert [one.type for one in told(alone, user, place)].count("message_persisted") == 2


def test_changes_of_a_thread_are_told(alone: Services, user: str) -> None:
    place = listen(alone, user)
    alone.threads.create(user, "t", "first", {})
    alone.threads.change(user, "t", title="second", metadata=msgspec.UNSET)
    alone.threads.delete(user, "t")
    events = told(alone, user, place)
    assert [(one.type, one.thread_id, one.version) for one in events] == [
        ("thread_updated", "t", 1),
        ("thread_updated", "t", 2),
        ("thread_updated", "t", 3),
    ]
    last = codec.decode_thread(events[-1].record or b"")
    assert isinstance(last, Thread) and last.deleted_at is not None


def test_nobody_is_told_of_what_is_somebody_elses(alone: Services, user: str) -> None:
    place = listen(alone, user)
    post(alone, f"{user}:t")
    post(alone, user + "-other")
    assert told(alone, user, place) == []


def test_a_place_that_is_gone_is_not_taken_for_one_where_nothing_is_missing(
    alone: Services, user: str
) -> None:
    place = listen(alone, user)
    own = Services(msgspec.structs.replace(alone.settings, events_kept=10))
    for _ in range(300):
        post(own, user)
    assert alone.tiers.events.after(user, place, 10) is None
    assert alone.tiers.events.keep({user: place}) == {user}
    newest = listen(alone, user)
    assert alone.tiers.events.keep({user: newest}) == set()
    assert alone.tiers.events.after(user, newest, 10) == []
    # Redis comes back empty, and the stream is made anew.
    alone.tiers.redis_client.flushall()
    listen(alone, user)
    assert alone.tiers.events.after(user, newest, 10) is None


def test_a_key_that_is_no_stream_stops_no_write(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    for name in keys.of_listeners(user):
        alone.tiers.redis_client.set(name, "somebody else's")
    made = post(alone, user)
    alone.messages.edit(user, made.message.id, content="x", metadata=None, if_version={1})
    alone.threads.create(user, "named", None, {})
    assert drain().refused == 0
    assert alone.failover.retrieval.get(user, made.message.id).message.version == 2
    assert sum(alone.tiers.pending_log.backlog()) == 0


def test_the_bell_rings_for_whom_there_is_news(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    with alone.tiers.events.doorbell() as bell:
        post(alone, user)
        assert bell.wait(0.1) == set()
        place = listen(alone, user)
        made = post(alone, user)
        assert bell.wait(5) == {user}
        news = alone.tiers.events.news({user: place, "nobody": "0-0"})
        assert kinds(news[user]) == [("message_received", made.message.id, 1)]
        drain()
        assert bell.wait(5) == {user}


def test_what_was_written_beside_redis_is_told_late_and_once(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    known = post(alone, user)
    drain()
    place = listen(alone, user)
    own = without(alone, "redis")
    made = post(own, user)
    own.messages.edit(user, known.message.id, content="other", metadata=None, if_version=None)
    assert told(alone, user, place) == []
    alone.failover.redis_recovery.reconcile()
    late = [one for one in told(alone, user, place) if one.is_late]
    assert sorted(kinds(late)) == sorted(
        [
            ("message_received", made.message.id, 1),
            ("message_persisted", made.message.id, 1),
            ("message_updated", known.message.id, 1_001),
            ("message_persisted", known.message.id, 1_001),
        ]
    )
    # The worker was killed before it could note that it had told.
    with alone.tiers.job_engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO redis_backfill (user_id, thread_id, message_id) VALUES (%s, 't', %s)",
            (user, made.message.id),
        )
    alone.failover.redis_recovery.reconcile()
    assert len([one for one in told(alone, user, place) if one.is_late]) == 4


def test_what_redis_took_before_its_answer_was_lost_is_not_told_twice(
    alone: Services, user: str, write: Callable[..., int], drain: Callable[[], Drained]
) -> None:
    place = listen(alone, user)
    made = message(user)
    alone.tiers.redis.append([append_of(made)], 60)
    write(made)
    with alone.tiers.job_engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO redis_backfill (user_id, thread_id, message_id) VALUES (%s, 't', %s)",
            (user, made.id),
        )
    alone.failover.redis_recovery.reconcile()
    drain()
    assert kinds(told(alone, user, place)) == [
        ("message_received", made.id, 1),
        ("message_persisted", made.id, 1),
    ]


def test_threads_that_wait_are_those_with_writes_in_the_log(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    first = message(user, "one")
    alone.tiers.redis.append([append_of(first), append_of(message(user, "two"))], 60)
    alone.threads.create(user, "three", None, {})
    waiting = keys.waiting_threads(user)
    assert set(alone.tiers.redis_client.hkeys(waiting)) == {b"one", b"two", b"three"}
    alone.tiers.redis_client.hset(keys.thread_pages(user), "generation", "g")
    alone.tiers.redis.revise(revised(first), expected_version=1)
    assert not alone.tiers.redis_client.exists(keys.thread_pages(user))
    drain()
    assert not alone.tiers.redis_client.exists(waiting)
