"""Who may see the figures, and what is shown while no tier answers."""

import re
from typing import Any

import pytest
from flask.testing import FlaskClient

import settings
from support.data.figures import parsed
from support.stack.environment import COMPLETE
from webapp.app import create_app


def client(**variables: str) -> FlaskClient:
    """A client of a process that has no server."""
    return create_app(settings.load(COMPLETE | variables)).test_client()


def asked(own: FlaskClient, token: str | None = None) -> Any:
    return own.get("/metrics", headers={"Authorization": f"Bearer {token}"} if token else {})


def test_a_token_of_its_own_lets_prometheus_in() -> None:
    own = client(THREADKEEP_METRICS_TOKEN="for Prometheus alone")
    assert asked(own, "for Prometheus alone").status_code == 200
    assert asked(own, "for Prometheus").status_code == 401
    assert asked(own).status_code == 401
    # It opens nothing else.
    other = own.get("/api/threads", headers={"Authorization": "Bearer for Prometheus alone"})
    assert other.status_code == 401


def test_an_empty_token_is_none() -> None:
    assert asked(client(), " ").status_code == 401


def test_it_may_be_open_to_anybody() -> None:
    assert asked(client(THREADKEEP_METRICS_OPEN="1")).status_code == 200
    assert asked(client(THREADKEEP_METRICS_OPEN="0")).status_code == 401


def test_without_any_tier_it_says_so_and_nothing_it_cannot_know() -> None:
    answer = asked(client(THREADKEEP_METRICS_OPEN="1"))
    found = parsed(answer.text)
    for tier in ("redis", "postgresql", "clickhouse"):
        assert found.of("tier_up", tier=tier) == 0
    assert found.of("acknowledged_total") == 0
    for unknown in (
        "queue_entries",
        "queue_oldest_seconds",
        "tier_latency_seconds",
        "redis_memory_bytes",
        "look_age_seconds",
        "dead_letters",
        "data_consistency_score",
    ):
        assert not found.has(unknown), unknown


def test_where_nothing_is_counted_the_tiers_are_shown_all_the_same() -> None:
    found = parsed(asked(client(THREADKEEP_METRICS_OPEN="1", THREADKEEP_METRICS="0")).text)
    assert found.of("tier_up") == 0
    assert not found.has("http_requests_total")


@pytest.mark.parametrize("name", ["threadkeep_[a-z0-9_]+"])
def test_names_are_as_prometheus_has_them(name: str) -> None:
    text = asked(client(THREADKEEP_METRICS_OPEN="1")).text
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert len(kinds) > 20
    for known, kind in kinds.items():
        assert re.fullmatch(name, known)
        assert known.endswith("_total") == (kind == "counter"), known
        assert "_ms" not in known
