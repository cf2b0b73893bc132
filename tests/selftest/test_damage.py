"""Real stores, damaged after an honest run: whoever looks afterwards finds it."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import delete

from models import ids, tables
from selftest.bed.stack import Testbed
from selftest.load.readers import Reader
from selftest.load.traffic import Load, Traffic
from selftest.record.account import MessageHistory
from selftest.record.findings import Findings, Invariant
from selftest.record.ledger import Answered, AttemptedRequest
from selftest.run import under_load
from selftest.verdict.checker import check
from selftest.verdict.evidence import gather
from selftest.verdict.quiescence import wait_until_quiet
from storage.redis import keys
from support.waiting import eventually

OTHER_PATH = "/api/threads/other/messages"
LOAD = Load(writers=2, readers=0, users=1, threads=1, pause_seconds=0.01)


@pytest.fixture
def traffic(bed: Testbed, tmp_path: Path) -> Iterator[Traffic]:
    """A run in which every word was kept, and nobody writes any more."""
    with under_load(bed, tmp_path, LOAD, seed=2) as made:
        eventually(lambda: len(living(made)) >= 20, 30)
    assert wait_until_quiet(bed.services, made.account) == ""
    made.stopping.clear()
    assert broken(bed, made) == {}
    yield made


def living(traffic: Traffic) -> list[MessageHistory]:
    return [each for each in traffic.account.histories() if each.must_be_seen]


def broken(bed: Testbed, traffic: Traffic) -> dict[Invariant, set[str]]:
    """Invariant -> the ids that its violations name."""
    found: dict[Invariant, set[str]] = {}
    for violation in check(gather(bed.services, traffic.account, bed.client)):
        found.setdefault(violation.invariant, set()).add(str(violation.evidence.get("id")))
    return found


def read_all(traffic: Traffic) -> list[Invariant]:
    """What a reader finds who lists the whole thread and gets each message."""
    traffic.findings = Findings()
    with closing(Reader(traffic, LOAD, 0, seed=1)) as reader:
        for _ in range(60):
            reader.read_page()
            reader.read_message()
    return [violation.invariant for violation in traffic.findings.all()]


def test_a_row_gone_from_postgresql_is_found(bed: Testbed, traffic: Traffic) -> None:
    victim = living(traffic)[0].id
    with bed.services.tiers.job_engine.begin() as connection:
        connection.execute(delete(tables.messages).where(tables.messages.c.id == victim))
    found = broken(bed, traffic)
    assert found[Invariant.NO_LOSS] == {victim}
    assert victim in found[Invariant.AGREEMENT]


def test_an_id_gone_from_the_hot_page_is_found_by_checker_and_readers(
    bed: Testbed, traffic: Traffic
) -> None:
    victim = living(traffic)[3]
    slot = bed.services.tiers.redis.slot_of_message(victim.id)
    index = keys.index(slot, victim.user_id, victim.thread_id)
    assert bed.services.tiers.redis_client.zrem(index, victim.id) == 1
    found = broken(bed, traffic)
    assert found[Invariant.NO_LOSS] == {victim.id}
    assert found[Invariant.AGREEMENT] == {victim.id}
    assert Invariant.READ_YOUR_WRITES in read_all(traffic)


def test_a_hot_record_that_was_tampered_with_is_found(bed: Testbed, traffic: Traffic) -> None:
    victim = living(traffic)[0].id
    key = keys.message(bed.services.tiers.redis.slot_of_message(victim), victim)
    record = bed.services.tiers.redis_client.get(key)
    assert isinstance(record, bytes)
    bed.services.tiers.redis_client.set(key, record.replace(b'"role":"user"', b'"role":"tool"'))
    found = broken(bed, traffic)
    assert found == {Invariant.INTACT: {victim}}


def test_a_tombstone_gone_from_every_tier_is_a_resurrection(bed: Testbed, traffic: Traffic) -> None:
    history = living(traffic)[0]
    op = next(traffic.operations)
    # The ledger says that the message was deleted; the stores never heard of it.
    asked = AttemptedRequest(
        writer=0,
        verb="delete",
        user_id=history.user_id,
        thread_id=history.thread_id,
        key=history.key,
        message_id=history.id,
        op=op,
        attempt=0,
    )
    done = Answered(
        outcome="answered",
        status=200,
        latency_ms=1.0,
        id=history.id,
        version=history.version + 1,
        op=op,
        attempt=0,
    )
    traffic.account.note(asked)
    traffic.account.note(done)
    assert broken(bed, traffic)[Invariant.NO_RESURRECTION] == {history.id}
    assert Invariant.NO_RESURRECTION in read_all(traffic)


def test_a_message_that_never_was_is_missed(bed: Testbed, traffic: Traffic) -> None:
    history = living(traffic)[0]
    op = next(traffic.operations)
    never = ids.mint(ids.time_us_of(history.id) + 1, ids.shard_in(history.id))
    asked = AttemptedRequest(
        writer=0,
        verb="create",
        user_id=history.user_id,
        thread_id=history.thread_id,
        key="never",
        op=op,
        attempt=0,
    )
    done = Answered(
        outcome="answered", status=200, latency_ms=1.0, id=never, version=1, op=op, attempt=0
    )
    traffic.account.note(asked)
    traffic.account.note(done)
    assert broken(bed, traffic)[Invariant.NO_LOSS] == {never}
    assert wait_until_quiet(bed.services, traffic.account, 0.5) == (
        "1 messages are not in PostgreSQL, 1 not in ClickHouse"
    )
    assert Invariant.READ_YOUR_WRITES in read_all(traffic)


def test_an_entry_that_nobody_drains_is_found(bed: Testbed, traffic: Traffic) -> None:
    frozen = bed.freeze("worker")
    try:
        with closing(bed.client(living(traffic)[0].user_id)) as client:
            assert client.call("POST", OTHER_PATH, b'{"message": "x"}').status == 200
        left = wait_until_quiet(bed.services, traffic.account, 0.5)
        assert left == "entries wait: 1 in the log"
        assert Invariant.RECOVERY in broken(bed, traffic)
    finally:
        bed.thaw(frozen)
    assert wait_until_quiet(bed.services, traffic.account) == ""
