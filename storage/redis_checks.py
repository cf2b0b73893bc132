"""The doctor's checks of the data Redis and of the broker."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from redis import Redis

from settings import Settings
from storage import connections
from storage.finding import Finding, ahead_seconds, clock, found, guarded, version_tuple
from storage.pending_log import PendingLog
from storage.redis_driver import translated

REDIS = "redis"
BROKER = "broker"
OLDEST_VERSION = (6, 2)
BACKLOG_AGE_SECONDS = 30.0
_SAFE_POLICIES = {"noeviction", "volatile-lru", "volatile-lfu", "volatile-ttl", "volatile-random"}


def check_redis(client: Redis, log: PendingLog) -> list[Finding]:
    """The data Redis: it holds what nothing else has yet."""
    unreachable = "start it, or correct REDIS_URL"
    reached = guarded(REDIS, "reachable", lambda: [_version(client)], unreachable)
    if not reached[0].ok and reached[0].check == "reachable":
        return reached
    no_config = "let this user run CONFIG GET; until then acknowledgements are called `memory`"
    return [
        *reached,
        *guarded(REDIS, "settings", lambda: _settings(client), no_config),
        *guarded(REDIS, "clock", lambda: [_clock(client)], unreachable),
        *guarded(REDIS, "backlog", lambda: [_backlog(log)], unreachable),
    ]


def check_broker(settings: Settings) -> list[Finding]:
    """Celery's Redis: losing it costs seconds, never a message."""
    advice = "start it, or correct CELERY_BROKER_URL; until then workers find the log themselves"
    if settings.broker_url == settings.redis_url:
        return [Finding(BROKER, "reachable", True, "the data Redis is the broker too")]
    # Its own connections, under the same deadlines.
    own = msgspec.structs.replace(settings, redis_url=settings.broker_url)
    broker = connections.redis_client(own)
    return guarded(BROKER, "reachable", lambda: _broker(broker), advice)


def _broker(broker: Redis) -> list[Finding]:
    with translated():
        info: Any = broker.info("server")
        policy = _config(broker, "maxmemory-policy")
    return [
        found(BROKER, "reachable", True, _name(info), ""),
        _policy(BROKER, policy["maxmemory-policy"]),
    ]


def _version(client: Redis) -> Finding:
    with translated():
        info: Any = client.info("server")
    is_new_enough = version_tuple(str(info.get("redis_version", ""))) >= OLDEST_VERSION
    advice = f"use Redis {'.'.join(map(str, OLDEST_VERSION))} or newer, or Valkey"
    return found(REDIS, "version", is_new_enough, _name(info), advice)


def _name(info: dict[str, Any]) -> str:
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info.get('redis_version', 'of no known version')}"


def _settings(client: Redis) -> list[Finding]:
    with translated():
        config = _config(
            client,
            "appendonly",
            "appendfsync",
            "no-appendfsync-on-rewrite",
            "maxmemory",
            "maxmemory-policy",
        )
        persistence: Any = client.info("persistence")
    wanted = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
    findings = [
        found(
            REDIS,
            name,
            config.get(name) == value,
            config.get(name, "unknown"),
            f"CONFIG SET {name} {value}, and keep it in the server's file; as it is, a crash"
            " may lose acknowledged messages",
        )
        for name, value in wanted.items()
    ]
    written = str(persistence.get("aof_last_write_status", "ok"))
    disk = "free the disk of Redis: it cannot write its log"
    findings.append(found(REDIS, "last write of the log", written == "ok", written, disk))
    findings.append(_memory(int(config.get("maxmemory", "0")), client))
    findings.append(_policy(REDIS, config.get("maxmemory-policy", "unknown")))
    return findings


def _memory(limit_bytes: int, client: Redis) -> Finding:
    with translated():
        info: Any = client.info("memory")
    used_mib = int(info["used_memory"]) / 2**20
    if limit_bytes == 0:
        advice = "CONFIG SET maxmemory to less than the machine has, so that it never swaps"
        return found(REDIS, "maxmemory", False, f"no limit, {used_mib:,.0f} MiB used", advice)
    value = f"{used_mib:,.0f} of {limit_bytes / 2**20:,.0f} MiB used"
    advice = "give Redis more memory, or lower THREADKEEP_HOT_SECONDS"
    return found(REDIS, "maxmemory", used_mib * 2**20 < 0.95 * limit_bytes, value, advice)


def _policy(tier: str, policy: str) -> Finding:
    advice = (
        "CONFIG SET maxmemory-policy volatile-lru (or noeviction): this one may evict what is"
        " nowhere else yet"
    )
    return found(tier, "maxmemory-policy", policy in _SAFE_POLICIES, policy, advice)


def _clock(client: Redis) -> Finding:
    before = datetime.now(UTC)
    with translated():
        seconds, microseconds = client.time()
    after = datetime.now(UTC)
    moment = datetime.fromtimestamp(int(seconds), UTC).replace(microsecond=int(microseconds))
    return clock(REDIS, ahead_seconds(moment, before, after))


def _backlog(log: PendingLog) -> Finding:
    waiting = sum(log.backlog())
    oldest_us = log.oldest_pending_us()
    age = 0.0 if oldest_us is None else datetime.now(UTC).timestamp() - oldest_us / 1e6
    value = f"{waiting:,} waiting" + (f", the oldest for {age:.1f} s" if waiting else "")
    advice = "see that a worker runs and reaches PostgreSQL; its log says what it waits for"
    return found(REDIS, "backlog", age <= BACKLOG_AGE_SECONDS, value, advice)


def _config(client: Redis, *names: str) -> dict[str, str]:
    config: Any = client.config_get(*names)
    return {_text(name): _text(value) for name, value in config.items()}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
