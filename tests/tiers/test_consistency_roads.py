"""What a check says of what is on its way, of what nobody can mend, and of what is beside the
copies: figures, indexes, streams, the archive, watermarks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import text

from models import codec, ids
from models.message import Message, Thread
from storage import redis_keys as keys
from storage.consistency import rows, second_look, self_check
from storage.consistency.report import EVERYTHING, ConsistencyReport, Difference, Scope
from storage.consistency.reports import CheckRunning
from storage.fingerprints import WEEK_MS, Cut, clickhouse_slices
from storage.services import Services
from support import damage
from support.samples import METADATA, TEXTS, append_of, message, revised


@pytest.fixture
def check(alone: Services, user: str) -> Callable[..., ConsistencyReport]:
    """Checks what this test's own user has."""

    def run(*, repair: bool = False) -> ConsistencyReport:
        return alone.consistency_checker.check(Scope(user_id=user), actor="test", repair=repair)

    return run


@pytest.fixture
def leaving_nothing(alone: Services, user: str) -> Iterator[None]:
    """Takes what stays different out of the tiers, which others compare as a whole."""
    yield
    with alone.job_engine.begin() as connection:
        connection.execute(text("DELETE FROM messages WHERE user_id = :u"), {"u": user})
        connection.execute(text("DELETE FROM dead_letters"))
    with alone.job_clickhouse.engine.begin() as connection:
        connection.exec_driver_sql(
            f"ALTER TABLE messages DELETE WHERE user_id = '{user}' SETTINGS mutations_sync = 2"
        )


def named(found: ConsistencyReport) -> set[tuple[str, str, str]]:
    return {(one.id, one.name, one.outcome) for one in found.differences}


def three(services: Services, user: str) -> list[Message]:
    batch = [message(user, content=f"message {n}") for n in range(3)]
    damage.place(services, *batch)
    return batch


@contextmanager
def boundary(services: Services, below: str) -> Iterator[None]:
    def put(value: str) -> None:
        with services.job_engine.begin() as connection:
            connection.execute(text("UPDATE archive_boundary SET below = :b"), {"b": value})

    put(below)
    try:
        yield
    finally:
        put(ids.LOWEST)


def above(one: Message) -> str:
    """The next id of its thread after a message's."""
    return ids.mint(ids.time_us_of(one.id) + 1, ids.shard_in(one.id), 0)


@pytest.mark.usefixtures("leaving_nothing")
def test_what_no_tier_has_right_is_named_and_kept(
    alone: Services, user: str, check: Callable[..., ConsistencyReport]
) -> None:
    one = three(alone, user)[1]
    damage.in_postgres(alone, "content = 'x'", one)
    damage.in_clickhouse(alone, "DELETE", one)
    damage.drop_from_redis(alone, one)
    for repair in (False, True, False):
        report = check(repair=repair)
        assert named(report) == {(one.id, "damaged_in_postgresql", "unrepairable")}
        assert report.remaining == 1
    kept = damage.everywhere(alone, one)["postgresql"]
    assert kept is not None
    assert kept.content == "x"


