"""Import and export of a running store: nothing lost or doubled, other users' data untouched."""

from collections.abc import Iterator
from importlib.resources import files
from itertools import count, islice
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from jobs.transfer.bulk_import import BulkImporter
from jobs.transfer.export import MessageExporter, position
from jobs.transfer.formats import chitchat
from jobs.transfer.formats.settling import Settlement
from jobs.transfer.formats.source import Minted
from models import codec, ids
from models.message import Message
from storage.clickhouse.pages import Selection, archived_messages
from storage.errors import TierUnavailable
from support.calls.api import Api, ok
from support.data.exporting import messages_of
from support.data.importing import counts, run_import
from support.data.moving import from_redis
from support.data.samples import message, revised
from support.waiting import eventually
from wiring.process import Services

CONVERSATIONS = 300


@pytest.fixture(scope="package")
def conversations() -> dict[str, Any]:
    """The first few hundred real conversations."""
    data = files("chitchat_dataset").joinpath("dataset.json").read_bytes()
    return dict(islice(chitchat.read(data).items(), CONVERSATIONS))


def test_history_is_imported_once_however_often(
    services: Services, exporter: MessageExporter, conversations: dict[str, Any], user: str
) -> None:
    def given() -> list[Minted]:
        items = chitchat.source(conversations, user)
        return [one for one in items if isinstance(one, Minted)]

    settled = map(Settlement([]).settle, given())
    messages = [one for one in settled if isinstance(one, Message)]
    assert len(messages) > 5_000
    assert counts(run_import(services, given())) == (len(messages), 0, 0)
    assert counts(run_import(services, given())) == (0, len(messages), 0)
    exported = list(messages_of(exporter, Selection(user)))
    assert exported == sorted(messages, key=position)

    def archived() -> list[Message]:
        return list(
            archived_messages(services.tiers.job_clickhouse, Selection(user), page_messages=999)
        )

    assert eventually(lambda: len(archived()) == len(messages), 30)
    assert archived() == exported


def test_an_import_that_stopped_is_repeated(services: Services, user: str) -> None:
    messages = [message(user, f"t{number % 3}") for number in range(100)]
    stopped = BulkImporter(services.tiers, 10).run(messages)
    assert next(stopped).written == 10
    stopped.close()
    assert counts(run_import(services, messages, 7)) == (90, 10, 0)


def test_threads_count_imported_messages_once(services: Services, api: Api, user: str) -> None:
    messages = [message(user, "history", time_us=10**15 + number) for number in range(20)]
    run_import(services, messages, 6)
    run_import(services, messages, 9)
    thread = ok(api.get("/api/threads/history"))
    assert thread["message_count"] == 20
    assert thread["last_message_at"] == messages[-1].created_at


def test_history_shows_up_below_what_was_posted_live(
    services: Services, api: Api, user: str
) -> None:
    live = api.send("chat", "live")
    from_redis(api, "chat")
    older = [message(user, "chat", time_us=10**15 + number) for number in range(5)]
    run_import(services, older)
    listed, _ = api.walk("chat", order="asc", limit=2)
    assert [one["id"] for one in listed] == [*(one.id for one in older), live["id"]]


def test_a_newer_version_is_not_hidden_by_a_hot_copy(
    services: Services, api: Api, user: str
) -> None:
    posted = api.send("chat", "first")
    first = services.failover.retrieval.get(user, posted["id"]).message
    run_import(services, [revised(first)])
    assert ok(api.get(f"/api/messages/{posted['id']}"))["content"] == "version 2"
    edited = api.patch(f"/api/messages/{posted['id']}", json={"message": "third"})
    assert ok(edited)["version"] == 3


def test_an_older_version_changes_nothing(
    services: Services, exporter: MessageExporter, user: str
) -> None:
    first = message(user)
    run_import(services, [revised(first)])
    assert counts(run_import(services, [first])) == (0, 1, 0)
    assert list(messages_of(exporter, Selection(user))) == [revised(first)]


def test_another_content_under_a_known_version_is_refused(
    services: Services, exporter: MessageExporter, user: str
) -> None:
    stored = message(user)
    forged = codec.seal(msgspec.structs.replace(stored, content="something else"))
    run_import(services, [stored])
    done = run_import(services, [forged, message(user, "other")])
    assert counts(done) == (1, 0, 0)
    assert [refusal.where for refusal in done.refusals] == [f"message {stored.id}"]
    assert list(messages_of(exporter, Selection(user, "t"))) == [stored]


