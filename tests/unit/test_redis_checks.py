"""What is judged of a Redis that cannot be had for a test: an old one, one whose clock is off."""

import pytest

from storage.availability.checks import redis
from storage.availability.checks.finding import Finding
from storage.availability.checks.redis import RedisFacts

SAFE = RedisFacts(
    info={"redis_version": "7.2.4", "role": "master", "used_memory": 1},
    config={
        "appendonly": "yes",
        "appendfsync": "always",
        "no-appendfsync-on-rewrite": "no",
        "maxmemory": "1000",
        "maxmemory-policy": "volatile-lru",
    },
    denied="",
    ahead_seconds=0.0,
)


def problems(facts: RedisFacts) -> list[Finding]:
    return [finding for finding in redis.judge_facts(facts) if not finding.ok]


def test_a_safe_one_is_found_safe() -> None:
    assert problems(SAFE) == []


@pytest.mark.parametrize("version", ["6.0.16", "5.0.14", "2.8"])
def test_an_old_version_refuses(version: str) -> None:
    (problem,) = problems(SAFE._replace(info=SAFE.info | {"redis_version": version}))
    assert (problem.check, problem.severity) == ("version", "refuse")


@pytest.mark.parametrize("version", ["6.2.0", "7.0", "8.6.3", "255.255.255"])
def test_a_new_version_does_not(version: str) -> None:
    assert problems(SAFE._replace(info=SAFE.info | {"redis_version": version})) == []


@pytest.mark.parametrize("ahead_seconds", [-1.5, 1.5, 3600.0])
def test_a_clock_that_is_off_is_weaker(ahead_seconds: float) -> None:
    (problem,) = problems(SAFE._replace(ahead_seconds=ahead_seconds))
    assert (problem.check, problem.severity) == ("clock", "weaker")
    assert problem.promise


def test_a_disk_that_took_no_write_is_weaker() -> None:
    (problem,) = problems(SAFE._replace(info=SAFE.info | {"aof_last_write_status": "err"}))
    assert problem.severity == "weaker"


def test_a_nearly_full_memory_is_for_a_person() -> None:
    (problem,) = problems(SAFE._replace(info=SAFE.info | {"used_memory": 990}))
    assert (problem.check, problem.severity) == ("maxmemory", "advice")
