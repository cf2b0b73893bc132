"""Old partitions leave PostgreSQL, and nobody who reads can tell."""

from datetime import UTC, datetime

import pytest

from jobs.archive.run import ArchiveCounts
from jobs.archive.tiering import DAY_SECONDS
from jobs.transfer.bulk_import import BulkImporter
from models import codec, ids
from models.message import Message
from storage.errors import NotFound
from storage.messages.retrieval_service import MessageSlice
from storage.postgres import writes
from storage.postgres.partitions import bound
from support.data.archives import (
    PARTITION,
    RULES,
    archive,
    boundary,
    execute,
    exported,
    in_postgres,
    lose_from_clickhouse,
    old,
    scalar,
    unit,
    write,
)
from support.data.samples import AWKWARD_TEXTS, message, revised
from wiring.process import Services

SECOND_MONDAY = bound(datetime(2020, 1, 6, tzinfo=UTC))


def page_of(store: Services, user: str, limit: int = 50, **query: str | None) -> MessageSlice:
    given = {"cursor": None, "order": "desc"} | query
    return store.failover.retrieval.page(user, "t", limit=limit, **given)  # type: ignore[arg-type]


def is_there(store: Services, table: str) -> bool:
    return bool(scalar(store, "SELECT to_regclass(:table) IS NOT NULL", table=table))


@pytest.fixture
def history(store: Services, user: str) -> list[Message]:
    """Three weeks of messages, some edited, some deleted."""
    texts = AWKWARD_TEXTS * 3
    made = [old(user, day=number / 3, content=text) for number, text in enumerate(texts)]
    write(store, made)
    write(store, [revised(one) for one in made[::5]])
    write(store, [revised(one, version=3, deleted=True) for one in made[::7]])
    return made


def test_what_is_archived_is_read_as_before(
    store: Services, user: str, history: list[Message]
) -> None:
    before, page = exported(store), page_of(store, user)
    store.tiers.redis_client.flushall()
    done = archive(store)
    assert (done.detached, done.dropped, done.messages) == (3, 3, len(history))
    assert (done.stopped, done.reshipped, done.newer) == (0, 0, 0)
    assert in_postgres(store) == 0
    assert not is_there(store, PARTITION)
    assert exported(store) == before
    again = page_of(store, user)
    assert again.source == "clickhouse"
    assert again.messages == page.messages
    assert again.next_cursor == page.next_cursor
    shown = page.messages[0]
    assert store.failover.retrieval.get(user, shown.id).message == shown
    with pytest.raises(NotFound):
        store.failover.retrieval.get(user, history[0].id)


def test_units_slices_and_audit_say_what_was_done(
    store: Services, user: str, history: list[Message]
) -> None:
    archive(store)
    found = unit(store)
    in_week = sum(ids.time_us_of(one.id) < ids.time_us_of(SECOND_MONDAY) for one in history)
    assert (found["state"], found["rows"], found["actor"]) == ("dropped", in_week, "tester")
    moments = [found[f"{step}_at"] for step in ("planned", "detached", "proven", "dropped")]
    assert moments == sorted(moments)
    rows, same = (
        scalar(store, f"SELECT {what} FROM archive_slices WHERE unit_id = :id", id=found["id"])
        for what in ("sum(rows)", "bool_and(checksum = clickhouse_checksum)")
    )
    assert (rows, same) == (in_week, True)
    told = store.jobs.audit.entries(actor="tester", limit=100)
    of_week = [one for one in told if one.subject == f"partition:{PARTITION}"][:2]
    assert [one.action for one in of_week] == ["archive.drop", "archive.detach"]
    assert [one.counts["messages"] for one in of_week] == [in_week, in_week]
    assert archive(store) == ArchiveCounts()


def test_what_is_young_stays(store: Services, user: str) -> None:
    young = message(user)
    write(store, [old(user), young])
    age = (
        store.tiers.clock.now_us() - ids.time_us_of(bound(datetime(2019, 12, 30, tzinfo=UTC)))
    ) / 1e6
    # The week is not wholly that old yet.
    almost = RULES._replace(archive_after_seconds=age - 6 * DAY_SECONDS)
    assert archive(store, rules=almost).partitions == 0
    assert in_postgres(store) == 2
    assert archive(store).messages == 1
    assert in_postgres(store) == 1
    assert page_of(store, user).messages[0].id == young.id


