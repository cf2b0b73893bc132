"""`doctor` and `stats` on a healthy store, and on one with problems."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.calls.api import Api
from support.calls.commands import threadkeep
from support.data.moving import wait_until
from support.stack.processes import Launched, clean_environment
from support.waiting import eventually

NOWHERE = {
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "CELERY_BROKER_URL": "redis://127.0.0.1:1/1",
    "DATABASE_URL": "postgresql://nobody:x@127.0.0.1:1/none",
    "CLICKHOUSE_URL": "clickhouse+http://127.0.0.1:1/none",
}


def findings(folder: Path, env: dict[str, str]) -> tuple[int, list[dict[str, Any]]]:
    done = threadkeep(folder, env, "doctor", "--json")
    return done.returncode, json.loads(done.stdout)


def test_the_doctor_finds_a_healthy_store_healthy(stack: Launched, tmp_path: Path) -> None:
    status, found = findings(tmp_path, stack.env)
    # Other tests leave dead letters on purpose, and may be in the middle of something.
    problems = [one for one in found if not one["ok"] and one["check"] != "dead letters"]
    assert problems == []
    assert {one["tier"] for one in found} == {
        "settings",
        "redis",
        "broker",
        "postgresql",
        "clickhouse",
        "worker",
    }
    assert status == (0 if all(one["ok"] for one in found) else 1)


def test_the_doctor_names_every_server_that_is_down_and_what_to_do(
    stack: Launched, tmp_path: Path
) -> None:
    status, found = findings(tmp_path, stack.env | NOWHERE)
    problems = {one["tier"]: one for one in found if not one["ok"]}
    assert status == 1
    assert set(problems) == {"redis", "broker", "postgresql", "clickhouse", "worker"}
    for tier, variable in (("redis", "REDIS_URL"), ("postgresql", "DATABASE_URL")):
        assert problems[tier]["check"] == "reachable"
        assert variable in problems[tier]["advice"]


def test_the_doctor_asks_a_postgresql_that_says_nothing_only_once(
    stack: Launched, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        url = f"postgresql://nobody:x@127.0.0.1:{silent.getsockname()[1]}/none"
        _, found = findings(tmp_path, stack.env | {"DATABASE_URL": url})
        (problem,) = [one for one in found if one["tier"] == "postgresql"]
        assert (problem["check"], problem["severity"]) == ("reachable", "down")
        with silent.accept()[0], pytest.raises(BlockingIOError):
            silent.accept()


def test_the_doctor_says_what_is_wrong_with_a_setting(stack: Launched, tmp_path: Path) -> None:
    # The broker must not hold messages: it does not sync each write.
    weak = stack.env | {"REDIS_URL": stack.env["CELERY_BROKER_URL"]}
    status, found = findings(tmp_path, weak)
    problems = {one["check"]: one for one in found if not one["ok"]}
    assert status == 1
    assert "CONFIG SET appendfsync always" in problems["appendfsync"]["advice"]


def test_the_doctor_says_which_variable_is_missing(tmp_path: Path) -> None:
    status, found = findings(tmp_path, {})
    assert status == 1
    assert "REDIS_URL" in found[0]["found"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "is not there; that of a stack is, while the stack runs"),
        (b"\x7fELF\xff", "is no file of KEY=value lines"),
    ],
)
def test_a_wrong_env_file_is_told_in_one_line(
    tmp_path: Path, content: bytes | None, told: str
) -> None:
    if content is not None:
        (tmp_path / "env").write_bytes(content)
    done = threadkeep(tmp_path, {}, "--env-file", "env", "stats")
    (line,) = done.stderr.decode().splitlines()
    assert done.returncode == 1
    assert line.startswith("threadkeep: env") and told in line
    assert "Errno" not in line


def test_up_begins_nothing_with_a_misspelt_variable(tmp_path: Path) -> None:
    done = threadkeep(tmp_path, {"THREADKEEP_DRILL": "1"}, "up", "--data", "data")
    line = "threadkeep: THREADKEEP_DRILL is no setting; did you mean THREADKEEP_DRILLS?"
    assert (done.returncode, done.stderr.decode().splitlines()) == (2, [line])
    assert not (tmp_path / "data").exists()


def test_stats_counts_what_is_where(stack: Launched, tmp_path: Path, api: Api) -> None:
    wait_until(api, "archived", [api.send("inbox", "hello")])
    done = threadkeep(tmp_path, stack.env, "stats", "--json")
    figures = json.loads(done.stdout)
    assert done.returncode == 0
    assert figures["down"] == {}
    for tier in ("redis", "postgresql", "clickhouse"):
        assert figures[tier]["bytes_on_disk"] > 0
    table = threadkeep(tmp_path, stack.env, "stats")
    assert table.returncode == 0
    assert b"dead letters" in table.stdout
    for shown in (b"moves on", b"waiting to go on", b"acknowledged", b"a worker looked"):
        assert shown in table.stdout


def test_stats_say_how_things_stand_and_what_happens_a_second(
    stack: Launched, tmp_path: Path
) -> None:
    found = json.loads(threadkeep(tmp_path, stack.env, "stats", "--json").stdout)
    now, rates = found["now"], found["rates"]
    assert now["progress"]["ok"]
    assert set(now["tiers"]) == {"redis", "postgresql", "clickhouse"}
    assert now["tiers"]["redis"]["up"]
    assert now["tiers"]["redis"]["breaker"] == "closed"
    assert {"pending_log", "outbox", "redis_backfill", "direct_writes"} <= set(now["queues"])
    assert now["redis_memory_bytes"] > 0
    # A scrape is a request itself.
    assert rates["requests"] > 0
    assert set(rates["acknowledged"]) == {"redis", "postgresql", "clickhouse"}


def test_stats_are_shown_until_somebody_has_seen_enough(
    stack: Launched, tmp_path: Path, api: Api
) -> None:
    script = Path(sys.executable).with_name("threadkeep")
    command = [str(script), "stats", "--watch", "--json", "--every", "0.3"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=clean_environment() | stack.env, stdout=subprocess.PIPE
    ) as watching:
        try:
            assert watching.stdout is not None
            first = json.loads(watching.stdout.readline())
            assert first["now"]["progress"]["ok"]

            def seen() -> bool:
                api.send("watched", "hello")
                assert watching.stdout is not None
                told = json.loads(watching.stdout.readline())
                return bool(told["rates"]["acknowledged"]["redis"])

            eventually(seen)
            watching.send_signal(signal.SIGINT)
            watching.communicate(timeout=30)
        finally:
            # What failed must not be waited for.
            watching.kill()
    assert watching.returncode == 0


def test_stats_shows_what_it_can_when_a_tier_is_down(stack: Launched, tmp_path: Path) -> None:
    without = stack.env | {"CLICKHOUSE_URL": NOWHERE["CLICKHOUSE_URL"]}
    done = threadkeep(tmp_path, without, "stats", "--json")
    figures = json.loads(done.stdout)
    assert done.returncode == 1
    assert set(figures["down"]) == {"clickhouse"}
    assert figures["postgresql"]["bytes_on_disk"] > 0
