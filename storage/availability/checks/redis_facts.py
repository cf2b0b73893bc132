"""What a Redis says of itself, asked for in one round trip."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

from redis import Redis
from redis.exceptions import RedisError

from storage.availability.checks.finding import ahead_seconds
from storage.redis.driver import translated
from storage.redis.refusals import refusal_of
from storage.redis.server import FSYNCED

SECTIONS = ("server", "replication", "memory", "persistence")
SETTINGS = (*FSYNCED, "maxmemory", "maxmemory-policy")


class RedisFacts(NamedTuple):
    """`info` and `config` hold what Redis was willing to say, `denied` why it kept the rest.

    `ahead_seconds` is how far its clock is ahead of this machine's, None where it does not tell.
    """

    info: dict[str, Any]
    config: dict[str, str]
    denied: str
    ahead_seconds: float | None

    def said(self, name: str, otherwise: str = "") -> str:
        """A field of `INFO`, or what is taken for it where Redis does not tell."""
        return str(self.info.get(name, otherwise))

    @property
    def name(self) -> str:
        """What it is, with its version."""
        if "valkey_version" in self.info:
            return f"Valkey {self.said('valkey_version')}"
        return f"Redis {self.said('redis_version', 'of no known version')}"

    @property
    def policy(self) -> str:
        """The eviction policy; empty where Redis does not tell."""
        return self.config.get("maxmemory-policy") or self.said("maxmemory_policy")

    @property
    def memory_limit_bytes(self) -> int | None:
        """`maxmemory`, 0 for none; None where Redis does not tell."""
        limit = self.config.get("maxmemory", self.info.get("maxmemory"))
        return None if limit is None else int(limit)


def ask(client: Redis) -> RedisFacts:
    """Asks once. What this user may not ask is left out.

    Raises `TierUnavailable` where Redis does not answer at all.
    """
    with translated():
        pipeline = client.pipeline(transaction=False)
        for section in SECTIONS:
            pipeline.info(section)
        pipeline.config_get(*SETTINGS)
        pipeline.time()
        before = datetime.now(UTC)
        answers = pipeline.execute(raise_on_error=False)
        after = datetime.now(UTC)
        denied = [_denied(answer) for answer in answers if isinstance(answer, RedisError)]
    *infos, config, moment = [None if isinstance(one, RedisError) else one for one in answers]
    return RedisFacts(
        info={name: value for info in infos if info for name, value in info.items()},
        config={_text(name): _text(value) for name, value in (config or {}).items()},
        denied=denied[0] if denied else "",
        ahead_seconds=None if moment is None else ahead_seconds(_moment(*moment), before, after),
    )


def _denied(error: RedisError) -> str:
    """Why a question was not answered. Raises what is no matter of this question alone."""
    refusal = refusal_of(error)
    if refusal.out == "everything":
        raise error
    return refusal.reason


def _moment(seconds: int, microseconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
