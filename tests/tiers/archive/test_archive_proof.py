"""No row leaves PostgreSQL that ClickHouse does not have: each way to lack it is found and mended,
or the partition stays."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from jobs.archive import proof, row_proof
from jobs.monitor import doctor
from models import codec
from models.message import Message
from storage.postgres import writes
from support.data.archives import (
    PARTITION,
    archive,
    boundary,
    execute,
    exported,
    in_postgres,
    lose_from_clickhouse,
    old,
    put_in_clickhouse,
    scalar,
    unit,
    write,
)
from support.data.samples import revised
from wiring.process import Services


def changed(one: Message, **fields: Any) -> Message:
    """A copy with the hash of the original."""
    known = {name: getattr(one, name) for name in Message.__struct_fields__}
    return Message(**known | fields)


DAMAGE: dict[str, dict[str, Any]] = {
    "content": {"content": "something else"},
    "metadata": {"metadata": {"more": 1}},
    "deleted_at": {"deleted_at": "2020-01-01T00:00:00.000001Z"},
    "content_hash": {"content_hash": "0" * 64},
}


@pytest.fixture
def week(store: Services, user: str) -> list[Message]:
    made = [old(user, day=number / 10, content=f"message {number}") for number in range(60)]
    write(store, made)
    return made


@pytest.mark.parametrize("column", DAMAGE)
def test_a_damaged_copy_is_replaced(store: Services, week: list[Message], column: str) -> None:
    before = exported(store)
    put_in_clickhouse(store, changed(week[7], **DAMAGE[column]))
    done = archive(store)
    assert (done.dropped, done.reshipped, done.stopped) == (1, 1, 0)
    assert exported(store) == before
    assert unit(store)["reshipped"] == 1


@pytest.mark.parametrize("column", ["user_id", "thread_id"])
def test_a_copy_under_another_name_does_not_count(
    store: Services, week: list[Message], column: str
) -> None:
    before = exported(store)
    lose_from_clickhouse(store, week[7])
    put_in_clickhouse(store, changed(week[7], **{column: "somebody"}))
    done = archive(store)
    assert (done.dropped, done.reshipped) == (1, 1)
    assert set(before) <= set(exported(store))


def test_lost_copies_are_shipped_again_even_by_the_same_token(
    store: Services, week: list[Message]
) -> None:
    """ClickHouse remembers the tokens of rows that it has lost."""
    before = exported(store)
    for _ in range(2):
        lose_from_clickhouse(store, *week)
        done = archive(store, grace=3600)
    assert done.reshipped == 0, "after the detachment it is proven once, and then before the drop"
    lose_from_clickhouse(store, *week)
    done = archive(store)
    assert (done.dropped, done.reshipped) == (1, len(week))
    assert exported(store) == before


def test_an_older_version_is_replaced(store: Services, week: list[Message]) -> None:
    write(store, [revised(one) for one in week[:9]], ship=False)
    execute(store, "TRUNCATE clickhouse_outbox")
    done = archive(store)
    assert (done.dropped, done.reshipped) == (1, 9)
    texts = [codec.decode(record).content for record in exported(store)]
    assert texts[:9] == ["version 2"] * 9


def test_a_newer_version_in_clickhouse_wins(store: Services, week: list[Message]) -> None:
    put_in_clickhouse(store, revised(week[3], version=5), revised(week[4], deleted=True))
    done = archive(store)
    assert (done.dropped, done.reshipped, done.stopped) == (1, 0, 0)
    assert unit(store)["newer"] == 2
    shown = {one.id: one for one in map(codec.decode, exported(store))}
    assert shown[week[3].id].version == 5
    assert week[4].id not in shown
    assert len(shown) == len(week) - 1


def stays(store: Services, week: list[Message], reason: str) -> None:
    """The partition is where it was, and everybody is told why."""
    with capture_logs() as logs:
        done = archive(store)
    assert (done.stopped, done.detached, done.dropped) == (1, 0, 0)
    assert in_postgres(store) == len(week)
    found = unit(store)
    assert found["state"] == "stopped"
    assert reason in found["reason"]
    (line,) = (line for line in logs if line["event"] == "archive_stopped")
    assert (line["log_level"], line["partition"]) == ("error", PARTITION)
    (entry,) = store.jobs.audit.entries(action="archive.stop", limit=1)
    assert entry.subject == f"partition:{PARTITION}"
    assert store.performance.health().tiers["postgresql"].archive_stopped == 1
    (finding,) = (one for one in doctor.examine(store.tiers) if one.check == "archive")
    assert not finding.ok
    assert reason in finding.found


def test_a_copy_of_postgresql_that_is_damaged_stops_it_until_it_is_mended(
    store: Services, week: list[Message]
) -> None:
    one = week[11]
    execute(store, "UPDATE messages SET content = 'x' WHERE id = :id", id=one.id)
    low = boundary(store)
    stays(store, week, "PostgreSQL's copy does not match its own hash")
    assert boundary(store) == low
    assert archive(store).stopped == 1
    execute(
        store, "UPDATE messages SET content = :text WHERE id = :id", text=one.content, id=one.id
    )
    before = exported(store)
    done = archive(store)
    assert (done.dropped, done.stopped) == (1, 0)
    assert unit(store)["state"] == "dropped"
    assert exported(store) == before


def test_a_newer_copy_of_clickhouse_that_is_damaged_stops_it(
    store: Services, week: list[Message]
) -> None:
    put_in_clickhouse(store, changed(revised(week[11]), content="x"))
    stays(store, week, "ClickHouse's newer copy does not match its own hash")


def test_what_clickhouse_does_not_keep_stops_it(
    store: Services, week: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_from_clickhouse(store, *week[:3])
    monkeypatch.setattr(store.tiers.job_clickhouse, "insert", lambda *args: None)
    stays(store, week, "ClickHouse lacks 3 messages")


def test_a_stopped_one_does_not_keep_the_others(
    store: Services, user: str, week: list[Message]
) -> None:
    write(store, [old(user, day=day) for day in (8, 15)])
    execute(store, "UPDATE messages SET content = 'x' WHERE id = :id", id=week[11].id)
    done = archive(store)
    assert (done.stopped, done.dropped) == (1, 2)
    assert in_postgres(store) == len(week)
    assert len(exported(store)) == len(week) + 2


def test_damaged_leftovers_stay_alone(store: Services, user: str, week: list[Message]) -> None:
    archive(store)
    edited = [revised(one) for one in week[:5]]
    write_beside_partitions(store, edited)
    execute(store, "UPDATE messages SET content = 'x' WHERE id = :id", id=edited[2].id)
    done = archive(store)
    assert (done.leftovers, done.stopped) == (4, 1)
    assert in_postgres(store) == 1
    assert unit(store, "messages_default")["state"] == "stopped"


def write_beside_partitions(store: Services, versions: list[Message]) -> None:
    """As the persist job does that remembers the partition."""

    with store.tiers.job_engine.begin() as connection:
        writes.upsert_messages(connection, [codec.encode(one) for one in versions])
    store.jobs.replication.ship_all()


def test_a_detached_table_is_dropped_by_what_it_holds_and_not_by_its_first_proof(
    store: Services, week: list[Message]
) -> None:
    """Damage between proof and drop that cannot be mended keeps the table."""
    archive(store, grace=3600)
    put_in_clickhouse(store, changed(revised(week[11]), content="x"))
    done = archive(store)
    assert (done.stopped, done.dropped) == (1, 0)
    assert scalar(store, f"SELECT count(*) FROM {PARTITION}") == len(week)
    assert unit(store)["detached_at"] is not None


def test_what_went_with_its_thread_is_not_shipped_again(
    store: Services, user: str, week: list[Message]
) -> None:
    execute(
        store,
        "UPDATE threads SET deleted_through = :id, deleted_at = now() WHERE user_id = :user",
        id=week[9].id,
        user=user,
    )
    lose_from_clickhouse(store, *week[:20])
    done = archive(store)
    assert (done.dropped, done.reshipped) == (1, 10)
    assert len(exported(store)) == 50


def test_a_partition_may_be_proven_in_pieces(
    store: Services, user: str, week: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, [old(user, day=day / 10) for day in range(70, 300, 7)])
    before = exported(store)
    monkeypatch.setattr(proof, "QUERY_BYTES", 20_000)
    monkeypatch.setattr(proof, "PROVEN_ROWS", 10)
    monkeypatch.setattr(row_proof, "MOST_NAMED", 7)
    lose_from_clickhouse(store, *week[::2])
    done = archive(store)
    assert done.stopped == 0
    assert done.reshipped == len(week) / 2
    assert done.dropped == done.partitions > 3
    assert exported(store) == before
