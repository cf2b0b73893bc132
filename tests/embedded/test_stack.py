"""The embedded stack: real servers, killed, frozen and started again."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import psycopg2
import pytest
import redis

from embedded.errors import AlreadyRunning, StackError
from embedded.stack import Stack
from embedded.supervision import procfs
from support.stack.embedded_stack import (
    BUSY_BACKENDS,
    MINUTES_OF_COUNTING,
    NAMED,
    STUBBORN,
    ClickHouse,
    answers,
    ask_postgres,
    driven,
    running_in,
    said,
    wait_for,
)

# Python 3.12 and later warn of any fork beside other threads; here only the tests have threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")


def test_valkey_has_the_settings_each_promise_needs(urls: dict[str, str]) -> None:
    wanted = {
        "REDIS_URL": {
            "appendonly": "yes",
            "appendfsync": "always",
            "no-appendfsync-on-rewrite": "no",
            "maxmemory-policy": "volatile-lru",
            "maxmemory": str(64 * 1024 * 1024),
            "save": "",
            "bind": "127.0.0.1",
            "protected-mode": "yes",
        },
        "CELERY_BROKER_URL": {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        },
    }
    for variable, settings in wanted.items():
        with redis.Redis.from_url(urls[variable], decode_responses=True) as client:
            found = client.config_get(*settings)
        assert found == settings


def test_postgres_has_the_settings_each_promise_needs(urls: dict[str, str]) -> None:
    wanted = {
        "synchronous_commit": "on",
        "fsync": "on",
        "timezone": "UTC",
        "listen_addresses": "127.0.0.1",
        "server_encoding": "UTF8",
        "log_min_error_statement": "panic",
    }
    found = {name: ask_postgres(urls["DATABASE_URL"], f"SHOW {name}")[0][0] for name in wanted}
    assert found == wanted


def test_a_failed_statement_leaves_no_content_in_the_log(
    stack: Stack, urls: dict[str, str]
) -> None:
    ask_postgres(urls["DATABASE_MIGRATE_URL"], "CREATE TABLE quiet (text TEXT CHECK (text = ''))")
    with pytest.raises(psycopg2.IntegrityError):
        ask_postgres(urls["DATABASE_MIGRATE_URL"], "INSERT INTO quiet VALUES ('my secret words')")
    log = (stack._data / "logs" / "postgres.log").read_text()
    assert "quiet" in log
    assert "secret" not in log


def test_a_second_stack_on_the_same_data_refuses(stack: Stack, urls: dict[str, str]) -> None:
    with pytest.raises(AlreadyRunning) as refusal, Stack(stack._data):
        pass
    assert str(stack._data) in str(refusal.value)
    assert str(os.getpid()) in str(refusal.value)
    with redis.Redis.from_url(urls["REDIS_URL"]) as client:
        assert client.ping()


@pytest.mark.parametrize("name", ["redis-data", "redis-broker", "postgres", "clickhouse"])
def test_a_killed_server_comes_back_with_its_data(
    stack: Stack, urls: dict[str, str], clickhouse: ClickHouse, name: str
) -> None:
    with redis.Redis.from_url(urls["REDIS_URL"]) as client:
        client.set("kept", "yes")
    ask_postgres(urls["DATABASE_MIGRATE_URL"], "CREATE TABLE IF NOT EXISTS kept AS SELECT 1 AS one")
    clickhouse.ask("INSERT INTO notes (id) VALUES (1)")
    before = stack.pids()
    os.kill(before[name], signal.SIGKILL)
    restarted: list[str] = []

    def is_back() -> bool:
        restarted.extend(stack.poll())
        return bool(restarted)

    wait_for(is_back)
    assert restarted == [name]
    wait_for(lambda: answers(urls))
    after = stack.pids()
    assert {other for other in before if before[other] != after[other]} == {name}
    with redis.Redis.from_url(urls["REDIS_URL"]) as client:
        assert client.get("kept") == b"yes"
    assert ask_postgres(urls["DATABASE_MIGRATE_URL"], "SELECT one FROM kept") == [(1,)]
    assert clickhouse.ask("SELECT count() FROM notes") == "1\n"


def test_postgres_restarts_although_a_busy_backend_outlives_the_postmaster(
    stack: Stack, urls: dict[str, str]
) -> None:
    def count_for_minutes() -> None:
        with pytest.raises(psycopg2.OperationalError):
            ask_postgres(urls["DATABASE_MIGRATE_URL"], MINUTES_OF_COUNTING)

    busy = threading.Thread(target=count_for_minutes)
    busy.start()
    wait_for(lambda: ask_postgres(urls["DATABASE_MIGRATE_URL"], BUSY_BACKENDS) == [(1,)])
    os.kill(stack.pids()["postgres"], signal.SIGKILL)
    wait_for(lambda: stack.poll() == ["postgres"])
    busy.join(timeout=10)
    assert not busy.is_alive()
    wait_for(lambda: answers(urls))
    assert not (stack._supervisor._slots["postgres"].due_at)


def test_servers_named_by_the_environment_are_not_started(tmp_path: Path) -> None:
    with Stack(tmp_path / "data") as stack:
        assert stack.start_servers(NAMED) == {}
        assert set(stack.pids()) == {"guardian"}
    with Stack(tmp_path / "data") as stack:
        environ = {"REDIS_URL": "", "DATABASE_URL": "x", "CLICKHOUSE_URL": "x"}
        started = stack.start_servers({**environ, "CELERY_BROKER_URL": "x"})
        assert set(started) == {"REDIS_URL"}


def test_addresses_stay_the_same_between_two_starts(tmp_path: Path) -> None:
    environ = {"DATABASE_URL": "x", "CLICKHOUSE_URL": "x"}
    started = []
    for _ in range(2):
        with Stack(tmp_path / "data") as stack:
            started.append(stack.start_servers(environ))
    assert started[0] == started[1]


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    log_folder = tmp_path / "data" / "redis-data" / "appendonlydir"
    log_folder.mkdir(parents=True)
    (log_folder / "appendonly.aof.manifest").write_text("this is no manifest\n")
    environ = {**NAMED, "REDIS_URL": "", "CELERY_BROKER_URL": "x"}
    with (
        pytest.raises(StackError, match=r"(?s)redis-data ended.*manifest"),
        Stack(tmp_path / "data") as stack,
    ):
        stack.start_servers(environ)
    assert running_in(tmp_path / "data") == []


def test_killing_the_supervisor_leaves_no_process_behind(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with driven(data, {}, stubborn=STUBBORN) as driver:
        _, pids = said(driver)
        assert {"redis-data", "postgres", "clickhouse", "stubborn"} < set(pids)
        assert len(running_in(data)) > len(pids)
        driver.kill()
    wait_for(lambda: running_in(data) == [], seconds=20)


def test_the_next_start_ends_what_is_left_of_a_killed_stack(tmp_path: Path) -> None:
    data = tmp_path / "data"
    environ = {"CLICKHOUSE_URL": "x"}
    with driven(data, environ, stubborn=STUBBORN) as driver:
        urls, pids = said(driver)
        ask_postgres(urls["DATABASE_MIGRATE_URL"], "CREATE TABLE kept AS SELECT 1 AS one")
        # A frozen postmaster hears no polite signal, and without its guardian nobody insists.
        os.kill(pids["postgres"], signal.SIGSTOP)
        os.kill(pids["guardian"], signal.SIGSTOP)
        driver.kill()
    assert procfs.entry(pids["postgres"]) is not None
    events: list[str] = []
    with Stack(data, on_event=events.append) as stack:
        assert stack.start_servers(environ)["DATABASE_MIGRATE_URL"] == urls["DATABASE_MIGRATE_URL"]
        assert ask_postgres(urls["DATABASE_MIGRATE_URL"], "SELECT one FROM kept") == [(1,)]
    assert any("postgres" in event and "earlier" in event for event in events)
    assert running_in(data) == []


def test_sigterm_stops_everything_in_time_even_frozen_and_deaf_processes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with driven(data, {}, stubborn=STUBBORN) as driver:
        _, pids = said(driver)
        os.kill(pids["redis-data"], signal.SIGSTOP)
        os.kill(pids["postgres"], signal.SIGSTOP)
        driver.terminate()
        # Ten seconds on a machine that is not busy.
        assert driver.wait(timeout=20) == 0
    assert running_in(data) == []


@pytest.mark.parametrize("delay", [0.1, 0.4, 0.9])
def test_sigterm_during_the_start_leaves_nothing(tmp_path: Path, delay: float) -> None:
    data = tmp_path / "data"
    with driven(data, {}) as driver:
        wait_for((data / "lock").exists)
        time.sleep(delay)
        driver.terminate()
        driver.wait(timeout=20)
    assert running_in(data) == []
    with Stack(data) as stack:
        assert len(stack.start_servers({})) == 6


def test_a_program_that_dies_again_and_again_is_restarted_ever_slower(tmp_path: Path) -> None:
    events: list[str] = []
    with Stack(tmp_path / "data", on_event=events.append) as stack:
        stack.start_programs({"brief": "sh -c 'exit 3'"}, lambda _: dict(os.environ))
        wait_for(lambda: bool(stack.poll()) and len(events) >= 6)
    ends = [event for event in events if event.startswith("brief ended")]
    assert ends[:3] == [
        "brief ended with status 3, restart in 0.2 s",
        "brief ended with status 3, restart in 0.4 s",
        "brief ended with status 3, restart in 0.8 s",
    ]


def test_a_server_that_lost_its_folder_comes_back_empty(tmp_path: Path) -> None:
    """What is gone can be made again from elsewhere only on a server that runs."""
    with Stack(tmp_path / "data", max_memory="64mb") as stack:
        urls = stack.start_servers({})
        ask_postgres(urls["DATABASE_MIGRATE_URL"], "CREATE TABLE kept (n INTEGER)")
        pids = stack.pids()
        for name in ("postgres", "redis-data", "clickhouse"):
            procfs.kill_and_wait({pids[name], *procfs.session_members(pids[name])})
            shutil.rmtree(tmp_path / "data" / name)

        def is_back() -> bool:
            stack.poll()
            return answers(urls)

        wait_for(is_back, 30)
        assert ask_postgres(urls["DATABASE_MIGRATE_URL"], "SELECT to_regclass('kept')") == [(None,)]
