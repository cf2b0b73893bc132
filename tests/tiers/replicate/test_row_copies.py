"""PostgreSQL's small tables as copies in ClickHouse: they follow, and are never overtaken."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from jobs.persist.drain import Drained
from jobs.replicate import row_outbox
from models.message import Thread
from storage.errors import TierRejected, TierUnavailable
from storage.resilience import faultpoints
from support.data.samples import append_of, message
from wiring.process import Services

MOMENT = "2026-01-02T03:04:05.000006Z"


def copies(alone: Services, table: str, owner: str) -> list[dict[str, Any]]:
    """What ClickHouse has of a user's rows."""
    alone.jobs.row_copies.ship()
    found = [
        msgspec.json.decode(row)
        for row in row_outbox.newest(alone.tiers.job_clickhouse).get(table, [])
    ]
    return [row for row in found if row.get("user_id") == owner]


def waiting(alone: Services) -> int:
    with alone.tiers.job_engine.connect() as connection:
        query = text("SELECT count(*) FROM row_copies_outbox")
        return int(connection.execute(query).scalar_one())


def thread(user: str, version: int, title: str | None) -> Thread:
    return Thread(
        version=version,
        id="t",
        user_id=user,
        title=title,
        metadata={"n": 1.50, "ünï": [None]},
        created_at=MOMENT,
        updated_at=MOMENT,
    )


def test_a_copy_follows_its_row(
    alone: Services, user: str, write_thread: Callable[[Thread], None]
) -> None:
    write_thread(thread(user, 1, "one"))
    assert [one["title"] for one in copies(alone, "threads", user)] == ["one"]
    write_thread(thread(user, 2, "two"))
    write_thread(thread(user, 3, "three"))
    (found,) = copies(alone, "threads", user)
    assert (found["title"], found["metadata"]) == ("three", {"n": 1.50, "ünï": [None]})
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(text("DELETE FROM threads WHERE user_id = :user"), {"user": user})
    assert copies(alone, "threads", user) == []
    assert waiting(alone) == 0


@pytest.mark.parametrize("mark", ["is_pinned", "is_archived"])
def test_a_mark_of_a_thread_alone_is_copied(
    alone: Services, user: str, write_thread: Callable[[Thread], None], mark: str
) -> None:
    write_thread(thread(user, 1, "one"))
    assert [one[mark] for one in copies(alone, "threads", user)] == [False]
    statement = text(f"UPDATE threads SET {mark} = true WHERE user_id = :user")
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(statement, {"user": user})
    assert [one[mark] for one in copies(alone, "threads", user)] == [True]


def test_a_copy_goes_with_its_transaction(alone: Services, user: str) -> None:
    alone.jobs.row_copies.ship()
    with alone.tiers.job_engine.connect() as connection:
        connection.execute(
            text(
                "INSERT INTO threads (user_id, id, created_at, updated_at, version)"
                " VALUES (:user, 't', now(), now(), 1)"
            ),
            {"user": user},
        )
        connection.rollback()
    assert waiting(alone) == 0


def test_a_drain_copies_threads_that_are_new_and_no_counters(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    alone.tiers.redis.append([append_of(message(user))], 60)
    drain()
    assert len(copies(alone, "threads", user)) == 1
    alone.tiers.redis.append([append_of(message(user), message(user))], 60)
    drain()
    assert waiting(alone) == 0


def test_a_crash_between_insert_and_commit_changes_nothing(
    alone: Services, user: str, write_thread: Callable[[Thread], None]
) -> None:
    alone.jobs.row_copies.ship()
    write_thread(thread(user, 1, "one"))
    drill = msgspec.structs.replace(
        alone.settings, drills=True, faultpoints="copies.after_insert:1:raise"
    )
    faultpoints.enable(drill)
    with pytest.raises(TierUnavailable):
        alone.jobs.row_copies.ship()
    faultpoints.enable(alone.settings)
    assert waiting(alone) == 1
    assert len(copies(alone, "threads", user)) == 1
    assert waiting(alone) == 0


def test_a_postgresql_that_counts_from_one_again_is_not_believed(
    alone: Services, user: str, write_thread: Callable[[Thread], None]
) -> None:
    write_thread(thread(user, 1, "one"))
    alone.jobs.row_copies.ship()
    highest = row_outbox.highest(alone.tiers.job_clickhouse)
    sequence = "row_copies_outbox_sequence_seq"
    with alone.tiers.migrate_engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER SEQUENCE {sequence} RESTART")
    write_thread(thread(user, 2, "two"))
    other = Services(alone.settings)
    for service in (alone.jobs.row_copies, other.jobs.row_copies):
        with pytest.raises(TierRejected, match="threadkeep recover"):
            service.ship()
    with alone.tiers.job_engine.begin() as connection:
        row_outbox.continue_numbers(connection, alone.tiers.job_clickhouse)
        connection.exec_driver_sql("DELETE FROM row_copies_outbox")
    write_thread(thread(user, 3, "three"))
    assert [one["title"] for one in copies(alone, "threads", user)] == ["three"]
    assert row_outbox.highest(alone.tiers.job_clickhouse) > highest


def test_every_table_that_must_outlive_postgresql_is_copied(alone: Services) -> None:
    with alone.tiers.job_engine.connect() as connection:
        found = set(row_outbox.copied_tables(connection))
    assert {
        "threads",
        "redis_state",
        "archive_boundary",
        "dead_letters",
        "lost_acknowledgements",
    } <= found
