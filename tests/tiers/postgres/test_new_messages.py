"""New messages take a plain statement, which leaves what the full one would leave."""

import secrets
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event, func, insert, select

from models import codec
from models.message import Message, Thread
from models.tables import clickhouse_outbox, messages, threads, user_erasures
from storage.postgres import writes
from storage.postgres.driver import rfc3339
from storage.postgres.writes import UpsertResult
from support.data.samples import CLOCK, message, revised
from wiring.process import Services

BEGAN_US = CLOCK.now_us()
FEW = st.lists(st.integers(0, 7), max_size=8)
"""Some of eight messages, in any order, repeated or not."""


def take_in(connection: Connection, *versions: Message) -> UpsertResult:
    return writes.take_in(connection, [codec.encode(version) for version in versions])


@settings(max_examples=60, deadline=None)
@given(known=FEW, batch=FEW, watermark=st.none() | st.integers(0, 7), erased=st.booleans())
def test_the_plain_statement_leaves_what_the_full_one_leaves(
    lone_services: Services,
    known: list[int],
    batch: list[int],
    watermark: int | None,
    erased: bool,
) -> None:
    """New messages and repeated ones, of threads that are known, deleted, or erased."""
    ends = []
    for first_version in (writes._FIRST_VERSION, b"none begins so"):
        user = f"user-{secrets.token_hex(8)}"
        # Ids of one millisecond are not in order where their threads differ.
        made = [message(user, f"t{at % 2}", time_us=BEGAN_US + at * 1000) for at in range(8)]
        with (
            lone_services.tiers.job_engine.connect() as connection,
            pytest.MonkeyPatch.context() as patched,
        ):
            patched.setattr(writes, "_FIRST_VERSION", first_version)
            take_in(connection, *(made[at] for at in known))
            if watermark is not None:
                hide(connection, made[watermark], erased=erased)
            taken = take_in(connection, *(made[at] for at in batch))
            ends.append((taken.newer, *left(connection, made, taken.hidden)))
            connection.rollback()
    assert ends[0] == ends[1]


@pytest.mark.parametrize("other", ["none", "edit", "tombstone", "hidden"])
def test_a_batch_with_any_other_than_new_messages_takes_the_full_statement(
    lone_services: Services, user: str, other: str
) -> None:
    gone, known, new = message(user), message(user, "other"), message(user, "other")
    others = {
        "none": [],
        "edit": [revised(known)],
        "tombstone": [revised(known, deleted=True)],
        "hidden": [gone],
    }
    sent: list[str] = []
    with lone_services.tiers.job_engine.connect() as connection:
        take_in(connection, known)
        hide(connection, gone, erased=False)
        event.listen(connection, "before_cursor_execute", lambda *given: sent.append(given[2]))
        taken = take_in(connection, *others[other], new)
        connection.rollback()
    assert taken.newer == (2 if other in {"edit", "tombstone"} else 1)
    assert taken.hidden == ({gone.id} if other == "hidden" else set())
    assert ("held_versions" in sent[-1]) is (other != "none")


def hide(connection: Connection, mark: Message, *, erased: bool) -> None:
    """Deletes a message's thread up to it, or erases its user up to it."""
    if erased:
        values = {"user_id": mark.user_id, "erased_through": mark.id, "requested_by": "a test"}
        now = dict.fromkeys(("erased_at", "requested_at", "finished_at"), func.now())
        connection.execute(insert(user_erasures).values(**values, **now, receipt={}))
        return
    thread = Thread(
        version=2,
        id=mark.thread_id,
        user_id=mark.user_id,
        title="before",
        metadata={},
        created_at=mark.created_at,
        updated_at=mark.created_at,
        deleted_at=mark.created_at,
        deleted_through=mark.id,
    )
    writes.upsert_thread(connection, thread)


def left(
    connection: Connection, made: list[Message], hidden: frozenset[str]
) -> tuple[list[Any], ...]:
    """What a user has in PostgreSQL, with the numbers of these messages in place of their ids and
    times: rows, threads, the queue, what is hidden."""
    numbers = {one.id: at for at, one in enumerate(made)}
    moments = {one.created_at: at for at, one in enumerate(made)}
    user = made[0].user_id
    rows = select(messages.c.id, messages.c.version).where(messages.c.user_id == user)
    found = select(threads).where(threads.c.user_id == user).order_by(threads.c.id)
    queued = select(clickhouse_outbox.c.message_id).where(
        clickhouse_outbox.c.message_id.in_(numbers)
    )
    return (
        sorted((numbers[row.id], row.version) for row in connection.execute(rows)),
        [
            (
                *(row.id, row.version, row.title, row.deleted_at is None, row.message_count),
                moments[rfc3339(row.created_at)],
                row.last_message_at and moments[rfc3339(row.last_message_at)],
            )
            for row in connection.execute(found)
        ],
        sorted(numbers[name] for name in connection.execute(queued).scalars()),
        sorted(numbers[name] for name in hidden),
    )
