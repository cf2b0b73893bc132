"""A page of messages is answered as its records are in Redis, where that says the same."""

from collections.abc import Callable, Iterator

import msgspec
import pytest

from models import codec
from models.message import Message
from models.streams import marked
from storage.messages.posts import Draft
from storage.messages.retrieval_service import MessageSlice
from storage.redis import keys
from support.data.thread_lists import begin_whole, post
from wiring.process import Services

pytestmark = pytest.mark.usefixtures("steady_lease")

Page = Callable[..., MessageSlice]


@pytest.fixture
def page(alone: Services, user: str) -> Iterator[Page]:
    """The page of a thread, as it is stored unless told otherwise."""
    begin_whole(alone)

    def read(**query: object) -> MessageSlice:
        given = {"limit": 3, "cursor": None, "order": "desc", "as_stored": True} | query
        return alone.failover.retrieval.page(user, "t", **given)  # type: ignore[arg-type]

    yield read


def warm(page: Page) -> None:
    """Has Redis know that nothing is below what it has of the thread."""
    page(as_stored=False, limit=100)


def messages(found: MessageSlice) -> list[Message]:
    assert found.stored is not None
    return msgspec.json.decode(found.stored, type=list[Message])


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 9])
def test_a_page_as_stored_is_the_page(
    alone: Services, user: str, page: Page, order: str, limit: int
) -> None:
    for number in range(4):
        post(alone, user, "t", f'message {number} \u2028 "{{}}"')
    warm(page)
    cursor, seen = None, 0
    while True:
        read = page(limit=limit, order=order, cursor=cursor, as_stored=False)
        stored = page(limit=limit, order=order, cursor=cursor)
        assert messages(stored) == read.messages
        assert stored._replace(messages=read.messages, stored=None) == read
        seen += len(read.messages)
        cursor = read.next_cursor
        if cursor is None:
            break
    assert seen == 4


def test_an_empty_page_is_not_stored(page: Page) -> None:
    assert page() == MessageSlice([], None, "redis", None)


def test_what_is_streamed_is_read(alone: Services, user: str, page: Page) -> None:
    # Neither a text that quotes the mark nor the mark of a finished message is one.
    post(alone, user, "t", '"threadkeep.stream":"open"')
    warm(page)
    assert page().stored
    alone.messages.post(user, "t", Draft("user", "so far", marked({}, "open")))
    assert (page().stored, len(page().messages)) == (None, 2)
    assert page(order="asc", limit=1).stored


def test_what_a_deletion_hides_is_not_shown(alone: Services, user: str, page: Page) -> None:
    made = [post(alone, user, "t", f"message {number}") for number in range(3)]
    warm(page)
    alone.messages.delete(user, made[1].id, if_version=None)
    assert [one.id for one in messages(page())] == [made[2].id, made[0].id]
    # As an index that lists more than its watermark leaves.
    slot = alone.tiers.redis.slot_of_thread(user, "t")
    alone.tiers.redis_client.set(keys.watermark(slot, user, "t"), made[0].id)
    for order in ("asc", "desc"):
        found = page(order=order)
        assert (found.stored, [one.id for one in found.messages]) == (None, [made[2].id])


def test_a_tombstone_in_an_index_is_not_shown(alone: Services, user: str, page: Page) -> None:
    made = [post(alone, user, "t", f"message {number}") for number in range(2)]
    gone = msgspec.structs.replace(made[1], deleted_at=made[1].created_at, content="")
    alone.tiers.redis_client.set(name_of(alone, made[1]), codec.encode(codec.seal(gone)))
    found = page()
    assert (found.stored, [one.id for one in found.messages]) == (None, [made[0].id])


@pytest.mark.parametrize(
    "record",
    [b"no record", b'{"version":1', b'{"version":1,"id":"x","content":"y"}', b"\xff", b"damaged"],
)
def test_what_is_no_record_is_shown_to_nobody(
    alone: Services, user: str, page: Page, record: bytes
) -> None:
    made = [post(alone, user, "t", f"message {number}") for number in range(2)]
    if record == b"damaged":
        record = codec.encode(made[1]).replace(b"message 1", b"message \xff")
    alone.tiers.redis_client.set(name_of(alone, made[1]), record)
    with pytest.raises(codec.Corrupt):
        page()


def test_what_left_redis_is_read_below(
    alone: Services, user: str, page: Page, drain: Callable[[], object]
) -> None:
    made = [post(alone, user, "t", f"message {number}") for number in range(2)]
    drain()
    alone.tiers.redis_client.delete(name_of(alone, made[0]))
    assert page(limit=1).stored is None
    found = page()
    assert (found.stored, found.messages) == (None, made[::-1])


def test_a_redis_that_may_lack_some_shows_no_page_alone(
    alone: Services, user: str, page: Page
) -> None:
    post(alone, user, "t", "one")
    alone.tiers.redis_repair.invalidate_indexes([(user, "t")])
    assert (page().stored, len(page().messages)) == (None, 1)


def name_of(alone: Services, message: Message) -> str:
    return keys.message(alone.tiers.redis.slot_of_message(message.id), message.id)
