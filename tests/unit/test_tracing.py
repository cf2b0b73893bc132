"""Where no traces are wanted, nothing is loaded for them and nothing is told."""

import subprocess
import sys

import settings
from settings import Settings
from storage.performance.slow_queries import SlowQueries
from storage.tracing.tracing import Tracing, tracing_of
from support.environment import COMPLETE

LOADED = """
import sys
import settings, tasks.celery_app, webapp
webapp.create_app(settings.load({environment!r}))
# The client of Redis looks by itself whether other parts of OpenTelemetry are there.
ours = ("opentelemetry.exporter", "opentelemetry.sdk.trace", "storage.tracing.otel")
print([name for name in sys.modules if name.startswith(ours)])
"""


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
    assert nothing.look("persist", lambda: 7) == 7
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
    assert not slow.latest
