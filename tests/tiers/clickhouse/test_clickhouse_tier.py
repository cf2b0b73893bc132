"""ClickHouse: exact text, the newest version, and the order of ids."""

import re
import secrets
from collections.abc import Sequence

import msgspec
import pytest

from models import codec, ids
from models.message import Message
from storage.clickhouse.reads import ClickHouseTier
from storage.errors import TierRejected, TierUnavailable
from support.data.samples import AWKWARD_TEXTS, message, revised
from support.stack.clickhouse_requests import clickhouse_post
from wiring.process import Services


def insert(alone: Services, *versions: Message, token: str | None = None) -> None:
    """Rows as the shipment sends them."""
    lines = []
    for one in versions:
        row = {name: getattr(one, name) for name in Message.__struct_fields__}
        lines.append(msgspec.json.encode(row | {"metadata": _text(one)}))
    alone.tiers.job_clickhouse.insert("messages", b"\n".join(lines), token or secrets.token_hex(8))


def _text(one: Message) -> str:
    return msgspec.json.encode(one.metadata).decode()


def names(found: Sequence[Message]) -> list[str]:
    return [one.id for one in found]


def raw_rows(alone: Services, user: str) -> int:
    answer = clickhouse_post(
        alone.tiers.job_clickhouse,
        "SELECT count() FROM messages WHERE user_id = {user:String}",
        settings={"param_user": user},
    )
    return int(answer)


def test_the_same_token_twice_is_one_insert(alone: Services, user: str) -> None:
    one = message(user)
    for _ in range(3):
        insert(alone, one, token=f"token-{user}")
    assert raw_rows(alone, user) == 1
    insert(alone, message(user), token=f"another-{user}")
    assert raw_rows(alone, user) == 2


def test_a_row_that_came_twice_is_read_once(
    alone: Services, clickhouse_tier: ClickHouseTier, user: str
) -> None:
    one = message(user)
    insert(alone, one)
    insert(alone, one)
    page = clickhouse_tier.page(user, "t", ids.LOWEST, ids.HIGHEST, "asc", 10).messages
    assert page == [one]
    assert clickhouse_tier.message(user, one.id) is not None


def test_awkward_text_comes_back_byte_for_byte(
    alone: Services, clickhouse_tier: ClickHouseTier, user: str
) -> None:
    made = [message(user, content=one, metadata={one: [one]}) for one in AWKWARD_TEXTS]
    insert(alone, *made)
    found = clickhouse_tier.page(user, "t", ids.LOWEST, ids.HIGHEST, "asc", 100).messages
    assert found == made
    assert all(codec.is_intact(one) for one in found)


def test_awkward_users_and_threads_are_found_again(
    alone: Services, clickhouse_tier: ClickHouseTier, user: str
) -> None:
    for text in AWKWARD_TEXTS:
        one = message(f"{user}{text}", "a:b")
        insert(alone, one)
        found = clickhouse_tier.message(one.user_id, one.id)
        assert found is not None, repr(text)
        assert found[0] == one
        assert clickhouse_tier.page(
            one.user_id, "a:b", ids.LOWEST, ids.HIGHEST, "asc", 9
        ).messages == [one]


def test_the_newest_version_is_read_whatever_came_last(
    alone: Services, clickhouse_tier: ClickHouseTier, user: str
) -> None:
    first = message(user)
    third = revised(first, version=3)
    for version in (third, first, revised(first)):
        insert(alone, version)
    assert clickhouse_tier.page(user, "t", ids.LOWEST, ids.HIGHEST, "asc", 10).messages == [third]
    found = clickhouse_tier.message(user, first.id)
    assert found is not None
    assert found[0] == third


def test_a_tombstone_hides_its_message_in_lists(
    alone: Services, clickhouse_tier: ClickHouseTier, user: str
) -> None:
    kept, gone = message(user), message(user)
    insert(alone, kept, gone)
    insert(alone, revised(gone, deleted=True))
    assert clickhouse_tier.page(user, "t", ids.LOWEST, ids.HIGHEST, "asc", 10).messages == [kept]
    found = clickhouse_tier.message(user, gone.id)
    assert found is not None
    assert found[0].deleted_at is not None


