"""The second wall: as the role of the web process, a query that forgot its user sees nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from models.message import Message
from storage.postgres.reads import PostgresTier
from storage.threads.page import FIRST_PAGE
from storage.threads.rows import ThreadRows
from support.data.samples import message
from wiring.process import Services

AS_WEB = text("SET LOCAL ROLE threadkeep_web")
AS_USER = text("SELECT set_config('app.user_id', :user_id, true)")
EVERYTHING = ("SELECT user_id FROM messages", "SELECT user_id FROM threads")


@contextmanager
def as_web(services: Services, user_id: str | None) -> Iterator[Connection]:
    with services.tiers.request_engine.connect() as connection:
        connection.execute(AS_WEB)
        if user_id is not None:
            connection.execute(AS_USER, {"user_id": user_id})
        yield connection
        connection.rollback()


@pytest.fixture
def two_users(alone: Services, user: str, write: Callable[..., int]) -> tuple[Message, Message]:
    mine, theirs = message(user), message(f"{user}-other")
    write(mine, theirs)
    return mine, theirs


@pytest.mark.parametrize("query", EVERYTHING)
def test_without_a_user_nothing_is_visible(
    alone: Services, two_users: tuple[Message, Message], query: str
) -> None:
    for nobody in (None, ""):
        with as_web(alone, nobody) as connection:
            assert connection.execute(text(query)).all() == []


@pytest.mark.parametrize("query", EVERYTHING)
def test_a_user_sees_their_own_alone(
    alone: Services, two_users: tuple[Message, Message], query: str
) -> None:
    for one in two_users:
        with as_web(alone, one.user_id) as connection:
            assert connection.execute(text(query)).scalars().all() == [one.user_id]


def test_the_owner_of_the_tables_sees_both(
    alone: Services, two_users: tuple[Message, Message]
) -> None:
    # Else the tests above would pass on empty tables.
    with alone.tiers.request_engine.connect() as connection:
        found = set(connection.execute(text("SELECT user_id FROM messages")).scalars())
    assert {one.user_id for one in two_users} <= found


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM messages",
        "UPDATE messages SET content = 'x'",
        "INSERT INTO threads (user_id, id, created_at, updated_at, version)"
        " VALUES ('a', 'b', now(), now(), 1)",
        "SELECT 1 FROM messages_default",
        "SELECT 1 FROM clickhouse_outbox",
        "SELECT 1 FROM dead_letters",
        "DROP TABLE messages",
        "ALTER TABLE messages DISABLE ROW LEVEL SECURITY",
    ],
)
def test_the_web_role_may_only_read(
    alone: Services, two_users: tuple[Message, Message], statement: str
) -> None:
    with (
        as_web(alone, two_users[0].user_id) as connection,
        pytest.raises(ProgrammingError, match=r"permission denied|must be owner"),
    ):
        connection.execute(text(statement))


def test_no_partition_can_be_read_around_the_wall(
    alone: Services, two_users: tuple[Message, Message]
) -> None:
    partitions = text("SELECT inhrelid::regclass::text FROM pg_inherits")
    with alone.tiers.request_engine.connect() as connection:
        names = connection.execute(partitions).scalars().all()
    assert len(names) > 1
    for name in names:
        with as_web(alone, None) as connection, pytest.raises(ProgrammingError):
            connection.execute(text(f"SELECT 1 FROM {name}"))


def test_the_role_and_the_user_end_with_the_transaction(
    alone: Services, postgres_tier: PostgresTier, two_users: tuple[Message, Message]
) -> None:
    mine, _ = two_users
    assert postgres_tier.message(mine.user_id, mine.id) is not None
    # The same connection comes back from the pool for the next caller.
    with alone.tiers.request_engine.connect() as connection:
        row = connection.execute(
            text("SELECT current_user, current_setting('app.user_id', true)")
        ).one()
    assert row[0] != "threadkeep_web"
    assert row[1] in {None, ""}


def test_every_read_verb_hides_what_is_somebody_elses(
    postgres_tier: PostgresTier, two_users: tuple[Message, Message]
) -> None:
    mine, theirs = two_users
    low, high = "0" * 8 + theirs.id[8:], "f" * 8 + theirs.id[8:]
    assert postgres_tier.message(mine.user_id, theirs.id) is None
    assert postgres_tier.version_of(mine.user_id, theirs.id) is None
    page = postgres_tier.page(mine.user_id, theirs.thread_id, low, high, "asc", 10)
    assert [one.id for one in page.messages] == [mine.id]
    rows = ThreadRows(postgres_tier)
    found = rows.page(mine.user_id, FIRST_PAGE, [])
    assert [row.thread.user_id for row in found.page] == [mine.user_id]
    assert [one.id for one in rows.newest(mine.user_id, found.page).values()] == [mine.id]
    assert rows.copies(mine.user_id, [mine.id, theirs.id]).keys() == {mine.id}
