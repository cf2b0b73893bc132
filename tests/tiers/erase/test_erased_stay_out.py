"""What comes late of a user who was erased is not taken in, by whichever way it comes."""

import threading
from collections.abc import Callable

import msgspec
import pytest

from jobs.persist.dead_letters import DeadLetterService
from jobs.persist.drain import Drained
from jobs.transfer.bulk_import import BulkImporter
from models import codec, ids
from models.appends import Key
from storage.errors import NotFound
from storage.messages.clickhouse_writes import DirectWrite
from storage.messages.posts import Draft
from storage.postgres import idempotency, writes
from storage.redis import keys
from support.calls.erasing import erase, finish, marker_of, persisted
from support.data.everywhere import in_postgres, places
from support.data.samples import append_of, message, revised
from support.waiting import eventually
from wiring.process import Services


def test_an_entry_that_a_drain_meets_later_is_not_taken_in(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    one = persisted(alone, drain, user, 1)[0]
    erase(alone, user)
    # As a Redis that was brought back from before would have it.
    slot = alone.tiers.redis.slot_of_thread(user, "t")
    thread = {
        "version": 1,
        "id": "t",
        "user_id": user,
        "title": marker_of(user),
        "metadata": {},
        "created_at": one.created_at,
        "updated_at": one.created_at,
    }
    log = keys.pending(slot)
    alone.tiers.redis_client.xadd(log, {"message": codec.encode(one)})
    alone.tiers.redis_client.xadd(log, {"thread": msgspec.json.encode(thread)})
    alone.tiers.redis_client.set(keys.message(slot, one.id), codec.encode(one))
    alone.tiers.redis_client.set(keys.thread(slot, user, "t"), msgspec.json.encode(thread))
    assert drain().written == 0
    assert not list(in_postgres(alone, marker_of(user)))
    assert alone.jobs.user_erasure.receipt(user).state == "pending"
    assert finish(alone, user).state == "done"
    assert places(alone, marker_of(user)) == set()


def test_who_is_erased_again_while_the_first_erasure_is_open_is_gone_with_all_that_came_since(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    (one,) = persisted(alone, drain, user, 1)
    first = erase(alone, user)
    persisted(alone, drain, user, 2)
    slot = alone.tiers.redis.slot_of_thread(user, "t")
    alone.tiers.redis_client.xadd(keys.pending(slot), {"message": codec.encode(one)})
    drain()
    assert alone.jobs.user_erasure.receipt(user).state == "pending"
    second = erase(alone, user)
    assert second.erased_through > first.erased_through
    assert places(alone, marker_of(user)) == set()


def test_a_transaction_that_began_before_is_waited_for(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    persisted(alone, drain, user, 1)
    # In a thread of its own: of the others it would hold the row.
    late = message(user, "late", content=marker_of(user))
    marked, connection = threading.Event(), alone.tiers.request_engine.connect()
    transaction = connection.begin()
    writes.upsert_messages(connection, [codec.encode(late)])
    alone.jobs.user_erasure.request(user, by="an admin")
    worker = threading.Thread(
        target=lambda: (alone.jobs.user_erasure.carry_on(user), marked.set()), daemon=True
    )
    worker.start()
    assert not marked.wait(0.5), "it did not wait"
    transaction.commit()
    connection.close()
    worker.join(timeout=20)
    assert alone.jobs.user_erasure.receipt(user).state == "done"
    assert places(alone, marker_of(user)) == set()


def test_a_shipment_under_way_brings_nothing_back(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    made = message(user, content=marker_of(user))
    alone.tiers.redis.append([append_of(made)], 60)
    drain()
    taken, may_insert = threading.Event(), threading.Event()
    insert = alone.jobs.replication._server.insert

    def slow(*given: object) -> None:
        taken.set()
        assert may_insert.wait(20)
        insert(*given)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alone.jobs.replication._server, "insert", slow)
        ship = threading.Thread(target=alone.jobs.replication.ship_all, daemon=True)
        ship.start()
        assert taken.wait(10)
        alone.jobs.user_erasure.request(user, by="an admin")
        erasing = threading.Thread(
            target=alone.jobs.user_erasure.carry_on, args=(user,), daemon=True
        )
        erasing.start()
        eventually(lambda: alone.jobs.user_erasure.receipt(user).seconds > 0)
        may_insert.set()
        ship.join(timeout=20)
        erasing.join(timeout=30)
    assert finish(alone, user).state == "done"
    assert places(alone, marker_of(user)) == set()


def test_a_write_that_comes_home_later_is_not_taken_in(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    one = persisted(alone, drain, user, 1)[0]
    erase(alone, user)
    alone.failover.writes._clickhouse._insert([DirectWrite(one, codec.encode(one), None)])
    assert alone.failover.handoff.replay() == 1
    assert finish(alone, user).removed["clickhouse"]["messages"] == 2
    assert alone.jobs.user_erasure.receipt(user).state == "done"
    assert places(alone, marker_of(user)) == set()


def test_a_dead_letter_that_is_replayed_later_is_not_taken_in(
    alone: Services, user: str, drain: Callable[[], Drained], service: DeadLetterService
) -> None:
    one = persisted(alone, drain, user, 1)[0]
    erase(alone, user)
    with alone.tiers.job_engine.begin() as connection:
        slot = alone.tiers.redis.slot_of_thread(user, "t")
        record = codec.encode(one)
        writes.add_dead_letter(connection, slot, "1-1", "message", record, "a test")
    (number,) = service.numbers()
    assert not service.replay(number, by="somebody").written
    assert finish(alone, user).state == "done"
    assert places(alone, marker_of(user)) == set()


def test_an_import_of_older_data_leaves_them_out(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    made = persisted(alone, drain, user, 3)
    erase(alone, user)
    *_, done = BulkImporter(alone.tiers).run(made)
    assert (done.written, done.deleted) == (0, 3)
    assert finish(alone, user).state == "done"
    assert places(alone, marker_of(user)) == set()


def test_redis_takes_nothing_in_that_was_read_before(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    one = persisted(alone, drain, user, 1)[0]
    alone.threads.create(user, "other", marker_of(user), {})
    created = codec.decode_thread(alone.tiers.redis.thread(user, "other")[0] or b"")
    alone.jobs.user_erasure.request(user, by="an admin")
    alone.jobs.user_erasure.carry_on(user)
    redis = alone.tiers.redis
    records = [(one.id, codec.encode(one))]
    assert not redis.warm(user, "t", records, seen_floor=None, floor=ids.LOWEST)
    with pytest.raises(NotFound):
        redis.revise(revised(one), expected_version=1)
    with pytest.raises(NotFound):
        redis.put_thread(created, expected_version=1)
    through = alone.jobs.user_erasure.receipt(user).erased_through
    (answer,) = redis.append([append_of(one)], 60)
    assert answer == (through,), "an id at or below the watermark was acknowledged"
    assert places(alone, marker_of(user)) == set()


def test_what_went_with_its_user_is_not_called_lost(alone: Services, user: str) -> None:
    gone = alone.messages.post(user, "t", Draft("user", "hello", {})).message.id
    erase(alone, user)
    assert gone not in [name for name, _ in alone.failover.loss_audit.lost()]


def test_a_key_that_was_used_before_makes_a_new_message(alone: Services, user: str) -> None:
    draft = Draft("user", "hello", {}, "a key")
    first = alone.messages.post(user, "t", draft).message
    erase(alone, user)
    second = alone.messages.post(user, "t", draft)
    assert not second.repeated
    assert second.message.id > first.id
    with alone.tiers.job_engine.begin() as connection:
        assert idempotency.find(connection, [Key(user, "t", "a key")], 60) == {}