def test_an_older_version_does_not_bring_a_message_back(
    alone: Services, clickhouse_tier: ClickHouseTier, user: str
) -> None:
    gone = message(user)
    insert(alone, revised(gone, version=3, deleted=True))
    insert(alone, revised(gone))
    assert clickhouse_tier.page(user, "t", ids.LOWEST, ids.HIGHEST, "asc", 10).messages == []


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_page_is_in_the_order_of_ids(
    alone: Services, clickhouse_tier: ClickHouseTier, user: str, order: str
) -> None:
    # Several share a microsecond, where only the random bits tell them apart.
    now_us = ids.Clock().now_us()
    made = [message(user, time_us=now_us + at // 4) for at in range(20)]
    insert(alone, *made)
    wanted = sorted(names(made), reverse=order == "desc")
    found = clickhouse_tier.page(user, "t", ids.LOWEST, ids.HIGHEST, order, 100).messages
    assert names(found) == wanted


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_microsecond_is_in_order_whatever_came_first(
    alone: Services, clickhouse_tier: ClickHouseTier, user: str, order: str
) -> None:
    now_us = ids.Clock().now_us()
    made = [message(user, time_us=now_us) for _ in range(8)]
    # Each in a part of its own, which ClickHouse reads in any order.
    for one in made:
        insert(alone, one)
    found = clickhouse_tier.page(user, "t", ids.LOWEST, ids.HIGHEST, order, 100).messages
    assert names(found) == sorted(names(made), reverse=order == "desc")


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_continue_within_a_microsecond(
    alone: Services, clickhouse_tier: ClickHouseTier, user: str, order: str
) -> None:
    now_us = ids.Clock().now_us()
    made = sorted(names(rows := [message(user, time_us=now_us + at // 4) for at in range(12)]))
    insert(alone, *rows)
    found: list[str] = []
    low, high = ids.LOWEST, ids.HIGHEST
    while page := clickhouse_tier.page(user, "t", low, high, order, 3).messages:
        found += names(page)
        low, high = (page[-1].id, high) if order == "asc" else (low, page[-1].id)
    assert found == (made if order == "asc" else made[::-1])


def test_somebody_elses_messages_are_not_found(
    alone: Services, clickhouse_tier: ClickHouseTier, user: str
) -> None:
    theirs = message(f"{user}-other")
    insert(alone, theirs)
    assert clickhouse_tier.message(user, theirs.id) is None
    assert clickhouse_tier.versions(user, theirs.id) == []
    assert clickhouse_tier.page(user, "t", ids.LOWEST, ids.HIGHEST, "asc", 10).messages == []


@pytest.mark.parametrize("time_us", [0, 1, ids.MAX_MICROSECONDS, 2**53])
def test_an_id_of_any_time_is_simply_not_there(
    clickhouse_tier: ClickHouseTier, user: str, time_us: int
) -> None:
    name = ids.mint(time_us, 0)
    assert clickhouse_tier.message(user, name) is None
    assert clickhouse_tier.page(user, "t", ids.LOWEST, name, "desc", 10).messages == []
    assert clickhouse_tier.page(user, "t", name, ids.HIGHEST, "asc", 10).messages == []


def test_a_row_that_is_wrong_is_rejected_and_not_retried(alone: Services) -> None:
    secret = b"what somebody wrote"
    for rows in (
        b'{"unknown": "%s"}' % secret,
        b'{"id": "%s"}' % secret,
        b'{"%s' % secret,
        b'{"version": %s}' % secret,
    ):
        with pytest.raises(TierRejected) as refused:
            alone.tiers.job_clickhouse.insert("messages", rows, secrets.token_hex(8))
        # Its words quote the row; its code and its name for it do not.
        assert re.fullmatch(r"Code: \d+ [A-Z_]+", refused.value.reason)


def test_a_server_that_is_not_there_is_unavailable(alone: Services) -> None:
    settings = msgspec.structs.replace(
        alone.settings, clickhouse_url="clickhouse+http://default:@127.0.0.1:1/default"
    )
    with pytest.raises(TierUnavailable):
        Services(settings).tiers.clickhouse.ping()
    with pytest.raises(TierUnavailable):
        Services(settings).tiers.job_clickhouse.insert("messages", b"{}", "token")
