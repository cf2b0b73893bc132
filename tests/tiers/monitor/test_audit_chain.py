"""The audit trail is a chain: what was changed, removed or put between is noticed."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from jobs import audit_chain
from jobs.audit_chain import AuditVerdict
from support.calls.commands import threadkeep
from support.stack.clickhouse_requests import clickhouse_post
from support.stack.superuser import superuser
from wiring.process import Services

TRIGGERS = ("audit_trail", "audit_chain")


def verified(alone: Services, last: int | None = None) -> AuditVerdict:
    return audit_chain.verify(alone.tiers.job_engine, alone.tiers.job_clickhouse, last)


@contextmanager
def forging(alone: Services) -> Iterator[Callable[[str], None]]:
    """Inside, whoever owns the whole server changes what nobody may change; all is undone."""
    url = alone.settings.database_url
    with superuser(url, url.rpartition("/")[2]) as cursor:
        cursor.execute("SET session_replication_role = replica")
        for table in TRIGGERS:
            cursor.execute(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}")
        try:
            yield cursor.execute
        finally:
            for table in TRIGGERS:
                cursor.execute(f"DELETE FROM {table}")
                cursor.execute(f"INSERT INTO {table} SELECT * FROM kept_{table}")
                cursor.execute(f"DROP TABLE kept_{table}")


@pytest.fixture
def three(alone: Services, user: str) -> int:
    """Entries, carried to ClickHouse; gives the position of the one in the middle."""
    for n in range(3):
        alone.jobs.audit.note(
            user, "thing.made", f"thing:{n}", {"n": n}, {"why": "ünïcode \U0001f642"}
        )
    alone.jobs.audit_outbox.ship_all()
    found = verified(alone)
    assert (found.problems, found.waiting) == ([], 0)
    assert found.entries == found.position
    return found.position - 1


def test_each_entry_follows_the_one_before(alone: Services, user: str, three: int) -> None:
    before = verified(alone)
    alone.jobs.audit.note(user, "thing.made", "thing:last")
    after = verified(alone)
    assert (after.position, after.waiting, after.problems) == (before.position + 1, 1, [])
    assert after.hash != before.hash
    assert verified(alone, last=2).entries == 2
    alone.jobs.audit_outbox.ship_all()
    assert verified(alone).waiting == 0


def test_many_at_once_are_one_chain(alone: Services, user: str) -> None:
    before = verified(alone).position

    def write() -> None:
        for n in range(10):
            alone.jobs.audit.note(user, "thing.made", f"thing:{n}")

    writers = [threading.Thread(target=write) for _ in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = verified(alone)
    assert (found.position, found.problems) == (before + 60, [])


def test_what_is_not_committed_leaves_no_gap(alone: Services, user: str, three: int) -> None:
    with alone.tiers.job_engine.connect() as connection:
        alone.jobs.audit.record(connection, user, "thing.made", "thing:never")
        connection.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        connection.rollback()
    alone.jobs.audit.note(user, "thing.made", "thing:next")
    assert verified(alone).problems == []


def test_who_waits_for_something_else_holds_up_nobody(alone: Services, user: str) -> None:
    with alone.tiers.job_engine.connect() as connection:
        alone.jobs.audit.record(connection, user, "thing.made", "thing:slow")
        alone.jobs.audit.note(user, "thing.made", "thing:quick")
        connection.commit()
    slow, quick = (position_of(alone, user, name) for name in ("thing:slow", "thing:quick"))
    assert quick < slow


def position_of(alone: Services, user: str, subject: str) -> int:
    query = text(
        "SELECT position FROM audit_chain JOIN audit_trail ON id = audit_id"
        " WHERE actor = :user AND subject = :subject"
    )
    with alone.tiers.job_engine.connect() as connection:
        return int(connection.execute(query, {"user": user, "subject": subject}).scalar_one())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE audit_trail SET actor = 'somebody else' WHERE id = {id}", "was changed"),
        ("UPDATE audit_trail SET at = at + interval '1 us' WHERE id = {id}", "was changed"),
        ("DELETE FROM audit_trail WHERE id = {id}", "is gone"),
        ("DELETE FROM audit_trail WHERE id = {id}; DELETE FROM audit_chain WHERE audit_id = {id}",
         "missing in the chain"),
        ("INSERT INTO audit_trail SELECT gen_random_uuid(), at, actor, action, subject, counts,"
         " details FROM audit_trail WHERE id = {id}", "not in the chain"),
        ("UPDATE audit_trail SET subject = 'other' WHERE id = {id};"
         " UPDATE audit_chain c SET hash = audit_hash(previous_hash, position, a)"
         " FROM audit_trail a WHERE a.id = audit_id AND audit_id = {id}", "does not follow"),
    ],
)  # fmt: skip
def test_what_somebody_forged_is_noticed(
    alone: Services, three: int, change: str, told: str
) -> None:
    found = f"(SELECT audit_id FROM audit_chain WHERE position = {three})"
    with forging(alone) as forge:
        forge(f"CREATE TEMP TABLE forged AS SELECT {found} AS id")
        forge(change.format(id="(SELECT id FROM forged)"))
        problems = verified(alone).problems
    assert any(told in problem for problem in problems), problems
    assert verified(alone).problems == []


def test_a_chain_that_was_made_anew_differs_from_clickhouse(alone: Services, three: int) -> None:
    with forging(alone) as forge:
        forge(
            "UPDATE audit_trail SET subject = 'other' WHERE id ="
            f" (SELECT audit_id FROM audit_chain WHERE position = {three + 1})"
        )
        forge(
            "UPDATE audit_chain c SET hash = audit_hash(previous_hash, position, a)"
            f" FROM audit_trail a WHERE a.id = audit_id AND position = {three + 1}"
        )
        forge(
            "UPDATE audit_head SET hash ="
            f" (SELECT hash FROM audit_chain WHERE position = {three + 1})"
        )
        problems = verified(alone).problems
        forge(
            "UPDATE audit_head SET hash ="
            f" (SELECT hash FROM kept_audit_chain WHERE position = {three + 1})"
        )
    assert problems == [f"{three + 1}: ClickHouse has another entry"]


def test_a_trail_whose_end_was_cut_off_is_noticed(alone: Services, three: int) -> None:
    with forging(alone) as forge:
        forge("CREATE TEMP TABLE kept_head AS SELECT * FROM audit_head")
        forge(f"DELETE FROM audit_trail WHERE id = (SELECT audit_id FROM audit_chain WHERE"
              f" position = {three + 1})")  # fmt: skip
        forge(f"DELETE FROM audit_chain WHERE position = {three + 1}")
        forge(
            "UPDATE audit_head SET (position, hash) ="
            f" (SELECT position, hash FROM audit_chain WHERE position = {three})"
        )
        problems = verified(alone).problems
        forge("UPDATE audit_head SET (position, hash) = (SELECT position, hash FROM kept_head)")
    assert problems == [f"ClickHouse has entries up to {three + 1}, PostgreSQL to {three}"]


def test_a_copy_that_was_lost_is_noticed(alone: Services, three: int) -> None:
    clickhouse_post(
        alone.tiers.job_clickhouse,
        f"ALTER TABLE audit_trail DELETE WHERE position = {three} SETTINGS mutations_sync = 2",
    )
    assert verified(alone).problems == [f"{three}: not in ClickHouse"]
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO audit_outbox (audit_id)"
                " SELECT audit_id FROM audit_chain WHERE position = :p"
            ),
            {"p": three},
        )
    alone.jobs.audit_outbox.ship_all()
    assert verified(alone).problems == []


def test_the_command_says_so(
    alone: Services, lone_env: dict[str, str], three: int, tmp_path: Path
) -> None:
    done = threadkeep(tmp_path, lone_env, "audit", "--verify")
    assert done.returncode == 0
    assert f"head {three + 1} " in done.stdout.decode()
    with forging(alone) as forge:
        forge(
            "UPDATE audit_trail SET actor = 'x' WHERE id ="
            f" (SELECT audit_id FROM audit_chain WHERE position = {three})"
        )
        done = threadkeep(tmp_path, lone_env, "audit", "--verify", "--json")
    assert done.returncode == 1
    assert "was changed" in json.loads(done.stdout)["problems"][0]
