"""What somebody with the passwords of the databases changes is named: thread, link and message."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from jobs.verify import kept_heads
from jobs.verify.thread_check import Flaw
from models import codec
from models.chain import Head
from models.message import Message
from storage.clickhouse.pages import Selection
from storage.messages.posts import Draft
from support.data.thread_lists import Drain
from support.stack.clickhouse_requests import clickhouse_post
from wiring.process import Services

Verify = Callable[..., list[Flaw]]
FORGED = "what was never said"


@pytest.fixture
def made(alone: Services, user: str, drain: Drain) -> list[Message]:
    """Four messages that every tier has."""
    done = [alone.messages.post(user, "t", Draft("user", f"text {n}", {})) for n in range(4)]
    drain()
    alone.jobs.replication.ship_all()
    return [one.message for one in done]


@pytest.fixture
def verify(alone: Services, user: str) -> Verify:
    """What is wrong with the threads of this test's own user."""

    def run(kept: dict[tuple[str, str], Head] | None = None) -> list[Flaw]:
        return alone.jobs.verifier.verify(Selection(user), kept).named

    return run


@pytest.fixture
def sql(alone: Services) -> Callable[..., None]:
    def run(statement: str, **values: object) -> None:
        with alone.tiers.job_engine.begin() as connection:
            connection.execute(text(statement), values)

    return run


def heads(alone: Services, user: str) -> dict[tuple[str, str], Head]:
    """The heads that somebody keeps elsewhere."""
    own = alone.tiers
    found = kept_heads.heads_since(own.job_engine, own.clock, None)
    return {
        (one.user_id, one.thread_id): Head(one.length, one.link)
        for one in found
        if one.user_id == user
    }


def mutate(alone: Services, table: str, command: str) -> None:
    clickhouse_post(
        alone.tiers.job_clickhouse, f"ALTER TABLE {table} {command} SETTINGS mutations_sync = 2"
    )


def kinds(flaws: list[Flaw]) -> list[tuple[str, int | None, str | None]]:
    return [(one.kind, one.position, one.message_id) for one in flaws]


@pytest.mark.usefixtures("made", "leaving_nothing")
def test_nothing_is_wrong_with_what_nobody_changed(verify: Verify) -> None:
    assert verify() == []


@pytest.mark.usefixtures("leaving_nothing")
def test_a_text_that_was_changed(
    made: list[Message], verify: Verify, sql: Callable[..., None]
) -> None:
    sql("UPDATE messages SET content = :text WHERE id = :id", text=FORGED, id=made[1].id)
    assert kinds(verify()) == [("message_changed", 2, made[1].id)]


@pytest.mark.usefixtures("leaving_nothing")
def test_a_text_and_its_hash_that_were_changed(
    made: list[Message], verify: Verify, sql: Callable[..., None]
) -> None:
    forged = codec.seal(msgspec.structs.replace(made[1], content=FORGED))
    sql(
        "UPDATE messages SET content = :text, content_hash = :hash WHERE id = :id",
        text=FORGED,
        hash=forged.content_hash,
        id=made[1].id,
    )
    (flaw,) = verify()
    assert (flaw.kind, flaw.position, flaw.message_id) == ("message_changed", 2, made[1].id)
    assert flaw.detail.startswith("postgresql: ")


@pytest.mark.usefixtures("leaving_nothing")
def test_the_copy_in_clickhouse_that_was_changed(
    alone: Services, made: list[Message], verify: Verify
) -> None:
    mutate(alone, "messages", f"UPDATE content = '{FORGED}' WHERE id = '{made[2].id}'")
    (flaw,) = verify()
    assert (flaw.kind, flaw.message_id) == ("message_changed", made[2].id)
    assert flaw.detail.startswith("clickhouse: ")


@pytest.mark.usefixtures("leaving_nothing")
def test_a_message_that_was_taken_out_of_all_tiers(
    alone: Services, made: list[Message], verify: Verify, sql: Callable[..., None]
) -> None:
    sql("DELETE FROM messages WHERE id = :id", id=made[1].id)
    assert verify() == [], "ClickHouse still has it"
    mutate(alone, "messages", f"DELETE WHERE id = '{made[1].id}'")
    assert kinds(verify()) == [("message_missing", 2, made[1].id)]


