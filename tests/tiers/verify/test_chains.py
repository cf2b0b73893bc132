"""Every committed version gets a link, whatever becomes of it, and a chain stays whole."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from models.message import Message
from storage.clickhouse import thread_links
from storage.clickhouse.pages import Selection
from storage.clickhouse.thread_links import ThreadLink
from storage.messages.posts import Draft
from support.calls.erasing import erase
from support.data.everywhere import places
from support.data.moving import archived
from support.data.thread_lists import Drain
from wiring.process import Services

Ship = Callable[[], None]


@pytest.fixture
def ship(alone: Services, drain: Drain) -> Ship:
    """Carries everything to ClickHouse, as workers do."""

    def run() -> None:
        drain()
        alone.jobs.replication.ship_all()

    return run


def post(alone: Services, user: str, content: str, thread: str = "t") -> Message:
    return alone.messages.post(user, thread, Draft("user", content, {})).message


def links(alone: Services, user: str) -> list[ThreadLink]:
    return list(thread_links.links(alone.tiers.job_clickhouse, Selection(user)))


def is_whole(alone: Services, user: str) -> bool:
    report = alone.jobs.verifier.verify(Selection(user))
    assert report.named == []
    return report.links > 0


def test_edits_and_deletions_are_links(alone: Services, user: str, ship: Ship) -> None:
    first, second = post(alone, user, "first"), post(alone, user, "second")
    ship()
    alone.messages.edit(user, first.id, content="edited", metadata=None, if_version=None)
    ship()
    alone.messages.delete(user, second.id, if_version=None)
    ship()
    found = [(one.position, one.message_id, one.version) for one in links(alone, user)]
    assert found == [(1, first.id, 1), (2, second.id, 1), (3, first.id, 2), (4, second.id, 2)]
    assert is_whole(alone, user)
    place = alone.receipts.receipt(user, first.id).chain
    assert place is not None
    assert (place.position, place.length, place.head) == (3, 4, links(alone, user)[3].link)


def test_a_version_without_its_link_says_so(alone: Services, user: str, drain: Drain) -> None:
    one = post(alone, user, "first")
    assert alone.receipts.receipt(user, one.id).chain is None
    drain()
    assert alone.receipts.receipt(user, one.id).chain is None


def test_a_shipment_that_is_repeated_continues_the_chain(
    alone: Services, user: str, ship: Ship, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(alone, user, "first")
    alone.jobs.persistence.drain_backlog()

    def dies(_: object) -> None:
        raise RuntimeError("killed after the insert")

    monkeypatch.setattr("jobs.replicate.outbox.faultpoint", dies)
    with pytest.raises(RuntimeError):
        alone.jobs.replication.ship_all()
    monkeypatch.undo()
    post(alone, user, "second")
    ship()
    assert [one.position for one in links(alone, user)] == [1, 2]
    assert is_whole(alone, user)


def test_many_who_ship_at_once_make_one_chain(alone: Services, user: str) -> None:
    def act(number: int) -> None:
        post(alone, user, f"message {number}")
        alone.jobs.persistence.drain_all(range(alone.settings.shards))
        alone.jobs.replication.ship_all()

    with ThreadPoolExecutor(4) as some:
        list(some.map(act, range(24)))
    assert is_whole(alone, user)
    assert [one.position for one in links(alone, user)] == list(range(1, 25))


def test_what_postgresql_lost_is_taken_from_clickhouse(
    alone: Services, user: str, ship: Ship
) -> None:
    post(alone, user, "first")
    ship()
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(text("DELETE FROM thread_heads"))
        connection.execute(text("UPDATE chain_state SET is_whole = false"))
    post(alone, user, "second")
    ship()
    assert [one.position for one in links(alone, user)] == [1, 2]
    assert is_whole(alone, user)


def test_what_is_archived_stays_proven(alone: Services, user: str, ship: Ship) -> None:
    made = [post(alone, user, f"text {number}") for number in range(3)]
    ship()
    rows = [{"id": one.id, "user_id": user, "thread_id": "t"} for one in made]
    with archived(alone, rows):
        assert is_whole(alone, user)


def test_what_is_purged_leaves_only_hashes_of_entries(
    alone: Services, user: str, ship: Ship
) -> None:
    kept, gone = post(alone, user, "kept"), post(alone, user, "gone")
    ship()
    alone.messages.delete(user, gone.id, if_version=None)
    ship()
    alone.jobs.physical_erasure.purge()
    found = {(one.message_id, one.version): one for one in links(alone, user)}
    assert [version for (name, version), one in found.items() if one.is_forgotten] == [1]
    assert not found[kept.id, 1].is_forgotten
    assert not places(alone, gone.content_hash)
    assert is_whole(alone, user)


def test_a_deleted_thread_is_forgotten_and_its_chain_stays(
    alone: Services, user: str, ship: Ship
) -> None:
    old = post(alone, user, "before")
    ship()
    alone.threads.delete(user, "t")
    ship()
    alone.jobs.erasure.erase_deleted_threads()
    ship()
    alone.jobs.physical_erasure.purge()
    post(alone, user, "after")
    ship()
    assert not places(alone, old.content_hash)
    assert is_whole(alone, user)


def test_an_erased_user_leaves_a_signed_stump_and_nothing_else(
    alone: Services, user: str, ship: Ship
) -> None:
    for thread in ("a", "b"):
        post(alone, user, "gone", thread)
    ship()
    receipt = erase(alone, user)
    assert receipt.chains is not None
    assert (receipt.chains.threads, receipt.chains.links) == (2, 2)
    assert receipt.chains.signature
    assert links(alone, user) == []
    assert alone.jobs.verifier.verify(Selection(user)).named == []
    # Who comes back begins anew.
    post(alone, user, "back", "a")
    ship()
    assert is_whole(alone, user)
