"""Programs with unsafe settings or servers: they refuse and acknowledge nothing, or name the weaker
promise. Each is the program of the Procfile, on servers that really are set that way."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
import requests
from redis import Redis
from sqlalchemy.engine import make_url

import settings
from embedded.ports import free_port
from jobs.migrate import migrate_all
from storage.postgres import schema
from support.calls.api import Api, ok, problem
from support.calls.commands import threadkeep
from support.data.users import fresh_user
from support.stack.databases import empty_database
from support.stack.own_valkey import own_valkey
from support.stack.processes import PATIENT
from support.stack.programs import Program, program, run
from support.stack.servers import servers
from support.stack.tiers import tiers
from support.waiting import eventually
from webapp.http.auth import Tokens

ANSWER_SECONDS = 30
SAMPLE_SECRET = "changeme-changeme-changeme-changeme"
PROGRAMS = ("web", "worker")


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Servers of this module alone, migrated; each test puts back what it set."""
    with servers(tmp_path_factory.mktemp("servers") / "data") as env, tiers(env) as own:
        migrate_all(own.tiers.migrate_engine, own.tiers.job_clickhouse, 1)
        yield env | PATIENT


@contextmanager
def redis_set(env: dict[str, str], name: str, value: str) -> Iterator[Redis]:
    with Redis.from_url(env["REDIS_URL"]) as client:
        before = client.config_get(name)
        client.config_set(name, value)
        try:
            yield client
        finally:
            client.config_set(name, next(iter(before.values())))


@contextmanager
def served(env: dict[str, str], folder: Path) -> Iterator[tuple[Program, Api]]:
    """A web server that answers, and its API as a user."""
    token = Tokens(settings.load(env)).issue(fresh_user(), is_admin=False, ttl_seconds=600)
    with program("web", env, folder) as web:
        api = Api(web.url, token)
        eventually(lambda: answers(web), ANSWER_SECONDS)
        yield web, api


def answers(web: Program) -> bool:
    assert web.is_running, web.output
    try:
        return requests.get(f"{web.url}/healthz", timeout=2).status_code == 200
    except requests.RequestException:
        return False


def all_refuse(env: dict[str, str], folder: Path, *reasons: str) -> None:
    """Proves that every program ends by itself with the reason in one line, and soon."""
    with program("web", env, folder) as web:
        # Alone: it gives up when its process has ended twice within seconds, most of which are
        # its imports.
        refuses(web, *reasons)
    with ExitStack() as stack:
        others = [stack.enter_context(program(name, env, folder)) for name in PROGRAMS[1:]]
        for started in others:
            refuses(started, *reasons)


def refuses(started: Program, *reasons: str) -> None:
    """Proves it of one of them."""
    assert started.status() != 0, started.output
    # A web server starts its process once more or several times before it gives up.
    (refusal,) = set(started.refusals)
    for reason in reasons:
        assert reason in refusal
    assert "Traceback" not in started.output


def warnings(started: Program) -> list[dict[str, str]]:
    lines = [line for line in started.output.splitlines() if line.startswith("{")]
    return [one for one in map(json.loads, lines) if one.get("event") == "weaker_promise"]


def test_a_redis_that_may_evict_anything_is_refused(lone: dict[str, str], tmp_path: Path) -> None:
    with redis_set(lone, "maxmemory-policy", "allkeys-lru") as client:
        before = client.dbsize()
        all_refuse(lone, tmp_path, "redis: maxmemory-policy: allkeys-lru", "CONFIG SET")
        assert client.dbsize() == before


def test_several_web_processes_that_refuse_do_not_start_each_other_for_ever(
    lone: dict[str, str], tmp_path: Path
) -> None:
    with redis_set(lone, "maxmemory-policy", "allkeys-lru"):
        env = lone | {"WEB_WORKERS": "2"}
        with program("web", env, tmp_path) as web:
            assert web.status() != 0, web.output


