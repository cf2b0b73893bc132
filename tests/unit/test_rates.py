"""Rates of two scrapes, and latencies of buckets."""

from collections import Counter

import pytest
from prometheus_client import generate_latest

from storage.telemetry.instruments import Instruments
from webapp.cli.inspect.rates import Scrape, quantile, rates


def scrape(own: Instruments, at: float) -> Scrape:
    return Scrape.of(generate_latest(own.registry).decode(), at)


def test_what_happened_between_two_scrapes_is_told_a_second() -> None:
    own = Instruments()
    own.acknowledged("redis", "post", 0.0015, messages=100)
    before = scrape(own, 10.0)
    for _ in range(9):
        own.acknowledged("redis", "post", 0.0015, messages=2)
    own.acknowledged("postgresql", "post", 0.2, messages=2)
    own.refused("edit", "storage_unavailable")
    own.read("redis", 0.001)
    own.read("mixed", 0.001)
    own.requested("/api", "GET", 503, 0.1)
    found = rates(before, scrape(own, 12.0))
    assert found.seconds == 2
    assert found.acknowledged == {"redis": 9, "postgresql": 1, "clickhouse": 0}
    assert (found.refused, found.failed_over) == (0.5, 0.5)
    assert (found.reads, found.cache_hits) == (1, 0.5)
    assert (found.requests, found.requests_failed) == (0.5, 0.5)
    assert found.p50_ms is not None
    assert 1 < found.p50_ms <= 2
    assert found.p95_ms is not None
    assert 150 < found.p95_ms <= 250


def test_where_nothing_happened_there_is_no_latency() -> None:
    own = Instruments()
    found = rates(scrape(own, 0), scrape(own, 1))
    assert (found.p50_ms, found.p95_ms, found.cache_hits) == (None, None, None)


def test_who_began_anew_has_done_nothing() -> None:
    old = Instruments()
    old.acknowledged("redis", "post", 0.001, messages=50)
    assert rates(scrape(old, 0), scrape(Instruments(), 1)).acknowledged["redis"] == 0


@pytest.mark.parametrize(("share", "expected"), [(0.25, 1.0), (0.5, 2.0), (0.75, 3.0), (1.0, 4.0)])
def test_a_quantile_lies_within_its_bucket(share: float, expected: float) -> None:
    buckets = Counter({0.002: 2, 0.004: 4, float("inf"): 4})
    assert quantile(buckets, share) == expected


def test_beyond_the_last_bound_it_is_that_bound() -> None:
    assert quantile(Counter({5.0: 0, float("inf"): 3}), 0.5) == 5000