def test_what_waits_in_the_outbox_is_no_difference(
    alone: Services,
    user: str,
    check: Callable[..., ConsistencyReport],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = three(alone, user)[0]
    monkeypatch.setattr(second_look, "SETTLE_SECONDS", 0.5)
    with alone.job_engine.connect() as other:
        # Another process ships, and takes its time.
        other.execute(text("SELECT pg_advisory_xact_lock(hashtext('threadkeep:ship'))"))
        alone.failover.revise(one, lambda version: revised(one))
        assert check().differences == []
        there = damage.everywhere(alone, one)
        assert there["postgresql"] == revised(one)
        assert there["clickhouse"] == one
        other.rollback()
    assert check().differences == []
    assert damage.everywhere(alone, one)["clickhouse"] == revised(one)


def test_what_only_the_log_has_is_no_difference(
    alone: Services, user: str, check: Callable[..., ConsistencyReport]
) -> None:
    one = three(alone, user)[0]
    alone.redis.append([append_of(message(user))], 60)
    alone.failover.revise(one, lambda version: revised(one))
    assert check().differences == []


def test_a_pending_copy_that_may_be_evicted_is_named(alone: Services, user: str) -> None:
    one = message(user)
    alone.redis.append([append_of(one)], 60)
    name = keys.message(alone.redis.slot_of_message(one.id), one.id)
    alone.redis_client.expire(name, 60)
    found = alone.consistency_checker.check(Scope(user_id=user), actor="test", repair=True)
    assert named(found) == {(one.id, "evictable_in_redis", "repaired")}
    assert alone.consistency_checker.check(Scope(user_id=user), actor="test").differences == []


@pytest.mark.parametrize(
    "change", ["message_count = 7", "last_message_at = created_at - interval '1 day'"]
)
def test_wrong_figures_of_a_thread_are_named_and_mended(
    alone: Services, user: str, check: Callable[..., ConsistencyReport], change: str
) -> None:
    batch = three(alone, user)
    alone.failover.revise(batch[2], lambda version: revised(batch[2], deleted=True))
    alone.carry()
    right = alone.postgres.thread(user, "t")
    with alone.job_engine.begin() as connection:
        connection.execute(text(f"UPDATE threads SET {change} WHERE user_id = :u"), {"u": user})
    assert named(check()) == {(f"{user}/t", "miscounted_in_postgresql", "")}
    assert named(check(repair=True)) == {(f"{user}/t", "miscounted_in_postgresql", "repaired")}
    assert check().data_consistency_score == 100.0
    assert alone.postgres.thread(user, "t") == right
    assert right is not None
    assert right.message_count == 2


def test_a_thread_whose_row_is_gone_is_named_and_there_again(
    alone: Services, user: str, check: Callable[..., ConsistencyReport]
) -> None:
    batch = three(alone, user)
    with alone.job_engine.begin() as connection:
        connection.execute(text("DELETE FROM threads WHERE user_id = :u"), {"u": user})
    assert named(check(repair=True)) == {(f"{user}/t", "miscounted_in_postgresql", "repaired")}
    assert check().differences == []
    row = alone.postgres.thread(user, "t")
    assert row is not None
    assert (row.message_count, row.last_message_at) == (3, batch[-1].created_at)


def test_an_index_entry_of_what_is_nowhere_is_named_and_goes(
    alone: Services, user: str, check: Callable[..., ConsistencyReport]
) -> None:
    batch = three(alone, user)
    ghost = message(user)
    slot = alone.redis.slot_of_thread(user, "t")
    alone.redis_client.zadd(keys.index(slot, user, "t"), {ghost.id: 0})
    assert named(check(repair=True)) == {(ghost.id, "phantom_in_redis", "repaired")}
    assert check().differences == []
    page = alone.retrieval.page(user, "t", limit=9, cursor=None, order="asc")
    assert page.messages == batch


def test_a_copy_under_a_key_that_nobody_reads_is_named_and_dropped(
    alone: Services, user: str, check: Callable[..., ConsistencyReport]
) -> None:
    one = three(alone, user)[0]
    slot = alone.redis.slot_of_message(one.id)
    astray = keys.message(slot + alone.settings.shards, one.id)
    alone.redis_client.set(astray, codec.encode(one), ex=60)
    assert named(check(repair=True)) == {(astray, "misplaced_in_redis", "repaired")}
    assert check().differences == []
    assert not alone.redis_client.exists(astray)


def test_a_stream_of_a_slot_that_nobody_drains_is_named_and_drained(
    alone: Services, user: str
) -> None:
    one = message(user)
    stream = keys.pending(alone.settings.shards + 1)
    alone.redis_client.xadd(stream, {"message": codec.encode(one)})
    found = alone.consistency_checker.check(actor="test", repair=True)
    queues = {one for one in named(found) if one[1] == "orphaned_in_redis"}
    assert queues == {(stream, "orphaned_in_redis", "repaired")}
    assert alone.redis_client.xlen(stream) == 0
    assert damage.everywhere(alone, one)["postgresql"] == one


@pytest.mark.usefixtures("leaving_nothing")
def test_rows_below_the_boundary_may_be_in_clickhouse_alone(
    alone: Services, user: str, check: Callable[..., ConsistencyReport]
) -> None:
    batch = three(alone, user)
    damage.drop_from_redis(alone, *batch)
    damage.in_postgres(alone, "DELETE", batch[0], batch[1])
    assert {(one, kind) for one, kind, _ in named(check())} == {
        (batch[0].id, "missing_in_postgresql"),
        (batch[1].id, "missing_in_postgresql"),
    }
    with boundary(alone, above(batch[1])):
        assert check().differences == []
        damage.in_clickhouse(alone, "UPDATE content = 'x'", batch[0])
        assert named(check(repair=True)) == {(batch[0].id, "damaged_in_clickhouse", "unrepairable")}
        # An edit of an archived message brings its row back; the archive's copy is the older one.
        damage.put_into_postgres(alone, batch[0])
        assert named(check(repair=True)) == {(batch[0].id, "damaged_in_clickhouse", "repaired")}
        assert check().differences == []
        damage.put_into_clickhouse(alone, revised(batch[1], deleted=True))
        report = check(repair=True)
        assert named(report) == {(f"{user}/t", "miscounted_in_postgresql", "repaired")}
        thread = alone.postgres.thread(user, "t")
        assert thread is not None
        assert thread.message_count == 2


@pytest.mark.usefixtures("leaving_nothing")
def test_rows_that_the_archive_has_lost_are_counted(alone: Services, user: str) -> None:
    batch = three(alone, user)
    cut = Cut(user_id=user, width_ms=WEEK_MS)
    expected = {
        key: part.rows for key, part in clickhouse_slices(alone.job_clickhouse, cut).items()
    }
    assert rows.lost_slices(alone.job_clickhouse, cut, expected) == []
    damage.in_clickhouse(alone, "DELETE", batch[0])
    (lost,) = rows.lost_slices(alone.job_clickhouse, cut, expected)
    assert (lost.expected, lost.found) == (3, 2)


@pytest.mark.parametrize("tier", ["postgresql", "clickhouse"])
def test_what_went_with_its_thread_does_not_come_back(
    alone: Services, user: str, check: Callable[..., ConsistencyReport], tier: str
) -> None:
    batch = three(alone, user)
    mark = ids.mint(ids.time_us_of(batch[-1].id) + 1, ids.shard_of(user, "t"))
    moment = ids.timestamp(ids.time_us_of(mark))
    gone = Thread(
        version=2, id="t", user_id=user, title=None, metadata={}, created_at=batch[0].created_at,
        updated_at=moment, deleted_at=moment, deleted_through=mark,
    )  # fmt: skip
    alone.failover.put_thread(gone, lambda version: gone)
    alone.carry()
    alone.erasure.erase_deleted_threads()
    alone.carry()
    assert check().differences == []
    if tier == "postgresql":
        damage.put_into_postgres(alone, batch[1])
    else:
        damage.in_clickhouse(alone, "DELETE", batch[1])
        damage.in_postgres(alone, "DELETE", batch[1])
        damage.put_into_clickhouse(alone, batch[1])
    found = {(one, kind) for one, kind, _ in named(check())}
    expected = {(batch[1].id, f"resurrected_in_{tier}")}
    if tier == "clickhouse":
        expected.add((batch[1].id, "missing_in_postgresql"))
    assert found == expected
    assert {outcome for *_, outcome in named(check(repair=True))} == {"repaired"}
    assert check().differences == []
    archived = damage.everywhere(alone, batch[1])["clickhouse"]
    assert archived is not None
    assert archived.deleted_at is not None


@pytest.mark.usefixtures("leaving_nothing")
def test_a_copy_that_was_refused_stays_as_it_is(
    alone: Services, user: str, check: Callable[..., ConsistencyReport]
) -> None:
    one = message(user)
    damage.put_into_redis(alone, one, seconds=None)
    with alone.job_engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO dead_letters (shard, entry_id, kind, record, reason)"
                " VALUES (0, :entry, 'message', :record, 'a test')"
            ),
            {"entry": one.id, "record": codec.encode(one)},
        )
    assert check(repair=True).differences == []
    assert damage.everywhere(alone, one)["redis"] == one


