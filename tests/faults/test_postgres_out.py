"""PostgreSQL killed, frozen, gone or silent at its commit: Redis takes every write meanwhile."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from selftest.bed.proxy import FaultProxy
from selftest.bed.stack import Testbed
from selftest.faults.disturbance import cut_off
from selftest.load.traffic import Load
from support.calls.api import ok
from support.calls.clients import api_of
from support.data.pending import Row, age_seconds, entries, rewritten, unsettled
from support.data.quickness import p95_ms, stays_quick
from support.faults.trial import RECOVERY_SECONDS, Trial
from support.faults.trial import trial as trial_on
from support.waiting import eventually

Beds = Callable[..., AbstractContextManager[Testbed]]
Loaded = Callable[..., AbstractContextManager[Trial]]

OUTAGE_SECONDS = 8.0
READ_MS = 1000.0
"""ClickHouse is asked meanwhile, because Redis cannot be known to have everything."""
REDIS_OUT = re.compile(r'^(?=.*"breaker_opened").*"tier": ?"redis"', re.MULTILINE)
WARNING = "degraded_mode_postgresql_unavailable"


def only_redis_acknowledged(trial: Trial) -> None:
    """Since the fault began every write was answered, by Redis; but for one in fifty at most that a
    busy machine kept from it, or where a disk that is busy with PostgreSQL kept Redis from its
    own, which the web process says."""
    if REDIS_OUT.search(trial.said("web")):
        assert trial.posts_since(trial.fault_began).unavailable == 0
        return
    meanwhile = trial.since(trial.fault_began)
    by_redis = meanwhile.acknowledged["redis"]
    assert sum(meanwhile.acknowledged.values()) - by_redis <= by_redis / 50
    assert meanwhile.unavailable == 0


def test_f25_postgresql_is_killed(bed: Testbed, load: Loaded) -> None:
    """Every process of it at once, twice; what it had committed and Redis still held is found
    again, and what was on its way is carried anew."""
    with load() as trial:
        for _ in range(2):
            trial.breaks("postgres killed")
            only_redis_acknowledged(trial)
            stays_quick(trial, "create")
            eventually(lambda: age_seconds(bed.services) < 1, RECOVERY_SECONDS)


def test_f26_postgresql_is_frozen(bed: Testbed, load: Loaded) -> None:
    """Six seconds stand for a minute."""
    reader = api_of(bed)
    made = reader.send("t", "hello")
    with load() as trial:
        told_before = len(told(bed, "held_up"))
        with trial.broken("postgres frozen"):
            trial.calm(1)
            page = reader.page("t")
            assert [one["id"] for one in page["messages"]] == [made["id"]]
            assert page["retrieval_source"] == "redis"
            assert page["warning"] == WARNING
            trial.calm(5)
            held = {entry.entry_id for entry in entries(bed.services)}
            assert len(held) > 50
            only_redis_acknowledged(trial)
            # PostgreSQL is asked about keys until it has been silent for a moment.
            stays_quick(trial, "create", after_seconds=1)
            later = [each for each in trial.samples if each.began > trial.fault_began + 2]
            assert p95_ms(trial, later, "read") < READ_MS
            # Its drain does not wait for the end of it.
            gave_up = told(bed, "held_up")[told_before:]
            assert "persist" in {line["job"] for line in gave_up}
        eventually(
            lambda: not held & {entry.entry_id for entry in entries(bed.services)},
            RECOVERY_SECONDS,
        )


@pytest.mark.extensive
def test_f27_postgresql_refuses_connections(own_bed: Beds, tmp_path: Path) -> None:
    """Eight seconds stand for ten minutes, with a Redis with so little memory that the log
    outgrows its share: from then on ClickHouse takes the writes, and the log does not grow.

    On a stack of its own: a Redis that has evicted once is not believed alone any more."""
    shape = Load(writers=12, readers=4, users=6)
    with (
        own_bed() as bed,
        trial_on(bed, tmp_path, shape) as trial,
        trial.broken("postgres refused"),
    ):
        trial.calm(OUTAGE_SECONDS / 2)
        only_redis_acknowledged(trial)
        stays_quick(trial, "create")
        health = ok(api_of(bed).get("/health/persistence"))
        assert health["status"] == "degraded"
        assert not health["tiers"]["postgresql"]["available"]
        assert health["tiers"]["redis"]["oldest_waiting_seconds"] > OUTAGE_SECONDS / 2 - 1
        with log_over_its_share(bed):
            eventually(lambda: "clickhouse" in trial.since(trial.fault_began).acknowledged, 10)
            trial.calm(1.5)
            length = len(entries(bed.services))
            trial.calm(OUTAGE_SECONDS / 2)
            assert len(entries(bed.services)) == length
            assert '"redis_log_full"' in bed.log_of("web")


@contextmanager
def log_over_its_share(bed: Testbed) -> Iterator[None]:
    """Gives Redis just the memory that it uses now, so that the log is too large a part of it."""
    client: Any = bed.services.tiers.redis_client
    before = client.config_get("maxmemory")["maxmemory"]
    log = sum(client.memory_usage(name) for name in client.scan_iter(match="pending:*"))
    client.config_set("maxmemory", int(2 * log / 0.6) - 1)
    try:
        yield
    finally:
        client.config_set("maxmemory", before)


def test_f28_a_commit_happens_and_its_reply_is_lost(bed: Testbed, load: Loaded) -> None:
    """Replies to commits are dropped until a drain's was among them: its entries are in
    PostgreSQL and in the log, and are written again, which changes nothing."""
    lost = cut_off("postgres", "commits lost", "no commit is answered", (0, 0), lose_commits)
    with load() as trial:
        for _ in range(2):
            with trial.broken(lost):
                rows = eventually(lambda: left_in_the_log(bed))
            eventually(lambda: age_seconds(bed.services) < 1)
            assert not rewritten(bed.services, rows)


def lose_commits(proxy: FaultProxy) -> None:
    proxy.drop_reply_matching(b"COMMIT", times=1000)


def left_in_the_log(bed: Testbed) -> dict[str, Row]:
    """Rows that two looks in turn found committed, and their entries still in the log."""
    before = unsettled(bed.services)
    return {name: row for name, row in unsettled(bed.services).items() if before.get(name) == row}


def told(bed: Testbed, event: str) -> list[dict[str, Any]]:
    """The lines of the worker's log about an event."""
    lines = (line for line in bed.log_of("worker").splitlines() if line.startswith("{"))
    return [line for line in map(json.loads, lines) if line.get("event") == event]
