"""Servers whose clocks are not ours: for how long something waits is told by the clock that stamped
it."""

import time
from collections.abc import Iterator
from pathlib import Path

import libfaketime
import msgspec
import pytest

from jobs.monitor import stats
from storage.availability.checks.redis import check_redis
from storage.availability.notices import Notices
from storage.redis import keys
from support.stack.own_valkey import OwnValkey, own_valkey
from wiring.process import Services

LIBRARY = Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"
WAITING_SECONDS = 100
BUSY_SECONDS = 60
"""A test of one second may take as long on a machine that is busy."""


@pytest.fixture(params=[-3600, 3600])
def redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OwnValkey]:
    """A Redis whose clock is an hour off."""
    env = {"LD_PRELOAD": str(LIBRARY), "FAKETIME": f"{request.param:+d}"}
    with own_valkey(tmp_path, env=env) as valkey:
        ahead = int(valkey.client().time()[0]) - time.time()
        assert abs(ahead - request.param) < BUSY_SECONDS
        yield valkey


@pytest.fixture
def own(alone: Services, redis: OwnValkey) -> Iterator[Services]:
    services = Services(msgspec.structs.replace(alone.settings, redis_url=redis.url))
    yield services
    services.tiers.give_back()


def test_how_long_the_log_waits(own: Services, redis: OwnValkey) -> None:
    then_ms = own.tiers.pending_log.now_us() // 1000 - WAITING_SECONDS * 1000
    assert (
        stats.gather(own.tiers, own.performance.snapshots.take()).redis or pytest.fail()
    ).oldest_pending_seconds == 0
    redis.client().xadd(keys.pending(0), {"message": b"{}"}, id=f"{then_ms}-0")
    figures = stats.gather(own.tiers, own.performance.snapshots.take()).redis
    assert figures is not None
    waited = WAITING_SECONDS <= figures.oldest_pending_seconds < WAITING_SECONDS + BUSY_SECONDS
    assert waited, figures
    (finding,) = [
        one for one in check_redis(redis.client(), own.tiers.pending_log) if one.check == "backlog"
    ]
    assert not finding.ok
    assert finding.found.startswith("1 waiting, the oldest for 1")
    since_us = own.analytics._hidden.unpersisted(None).since_us
    assert since_us is not None
    ago = time.time() - since_us / 1e6
    assert WAITING_SECONDS <= ago < WAITING_SECONDS + BUSY_SECONDS


def test_what_has_just_come_waits_for_no_time(own: Services, redis: OwnValkey) -> None:
    redis.client().xadd(keys.pending(0), {"message": b"{}"})
    figures = stats.gather(own.tiers, own.performance.snapshots.take()).redis
    assert figures is not None
    assert figures.oldest_pending_seconds < BUSY_SECONDS / 2
    (finding,) = [
        one for one in check_redis(redis.client(), own.tiers.pending_log) if one.check == "backlog"
    ]
    assert finding.ok, finding


def test_a_notice_is_newer_than_what_was_read(
    alone: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever carries out what somebody asked for whose clock is ahead can tell of it."""

    def notices() -> Notices:
        return Notices(alone.tiers.redis_client, alone.tiers.job_engine, alone.tiers.job_clickhouse)

    name, now_ns = f"notice-{time.time_ns()}", time.time_ns()
    with monkeypatch.context() as patched:
        patched.setattr("storage.availability.notices.time.time_ns", lambda: now_ns + 3600 * 10**9)
        notices().write(name, "asked")
    worker = notices()
    assert worker.read(name) == msgspec.Raw(b'"asked"')
    worker.write(name, "done")
    assert notices().read(name) == msgspec.Raw(b'"done"')
