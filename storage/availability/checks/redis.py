"""The checks of the data Redis and of the broker."""

from collections.abc import Callable
from typing import Any

import msgspec
from redis import Redis

from settings import Settings
from storage.availability.checks import redis_facts
from storage.availability.checks.finding import (
    ACKNOWLEDGED,
    ROOM,
    Finding,
    clock,
    found,
    guarded,
    version_tuple,
)
from storage.availability.checks.redis_facts import RedisFacts
from storage.redis import client
from storage.redis.pending_log import PendingLog

REDIS = "redis"
BROKER = "broker"
OLDEST_VERSION = (6, 2)
BACKLOG_AGE_SECONDS = 30.0
MEMORY_SHARE = 0.8
"""Of Redis's memory; above it there is little left for an outage of PostgreSQL to fill."""
_WANTED = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
_UNREACHABLE = "start it, or correct REDIS_URL"


def judge_redis(client: Redis) -> list[Finding]:
    """What a process must know of the data Redis before it relies on it. One round trip."""

    def look() -> list[Finding]:
        facts = redis_facts.ask(client)
        return [finding for check in CHECKS for finding in check(facts)]

    return guarded(REDIS, "reachable", look, _UNREACHABLE)


def check_redis(client: Redis, log: PendingLog) -> list[Finding]:
    """The data Redis: it holds what nothing else has yet."""
    findings = judge_redis(client)
    if any(finding.severity == "down" for finding in findings):
        return findings
    return [*findings, *guarded(REDIS, "backlog", lambda: [_backlog(log)], _UNREACHABLE)]


def check_broker(settings: Settings) -> list[Finding]:
    """Celery's Redis: losing it costs seconds, never a message."""
    advice = "start it, or correct CELERY_BROKER_URL; until then workers find the log themselves"
    if settings.broker_url == settings.redis_url:
        return [Finding(BROKER, "reachable", True, "the data Redis is the broker too")]
    # Its own connections, under the same deadlines.
    own = msgspec.structs.replace(settings, redis_url=settings.broker_url)
    broker = client.redis_client(own)
    try:
        return guarded(BROKER, "reachable", lambda: _broker(broker), advice)
    finally:
        broker.close()


def _broker(broker: Redis) -> list[Finding]:
    facts = redis_facts.ask(broker)
    return [
        found(BROKER, "reachable", True, _name(facts.info), ""),
        found(
            BROKER,
            "maxmemory-policy",
            not _evicts_anything(facts),
            facts.policy or "unknown",
            "CONFIG SET maxmemory-policy noeviction: this one may evict wake-ups",
        ),
    ]


def _version(facts: RedisFacts) -> list[Finding]:
    version = str(facts.info.get("redis_version", ""))
    is_told_and_old = bool(version) and version_tuple(version) < OLDEST_VERSION
    advice = f"use Redis {'.'.join(map(str, OLDEST_VERSION))} or newer, or Valkey"
    return [found(REDIS, "version", not is_told_and_old, _name(facts.info), advice, "refuse")]


def _name(info: dict[str, Any]) -> str:
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info.get('redis_version', 'of no known version')}"


def _role(facts: RedisFacts) -> list[Finding]:
    """A replica gives up what was written to it, if it takes a write at all."""
    role = str(facts.info.get("role", "unknown"))
    advice = "let REDIS_URL name the primary: this one follows another server"
    is_primary = role in {"master", "unknown"}
    return [found(REDIS, "role", is_primary, _ROLES.get(role, role), advice, "refuse")]


_ROLES = {"master": "primary", "slave": "replica"}


def _policy(facts: RedisFacts) -> list[Finding]:
    advice = (
        "CONFIG SET maxmemory-policy volatile-lru (or noeviction): this one may evict what is"
        " nowhere else yet"
    )
    is_safe = not _evicts_anything(facts)
    value = facts.policy or "unknown"
    return [found(REDIS, "maxmemory-policy", is_safe, value, advice, "refuse")]


def _evicts_anything(facts: RedisFacts) -> bool:
    return facts.policy.startswith("allkeys")


def _durability(facts: RedisFacts) -> list[Finding]:
    """Without the settings nothing is promised; without the rest only less is known."""
    if not facts.config:
        advice = "let this user run CONFIG GET: what cannot be seen is not promised"
        value = facts.denied or "not shown"
        return [found(REDIS, "settings", False, value, advice, "weaker", ACKNOWLEDGED)]
    findings = [
        found(
            REDIS,
            name,
            facts.config.get(name) == value,
            facts.config.get(name, "unknown"),
            f"CONFIG SET {name} {value}, and keep it in the server's file; as it is, a crash"
            " may lose acknowledged messages",
            "weaker",
            ACKNOWLEDGED,
        )
        for name, value in _WANTED.items()
    ]
    if facts.denied:
        advice = "let this user run INFO and TIME, so that this can be checked"
        findings.append(found(REDIS, "facts", False, facts.denied, advice))
    return findings


def _disk(facts: RedisFacts) -> list[Finding]:
    written = str(facts.info.get("aof_last_write_status", "ok"))
    advice = "free the disk of Redis: it cannot write its log"
    value = "last write of the log"
    return [found(REDIS, value, written == "ok", written, advice, "weaker", ACKNOWLEDGED)]


def _memory(facts: RedisFacts) -> list[Finding]:
    used, limit = int(facts.info.get("used_memory", 0)), facts.memory_limit_bytes
    if limit is None:
        return []
    if limit == 0:
        value = f"no limit, {used / 2**20:,.0f} MiB used"
        advice = "CONFIG SET maxmemory to less than the machine has, so that it never swaps"
        return [found(REDIS, "maxmemory", False, value, advice, "weaker", ROOM)]
    value = f"{used / 2**20:,.0f} of {limit / 2**20:,.0f} MiB used"
    advice = "give Redis more memory, or lower THREADKEEP_HOT_SECONDS"
    return [found(REDIS, "maxmemory", used < MEMORY_SHARE * limit, value, advice)]


def _clock(facts: RedisFacts) -> list[Finding]:
    return [] if facts.ahead_seconds is None else [clock(REDIS, facts.ahead_seconds)]


CHECKS: tuple[Callable[[RedisFacts], list[Finding]], ...] = (
    _version,
    _role,
    _durability,
    _disk,
    _memory,
    _policy,
    _clock,
)
"""Each judges what Redis said of itself. A further one, such as whether this Redis belongs to
another installation, is another function here, and what it asks another field of `RedisFacts`.
"""


def _backlog(log: PendingLog) -> Finding:
    waiting = sum(log.backlog())
    # By Redis's own clock, which stamps the entries.
    age = log.standing().oldest_seconds
    value = f"{waiting:,} waiting" + (f", the oldest for {age:.1f} s" if waiting else "")
    advice = "see that a worker runs and reaches PostgreSQL; its log says what it waits for"
    return found(REDIS, "backlog", age <= BACKLOG_AGE_SECONDS, value, advice)
