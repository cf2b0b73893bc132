"""What an acknowledgement from the Redis at hand means."""

from models.message import Durability
from storage.errors import TierRejected
from storage.redis.driver import RedisGateway

FSYNCED = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
"""The settings with which every answer of Redis follows an fsync."""


def durability_of(door: RedisGateway) -> Durability:
    """`fsynced` where every answer follows an fsync, `memory` where that cannot be told.

    Raises `TierUnavailable`.
    """
    try:
        found = door.ask(lambda client: client.config_get(*FSYNCED))
    except TierRejected:
        return "memory"
    return "fsynced" if found == FSYNCED else "memory"
