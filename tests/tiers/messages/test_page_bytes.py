"""A page ends at 2 MiB, however many messages it may have, in whichever tier they are; its cursor
leads to the rest."""

from collections.abc import Callable, Iterator

import msgspec
import pytest

from jobs.persist.drain import Drained
from models import ids
from models.message import Message
from models.search import parse
from storage.errors import TierUnavailable
from storage.messages.posts import Draft
from storage.messages.retrieval_service import MessageSlice
from storage.resilience.bites import PAGE_BYTES
from storage.search.query import Wanted
from support.data.thread_lists import begin_whole
from support.faults.outages import process, without
from support.waiting import eventually
from wiring.process import Services

COUNT = 130
"""More than Redis gives at once."""
CONTENT, METADATA = "needle " + "é" * 16_000, {"m": "x" * 2_000}
PAGES = 3
_ALL = (ids.LOWEST, ids.HIGHEST)


@pytest.fixture
def large(alone: Services, user: str) -> list[str]:
    """The ids of the messages of a large thread, about 34 kB each."""
    begin_whole(alone)
    drafts = [Draft("user", CONTENT, METADATA, None) for _ in range(COUNT)]
    (answers,) = alone.messages.post_batch(user, [("t", drafts)])
    return [done.message.id for done in answers]


def walk(own: Services, user: str, order: str, **options: bool) -> Iterator[MessageSlice]:
    cursor = None
    while True:
        page = own.failover.retrieval.page(
            user, "t", limit=1000, cursor=cursor, order=order, **options
        )
        yield page
        cursor = page.next_cursor
        if cursor is None:
            return


def messages(page: MessageSlice) -> list[Message]:
    if page.stored is None:
        return page.messages
    return msgspec.json.decode(page.stored, type=list[Message])


def check(pages: list[MessageSlice], large: list[str], order: str, source: str) -> None:
    found = [one.id for page in pages for one in messages(page)]
    assert found == sorted(large, reverse=order == "desc")
    assert len(pages) == PAGES
    for page in pages:
        assert page.source == source
        assert sum(len(one.content.encode()) for one in messages(page)) <= PAGE_BYTES


@pytest.mark.usefixtures("steady_lease")
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("as_stored", [True, False])
def test_of_redis(
    alone: Services, user: str, large: list[str], order: str, *, as_stored: bool
) -> None:
    pages = list(walk(alone, user, order, as_stored=as_stored))
    check(pages, large, order, "redis")


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_of_postgresql(
    alone: Services, user: str, large: list[str], drain: Callable[[], Drained], order: str
) -> None:
    drain()
    own = without(alone, "redis")
    check(list(walk(own, user, order)), large, order, "postgresql")
    first = own.tiers.postgres.page(user, "t", *_ALL, order, 1000, PAGE_BYTES)
    assert (first.is_cut, len(first.messages) < COUNT) == (True, True)
    whole = own.tiers.postgres.page(user, "t", *_ALL, order, 1000)
    assert (whole.is_cut, len(whole.messages)) == (False, COUNT)


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_of_clickhouse(
    alone: Services, user: str, large: list[str], drain: Callable[[], Drained], order: str
) -> None:
    drain()
    alone.jobs.replication.ship_all()
    patient = process(alone, clickhouse_timeout_seconds=20.0)
    own = without(patient, "redis", "database")
    check(list(walk(own, user, order)), large, order, "clickhouse")
    for tombstones in (False, True):
        first = own.tiers.clickhouse.page(user, "t", *_ALL, order, 1000, tombstones=tombstones)
        assert (first.is_cut, len(first.messages) < COUNT) == (True, True)
        few = own.tiers.clickhouse.page(user, "t", *_ALL, order, 9, tombstones=tombstones)
        assert (few.is_cut, len(few.messages)) == (False, 9)


def test_of_a_search(alone: Services, user: str, large: list[str]) -> None:
    wanted, cursor, found = Wanted(parse("needle"), None, None, None, None), None, list[str]()
    while True:
        page = alone.search.search(user, wanted, limit=1000, cursor=cursor)
        assert sum(len(hit.message.content.encode()) for hit in page.hits) <= PAGE_BYTES
        found += [hit.message.id for hit in page.hits]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == sorted(large, reverse=True)


@pytest.mark.parametrize(("count", "openings"), [(100, 0), (10, 1)])
def test_many_records_that_are_late_are_no_outage(
    alone: Services, count: int, openings: int
) -> None:
    own = process(alone, redis_timeout_seconds=2.0, redis_slow_seconds=5.0)
    own.tiers.redis.ping()
    alone.tiers.redis_client.client_pause(2_200)
    with pytest.raises(TierUnavailable):
        own.tiers.redis.messages(0, [ids.mint(1, 0, number) for number in range(count)])
    breaker = own.tiers.breakers.redis
    eventually(lambda: breaker.is_closed and not breaker._is_suspect)
    assert breaker.state().opened == openings