@pytest.mark.usefixtures("leaving_nothing")
def test_a_check_of_one_user_names_nothing_of_another(alone: Services, user: str) -> None:
    one = three(alone, user)[0]
    damage.in_postgres(alone, "content = 'x'", one)
    other = alone.consistency_checker.check(Scope(user_id="nobody"), actor="test")
    assert (other.compared, other.differences) == (0, [])
    own = alone.consistency_checker.check(Scope(user_id=user, thread_id="t"), actor="test")
    assert [found.id for found in own.differences] == [one.id]
    assert (
        alone.consistency_checker.check(
            Scope(user_id=user, thread_id="u"), actor="test"
        ).differences
        == []
    )


def test_two_checks_do_not_run_at_once(alone: Services) -> None:
    checker = alone.consistency_checker
    opened = checker.reports.open(EVERYTHING, "test", repair=False)
    with checker.reports.alone():
        with pytest.raises(CheckRunning):
            checker.check(actor="test")
        with pytest.raises(CheckRunning):
            checker.run(opened)
    assert checker.reports.get(opened.id).state == "failed"


def test_a_repair_stands_in_the_audit_trail(
    alone: Services, user: str, check: Callable[..., ConsistencyReport]
) -> None:
    one = three(alone, user)[0]
    damage.in_clickhouse(alone, "DELETE", one)
    report = check(repair=True)
    (entry,) = alone.audit.entries(action="consistency.repair", limit=1)
    assert (entry.actor, entry.subject) == ("test", f"consistency:{user}/*")
    assert entry.counts == {"repaired:missing_in_clickhouse": 1}
    assert entry.details == {
        "report": report.id,
        "ids": {"repaired:missing_in_clickhouse": [one.id]},
    }
    kept = alone.consistency_checker.reports.last()
    assert (
        kept.differences
        == report.differences
        == [
            Difference(
                pair="postgresql-clickhouse",
                tier="clickhouse",
                kind="missing",
                id=one.id,
                user_id=user,
                thread_id="t",
                found="version 1 in postgresql, none in clickhouse, right is 1",
                outcome="repaired",
            )
        ]
    )


