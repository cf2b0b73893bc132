"""A copy that does not match its own hash is never what a new version is made of."""

from collections.abc import Callable

import pytest

from models import codec, ids
from models.message import Message, Tier
from storage.errors import Damaged, NotFound
from support.data.samples import message
from support.faults import damage
from wiring.process import Services

SPOILS: dict[Tier, Callable[[Services, Message], None]] = {
    "redis": lambda alone, one: damage.put_into_redis(alone, one),
    "postgresql": lambda alone, one: damage.put_into_postgres(alone, one),
    "clickhouse": lambda alone, one: damage.put_into_clickhouse(alone, one),
}


def spoilt(one: Message) -> Message:
    """As a clock of another zone would have it, and with another text; under the hash of before."""
    shifted = ids.timestamp(ids.time_us_of(one.id) - 4 * 3600 * 1_000_000)
    return codec.decode(
        codec.encode(one)
        .replace(one.created_at.encode(), shifted.encode())
        .replace(one.content.encode(), b"something else")
    )


def everywhere(alone: Services, user: str) -> Message:
    one = message(user, content="as it was written")
    damage.place(alone, one)
    assert not codec.is_intact(spoilt(one))
    return one


@pytest.mark.parametrize("tier", ["redis", "postgresql"])
def test_another_tiers_copy_is_read_and_edited(alone: Services, user: str, tier: Tier) -> None:
    one = everywhere(alone, user)
    SPOILS[tier](alone, spoilt(one))
    if tier != "redis":
        damage.drop_from_redis(alone, one)
    assert alone.failover.retrieval.get(user, one.id).message == one
    done = alone.messages.edit(user, one.id, content=None, metadata={"n": 1}, if_version=None)
    assert (done.message.content, done.message.created_at) == (one.content, one.created_at)
    assert codec.is_intact(done.message)
    alone.jobs.drain_pipeline()
    found = alone.failover.retrieval.get(user, one.id).message
    assert found == done.message
    _gone(alone, user, one)


@pytest.mark.parametrize("listed", [True, False])
def test_where_no_copy_is_sound_nothing_is_made_of_it(
    alone: Services, user: str, listed: bool
) -> None:
    one = everywhere(alone, user)
    for spoil in SPOILS.values():
        spoil(alone, spoilt(one))
    if not listed:
        damage.drop_from_redis(alone, one)
    damage.in_clickhouse(alone, "DELETE", one)
    damage.put_into_clickhouse(alone, spoilt(one))
    found = alone.failover.retrieval.get(user, one.id)
    assert not found.is_intact
    with pytest.raises(Damaged):
        alone.messages.edit(user, one.id, content="edited", metadata=None, if_version=None)
    assert alone.failover.retrieval.get(user, one.id).message.version == 1
    # Whoever wants to be rid of it is.
    done = alone.messages.delete(user, one.id, if_version=None)
    assert codec.is_intact(done.message)
    assert (done.message.created_at, done.message.content) == (one.created_at, "")
    with pytest.raises(NotFound):
        alone.failover.retrieval.get(user, one.id)
    alone.jobs.drain_pipeline()
    _gone(alone, user, one)


def _gone(alone: Services, user: str, one: Message) -> None:
    """Others compare the tiers as a whole."""
    damage.drop_from_redis(alone, one, listed=False)
    damage.in_postgres(alone, "DELETE", one)
    damage.in_clickhouse(alone, "DELETE", one)
