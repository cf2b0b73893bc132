"""The second wall: a web process that forgot whose rows it wants sees none, and writes none."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from models.message import Message
from storage.postgres.acting import act_for
from storage.postgres.reads import PostgresTier
from storage.threads.page import FIRST_PAGE
from storage.threads.rows import ThreadRows
from support.data.samples import AWKWARD_TEXTS, message
from wiring.process import Services

AS_USER = text("SELECT set_config('app.user_id', :user_id, true)")
EVERYTHING = ("SELECT user_id FROM messages", "SELECT user_id FROM threads")
# Of partitions nobody has a right by themselves.
NAMING_A_USER = text(
    "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
    " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
    " AND NOT c.relispartition AND a.attname = 'user_id' AND NOT a.attisdropped ORDER BY 1"
)
UNSECURED = text(
    "SELECT relname FROM pg_class WHERE relname = ANY(:names) AND NOT relrowsecurity ORDER BY 1"
)
TOO_OPEN = text(
    "SELECT c.relname, p.polname FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid"
    " WHERE p.polroles && ARRAY[0, 'threadkeep_web'::regrole::oid]"
    " AND (pg_get_expr(p.polqual, p.polrelid) NOT LIKE '%app.user_ids%'"
    "      OR p.polcmd <> '*' OR NOT p.polpermissive)"
)
PASSED_BY = text(
    "SELECT c.relname FROM pg_class c WHERE c.relname = ANY(:names)"
    " AND (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid"
    "      AND p.polname IN ('threadkeep_worker', 'threadkeep_operator')) <> 2"
)


@contextmanager
def acting(
    services: Services, user_id: str | None = None, users: Sequence[str] | None = None
) -> Iterator[Connection]:
    with services.tiers.request_engine.connect() as connection:
        if user_id is not None:
            connection.execute(AS_USER, {"user_id": user_id})
        if users is not None:
            act_for(connection, users)
        yield connection
        connection.rollback()


@pytest.fixture
def two_users(alone: Services, user: str, write: Callable[..., int]) -> tuple[Message, Message]:
    mine, theirs = message(user), message(f"{user}-other")
    write(mine, theirs)
    return mine, theirs


@pytest.mark.parametrize("query", EVERYTHING)
def test_without_a_user_nothing_is_visible(
    as_web: Services, two_users: tuple[Message, Message], query: str
) -> None:
    for nobody in (None, ""):
        with acting(as_web, nobody) as connection:
            assert connection.execute(text(query)).all() == []
    with acting(as_web, users=[]) as connection:
        assert connection.execute(text(query)).all() == []


@pytest.mark.parametrize("query", EVERYTHING)
def test_a_user_sees_their_own_alone(
    as_web: Services, two_users: tuple[Message, Message], query: str
) -> None:
    for one in two_users:
        with acting(as_web, one.user_id) as connection:
            assert connection.execute(text(query)).scalars().all() == [one.user_id]
    both = [one.user_id for one in two_users]
    with acting(as_web, users=both) as connection:
        assert sorted(connection.execute(text(query)).scalars()) == both


def test_users_of_any_name_are_acted_for_and_no_other(
    as_web: Services, user: str, write: Callable[..., int]
) -> None:
    names = [f"{user}{awkward}" for awkward in AWKWARD_TEXTS]
    write(*(message(name) for name in (user, *names)))
    for acted_for in (names, names[:1], names[1:], [",".join(names)], ["{" + user + "}"]):
        with acting(as_web, users=acted_for) as connection:
            found = set(connection.execute(text(EVERYTHING[0])).scalars())
        assert found == set(acted_for) & set(names)


def test_jobs_and_admins_see_both(
    alone: Services, as_web: Services, two_users: tuple[Message, Message]
) -> None:
    # Else the tests above would pass on empty tables.
    for engine in (alone.tiers.request_engine, as_web.tiers.operator_engine):
        with engine.connect() as connection:
            found = set(connection.execute(text(EVERYTHING[0])).scalars())
        assert {one.user_id for one in two_users} <= found


def test_every_table_that_names_a_user_is_behind_the_wall(
    alone: Services, as_web: Services
) -> None:
    """A new table needs its policy: `migrations/postgres/versions/0018_roles.py` shows how."""
    with alone.tiers.migrate_engine.connect() as connection:
        names = list(connection.execute(NAMING_A_USER).scalars())
        assert len(names) >= 12
        assert connection.execute(UNSECURED, {"names": names}).all() == []
        assert connection.execute(TOO_OPEN).all() == []
        assert connection.execute(PASSED_BY, {"names": names}).all() == []


FOREIGN = {
    "threads": "INSERT INTO threads (user_id, id, created_at, updated_at, version)"
    " VALUES (:other, 'b', now(), now(), 1)",
    "idempotency_keys": "INSERT INTO idempotency_keys (user_id, thread_id, key, message_id)"
    " VALUES (:other, 't', 'k', gen_random_uuid())",
    "redis_backfill": "INSERT INTO redis_backfill (user_id, thread_id) VALUES (:other, 't')",
    "checkpoints": "INSERT INTO checkpoints (user_id, run_id, version, created_at, level, state)"
    " VALUES (:other, 'r', 1, now(), 'full', '{}')",
}


@pytest.mark.parametrize("table", FOREIGN)
def test_nothing_is_written_for_another(as_web: Services, user: str, table: str) -> None:
    with acting(as_web, user) as connection:
        connection.execute(text(FOREIGN[table]), {"other": user})
        with pytest.raises(ProgrammingError, match="row-level security"):
            connection.execute(text(FOREIGN[table]), {"other": f"{user}-other"})


def test_nothing_of_another_is_changed(
    as_web: Services, two_users: tuple[Message, Message]
) -> None:
    mine, theirs = two_users
    changes = (
        "UPDATE messages SET content = 'x' RETURNING user_id",
        "UPDATE threads SET title = 'x' RETURNING user_id",
        "UPDATE user_erasures SET finished_at = NULL RETURNING user_id",
        "DELETE FROM idempotency_keys RETURNING user_id",
    )
    for change in changes:
        with acting(as_web, mine.user_id) as connection:
            assert theirs.user_id not in connection.execute(text(change)).scalars().all()
    with (
        acting(as_web, mine.user_id) as connection,
        pytest.raises(ProgrammingError, match="row-level security"),
    ):
        connection.execute(text("UPDATE messages SET user_id = :u"), {"u": theirs.user_id})


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM messages",
        "DELETE FROM threads",
        "SELECT 1 FROM messages_default",
        "SELECT 1 FROM audit_trail",
        "SELECT 1 FROM api_keys",
        "SELECT 1 FROM token_revocations",
        "SELECT 1 FROM redis_backfill",
        "SELECT 1 FROM lost_acknowledgements",
        "UPDATE retention_policies SET legal_hold = false",
        "UPDATE user_erasures SET receipt = '{}'",
        "UPDATE archive_boundary SET below = below",
        "SELECT detach_messages_partition('messages_default')",
        "SELECT drop_messages_partition('messages_2026_01_05')",
        "TRUNCATE messages",
        "DROP TABLE messages",
        "CREATE TABLE own (a int)",
        "ALTER TABLE messages DISABLE ROW LEVEL SECURITY",
    ],
)
def test_who_acts_for_users_may_do_no_more_than_that_takes(
    as_web: Services, two_users: tuple[Message, Message], statement: str
) -> None:
    with (
        acting(as_web, two_users[0].user_id) as connection,
        pytest.raises(ProgrammingError, match=r"permission denied|must be owner"),
    ):
        connection.execute(text(statement))


def test_no_partition_can_be_read_around_the_wall(
    alone: Services, as_web: Services, two_users: tuple[Message, Message]
) -> None:
    partitions = text("SELECT inhrelid::regclass::text FROM pg_inherits")
    with alone.tiers.request_engine.connect() as connection:
        names = connection.execute(partitions).scalars().all()
    assert len(names) > 1
    for name in names:
        with acting(as_web) as connection, pytest.raises(ProgrammingError):
            connection.execute(text(f"SELECT 1 FROM {name}"))


def test_the_user_ends_with_the_transaction(
    as_web: Services, two_users: tuple[Message, Message]
) -> None:
    mine, _ = two_users
    assert as_web.tiers.postgres.message(mine.user_id, mine.id) is not None
    # The same connection comes back from the pool for the next caller.
    with as_web.tiers.request_engine.connect() as connection:
        query = "SELECT current_user, current_setting('app.user_id', true)"
        row = connection.execute(text(query)).one()
        assert connection.execute(text(EVERYTHING[0])).all() == []
    assert row[0] == "threadkeep_web"
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
