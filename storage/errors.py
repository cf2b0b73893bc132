"""What can go wrong in a tier, in words the layers above can act on.

Driver errors are translated at each tier's door; nothing above it knows a driver.
"""

import re
from collections.abc import Sequence

MAX_HEADLINE_CHARACTERS = 300
_QUOTED = re.compile(
    r"((?:relation|constraint|column|type|encoding|table|index|partition|function|file)"
    r' "[^"]*")|".*'
)


class TierError(Exception):
    """Something went wrong in a tier. `tier` is `redis`, `postgresql` or `clickhouse`."""

    def __init__(self, tier: str, reason: str) -> None:
        super().__init__(f"{tier}: {reason}")
        self.tier = tier
        self.reason = reason

    @property
    def is_ambiguous(self) -> bool:
        """Whether the write may have happened all the same."""
        return False


class TierUnavailable(TierError):
    """The tier does not answer, or not in time. The write may or may not have happened.

    `passing` says that the tier itself is well and only this call was turned away (a lock, a
    deadlock, no room): no reason to keep others from it. `tried` is False where nothing was sent.
    `late` says that nobody heard from it in the time there was.
    """

    def __init__(
        self,
        tier: str,
        reason: str,
        *,
        passing: bool = False,
        tried: bool = True,
        late: bool = False,
    ) -> None:
        super().__init__(tier, reason)
        self.passing = passing
        self.tried = tried
        self.late = late

    @property
    def is_ambiguous(self) -> bool:
        """Whether the write may have happened all the same."""
        return self.tried and not self.passing


class Contended(TierUnavailable):
    """Too many wrote the same thing at the same moment. No tier is out."""


class NoTierAvailable(TierUnavailable):
    """No tier can take a write. `tiers` are those that were tried."""

    def __init__(self, failures: Sequence[TierError]) -> None:
        self.tiers = list(dict.fromkeys(failure.tier for failure in failures))
        reasons = "; ".join(f"{failure.tier}: {failure.reason}" for failure in failures)
        super().__init__(" and ".join(self.tiers), reasons)


class TierRejected(TierError):
    """The tier answered, and will not do it however often it is asked."""


class VersionConflict(Exception):
    """Someone else wrote a newer version first. `current` is its record."""

    def __init__(self, current: bytes) -> None:
        super().__init__("a newer version exists")
        self.current = current


class NotFound(Exception):
    """There is no such thing, or it is someone else's, which answers the same."""


class Damaged(Exception):
    """No copy of a message matches its own hash: nothing new is made of it."""


class StreamRefused(Exception):
    """A message does not take this while, or after, its text comes in chunks.

    `code` is stable: `not_streaming`, `stream_interrupted`, `offset_mismatch` or
    `message_streaming`. `length` is how many bytes of text there are, where that is known.
    """

    def __init__(self, code: str, detail: str, length: int | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.length = length


class KeyReused(Exception):
    """An Idempotency-Key stands for another request than this one."""

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was given with another message before")


class AlreadyExists(Exception):
    """The caller already has a thread of this id."""


class Refused(Exception):
    """What this process was given is not safe to work with; the text is one line for a person."""


class OnHold(Exception):
    """A legal hold is on the user, or on a thread of theirs: nothing of it is erased."""

    def __init__(self, user_id: str) -> None:
        super().__init__("a legal hold is on this user or on a thread of theirs")
        self.user_id = user_id


class ErasureUnderWay(Exception):
    """The user is being erased, too late for a hold."""


class StillRefused(Exception):
    """PostgreSQL refused a dead letter again. The reason holds nothing of what was written."""

    def __init__(self, reason: str, attempts: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.attempts = attempts


def headline(reason: str) -> str:
    """The first line of what PostgreSQL says, up to the first value that it quotes: never what was
    written. Names of tables, columns, constraints and files stay."""
    first = reason.strip().split("\n", 1)[0]
    named = _QUOTED.sub(lambda quoted: quoted[1] or "", first)
    return named.rstrip(": ")[:MAX_HEADLINE_CHARACTERS]