def test_the_id_of_someone_elses_message_is_refused(
    services: Services, exporter: MessageExporter, user: str
) -> None:
    mine = message(user)
    run_import(services, [mine])
    shard = ids.shard_in(mine.id)
    thread = next(
        f"t{number}" for number in count() if ids.shard_of("thief", f"t{number}") == shard
    )
    theirs = codec.seal(msgspec.structs.replace(revised(mine), user_id="thief", thread_id=thread))
    done = run_import(services, [theirs])
    assert counts(done) == (0, 0, 0)
    assert "belongs to another" in done.refusals[0].reason
    assert list(messages_of(exporter, Selection(user))) == [mine]


def test_what_was_deleted_does_not_come_back(
    services: Services, exporter: MessageExporter, api: Api, user: str
) -> None:
    api.send("chat", "live")
    old = [message(user, "chat", time_us=10**15 + number) for number in range(3)]
    run_import(services, old[:1])
    assert api.delete("/api/threads/chat").status_code == 204
    exporter.drain()
    done = run_import(services, old)
    assert (done.written, done.unchanged + done.deleted) == (0, 3)
    assert list(messages_of(exporter, Selection(user))) == []


def test_a_message_that_postgresql_refuses_costs_only_itself(
    services: Services, exporter: MessageExporter, user: str
) -> None:
    good = [message(user) for _ in range(9)]
    bad = message(user, content="nul \0")
    done = run_import(services, [*good[:4], bad, *good[4:]])
    assert counts(done) == (9, 0, 0)
    assert [refusal.where for refusal in done.refusals] == [f"message {bad.id}"]
    assert list(messages_of(exporter, Selection(user))) == good


@pytest.fixture
def held_thread(services: Services, user: str) -> Iterator[Any]:
    """A thread whose row another transaction holds."""
    run_import(services, [message(user)])
    with services.tiers.job_engine.connect() as connection:
        query = text("SELECT id FROM threads WHERE user_id = :user FOR UPDATE")
        connection.execute(query, {"user": user})
        yield connection


def test_a_lock_is_waited_for(services: Services, held_thread: Any, user: str) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        held_thread.rollback()

    importer = BulkImporter(services.tiers, pause=pause)
    (done,) = importer.run([message(user)])
    assert counts(done) == (1, 0, 0)
    assert len(pauses) == 1


def test_a_lock_that_stays_ends_the_import_with_nothing_half_done(
    services: Services, exporter: MessageExporter, held_thread: Any, user: str
) -> None:
    importer = BulkImporter(
        services.tiers,
        pause=lambda seconds: None,
    )
    with pytest.raises(TierUnavailable):
        list(importer.run([message(user), message(user)]))
    held_thread.rollback()
    assert len(list(messages_of(exporter, Selection(user)))) == 1


def test_an_export_holds_what_was_acknowledged_a_moment_ago(
    exporter: MessageExporter, api: Api, user: str
) -> None:
    sent = api.send_many("chat", 300)
    edited = ok(api.patch(f"/api/messages/{sent[0]['id']}", json={"message": "edited"}))
    assert api.delete(f"/api/messages/{sent[1]['id']}").status_code == 200
    exported = [one.content for one in messages_of(exporter, Selection(user))]
    assert exported == [edited["content"], *(one["content"] for one in sent[2:])]


def test_an_export_that_is_left_midway_leaves_nothing_behind(
    services: Services, exporter: MessageExporter, user: str
) -> None:
    messages = [message(user) for _ in range(250)]
    run_import(services, messages)
    for _ in range(3):
        reading = messages_of(exporter, Selection(user))
        assert next(reading) == messages[0]
        reading.close()
    assert list(messages_of(exporter, Selection(user))) == messages


def test_an_export_finds_what_only_the_archive_has(
    services: Services, exporter: MessageExporter, boundary: str, user: str
) -> None:
    old = [message(user, "t", str(number), time_us=10**15 + number) for number in range(30)]
    new = [message(user, "t", str(number)) for number in range(3)]
    run_import(services, old + new)
    eventually(
        lambda: len(list(archived_messages(services.tiers.job_clickhouse, Selection(user)))) == 33
    )
    run_import(services, [revised(old[6], deleted=True)])
    eventually(
        lambda: len(list(archived_messages(services.tiers.job_clickhouse, Selection(user)))) == 32
    )
    drop = text("DELETE FROM messages WHERE user_id = :user AND id < :below")
    with services.tiers.job_engine.begin() as connection:
        connection.execute(drop, {"user": user, "below": boundary})
    # An edit and a deletion of archived messages, of which ClickHouse may not know yet.
    run_import(services, [revised(old[3]), revised(old[4], deleted=True)])
    kept = [*old[:3], revised(old[3]), old[5], *old[7:], *new]
    assert list(messages_of(exporter, Selection(user))) == kept
    assert list(messages_of(exporter, Selection(user, "t"))) == kept
    assert list(messages_of(exporter, Selection(user, "other"))) == []
