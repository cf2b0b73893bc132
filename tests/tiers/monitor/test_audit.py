"""The audit trail is added to, read and carried to ClickHouse, and nobody can change it."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from models import ids
from wiring.process import Services


def test_an_entry_comes_back_as_it_was_and_newest_first(alone: Services, user: str) -> None:
    before = ids.timestamp(alone.tiers.clock.now_us())
    alone.jobs.audit.note(user, "thing.made", "thing:1", {"messages": 3}, {"why": "a test"})
    alone.jobs.audit.note(user, "thing.lost", "thing:2")
    second, first = alone.jobs.audit.entries(actor=user, limit=10)
    assert (first.action, first.subject) == ("thing.made", "thing:1")
    assert (first.counts, first.details) == ({"messages": 3}, {"why": "a test"})
    assert (second.action, second.counts, second.details) == ("thing.lost", {}, {})
    assert before <= first.at < second.at
    assert first.id < second.id
    assert alone.jobs.audit.entries(actor=user, action="thing.made", limit=10) == [first]
    assert alone.jobs.audit.entries(actor=user, limit=1, cursor=second.id) == [first]
    assert alone.jobs.audit.entries(actor=user, since=second.at, limit=10) == [second]


def test_an_entry_goes_with_its_transaction(alone: Services, user: str) -> None:
    with alone.tiers.job_engine.connect() as connection:
        alone.jobs.audit.record(connection, user, "thing.made", "thing:1")
        connection.rollback()
    assert alone.jobs.audit.entries(actor=user, limit=10) == []


@pytest.mark.parametrize(
    "change",
    ["UPDATE audit_trail SET actor = ''", "DELETE FROM audit_trail", "TRUNCATE audit_trail"],
)
def test_nobody_changes_it(alone: Services, user: str, change: str) -> None:
    alone.jobs.audit.note(user, "thing.made", "thing:1")
    with (
        pytest.raises(DBAPIError, match="permission denied"),
        alone.tiers.job_engine.begin() as connection,
    ):
        connection.execute(text(change))
    with (
        pytest.raises(DBAPIError, match="only ever added to"),
        alone.tiers.migrate_engine.begin() as connection,
    ):
        connection.execute(text(change))
    assert len(alone.jobs.audit.entries(actor=user, limit=10)) == 1


def test_it_is_carried_to_clickhouse_once(alone: Services, user: str) -> None:
    for n in range(3):
        alone.jobs.audit.note(user, "thing.made", f"thing:{n}", {"n": n})
    made = alone.jobs.audit.entries(actor=user, limit=3)[::-1]
    assert alone.jobs.audit_outbox.ship_all().shipped >= 3
    assert alone.jobs.audit_outbox.ship_all().shipped == 0
    with alone.tiers.job_clickhouse.engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT toString(id), subject, counts, toString(at) FROM audit_trail"
            f" WHERE actor = '{user}' ORDER BY at"
        ).all()
    assert [(row[0], row[1], row[2]) for row in rows] == [
        (entry.id, entry.subject, f'{{"n":{n}}}') for n, entry in enumerate(made)
    ]
    assert [row[3].replace(" ", "T") + "Z" for row in rows] == [entry.at for entry in made]
