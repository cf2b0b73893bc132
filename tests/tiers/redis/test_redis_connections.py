"""Connections to Redis: one command each, never the answer to another, asked after only when in
doubt."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis import Redis
from redis.exceptions import ConnectionError, DataError, ResponseError, TimeoutError

from settings import Settings
from storage.redis.client import FRESH_SECONDS, redis_client
from support.stack.own_valkey import OwnValkey, own_valkey
from wiring.process import Services


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnValkey]:
    folder: Path = tmp_path_factory.mktemp("valkey")
    with own_valkey(folder) as own:
        yield own


@pytest.fixture
def client(server: OwnValkey, lone_services: Services) -> Iterator[Redis]:
    own: Settings = msgspec.structs.replace(
        lone_services.settings, redis_url=server.url, redis_timeout_seconds=1.0
    )
    made = redis_client(own)
    made.flushall()
    yield made
    made.close()


def idle_of(client: Redis) -> list[Any]:
    pool: Any = client.connection_pool
    return list(pool._available_connections)


def test_commands_of_any_kind_are_answered(client: Redis) -> None:
    client.set("k", "v")
    assert client.get("k") == b"v"
    assert client.config_get("maxmemory")
    assert client.script_load("return 1")
    assert client.hgetall("none") == {}
    pipeline = client.pipeline(transaction=False)
    pipeline.get("k")
    pipeline.incr("n")
    assert pipeline.execute() == [b"v", 1]
    with pytest.raises(ResponseError):
        client.incr("k")
    with pytest.raises(DataError):
        client.execute_command("SET", "k", object())
    assert client.get("k") == b"v"
    assert len(idle_of(client)) == 1


def test_an_answer_that_came_too_late_answers_nothing_else(
    client: Redis, server: OwnValkey
) -> None:
    client.set("k", "v")
    server.client().client_pause(1_500)
    with pytest.raises(TimeoutError):
        client.get("k")
    time.sleep(1)
    assert client.get("other") is None


def test_whatever_interrupts_a_command_closes_its_connection(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.set("k", "v")

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "parse_response", interrupted)
    with pytest.raises(KeyboardInterrupt):
        client.get("k")
    monkeypatch.undo()
    assert client.get("other") is None


def test_a_connection_that_was_closed_meanwhile_is_opened_again(
    client: Redis, server: OwnValkey
) -> None:
    client.ping()
    time.sleep(FRESH_SECONDS + 0.05)
    server.client().client_kill_filter(_type="normal", skipme=True)
    assert client.ping()


def test_one_that_broke_leaves_all_others_in_doubt(client: Redis, server: OwnValkey) -> None:
    ready = threading.Barrier(4)

    def hold() -> None:
        connection: Any = client.connection_pool.get_connection()
        ready.wait(10)
        client.connection_pool.release(connection)

    holders = [threading.Thread(target=hold) for _ in range(4)]
    for holder in holders:
        holder.start()
    for holder in holders:
        holder.join()
    for _ in idle_of(client):
        client.ping()
    server.client().client_kill_filter(_type="normal", skipme=True)
    failed = 0
    for _ in range(6):
        try:
            client.ping()
        except ConnectionError:
            failed += 1
    assert failed <= 1
