"""Parts killed, frozen and lost while messages come in: a second each, and never a message.

These tests have a stack of their own, because they break it.
"""

import json
import secrets
import signal
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import pytest
from redis import Redis
from requests import Response
from sqlalchemy import select

import settings as configuration
from models.tables import messages
from support.calls.api import Api, ok
from support.data.users import fresh_user
from support.stack.clickhouse_requests import clickhouse_post
from support.stack.processes import PATIENT, Launched, is_alive, launched
from support.stack.tiers import tiers
from support.waiting import eventually
from webapp.http.auth import Tokens
from wiring.process import Services

LAND_SECONDS = 30
STANDS_SECONDS = 3
TOLD_SECONDS = 15


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    # A killed part refuses connections at once, and no request calls a frozen one.
    own = PATIENT | {"THREADKEEP_NO_PROGRESS_SECONDS": str(STANDS_SECONDS)}
    with launched(tmp_path_factory.mktemp("own-stack"), "flower", **own) as running:
        yield running


@pytest.fixture(scope="module")
def own_services(own_stack: Launched) -> Iterator[Services]:
    with tiers(own_stack.env) as own:
        yield own


@pytest.fixture
def own_api(own_stack: Launched, user: str) -> Api:
    return _api(own_stack, user)


def _api(stack: Launched, user: str) -> Api:
    tokens = Tokens(configuration.load(stack.env))
    return Api(stack.url, tokens.issue(user, is_admin=False, ttl_seconds=600))


def committed(services: Services, user: str) -> list[str]:
    """Every row of a user, doubles included if there could be any."""
    query = select(messages.c.id).where(messages.c.user_id == user)
    with services.tiers.job_engine.connect() as connection:
        return sorted(connection.execute(query).scalars())


def archived(services: Services, user: str) -> list[str]:
    """Every live message of a user in ClickHouse."""
    answer = clickhouse_post(
        services.tiers.job_clickhouse,
        "SELECT id FROM messages FINAL WHERE user_id = {user:String}",
        settings={"param_user": user},
    )
    return sorted(answer.split())


def land(services: Services, user: str, acknowledged: list[str]) -> None:
    """Every acknowledged message is in PostgreSQL and ClickHouse, once, and nothing else is."""
    wanted = sorted(acknowledged)
    assert len(set(wanted)) == len(wanted)
    eventually(lambda: committed(services, user) == wanted, LAND_SECONDS)
    eventually(lambda: archived(services, user) == wanted, LAND_SECONDS)


def listed(api: Api) -> list[str]:
    """The messages in the lists of three threads, as far as they are answered."""
    replies = [api.get(f"/api/threads/t-{at}/messages") for at in range(3)]
    found = [reply.json()["messages"] for reply in replies if reply.status_code == 200]
    return sorted(one["id"] for messages in found for one in messages)


def restarted(stack: Launched, name: str, before: int) -> bool:
    now = stack.pids_now().get(name)
    return now is not None and now != before and is_alive(now)


def kill(stack: Launched, name: str) -> None:
    """Kills all processes of a program, and waits until the supervisor has restarted it."""
    before = stack.pids_now()[name]
    stack.signal(name, signal.SIGKILL)
    eventually(lambda: restarted(stack, name, before), LAND_SECONDS)


@contextmanager
def frozen(stack: Launched, *names: str) -> Iterator[None]:
    """Freezes programs during the block."""
    for name in names:
        stack.signal(name, signal.SIGSTOP)
    try:
        yield
    finally:
        for name in names:
            stack.signal(name, signal.SIGCONT)


class Poster:
    """Posts from several threads until told to stop; keeps what was acknowledged.

    The others are retried under their keys, so that nothing else can be stored.
    """

    def __init__(self, make_api: Callable[[], Api], threads: int = 4) -> None:
        self.acknowledged: list[str] = []
        self._errors: list[Exception] = []
        self._stop = threading.Event()
        self._make_api = make_api
        self._threads = [
            threading.Thread(target=self._run, args=(f"t-{at}",)) for at in range(threads)
        ]

    def __enter__(self) -> "Poster":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert self._errors == []

    def wait_for(self, more: int) -> None:
        """Waits until so many more messages are acknowledged."""
        wanted = len(self.acknowledged) + more
        eventually(lambda: len(self.acknowledged) >= wanted, LAND_SECONDS)

    def _run(self, thread_id: str) -> None:
        api = self._make_api()
        path = f"/api/threads/{thread_id}/messages"
        try:
            while not self._stop.is_set():
                headers = {"Idempotency-Key": secrets.token_hex(16)}
                post = partial(api.post, path, json={"message": "hello"}, headers=headers)
                self.acknowledged.append(eventually(partial(_taken, post), LAND_SECONDS)["id"])
        except Exception as error:
            self._errors.append(error)