def test_a_look_changes_nothing(store: Services, user: str, history: list[Message]) -> None:
    due = store.jobs.archive.due(RULES)
    assert [one.name for one in due][:1] == [PARTITION]
    assert sum(one.rows for one in due) == len(history)
    assert in_postgres(store) == len(history)
    assert boundary(store) == ids.LOWEST
    assert scalar(store, "SELECT count(*) FROM archive_units") == 0


def test_a_grace_keeps_the_rows_and_the_last_proof_mends_what_was_lost_meanwhile(
    store: Services, user: str, history: list[Message]
) -> None:
    before = exported(store)
    done = archive(store, grace=3600)
    assert (done.detached, done.dropped, done.held) == (3, 0, 3)
    assert in_postgres(store) == 0
    assert scalar(store, f"SELECT count(*) FROM {PARTITION}") > 0
    assert unit(store)["state"] == "detached"
    assert exported(store) == before
    lose_from_clickhouse(store, *history[:10])
    assert archive(store, grace=3600).dropped == 0
    execute(store, "UPDATE archive_units SET detached_at = detached_at - interval '2 hours'")
    done = archive(store, grace=3600)
    assert (done.dropped, done.reshipped) == (3, 10)
    assert exported(store) == before


def test_the_boundary_only_rises(store: Services, user: str) -> None:
    write(store, [old(user, day=70)])
    archive(store)
    high = boundary(store)
    assert high > SECOND_MONDAY
    write(store, [old(user)])
    assert archive(store).dropped == 1
    assert boundary(store) == high
    assert len(page_of(store, user).messages) == 2


def test_an_edit_of_an_archived_message_wins_and_is_archived_again(
    store: Services, user: str, history: list[Message]
) -> None:
    archive(store)
    before = scalar(store, "SELECT message_count FROM threads WHERE user_id = :user", user=user)
    first, second = history[1], history[2]
    store.messages.edit(user, first.id, content="edited", metadata=None, if_version=None)
    store.messages.delete(user, second.id, if_version=None)
    store.jobs.persistence.drain_all(range(store.settings.shards))
    assert in_postgres(store) == 2
    store.tiers.redis_client.flushall()
    for _ in range(2):
        shown = {one.id: one for one in page_of(store, user).messages}
        assert shown[first.id].content == "edited"
        assert second.id not in shown
        with pytest.raises(NotFound):
            store.failover.retrieval.get(user, second.id)
        counted = scalar(store, "SELECT message_count FROM threads WHERE user_id = :u", u=user)
        assert counted == before - 1
        done = archive(store)
        store.tiers.redis_client.flushall()
    assert done.leftovers == 0
    assert in_postgres(store) == 0


def test_a_week_that_comes_back_is_archived_again(store: Services, user: str) -> None:
    """History that arrives late makes its partition anew, beside what ClickHouse has of it."""
    first, second = old(user), old(user, day=1)
    write(store, [first])
    archive(store)
    write(store, [second])
    assert is_there(store, PARTITION)
    done = archive(store)
    assert (done.dropped, done.messages, done.reshipped) == (1, 1, 0)
    assert len(page_of(store, user).messages) == 2


def test_importing_it_again_brings_nothing_back(
    store: Services, user: str, history: list[Message]
) -> None:
    archive(store)
    before = exported(store)
    count = scalar(store, "SELECT message_count FROM threads WHERE user_id = :user", user=user)
    late = old(user, day=2.5, content="never seen before")
    importer = BulkImporter(store.tiers)
    *_, done = importer.run([*history, late])
    assert (done.written, done.unchanged, done.refusals) == (1, len(history), ())
    assert in_postgres(store) == 1
    after = exported(store)
    assert len(after) == len(before) + 1
    assert set(before) < set(after)
    counted = scalar(store, "SELECT message_count FROM threads WHERE user_id = :user", user=user)
    assert counted == count + 1


def test_old_rows_of_the_default_partition_go_one_by_one(store: Services, user: str) -> None:
    made = [old(user, day=number / 1000) for number in range(9_000)]
    write_to_default(store, made)
    before = exported(store)
    done = archive(store)
    assert (done.leftovers, done.messages, done.detached) == (9_000, 9_000, 0)
    assert in_postgres(store) == 0
    assert exported(store) == before
    assert unit(store, "messages_default")["state"] == "dropped"


def write_to_default(store: Services, made: list[Message]) -> None:
    """Where no partition is made for them first."""
    with store.tiers.job_engine.begin() as connection:
        writes.upsert_messages(connection, [codec.encode(one) for one in made])
    store.jobs.replication.ship_all()
