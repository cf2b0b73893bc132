"""What can go wrong in a tier, in words the layers above can act on.

Driver errors are translated at each tier's door; nothing above it knows a driver.
"""


class TierError(Exception):
    """Something went wrong in a tier. `tier` is `redis`, `postgresql` or `clickhouse`."""

    def __init__(self, tier: str, reason: str) -> None:
        super().__init__(f"{tier}: {reason}")
        self.tier = tier
        self.reason = reason


class TierUnavailable(TierError):
    """The tier does not answer, or not in time. The write may or may not have happened."""


class TierRejected(TierError):
    """The tier answered, and will not do it however often it is asked."""


class VersionConflict(Exception):
    """Someone else wrote a newer version first. `current` is its record."""

    def __init__(self, current: bytes) -> None:
        super().__init__("a newer version exists")
        self.current = current


class NotFound(Exception):
    """There is no such thing, or it is someone else's, which answers the same."""


class AlreadyExists(Exception):
    """The caller already has a thread of this id."""


class StillRefused(Exception):
    """PostgreSQL refused a dead letter again. The reason holds nothing of what was written."""

    def __init__(self, reason: str, attempts: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.attempts = attempts