def _taken(post: Callable[[], Response]) -> dict[str, Any]:
    return ok(post())


def test_messages_land_with_beat_dead_and_every_task_lost(
    own_stack: Launched, own_services: Services, own_api: Api, user: str
) -> None:
    with frozen(own_stack, "beat", "redis-broker"):
        made = [own_api.send(f"t-{at % 3}", "hello")["id"] for at in range(30)]
        land(own_services, user, made)


def test_messages_land_while_the_broker_is_killed_again_and_again(
    own_stack: Launched, own_services: Services, own_api: Api, user: str
) -> None:
    made = []
    for _ in range(2):
        made.append(own_api.send("t", "hello")["id"])
        kill(own_stack, "redis-broker")
        made.append(own_api.send("t", "hello")["id"])
    land(own_services, user, made)


def test_a_killed_worker_leaves_every_acknowledged_message_in_postgresql_once(
    own_stack: Launched, own_services: Services
) -> None:
    user = fresh_user()
    with Poster(lambda: _api(own_stack, user)) as poster:
        for _ in range(3):
            poster.wait_for(50)
            kill(own_stack, "worker")
        poster.wait_for(50)
    assert len(poster.acknowledged) >= 200
    land(own_services, user, poster.acknowledged)


def test_a_killed_redis_has_every_acknowledged_message_on_its_disk(
    own_stack: Launched, own_services: Services, own_api: Api, user: str
) -> None:
    with frozen(own_stack, "worker"):
        made = [own_api.send(f"t-{at % 3}", "hello")["id"] for at in range(20)]
        kill(own_stack, "redis-data")
        # No worker carries them on: they are there because Redis kept them.
        eventually(lambda: listed(own_api) == sorted(made), LAND_SECONDS)
        assert committed(own_services, user) == []
    land(own_services, user, made)


@pytest.mark.parametrize("traffic", [True, False], ids=["with traffic", "without"])
def test_a_frozen_worker_is_told_though_every_process_is_up(
    own_stack: Launched, own_services: Services, own_api: Api, user: str, traffic: bool
) -> None:
    eventually(lambda: ok(own_api.get("/health/persistence"))["status"] == "ok")
    eventually(lambda: own_api.get("/readyz", params={"program": "worker"}).status_code == 200)
    made = []
    with frozen(own_stack, "worker"):
        made += [own_api.send("t", "hello")["id"]] if traffic else []

        def told() -> str:
            refused = own_api.get("/readyz", params={"program": "worker"})
            return str(refused.json().get("code", ""))

        eventually(lambda: told() == "no_progress", TOLD_SECONDS)
        # A process that acknowledges stays ready; it names the problem.
        eventually(lambda: "problems" in ok(own_api.get("/readyz")))
        ready = ok(own_api.get("/readyz"))
        assert (ready["status"], len(ready["problems"])) == ("ready", 1)
        assert ready["problems"][0].startswith("no_progress: no worker has looked")
        health = ok(own_api.get("/health/persistence"))
        assert (health["status"], health["progress"]["ok"]) == ("degraded", False)
        assert all(tier["available"] for tier in health["tiers"].values())
    eventually(lambda: ok(own_api.get("/readyz")) == {"status": "ready"})
    land(own_services, user, made)


def test_a_task_names_the_requests_that_it_was_sent_for(
    own_stack: Launched, own_api: Api, user: str
) -> None:
    """One grep follows a request from the web's log to the worker's."""
    ours = f"asked-{user[-8:]}"
    with (
        frozen(own_stack, "worker", "beat"),
        closing(Redis.from_url(own_stack.env["CELERY_BROKER_URL"])) as broker,
    ):
        # The frozen worker still waits for the first task, and takes it along.
        for at in range(8):
            path, headers = f"/api/threads/t-{at}/messages", {"X-Request-ID": ours}
            ok(own_api.post(path, json={"message": "hello"}, headers=headers))

        def sent() -> list[dict[str, Any]]:
            found = [json.loads(one) for one in broker.lrange("celery:persist", 0, -1)]
            return [one for one in found if ours in one["headers"].get("request_ids", ())]

        task = eventually(sent)[0]
        assert task["headers"]["task"] == "persist.drain_shard"
        # The same task, with nothing that could be drained: it fails, and says for whom.
        task["body"] = b64encode(json.dumps([["nothing"], {}, {}]).encode()).decode()
        task["properties"]["delivery_tag"] = ours
        broker.lpush("celery:persist", json.dumps(task))

    def told() -> list[dict[str, Any]]:
        lines = [line for line in own_stack.log_of("worker").splitlines() if ours in line]
        return [one for one in map(json.loads, lines) if one["event"] == "failed"]

    (line,) = eventually(told)
    assert line["task"] == "persist.drain_shard"
    assert ours in line["request_ids"]