def test_commands_that_write_refuse_too(lone: dict[str, str], tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    history.write_text('{"user_id": "u", "thread_id": "t", "role": "user", "content": "hi"}\n')
    with redis_set(lone, "maxmemory-policy", "allkeys-lru"):
        for command in (["import", str(history)], ["up", "--ephemeral", "--port", "0"]):
            done = run(tmp_path, lone, *command, *_free_ports(command))
            assert done.returncode == 1, done
            (line,) = done.stderr.splitlines()
            assert line.startswith("threadkeep: refused: redis: maxmemory-policy: allkeys-lru")
    assert list(tmp_path.iterdir()) == [history], "an ephemeral stack left its data"


def _free_ports(command: list[str]) -> list[str]:
    return ["--flower-port", "0"] if command[0] == "up" else []


def test_a_sample_secret_is_refused(lone: dict[str, str], tmp_path: Path) -> None:
    env = lone | {"THREADKEEP_JWT_SECRET": SAMPLE_SECRET}
    # Those that verify tokens.
    for name in ("web", "realtime"):
        with program(name, env, tmp_path) as started:
            refuses(started, "settings: secret:", "THREADKEEP_JWT_SECRET")
        assert SAMPLE_SECRET not in (tmp_path / f"{name}.log").read_text()


def test_an_empty_schema_is_refused(lone: dict[str, str], tmp_path: Path) -> None:
    with empty_database(lone["DATABASE_URL"]) as url:
        env = lone | {"DATABASE_URL": url}
        all_refuse(env, tmp_path, "postgresql: schema", "run `threadkeep migrate`")


def test_a_newer_schema_is_refused_by_programs_and_by_up(
    lone: dict[str, str], tmp_path: Path
) -> None:
    with empty_database(lone["DATABASE_URL"]) as url:
        env = lone | {"DATABASE_URL": url, "DATABASE_MIGRATE_URL": url, "DATABASE_WEB_URL": url}
        with tiers(env) as own:
            schema.migrate_postgres(own.tiers.job_engine)
            with own.tiers.job_engine.begin() as connection:
                connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        with program("worker", env, tmp_path) as worker:
            refuses(worker, "postgresql: schema: newer than this code: 9999")
        for command in ("up --ephemeral --port 0 --flower-port 0", "migrate"):
            done = run(tmp_path, env, *command.split())
            assert done.returncode == 1
            (line,) = done.stderr.splitlines()
            assert line.startswith("threadkeep: refused: postgresql: schema: newer than this code")


def test_a_redis_that_syncs_each_second_is_used_and_called_memory(
    lone: dict[str, str], tmp_path: Path
) -> None:
    with redis_set(lone, "appendfsync", "everysec"), served(lone, tmp_path) as (web, api):
        assert api.send("thread", "hello")["durability"] == "memory"
        assert [one["check"] for one in warnings(web)] == ["appendfsync"]
        assert "CONFIG SET appendfsync always" in warnings(web)[0]["advice"]
        health = ok(api.get("/health/persistence"))
        assert [one["check"] for one in health["weaker"]] == ["appendfsync"]
        assert (health["status"], health["refusals"]) == ("degraded", [])
        assert api.get("/readyz").status_code == 200


def test_a_redis_that_hides_its_settings_is_used_and_called_memory(
    lone: dict[str, str], tmp_path: Path
) -> None:
    with Redis.from_url(lone["REDIS_URL"]) as client:
        client.execute_command("ACL", "SETUSER", "app", "on", ">word", "~*", "+@all", "-config")
        url = make_url(lone["REDIS_URL"]).set(username="app", password="word")
        env = lone | {"REDIS_URL": url.render_as_string(hide_password=False)}
        try:
            with served(env, tmp_path) as (web, api):
                assert api.send("thread", "hello")["durability"] == "memory"
                assert [one["check"] for one in warnings(web)] == ["settings"]
        finally:
            client.execute_command("ACL", "DELUSER", "app")


def test_a_postgres_that_commits_before_the_disk_is_used_and_said_to(
    lone: dict[str, str], tmp_path: Path
) -> None:
    with empty_database(lone["DATABASE_URL"], synchronous_commit="off") as url:
        # Its worker would mark the Redis of the other tests as its own.
        own_redis = lone["REDIS_URL"].rsplit("/", 1)[0] + "/1"
        env = lone | {"DATABASE_URL": url, "REDIS_URL": own_redis}
        with tiers(env) as own:
            schema.migrate_postgres(own.tiers.job_engine)
        with ExitStack() as stack:
            web, *others = [stack.enter_context(program(name, env, tmp_path)) for name in PROGRAMS]
            # A web server that is stopped before it serves takes ten seconds.
            eventually(lambda: answers(web), ANSWER_SECONDS)
            for started in (web, *others):
                eventually(partial(warnings, started), ANSWER_SECONDS)
                assert [one["check"] for one in warnings(started)] == ["synchronous_commit"]
                assert started.is_running


def test_safe_servers_are_used_without_a_word(lone: dict[str, str], tmp_path: Path) -> None:
    with served(lone, tmp_path) as (web, api):
        assert api.send("thread", "hello")["durability"] == "fsynced"
        health = ok(api.get("/health/persistence"))
        assert (health["status"], health["refusals"], health["weaker"]) == ("ok", [], [])
        assert warnings(web) == []


def test_servers_that_are_down_are_no_reason_to_refuse(
    lone: dict[str, str], tmp_path: Path
) -> None:
    env = lone | {"DATABASE_URL": "postgresql+psycopg2://nobody:x@127.0.0.1:1/none"}
    with served(env, tmp_path) as (_, api):
        assert api.send("thread", "hello")["durability"] == "fsynced"


def test_a_web_process_says_so_when_redis_comes_back_unsafe(
    lone: dict[str, str], tmp_path: Path
) -> None:
    port = free_port()
    env = lone | {"REDIS_URL": f"redis://127.0.0.1:{port}/0"}
    with served(env, tmp_path) as (_, api):
        # PostgreSQL takes the writes meanwhile.
        assert api.get("/readyz").status_code == 200
        assert api.send("thread", "hello")["tier_used"] == "postgresql"
        folder = tmp_path / "redis"
        folder.mkdir()
        with own_valkey(folder, port, maxmemory_policy="allkeys-lru") as valkey:
            eventually(lambda: api.get("/readyz").status_code == 503)
            body = problem(api.get("/readyz"), 503, "unsafe_settings")
            assert "allkeys-lru" in body["detail"]
            (refusal,) = ok(api.get("/health/persistence"))["refusals"]
            assert refusal["check"] == "maxmemory-policy"
            valkey.client().config_set("maxmemory-policy", "noeviction")
            eventually(lambda: api.get("/readyz").status_code == 200)


def test_a_worker_ends_when_redis_comes_back_unsafe(lone: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    env = lone | {"REDIS_URL": f"redis://127.0.0.1:{port}/0"}
    folder = tmp_path / "redis"
    folder.mkdir()
    with program("worker", env, tmp_path) as worker:
        eventually(lambda: '"not_judged"' in worker.output, ANSWER_SECONDS)
        with own_valkey(folder, port, maxmemory_policy="allkeys-lru"):
            assert worker.status() == 1, worker.output
            assert "redis: maxmemory-policy: allkeys-lru" in worker.refusals[0]


def test_the_doctor_says_how_bad_each_finding_is(lone: dict[str, str], tmp_path: Path) -> None:
    with (
        redis_set(lone, "maxmemory-policy", "allkeys-lru"),
        redis_set(lone, "appendfsync", "everysec"),
    ):
        found = json.loads(threadkeep(tmp_path, lone, "doctor", "--json").stdout)
        told = threadkeep(tmp_path, lone, "doctor").stdout.decode()
    severities = {one["check"]: one["severity"] for one in found if one["tier"] == "redis"}
    assert severities["maxmemory-policy"] == "refuse"
    assert severities["appendfsync"] == "weaker"
    assert severities["appendonly"] is None
    lines = told.splitlines()
    assert any(line.startswith("REFUSE") and "allkeys-lru" in line for line in lines)
    assert any(line.startswith("WEAKER") and "durability: memory" in line for line in lines)
