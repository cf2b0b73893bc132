"""Where no traces are wanted, nothing is loaded for them and nothing is told; where they cannot be
made, nothing starts; and a collector that is silent keeps nobody from ending."""

import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext

import settings
from settings import Settings
from storage.telemetry import exporter as exporting
from storage.telemetry.exporter import CollectorExporter
from storage.telemetry.slow_queries import SlowQueries
from storage.telemetry.tracing import Tracing
from storage.tiers import tracing_of
from support.stack.environment import COMPLETE
from support.stack.processes import clean_environment
from support.stack.programs import program, run

LOADED = """
import sys
import settings, tasks.celery_app, webapp.app
webapp.app.create_app(settings.load({environment!r}))
# The client of Redis looks by itself whether other parts of OpenTelemetry are there.
ours = ("opentelemetry.exporter", "opentelemetry.sdk.trace", "storage.telemetry.opentelemetry")
# Threads of its own may still load something.
print([name for name in list(sys.modules) if name.startswith(ours)])
"""

WANTED = "OTEL_EXPORTER_OTLP_ENDPOINT"
PROGRAMS = ("web", "realtime", "worker", "beat")


@pytest.fixture
def without_packages(tmp_path: Path) -> dict[str, str]:
    """An environment in which traces are wanted and the extra is not installed: a package of its
    name that holds nothing is found before it."""
    nothing = tmp_path / "hides" / "opentelemetry"
    nothing.mkdir(parents=True)
    (nothing / "__init__.py").touch()
    clean = clean_environment()
    path = f"{nothing.parent}:{clean.get('PYTHONPATH', '')}".rstrip(":")
    return COMPLETE | {WANTED: "http://127.0.0.1:1", "PYTHONPATH": path}


def test_nothing_is_loaded_where_none_are_wanted() -> None:
    program = LOADED.format(environment=COMPLETE)
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.strip() == "[]"


def test_what_makes_no_traces_changes_nothing() -> None:
    own: Settings = settings.load(COMPLETE)
    nothing = tracing_of(own)
    assert type(nothing) is Tracing
    assert nothing.poll("persist", lambda: 7) == 7
    assert nothing.traceparent() == ""
    with nothing.work("outside"), nothing.work("inside", ["nonsense"]):
        pass


def test_every_statement_is_told_to_traces_and_only_slow_ones_are_logged() -> None:
    class Told(Tracing):
        is_on = True

        def __init__(self) -> None:
            self.statements: list[tuple[str, str, float, bool]] = []

        def statement(self, tier: str, statement: str, seconds: float, *, failed: bool) -> None:
            self.statements.append((tier, statement, seconds, failed))

    told = Told()
    slow = SlowQueries(1.0, told)
    slow.note("redis", "script append", 0.001)
    slow.note("redis", "script page", 0.002, failed=True)
    assert told.statements == [
        ("redis", "script append", 0.001, False),
        ("redis", "script page", 0.002, True),
    ]
    assert not slow.counts


def test_every_program_says_in_one_line_what_traces_need(
    without_packages: dict[str, str], tmp_path: Path
) -> None:
    with ExitStack() as stack:
        # Side by side, for most of each start is its imports.
        started = [
            stack.enter_context(program(name, without_packages, tmp_path)) for name in PROGRAMS
        ]
        options = ("--ephemeral", "--port", "0", "--flower-port", "0")
        up = run(tmp_path, without_packages, "up", *options)
        ends = [(one.status(), one.output) for one in started]
    for status, output in (*ends, (up.returncode, up.stderr)):
        assert status != 0, output
        # A web server starts its process once more before it gives up.
        (line,) = {one for one in output.splitlines() if one.startswith("threadkeep: ")}
        assert line.startswith(f"threadkeep: {WANTED} is set")
        assert "threadkeep[otel]" in line
        assert "Traceback" not in output


def test_a_silent_collector_keeps_no_process_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "LAST_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        exporter = CollectorExporter(f"http://127.0.0.1:{silent.getsockname()[1]}")
        span = ReadableSpan("one", SpanContext(1, 1, is_remote=False))
        exporter.end_soon()
        for _ in range(4):
            exporter.export([span])
        exporter.shutdown()
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()
