"""`GET /metrics` over a whole stack: the counts of every process, whichever answers."""

from collections.abc import Callable
from typing import Any

from support.calls.api import Api, ok, problem
from support.calls.sockets import listening
from support.data.figures import scraped
from support.data.moving import wait_until
from support.stack.processes import Launched
from support.waiting import eventually

MESSAGES = "/api/threads/<thread_id>/messages"


def test_the_road_of_a_message_is_counted_at_every_step(api: Api, admin_api: Api) -> None:
    before = scraped(admin_api)
    posted = [api.send("counted", f"number {at}") for at in range(5)]
    wait_until(api, "archived", posted)
    api.page("counted")

    def counted() -> bool:
        after = scraped(admin_api)
        # Others may be at work on this stack too.
        assert after.of("acknowledged_total", kind="post") >= 5 + before.of(
            "acknowledged_total", kind="post"
        )
        for name in ("persisted_total", "replicated_total"):
            assert after.of(name) >= 5 + before.of(name), name
        labels = {"route": MESSAGES, "method": "POST", "status": "2xx"}
        assert after.of("http_requests_total", **labels) >= 5
        assert after.of("http_request_seconds_count", **labels) >= 5
        assert after.of("read_seconds_count") > before.of("read_seconds_count")
        assert after.of("looks_total", look="persist", outcome="done") > 0
        assert after.of("tasks_total", task="persist.sweep", outcome="done") > 0
        return True

    eventually(counted)


def test_how_things_stand_is_asked_when_somebody_asks(admin_api: Api) -> None:
    found = scraped(admin_api)
    for tier in ("redis", "postgresql", "clickhouse"):
        assert found.of("tier_up", tier=tier) == 1
        assert found.of("tier_latency_seconds", tier=tier) < 5
        assert found.of("breakers_open", tier=tier) == 0
    for queue in ("pending_log", "outbox", "redis_backfill", "direct_writes"):
        assert found.of("queue_entries", queue=queue) >= 0
    assert found.of("progress") == 1
    assert found.of("redis_memory_bytes") > 0
    assert found.of("redis_memory_limit_bytes") > 0


def test_a_first_error_shows_as_a_rate(admin_api: Api) -> None:
    """Its series is there before it, and is nought unless this machine was too busy for a test."""
    found = scraped(admin_api)
    failed = {"route": MESSAGES, "method": "POST", "status": "5xx"}
    assert found.of("http_requests_total", **failed) >= 0
    assert found.of("refused_total", kind="post", code="storage_unavailable") >= 0


def test_no_path_and_no_name_of_anybody_is_shown(api: Api, admin_api: Api, user: str) -> None:
    api.send("a-secret-name", "hello")
    api.get("/nobody/knows/this")
    api.call("PROPFIND", "/api/threads")
    shown = admin_api.get("/metrics").text
    for secret in ("a-secret-name", "nobody/knows", "PROPFIND", user):
        assert secret not in shown
    assert scraped(admin_api).of("http_requests_total", route="none") >= 2


def test_it_is_for_admins(api: Api, anonymous_api: Api, admin_api: Api) -> None:
    problem(anonymous_api.get("/metrics"), 401, "invalid_token")
    problem(api.get("/metrics"), 403, "forbidden")
    assert admin_api.get("/metrics").status_code == 200


def test_the_realtime_process_shows_it_too_with_its_sockets(
    stack: Launched, admin_api: Api, user_token: str, token: Callable[..., str]
) -> None:
    home = ok(admin_api.get("/api"))["events_url"].removesuffix("/api/events")
    problem(Api(home, None).get("/metrics"), 401, "invalid_token")
    realtime = Api(home, token("somebody", admin=True))
    before = scraped(admin_api).of("sockets_open")
    with listening(stack.env["WS_URL"], user_token) as socket:
        socket.send("counted", "over a socket")
        # Others come and go.
        eventually(lambda: scraped(realtime).of("sockets_open") > 0)
        assert scraped(admin_api).of("acknowledged_total") > 0
    eventually(lambda: scraped(admin_api).of("sockets_open") <= before)


def test_flower_knows_tasks_by_name_and_every_queue_behind_its_password(
    stack: Launched, api: Api
) -> None:
    posted = [api.send(f"flowered-{at}", "hello") for at in range(5)]
    wait_until(api, "persisted", posted)
    name, _, password = stack.env["FLOWER_BASIC_AUTH"].partition(":")
    flower = Api(stack.env["FLOWER_URL"], None)
    for path in ("/", "/api/tasks", "/api/task/types", "/api/queues/length", "/broker"):
        assert flower.get(path).status_code == 401, path
    auth = (name, password)
    queues = ok(flower.get("/api/queues/length", auth=auth))["active_queues"]
    assert {queue["name"] for queue in queues} == {"persist", "replicate", "maintenance"}

    def ended() -> list[dict[str, Any]]:
        known = ok(flower.get("/api/tasks", auth=auth)).values()
        return [task for task in known if task["state"] == "SUCCESS"]

    wanted = {"persist.sweep", "persist.drain_shard"}
    eventually(lambda: wanted <= {task["name"] for task in ended()})
    assert all(task["runtime"] >= 0 for task in ended())
    # The arguments of tasks are numbers, never content.
    assert "hello" not in flower.get("/api/tasks", auth=auth).text
