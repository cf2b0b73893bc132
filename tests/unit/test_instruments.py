"""What processes count: alone, several in one process, and several over one folder."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

import settings
from storage.telemetry.counts import Counts
from storage.telemetry.instruments import Instruments
from storage.telemetry.processes import instruments_of, registry_of
from support.stack.environment import COMPLETE

PROCESS = """
import sys
import settings
from storage.telemetry.processes import instruments_of
own = instruments_of(settings.load())
own.acknowledged("redis", "post", 0.002, messages=3)
own.breaker("redis", is_open=True)
own.sockets(7)
print("ready", flush=True)
sys.stdin.readline()
"""


def shown(own: Instruments, folder: str = "") -> dict[str, float]:
    """What Prometheus would read, by name and labels."""
    text = generate_latest(registry_of(own, folder)).decode()
    return {
        f"{one.name}{sorted(one.labels.items())}": one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def started(folder: Path) -> subprocess.Popen[str]:
    """A process that has counted something, and holds sockets until it ends."""
    program = subprocess.Popen(
        [sys.executable, "-c", PROCESS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | COMPLETE | {"PROMETHEUS_MULTIPROC_DIR": str(folder)},
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    return program


def end(program: subprocess.Popen[str], *, how: str) -> None:
    if how == "killed":
        program.kill()
    program.communicate("")


def test_counts_are_plain_numbers_that_grow() -> None:
    own = Instruments()
    before = Counts(own.counts())
    assert (before.acknowledged, before.writes) == (0, 0)
    own.acknowledged("redis", "post", 0.0021, messages=5)
    own.acknowledged("postgresql", "edit", 0.2)
    own.refused("post", "storage_unavailable")
    own.persisted(5, 0.1, refused=1)
    own.replicated(4, 0.1)
    own.archived(3)
    assert Counts(own.counts()).since(before) == {
        "acknowledged:redis": 5,
        "acknowledged:postgresql": 1,
        "refused": 1,
        "failed_over": 1,
        "writes": 2,
        "persisted": 5,
        "replicated": 4,
        "archived": 3,
    }
    found, name = shown(own), "threadkeep_acknowledgement_seconds"
    assert found[f"{name}_sum[('tier', 'redis')]"] == pytest.approx(0.0021)
    assert found[f"{name}_bucket[('le', '0.002'), ('tier', 'redis')]"] == 0
    assert found[f"{name}_bucket[('le', '0.003'), ('tier', 'redis')]"] == 1
    assert found[f"{name}_bucket[('le', '+Inf'), ('tier', 'postgresql')]"] == 1


def test_every_rate_begins_at_nought() -> None:
    found = shown(Instruments())
    for name in (
        "threadkeep_acknowledged_total[('kind', 'post'), ('tier', 'clickhouse')]",
        "threadkeep_refused_total[('code', 'storage_unavailable'), ('kind', 'delete')]",
        "threadkeep_failed_over_total[('reason', 'redis_unavailable')]",
        "threadkeep_wake_ups_lost_total[]",
        "threadkeep_dead_lettered_total[]",
    ):
        assert found[name] == 0


def test_two_in_one_process_do_not_meet() -> None:
    first, second = Instruments(), Instruments()
    first.acknowledged("redis", "post", 0.001)
    assert first.counts()["writes"] == 1
    assert second.counts()["writes"] == 0


def test_nothing_is_counted_where_it_is_off() -> None:
    own = instruments_of(settings.load(COMPLETE | {"THREADKEEP_METRICS": "0"}))
    own.acknowledged("redis", "post", 0.001)
    own.requested("/api", "GET", 200, 0.1)
    own.polled("persist", "done", 1.0)
    own.task_ended("persist.sweep", "done", 1.0)
    assert own.counts()["writes"] == 0
    assert not [name for name, value in shown(own).items() if value]


def test_what_a_request_was_is_told_by_its_route() -> None:
    own = Instruments()
    own.expect_requests([("/api/threads/<thread_id>", "GET")])
    labels = "[('method', 'GET'), ('route', '/api/threads/<thread_id>'), ('status', '5xx')]"
    assert shown(own)[f"threadkeep_http_requests_total{labels}"] == 0
    own.requested("/api/threads/<thread_id>", "GET", 503, 0.1)
    assert shown(own)[f"threadkeep_http_requests_total{labels}"] == 1
    assert shown(own)[f"threadkeep_http_request_seconds_count{labels}"] == 1


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_who_dies_leaves_what_it_counted_and_no_sockets(tmp_path: Path, how: str) -> None:
    own = Instruments()
    first, second = started(tmp_path), started(tmp_path)
    try:
        found = shown(own, str(tmp_path))
        acknowledged = "threadkeep_acknowledged_total[('kind', 'post'), ('tier', 'redis')]"
        sockets = "threadkeep_sockets_open[('pid', '{}'), ('program', 'realtime')]"
        assert found[acknowledged] == 6
        assert found["threadkeep_breakers_open[('tier', 'redis')]"] == 2
        assert found[sockets.format(first.pid)] == 7
        end(first, how=how)
        found = shown(own, str(tmp_path))
        assert found[acknowledged] == 6
        assert found["threadkeep_breakers_open[('tier', 'redis')]"] == 1
        assert sockets.format(first.pid) not in found
        assert found[sockets.format(second.pid)] == 7
    finally:
        end(first, how="killed")
        end(second, how="killed")


def test_the_number_of_one_who_died_may_be_anothers(tmp_path: Path) -> None:
    """Nobody holds the lock, so whoever has the number now is somebody else."""
    program = started(tmp_path)
    end(program, how="killed")
    (tmp_path / f"gauge_liveall_{os.getpid()}.db").write_bytes(
        (tmp_path / f"gauge_liveall_{program.pid}.db").read_bytes()
    )
    assert not [name for name in shown(Instruments(), str(tmp_path)) if "sockets_open" in name]


def test_one_process_that_shares_a_folder_has_one_set(tmp_path: Path) -> None:
    own = msgspec.structs.replace(settings.load(COMPLETE), metrics_folder=str(tmp_path))
    assert instruments_of(own) is instruments_of(own)
