"""The checks of the data Redis and of the broker, by what each says of itself in one round trip."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from redis import Redis
from redis.exceptions import RedisError

from settings import Settings
from storage.availability.checks.finding import (
    ACKNOWLEDGED,
    ROOM,
    Finding,
    Rule,
    ahead_seconds,
    clock,
    findings,
    found,
    guarded,
    is_older,
    waiting,
)
from storage.redis import client
from storage.redis.driver import translated
from storage.redis.pending_log import PendingLog
from storage.redis.refusals import refusal_of
from storage.redis.server import FSYNCED

REDIS = "redis"
BROKER = "broker"
OLDEST_VERSION = (6, 2)
BACKLOG_AGE_SECONDS = 30.0
MEMORY_SHARE = 0.8
"""Of Redis's memory; above it there is little left for an outage of PostgreSQL to fill."""
_ROLES = {"master": "primary", "slave": "replica"}
_UNREACHABLE = "start it, or correct REDIS_URL"
_OLDEST = ".".join(map(str, OLDEST_VERSION))
_RULES = {
    "version": Rule(f"use Redis {_OLDEST} or newer, or Valkey", "refuse"),
    # A replica gives up what was written to it, if it takes a write at all.
    "role": Rule("let REDIS_URL name the primary: this one follows another server", "refuse"),
    # Without the settings nothing is promised; without the rest only less is known.
    "settings": Rule(
        "let this user run CONFIG GET: what cannot be seen is not promised", "weaker", ACKNOWLEDGED
    ),
    **{
        name: Rule(
            f"CONFIG SET {name} {value}, and keep it in the server's file; as it is, a crash may"
            " lose acknowledged messages",
            "weaker",
            ACKNOWLEDGED,
        )
        for name, value in FSYNCED.items()
    },
    "facts": Rule("let this user run INFO and TIME, so that this can be checked"),
    "last write of the log": Rule(
        "free the disk of Redis: it cannot write its log", "weaker", ACKNOWLEDGED
    ),
    "maxmemory": Rule("give Redis more memory, or lower THREADKEEP_HOT_SECONDS"),
    "maxmemory-policy": Rule(
        "CONFIG SET maxmemory-policy volatile-lru (or noeviction): this one may evict what is"
        " nowhere else yet",
        "refuse",
    ),
    "backlog": Rule(
        "see that a worker runs and reaches PostgreSQL; its log says what it waits for"
    ),
}
_BROKER_RULES = {
    "reachable": Rule(""),
    "maxmemory-policy": Rule("CONFIG SET maxmemory-policy noeviction: this one may evict wake-ups"),
}
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


def judge_redis(client: Redis) -> list[Finding]:
    """What a process must know of the data Redis before it relies on it. One round trip."""
    return guarded(REDIS, "reachable", lambda: judge_facts(_facts_of(client)), _UNREACHABLE)


def check_redis(client: Redis, log: PendingLog) -> list[Finding]:
    """The data Redis: it holds what nothing else has yet."""
    judged = judge_redis(client)
    if any(finding.severity == "down" for finding in judged):
        return judged
    return [*judged, *guarded(REDIS, "backlog", lambda: _backlog(log), _UNREACHABLE)]


def check_broker(settings: Settings) -> list[Finding]:
    """Celery's Redis: losing it costs seconds, never a message."""
    advice = "start it, or correct CELERY_BROKER_URL; until then workers find the log themselves"
    if settings.broker_url == settings.redis_url:
        return [Finding(BROKER, "reachable", True, "the data Redis is the broker too")]
    # Its own connections, under the same deadlines.
    own = msgspec.structs.replace(settings, redis_url=settings.broker_url)
    broker = client.redis_client(own)
    try:
        return guarded(BROKER, "reachable", lambda: _broker(_facts_of(broker)), advice)
    finally:
        broker.close()


def judge_facts(facts: RedisFacts) -> list[Finding]:
    """Judges what a Redis said of itself."""
    version, role = facts.said("redis_version"), facts.said("role", "unknown")
    written = facts.said("aof_last_write_status", "ok")
    judged: dict[str, tuple[bool, object]] = {
        "version": (not (version and is_older(version, OLDEST_VERSION)), facts.name),
        "role": (role in {"master", "unknown"}, _ROLES.get(role, role)),
    }
    if not facts.config:
        judged["settings"] = False, facts.denied or "not shown"
    elif facts.denied:
        judged["facts"] = False, facts.denied
    for name, value in FSYNCED.items() if facts.config else ():
        judged[name] = facts.config.get(name) == value, facts.config.get(name, "unknown")
    judged["last write of the log"] = written == "ok", written
    judged["maxmemory-policy"] = _policy(facts)
    ahead = [] if facts.ahead_seconds is None else [clock(REDIS, facts.ahead_seconds)]
    return [*findings(REDIS, _RULES, judged), *_memory(facts), *ahead]


def _memory(facts: RedisFacts) -> list[Finding]:
    used, limit = int(facts.said("used_memory", "0")), facts.memory_limit_bytes
    if limit is None:
        return []
    if limit == 0:
        value = f"no limit, {used / 2**20:,.0f} MiB used"
        advice = "CONFIG SET maxmemory to less than the machine has, so that it never swaps"
        return [found(REDIS, "maxmemory", False, value, advice, "weaker", ROOM)]
    value = f"{used / 2**20:,.0f} of {limit / 2**20:,.0f} MiB used"
    return findings(REDIS, _RULES, {"maxmemory": (used < MEMORY_SHARE * limit, value)})


def _broker(facts: RedisFacts) -> list[Finding]:
    judged = {"reachable": (True, facts.name), "maxmemory-policy": _policy(facts)}
    return findings(BROKER, _BROKER_RULES, judged)


def _policy(facts: RedisFacts) -> tuple[bool, str]:
    return not facts.policy.startswith("allkeys"), facts.policy or "unknown"


def _backlog(log: PendingLog) -> list[Finding]:
    # By Redis's own clock, which stamps the entries.
    age = log.status().oldest_seconds
    judged = {"backlog": (age <= BACKLOG_AGE_SECONDS, waiting(sum(log.backlog()), age))}
    return findings(REDIS, _RULES, judged)


def _facts_of(client: Redis) -> RedisFacts:
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
    ahead = None
    if moment is not None:
        there = datetime.fromtimestamp(moment[0], UTC).replace(microsecond=moment[1])
        ahead = ahead_seconds(there, before, after)
    return RedisFacts(
        info={name: value for info in infos if info for name, value in info.items()},
        config={_text(name): _text(value) for name, value in (config or {}).items()},
        denied=denied[0] if denied else "",
        ahead_seconds=ahead,
    )


def _denied(error: RedisError) -> str:
    """Why a question was not answered. Raises what is no matter of this question alone."""
    refusal = refusal_of(error)
    if refusal.out == "everything":
        raise error
    return refusal.reason


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
