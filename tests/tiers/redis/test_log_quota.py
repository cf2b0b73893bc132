"""What Redis must keep counts against the log's share: also the texts of open streams."""

from collections.abc import Iterator

import msgspec
import pytest

from settings import Settings
from storage.errors import TierUnavailable
from storage.messages.posts import Draft
from storage.redis.log_quota import LogQuota
from wiring.process import Services

COUNT, SIZE = 60, 50_000
LIMIT = 256 * 1024 * 1024


@pytest.fixture
def limited(alone: Services) -> Iterator[Services]:
    client = alone.tiers.redis_client
    before = client.config_get("maxmemory")["maxmemory"]
    client.config_set("maxmemory", LIMIT)
    yield alone
    client.config_set("maxmemory", before)


def quota(own: Services, **changes: float) -> LogQuota:
    settings: Settings = msgspec.structs.replace(own.settings, **changes)
    return LogQuota(own.tiers.redis_door, settings)


def test_open_streams_take_of_the_log_s_share(limited: Services, user: str) -> None:
    before = quota(limited).share()
    opened = [
        limited.streaming.open(user, f"t{number}", Draft("assistant", "", {}, None))
        for number in range(COUNT)
    ]
    empty = quota(limited).share()
    for one in opened:
        message_id = one.acknowledgement.message.id
        limited.streaming.append(user, message_id, "x" * SIZE, None)
    full = quota(limited).share()
    assert before < empty < full
    assert (full - empty) * LIMIT == pytest.approx(COUNT * SIZE, rel=0.1)
    with pytest.raises(TierUnavailable, match="of its memory"):
        quota(limited, redis_log_share=full * 0.9).admit()
    quota(limited, redis_log_share=full * 1.1).admit()
