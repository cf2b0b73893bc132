"""Each program loads what it runs: what it would only carry in memory is named here."""

import subprocess
import sys

import pytest
from click import Command, Context

from webapp.cli import COMMANDS, threadkeep

TERMINALS = ("rich", "prompt_toolkit")
MIGRATIONS = ("alembic", "mako")
FLOWER = ("flower", "tornado")
SOCKETS = ("gevent", "gunicorn")
ENGINE = ("chdb", "pandas", "pyarrow", "numpy")
TRACES = ("opentelemetry.sdk.trace", "opentelemetry.exporter")
DATABASES = ("sqlalchemy", "clickhouse_sqlalchemy", "psycopg2")
NEVER = (*TERMINALS, *MIGRATIONS, *FLOWER, *ENGINE, *TRACES, "honcho")
WEB = ("flask", "granian", "jwt", "wsproto", "webapp.app")
OURS = ("storage.tiers", "wiring", "jobs", "models.tables")

PROGRAMS = {
    "web": (("webapp.door.server", "webapp.wsgi"), (*NEVER, *SOCKETS)),
    "realtime": (("webapp.realtime.worker", "webapp.realtime.wsgi"), (*NEVER, "granian")),
    "the arbiter of realtime": (
        ("webapp.realtime.worker",),
        (*NEVER, *DATABASES, *OURS, *WEB, "celery", "redis"),
    ),
    "worker": (
        ("tasks.programs.__main__", "tasks.programs.worker", "wiring.process"),
        (*NEVER, *SOCKETS, *WEB),
    ),
    "beat": (("tasks.programs.__main__",), (*NEVER, *SOCKETS, *WEB, *DATABASES, *OURS, "requests")),
    "the application of Flower": (("tasks.celery_app",), (*NEVER, *SOCKETS, *WEB, *OURS)),
    "the supervisor": (
        ("webapp.cli.stack.up",),
        (
            *(name for name in NEVER if name != "honcho"),
            *SOCKETS,
            *WEB,
            *OURS,
            *("sqlalchemy", "clickhouse_sqlalchemy", "redis", "celery", "requests"),
        ),
    ),
    "the guardian": (("embedded.supervision.guardian",), (*NEVER, *WEB, *OURS, "click", "msgspec")),
    "ClickHouse": (
        ("embedded.clickhouse.owner",),
        (*(name for name in NEVER if name != "chdb"), *SOCKETS, *WEB, *OURS, *DATABASES, "click"),
    ),
    "threadkeep token": (
        ("webapp.cli", "webapp.cli.identity.token"),
        (*NEVER, *SOCKETS, *DATABASES, *OURS, "flask", "celery", "redis", "requests"),
    ),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_loads_what_it_runs(program: str) -> None:
    modules, absent = PROGRAMS[program]
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100
    ).stdout.split()
    assert set(modules) <= set(loaded)
    assert set(absent).isdisjoint(loaded)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_what_it_says_itself(name: str) -> None:
    listed = threadkeep.get_command(Context(threadkeep), name)
    found, command, rest = threadkeep.resolve_command(Context(threadkeep), [name, "rest"])
    assert isinstance(listed, Command) and isinstance(command, Command)
    assert (found, command.name, rest) == (name, name, ["rest"])
    assert command is COMMANDS[name].load() is not listed
    assert listed.get_short_help_str(200) == command.get_short_help_str(200)