@pytest.mark.usefixtures("leaving_nothing")
def test_a_mark_that_the_thread_was_deleted_hides_nothing(
    alone: Services, made: list[Message], verify: Verify, sql: Callable[..., None]
) -> None:
    mark = "UPDATE threads SET deleted_at = now(), deleted_through = :id WHERE user_id = :user"
    sql(mark, id=made[3].id, user=made[0].user_id)
    sql("DELETE FROM messages WHERE id = :id", id=made[1].id)
    mutate(alone, "messages", f"DELETE WHERE id = '{made[1].id}'")
    assert kinds(verify()) == [("message_missing", 2, made[1].id)]


@pytest.mark.usefixtures("leaving_nothing")
def test_a_message_that_was_put_in(
    alone: Services, made: list[Message], verify: Verify, write: Callable[..., int]
) -> None:
    one = alone.messages.post(made[0].user_id, "t", Draft("user", FORGED, {})).message
    alone.tiers.redis_client.flushall()
    write(one)
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(text("DELETE FROM clickhouse_outbox"))
    assert kinds(verify()) == [("message_unlinked", None, one.id)]


@pytest.mark.usefixtures("leaving_nothing")
def test_links_that_were_changed_swapped_or_taken_out(
    alone: Services, user: str, made: list[Message], verify: Verify
) -> None:
    mine = f"user_id = '{user}'"
    mutate(
        alone,
        "thread_links",
        f"UPDATE content_hash = '{made[0].content_hash}' WHERE {mine} AND position = 2",
    )
    assert ("link_changed", 2, made[1].id) in kinds(verify())
    mutate(alone, "thread_links", f"DELETE WHERE {mine} AND position = 2")
    assert kinds(verify())[0] == ("links_missing", 2, None)
    mutate(alone, "thread_links", f"DELETE WHERE {mine} AND position >= 3")
    assert ("links_missing", 2, None) in kinds(verify())


@pytest.mark.usefixtures("leaving_nothing")
def test_an_end_that_was_cut_off_everywhere_is_told_by_heads_kept_elsewhere(
    alone: Services,
    user: str,
    made: list[Message],
    verify: Verify,
    sql: Callable[..., None],
    tmp_path: Path,
) -> None:
    own, path = alone.tiers, tmp_path / "heads"
    found = kept_heads.heads_since(own.job_engine, own.clock, None)
    path.write_bytes(b"".join(kept_heads.lines(found)))
    kept = kept_heads.read(path)
    assert verify(kept) == []
    before = heads(alone, user)[user, "t"]
    (third,) = alone.tiers.clickhouse.links(user, "t", made[2].id)
    sql("DELETE FROM messages WHERE id = :id", id=made[3].id)
    sql(
        "UPDATE thread_heads SET length = 3, link = :link WHERE user_id = :user",
        link=third.link,
        user=user,
    )
    for table, named in (("messages", "id"), ("thread_links", "message_id")):
        mutate(alone, table, f"DELETE WHERE {named} = '{made[3].id}'")
    assert verify() == [], "the databases alone prove nothing against their owner"
    (flaw,) = verify(kept)
    assert (flaw.kind, flaw.position) == ("links_missing", before.length)


@pytest.mark.usefixtures("made", "leaving_nothing")
def test_a_whole_chain_that_was_taken_out_is_told_by_a_head_kept_elsewhere(
    alone: Services, user: str, verify: Verify, sql: Callable[..., None]
) -> None:
    kept = heads(alone, user)
    for table in ("messages", "thread_links"):
        mutate(alone, table, f"DELETE WHERE user_id = '{user}'")
    for table in ("messages", "threads", "thread_heads"):
        sql(f"DELETE FROM {table} WHERE user_id = :user", user=user)
    assert verify() == []
    assert kinds(verify(kept)) == [("links_missing", 1, None)]


@pytest.mark.usefixtures("made", "leaving_nothing")
def test_an_erasure_that_this_installation_did_not_sign(
    alone: Services, user: str, verify: Verify, sql: Callable[..., None]
) -> None:
    alone.jobs.user_erasure.request(user, by="an admin")
    assert alone.jobs.user_erasure.carry_on(user)
    assert verify() == []
    sql(
        "UPDATE user_erasures SET receipt ="
        " jsonb_set(receipt::jsonb, '{chains,links}', '1')::json WHERE user_id = :user",
        user=user,
    )
    assert ("erasure_unsigned", user) in [(one.kind, one.user_id) for one in verify()]
    sql("DELETE FROM user_erasures WHERE user_id = :user", user=user)
