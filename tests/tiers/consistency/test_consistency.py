"""Each way in which tiers can disagree: what is named, which copy is right, and what is mended."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import pytest

from jobs.consistency.report import ConsistencyReport, Difference, Scope
from models import codec
from models.message import Message
from support.data.samples import message, revised
from support.data.users import fresh_user
from support.faults import damage
from wiring.process import Services


def spoiled(one: Message, **fields: object) -> Message:
    """A copy that no longer matches its own hash."""
    return msgspec.structs.replace(one, **fields)


class Case(NamedTuple):
    """A way to spoil a message, what must be found, and what must be right afterwards: the
    version that was there, or its tombstone."""

    spoil: Callable[[Services, Message], None]
    found: set[str]
    right: str = "edit"


def of_postgres(change: str) -> Callable[[Services, Message], None]:
    return lambda services, one: damage.in_postgres(services, change, one)


def of_clickhouse(change: str) -> Callable[[Services, Message], None]:
    return lambda services, one: damage.in_clickhouse(services, change, one)


def first_version(one: Message) -> Message:
    """An intact version older than this one."""
    return codec.seal(spoiled(one, version=1, content="the first", metadata={}, deleted_at=None))


def replace_in_clickhouse(
    make: Callable[[Message], Message],
) -> Callable[[Services, Message], None]:
    def spoil(services: Services, one: Message) -> None:
        damage.in_clickhouse(services, "DELETE", one)
        damage.put_into_clickhouse(services, make(one))

    return spoil


def gone_from_both(services: Services, one: Message) -> None:
    damage.in_postgres(services, "DELETE", one)
    damage.in_clickhouse(services, "DELETE", one)


def spoilt_in_both(services: Services, one: Message) -> None:
    damage.in_postgres(services, "content = 'x'", one)
    damage.in_clickhouse(services, "UPDATE content = 'x'", one)


CASES = {
    "a row is gone from PostgreSQL": Case(of_postgres("DELETE"), {"missing_in_postgresql"}),
    "a row is gone from ClickHouse": Case(of_clickhouse("DELETE"), {"missing_in_clickhouse"}),
    "a row is in Redis alone": Case(
        gone_from_both, {"missing_in_postgresql", "missing_in_clickhouse"}
    ),
    "PostgreSQL has an older version": Case(
        lambda services, one: damage.put_into_postgres(services, first_version(one)),
        {"older_in_postgresql"},
    ),
    "ClickHouse has an older version": Case(
        replace_in_clickhouse(first_version), {"older_in_clickhouse"}
    ),
    "Redis has an older version": Case(
        lambda services, one: damage.put_into_redis(services, first_version(one)),
        {"older_in_redis"},
    ),
    "PostgreSQL has another text": Case(
        of_postgres("content = content || '.'"), {"damaged_in_postgresql"}
    ),
    "PostgreSQL has other metadata": Case(
        of_postgres("metadata = '[]'"), {"damaged_in_postgresql"}
    ),
    "ClickHouse has another text": Case(
        of_clickhouse("UPDATE content = 'x'"), {"damaged_in_clickhouse"}
    ),
    "ClickHouse has metadata that is none": Case(
        of_clickhouse("UPDATE metadata = 'x'"), {"damaged_in_clickhouse"}
    ),
    "ClickHouse has bytes that are no text": Case(
        of_clickhouse("UPDATE content = unhex('ff')"), {"damaged_in_clickhouse"}
    ),
    "Redis has another text": Case(
        lambda services, one: damage.put_into_redis(services, spoiled(one, content="x")),
        {"damaged_in_redis"},
    ),
    "both lower tiers have the same wrong text": Case(
        spoilt_in_both, {"damaged_in_postgresql", "damaged_in_clickhouse"}
    ),
    "a version that nobody wrote hides the right one": Case(
        lambda services, one: damage.put_into_clickhouse(
            services, spoiled(one, version=9, content="x")
        ),
        {"damaged_in_clickhouse"},
    ),
    "the same version was sealed twice": Case(
        replace_in_clickhouse(lambda one: codec.seal(spoiled(one, content="another"))),
        {"different_in_clickhouse"},
    ),
    "PostgreSQL's row is in another user's hands": Case(
        of_postgres("user_id = user_id || 'x'"), {"damaged_in_postgresql"}
    ),
    "ClickHouse's row is in another user's hands, resealed": Case(
        replace_in_clickhouse(lambda one: codec.seal(spoiled(one, user_id=one.user_id + "x"))),
        {"foreign_in_clickhouse"},
    ),
    "a persisted copy would never be evicted": Case(
        lambda services, one: damage.put_into_redis(services, one, seconds=None),
        {"never_evicted_in_redis"},
    ),
    "an index leaves out what it should list": Case(
        lambda services, one: damage.drop_from_redis(services, one, listed=False),
        {"unlisted_in_redis"},
    ),
    "a tombstone is live again in PostgreSQL": Case(
        lambda services, one: damage.put_into_postgres(services, first_version(one)),
        {"resurrected_in_postgresql"},
        "tombstone",
    ),
    "a tombstone is live again in ClickHouse, higher": Case(
        lambda services, one: damage.put_into_clickhouse(
            services, codec.seal(spoiled(first_version(one), version=7))
        ),
        {"resurrected_in_clickhouse"},
        "tombstone",
    ),
    "a tombstone is live again in Redis": Case(
        lambda services, one: damage.put_into_redis(services, first_version(one)),
        {"resurrected_in_redis"},
        "tombstone",
    ),
}


class Seen(NamedTuple):
    """What became of one spoilt message."""

    right: Message
    found: list[Difference]
    mended: list[Difference]
    there: dict[str, Message | None]
    live: list[Message]
    listed: list[Message]
    counted: int


class Campaign(NamedTuple):
    """One user with a thread for each case: a check, one that mends, and a check after it."""

    seen: dict[str, Seen]
    first: ConsistencyReport
    mended: ConsistencyReport
    again: ConsistencyReport


def placed(services: Services, user: str, thread: str, right: str) -> list[Message]:
    """Three messages in all tiers, the second of them in its second version."""
    batch = [message(user, thread, text) for text in ("before", "first", "after")]
    damage.place(services, *batch)
    second = revised(batch[1], deleted=right == "tombstone")
    services.failover.writes.revise(batch[1], lambda version: second)
    return [batch[0], second, batch[2]]


@pytest.fixture(scope="module")
def campaign(lone_services: Services) -> Campaign:
    services, user = lone_services, fresh_user()
    services.tiers.redis_client.flushall()
    services.failover.redis_recovery.adopt()
    threads = {name: f"t{number}" for number, name in enumerate(CASES)}
    rows = {name: placed(services, user, threads[name], case.right) for name, case in CASES.items()}

    def check(*, repair: bool = False) -> ConsistencyReport:
        return services.jobs.consistency_checker.check(
            Scope(user_id=user), actor="test", repair=repair
        )

    assert check().differences == []
    for name, case in CASES.items():
        case.spoil(services, rows[name][1])
    first, mended, again = check(), check(repair=True), check()
    seen = {}
    for name, batch in rows.items():
        right = batch[1]
        page = services.failover.retrieval.page(
            user, threads[name], limit=9, cursor=None, order="asc"
        )
        row = services.tiers.postgres.thread(user, threads[name])
        seen[name] = Seen(
            right,
            [one for one in first.differences if one.id == right.id],
            [one for one in mended.differences if one.id == right.id],
            damage.everywhere(services, right),
            [one for one in batch if one.deleted_at is None],
            page.messages,
            row.message_count if row else -1,
        )
    return Campaign(seen, first, mended, again)


@pytest.mark.parametrize("name", CASES)
def test_a_difference_is_named_and_mended(campaign: Campaign, name: str) -> None:
    seen = campaign.seen[name]
    assert {one.name for one in seen.found} == CASES[name].found
    assert {(one.name, one.outcome) for one in seen.mended} == {
        (kind, "repaired") for kind in CASES[name].found
    }
    assert seen.there["postgresql"] == seen.there["clickhouse"] == seen.right
    assert seen.there["redis"] in (None, seen.right)
    assert seen.listed == seen.live
    assert seen.counted == len(seen.live)


def test_nothing_else_is_named(campaign: Campaign) -> None:
    spoilt = {seen.right.id for seen in campaign.seen.values()}
    for report in (campaign.first, campaign.mended):
        assert {one.id for one in report.differences} == spoilt
        assert report.differing == len(spoilt)
        assert report.data_consistency_score is not None
        assert report.data_consistency_score < 100.0
    assert (campaign.first.repaired, campaign.first.remaining) == (0, len(spoilt))
    assert (campaign.mended.repaired, campaign.mended.remaining) == (len(spoilt), 0)


def test_afterwards_all_agrees(campaign: Campaign) -> None:
    assert campaign.again.differences == []
    assert campaign.again.data_consistency_score == 100.0
