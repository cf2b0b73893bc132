"""The probe and the exporter of programs that have a container of their own."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from celery import Celery

from embedded.ports import HOST, free_port
from support.waiting import eventually
from tasks.programs import probe
from tasks.programs.scheduler import Scheduler

from .conftest import ROOT

WORKER = """
import settings, sys, time
from storage.telemetry.processes import instruments_of
own = instruments_of(settings.load())
own.expect_polls(["persist"])
for line in sys.stdin:
    own.polled("persist", "postponed", time.time())
    print("polled", flush=True)
"""
"""What counts as a worker does: once for each line of its input, in a time when tiers are out."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the counters, in the environment of program and probe."""
    for name in ("REDIS_URL", "DATABASE_URL", "CLICKHOUSE_URL", "THREADKEEP_JWT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("THREADKEEP_METRICS", raising=False)
    found = tmp_path / "metrics"
    found.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(found))
    monkeypatch.setattr(probe, "gettempdir", lambda: str(tmp_path))
    return found


@contextmanager
def worker() -> Iterator["subprocess.Popen[str]"]:
    env = os.environ | {
        "REDIS_URL": "redis://none",
        "DATABASE_URL": "postgresql://none",
        "CLICKHOUSE_URL": "clickhouse+http://none",
        "THREADKEEP_JWT_SECRET": "of no use to anybody but this test",
    }
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", WORKER]
    with subprocess.Popen(command, env=env, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as one:
        yield one
        one.kill()


def poll(one: "subprocess.Popen[str]") -> None:
    assert one.stdin is not None
    assert one.stdout is not None
    one.stdin.write("\n")
    one.stdin.flush()
    assert one.stdout.readline() == "polled\n"


def test_a_worker_moves_on_while_it_polls(folder: Path, tmp_path: Path) -> None:
    assert "no poll" in probe.wrong_with("worker")
    with worker() as one:
        poll(one)
        assert probe.wrong_with("worker") == ""
        memory = tmp_path / "threadkeep-worker-probe"
        assert memory.exists()
        # It is not wrong at once, nor as long as a statement may take.
        assert probe.wrong_with("worker") == ""
        long_ago = time.time() - probe.STALLED_SECONDS - 1
        os.utime(memory, (long_ago, long_ago))
        assert "nothing was polled" in probe.wrong_with("worker")
        poll(one)
        assert probe.wrong_with("worker") == ""


def test_a_worker_that_counts_nothing_is_not_restarted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREADKEEP_METRICS", "0")
    assert probe.wrong_with("worker") == ""


def test_beat_ticks_while_it_writes_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = tmp_path / "beat-schedule"
    monkeypatch.setenv("BEAT_STATE", str(schedule))
    assert "not there" in probe.wrong_with("beat")
    scheduler = Scheduler(Celery(set_as_current=False), schedule_filename=str(schedule))
    assert scheduler.sync_every < probe.TICK_SECONDS - 60
    assert probe.wrong_with("beat") == ""
    long_ago = time.time() - probe.TICK_SECONDS - 1
    for file in tmp_path.glob("beat-schedule*"):
        os.utime(file, (long_ago, long_ago))
    assert "not written" in probe.wrong_with("beat")
    # As its loop does each three minutes.
    scheduler._do_sync()
    assert probe.wrong_with("beat") == ""
    scheduler.close()


class Answers(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize(("program", "variable"), [("web", "PORT"), ("realtime", "REALTIME_PORT")])
def test_a_listener_answers(program: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer((HOST, 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HOST", "0.0.0.0")
        monkeypatch.setenv(variable, str(server.server_address[1]))
        assert probe.wrong_with(program) == ""
        monkeypatch.setattr(Answers, "status", 503)
        assert probe.wrong_with(program) == "/healthz answers 503"
        server.shutdown()
    monkeypatch.setenv(variable, str(free_port()))
    assert "no answer" in probe.wrong_with(program)


def test_it_is_a_program() -> None:
    command = [sys.executable, "-m", "tasks.programs.probe"]
    env = {"PORT": str(free_port())}
    done = subprocess.run([*command, "web"], cwd=ROOT, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr[:15]) == (1, "web: no answer:")
    done = subprocess.run([*command, "wbe"], cwd=ROOT, capture_output=True, text=True)
    assert "usage" in done.stderr


def test_the_exporter_serves_what_others_counted(folder: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "tasks.programs.exporter"]
    with worker() as one, subprocess.Popen([*command, str(port)], cwd=ROOT) as exporter:
        poll(one)

        def served() -> str:
            try:
                return requests.get(f"http://{HOST}:{port}/metrics", timeout=5).text
            except requests.ConnectionError:
                return ""

        wanted = 'threadkeep_looks_total{look="persist",outcome="postponed"} '
        assert f"{wanted}1.0" in eventually(served)
        poll(one)
        assert f"{wanted}2.0" in served()
        exporter.kill()
    done = subprocess.run([*command, "web"], cwd=ROOT, capture_output=True, text=True)
    assert "usage" in done.stderr