@pytest.mark.usefixtures("leaving_nothing")
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=TEXTS.filter(bool), metadata=METADATA)
def test_clickhouse_knows_by_itself_what_is_sound(
    alone: Services, user: str, content: str, metadata: dict[str, object]
) -> None:
    sound = message(user, content=content, metadata=metadata)
    other = message(user, content=content, metadata=metadata)
    wrong = msgspec.structs.replace(other, content_hash="0" * 64)
    damage.put_into_clickhouse(alone, sound, wrong)
    checker = alone.consistency_checker
    cut = Cut(user_id=user)
    found = self_check.unsound(alone.job_clickhouse, cut, checker._validator)
    assert wrong.id in found
    assert sound.id not in found


@pytest.mark.usefixtures("leaving_nothing")
def test_plain_rows_are_judged_inside_clickhouse(alone: Services, user: str) -> None:
    metadata = {"z": 1.5, "a": ["x", None, True], "b": '\u00e9 / \\ " \n'}
    batch = [
        message(user, content="plain, 'quoted' / \"twice\" \\ and \u00e9\n\t", metadata=metadata),
        message(user, content="plain"),
    ]
    damage.put_into_clickhouse(alone, *batch, revised(batch[1], deleted=True))
    assert self_check.mismatched(alone.job_clickhouse, Cut(user_id=user)) == []
