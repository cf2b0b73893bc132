"""A tier made slow on purpose: within fifteen seconds an alert is raised, with the figures that a
client measures itself, and within fifteen seconds of its end it is resolved."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from jobs.monitor.alerts.baseline import NOW_WINDOWS
from jobs.monitor.windows import WINDOW_SECONDS
from support.calls.api import Api, ok, problem
from support.faults.drilled import Drilled
from support.waiting import eventually

SLOW = "/api/admin/simulate-performance-degradation"
ALERTS = "/api/admin/performance-alerts"
PROMISE_SECONDS = 15
"""The bound that the documentation promises."""
AVERAGED_SECONDS = NOW_WINDOWS * WINDOW_SECONDS


class Poster:
    """Posts one message after the other, and notes how long each took."""

    def __init__(self, drilled: Drilled) -> None:
        self._stack = drilled.stack
        self._token = drilled.token
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.took: list[tuple[float, float]] = []
        """When each was answered, and after how many milliseconds."""

    def average_ms(self, since: float, until: float) -> float:
        took = [ms for at, ms in self.took if since <= at < until]
        assert took, "nothing was posted"
        return sum(took) / len(took)

    def count(self, until: float) -> int:
        return sum(1 for at, _ in self.took if at < until)

    def _run(self) -> None:
        # With as little overhead of its own as possible.
        where = urlsplit(self._stack.url)
        link = HTTPConnection(where.netloc, timeout=10)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        path, body = "/api/threads/steady/messages", b'{"message": "hello"}'
        while not self._stop.wait(0.03):
            started = time.perf_counter()
            link.request("POST", path, body, headers)
            answer = link.getresponse()
            answer.read()
            self.took.append((time.time(), (time.perf_counter() - started) * 1000))
            assert answer.status == 200
        link.close()

    @contextmanager
    def posting(self) -> Iterator["Poster"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join()


def active(drilled: Drilled, kind: str) -> dict[str, Any] | None:
    """The firing alert of this type, with figures that each window updates."""
    alerts = ok(drilled.admin.get(ALERTS))["active_alerts"]
    return next((one for one in alerts if one["type"] == kind), None)


def agree(alert: dict[str, Any], before_ms: float, measured_ms: float) -> bool:
    """Whether figures match a client's, minus its earlier overhead: on a busy machine that alone is
    more than the tolerance."""
    way_ms = max(0.0, before_ms - alert["baseline_avg_ms"])
    return any(
        abs(alert["current_avg_ms"] - told_ms) <= told_ms * 0.1 + 2
        for told_ms in (measured_ms, measured_ms - way_ms)
    )


def averages(poster: Poster) -> list[float]:
    """What a client measured in the windows that an alert may be of: the latest finished ones, or
    the ones before, if those were not evaluated yet."""
    over = time.time() // WINDOW_SECONDS * WINDOW_SECONDS
    ends = (over, over - WINDOW_SECONDS)
    return [poster.average_ms(end - AVERAGED_SECONDS, end) for end in ends]


def test_a_slow_tier_is_told_of_with_the_figures_of_a_client(drilled: Drilled) -> None:
    kind = "performance_degradation"
    drilled.wait_until_well()
    eventually(lambda: active(drilled, kind) is None, 30)
    with Poster(drilled).posting() as poster:
        # The last of them may already count as now.
        eventually(lambda: poster.count(until=time.time() - 4) >= 40, 30)
        before_ms = poster.average_ms(0.0, time.time())
        body = {"scenario": "redis_slow", "intensity": 2, "duration_seconds": 120}
        begun = ok(drilled.admin.post(SLOW, json=body))
        assert begun["delays_ms"] == {"redis": 50.0}
        raised = eventually(lambda: active(drilled, kind), PROMISE_SECONDS)
        assert raised["priority"] == "P1"

        def agreed() -> dict[str, Any]:
            alert = active(drilled, kind)
            assert alert is not None
            measured = averages(poster)
            assert any(agree(alert, before_ms, ms) for ms in measured), (alert, before_ms, measured)
            return alert

        # A moment in which only the client waited passes with its window.
        alert = eventually(agreed)
        assert (alert["id"], alert["since"]) == (raised["id"], raised["since"])
        assert alert["baseline_avg_ms"] < alert["current_avg_ms"] - 50 * 0.9
        percent = (alert["current_avg_ms"] / alert["baseline_avg_ms"] - 1) * 100
        assert alert["degradation_percent"] == pytest.approx(percent, rel=0.01)
        ok(drilled.admin.post(SLOW, json={"scenario": "none"}))
        eventually(lambda: active(drilled, kind) is None, PROMISE_SECONDS)
    for event in ("raised", "cleared"):
        told = eventually(lambda name=event: drilled.webhook.told(name, kind))  # type: ignore[misc]
        assert alert["id"] in {one["id"] for one in told}
    past = ok(drilled.admin.get(ALERTS, params={"history": "true"}))["history"]
    ended = next(one for one in past if one["id"] == alert["id"])
    assert ended["until"] > ended["since"] == alert["since"]
    assert drilled.user.send("steady", "after")["tier_used"] == "redis"


@pytest.mark.parametrize(
    "body",
    [
        {"scenario": "redis_unavailable"},
        {"scenario": "redis_slow", "intensity": 0},
        {"scenario": "redis_slow", "intensity": 11},
        {"scenario": "redis_slow", "duration_seconds": 301},
        {},
    ],
)
def test_what_makes_nothing_slow_is_refused(drilled: Drilled, body: dict[str, object]) -> None:
    problem(drilled.admin.post(SLOW, json=body), 422, "invalid_body")


def test_nothing_is_made_slow_unless_allowed(admin_api: Api) -> None:
    problem(admin_api.post(SLOW, json={"scenario": "redis_slow"}), 404, "not_found")
