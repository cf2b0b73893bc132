"""What a check says of what is beside the copies: figures, indexes, streams, the archive,
watermarks, and what ClickHouse finds by itself."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import text

from jobs.consistency.compare import hashes, rows
from jobs.consistency.report import ConsistencyReport
from models import codec, ids
from models.message import Thread
from storage.clickhouse.fingerprints import WEEK_MS, Cut, clickhouse_slices
from storage.redis import keys
from support.checking import above, boundary, named, three
from support.data.samples import METADATA, TEXTS, message, revised
from support.faults import damage
from wiring.process import Services


@pytest.mark.parametrize(
    "change", ["message_count = 7", "last_message_at = created_at - interval '1 day'"]
)
def test_wrong_figures_of_a_thread_are_named_and_mended(
    alone: Services, user: str, check: Callable[..., ConsistencyReport], change: str
) -> None:
    batch = three(alone, user)
    alone.failover.writes.revise(batch[2], lambda version: revised(batch[2], deleted=True))
    alone.jobs.drain_pipeline()
    right = alone.tiers.postgres.thread(user, "t")
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(text(f"UPDATE threads SET {change} WHERE user_id = :u"), {"u": user})
    assert named(check()) == {(f"{user}/t", "miscounted_in_postgresql", "")}
    assert named(check(repair=True)) == {(f"{user}/t", "miscounted_in_postgresql", "repaired")}
    assert check().data_consistency_score == 100.0
    assert alone.tiers.postgres.thread(user, "t") == right
    assert right is not None
    assert right.message_count == 2


def test_a_thread_whose_row_is_gone_is_named_and_there_again(
    alone: Services, user: str, check: Callable[..., ConsistencyReport]
) -> None:
    batch = three(alone, user)
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(text("DELETE FROM threads WHERE user_id = :u"), {"u": user})
    assert named(check(repair=True)) == {(f"{user}/t", "miscounted_in_postgresql", "repaired")}
    assert check().differences == []
    row = alone.tiers.postgres.thread(user, "t")
    assert row is not None
    assert (row.message_count, row.last_message_at) == (3, batch[-1].created_at)


def test_an_index_entry_of_what_is_nowhere_is_named_and_goes(
    alone: Services, user: str, check: Callable[..., ConsistencyReport]
) -> None:
    batch = three(alone, user)
    ghost = message(user)
    slot = alone.tiers.redis.slot_of_thread(user, "t")
    alone.tiers.redis_client.zadd(keys.index(slot, user, "t"), {ghost.id: 0})
    assert named(check(repair=True)) == {(ghost.id, "phantom_in_redis", "repaired")}
    assert check().differences == []
    page = alone.failover.retrieval.page(user, "t", limit=9, cursor=None, order="asc")
    assert page.messages == batch


def test_a_copy_under_a_key_that_nobody_reads_is_named_and_dropped(
    alone: Services, user: str, check: Callable[..., ConsistencyReport]
) -> None:
    one = three(alone, user)[0]
    slot = alone.tiers.redis.slot_of_message(one.id)
    astray = keys.message(slot + alone.settings.shards, one.id)
    alone.tiers.redis_client.set(astray, codec.encode(one), ex=60)
    assert named(check(repair=True)) == {(astray, "misplaced_in_redis", "repaired")}
    assert check().differences == []
    assert not alone.tiers.redis_client.exists(astray)


def test_a_stream_of_a_slot_that_nobody_drains_is_named_and_drained(
    alone: Services, user: str
) -> None:
    one = message(user)
    stream = keys.pending(alone.settings.shards + 1)
    alone.tiers.redis_client.xadd(stream, {"message": codec.encode(one)})
    found = alone.jobs.consistency_checker.check(actor="test", repair=True)
    queues = {one for one in named(found) if one[1] == "orphaned_in_redis"}
    assert queues == {(stream, "orphaned_in_redis", "repaired")}
    assert alone.tiers.redis_client.xlen(stream) == 0
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
        thread = alone.tiers.postgres.thread(user, "t")
        assert thread is not None
        assert thread.message_count == 2


@pytest.mark.usefixtures("leaving_nothing")
def test_rows_that_the_archive_has_lost_are_counted(alone: Services, user: str) -> None:
    batch = three(alone, user)
    cut = Cut(user_id=user, width_ms=WEEK_MS)
    expected = {
        key: part.rows for key, part in clickhouse_slices(alone.tiers.job_clickhouse, cut).items()
    }
    assert rows.lost_slices(alone.tiers.job_clickhouse, cut, expected) == []
    damage.in_clickhouse(alone, "DELETE", batch[0])
    (lost,) = rows.lost_slices(alone.tiers.job_clickhouse, cut, expected)
    assert (lost.name, lost.found) == ("lost_in_clickhouse", "2 of 3 messages")


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
    alone.failover.writes.put_thread(gone, lambda version: gone)
    alone.jobs.drain_pipeline()
    alone.jobs.erasure.erase_deleted_threads()
    alone.jobs.drain_pipeline()
    alone.jobs.physical_erasure.purge()
    assert check().differences == []
    if tier == "postgresql":
        damage.put_into_postgres(alone, batch[1])
    else:
        damage.in_clickhouse(alone, "DELETE", batch[1])
        damage.in_postgres(alone, "DELETE", batch[1])
        damage.put_into_clickhouse(alone, batch[1])
    found = {(one, kind) for one, kind, _ in named(check())}
    assert found == {(batch[1].id, f"resurrected_in_{tier}")}
    assert {outcome for *_, outcome in named(check(repair=True))} == {"repaired"}
    assert check().differences == []
    archived = damage.everywhere(alone, batch[1])["clickhouse"]
    assert archived is not None
    assert archived.deleted_at is not None


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
    found = hashes.unsound(alone.tiers.job_clickhouse, Cut(user_id=user))
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
    assert hashes.mismatched(alone.tiers.job_clickhouse, Cut(user_id=user)) == []
