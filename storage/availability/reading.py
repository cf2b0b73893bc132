"""What was asked of the tiers for one answer: who gave some of it, and who did not answer."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from models.caveats import warning_of
from models.message import Caveat, Source, Tier
from storage.clickhouse.reads import ClickHouseTier
from storage.errors import NoTierAvailable, TierUnavailable
from storage.postgres.reads import PostgresTier
from storage.redis.messages import RedisTier

Answer = TypeVar("Answer")


class ReadTiers(NamedTuple):
    """The reads of messages in each tier."""

    redis: RedisTier
    postgres: PostgresTier
    clickhouse: ClickHouseTier


class Reading:
    """A tier that did not answer once is not asked again for the same answer."""

    def __init__(self) -> None:
        self.sources: set[Tier] = set()
        self.down: dict[str, TierUnavailable] = {}

    def ask(self, tier: Tier, question: Callable[[], Answer]) -> Answer | None:
        """What a tier says; None where it does not answer."""
        if tier in self.down:
            return None
        try:
            answer = question()
        except TierUnavailable as error:
            self.down[tier] = error
            return None
        self.sources.add(tier)
        return answer

    def failure(self) -> NoTierAvailable:
        """The error where nobody who answered can tell."""
        return NoTierAvailable(list(self.down.values()))

    @property
    def source(self) -> Source:
        """Where it came from."""
        return source_of(self.sources)

    @property
    def warning(self) -> Caveat | None:
        """What the caller is told of those who did not answer."""
        return warning_of(set(self.down))


def source_of(tiers: set[Tier]) -> Source:
    """What is said of an answer that came from these tiers."""
    return next(iter(tiers)) if len(tiers) == 1 else "mixed"
