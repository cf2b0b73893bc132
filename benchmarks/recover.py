"""A disaster: Redis and PostgreSQL lose every byte while everything runs, and come back.

`python -m benchmarks.recover` starts a stack of its own, imports 258,145 real messages, waits
until ClickHouse has them, kills Redis and PostgreSQL and deletes their data. The supervisor starts
both again, empty; an admin requests the recovery over HTTP. Afterwards the export must be the
same bytes as before, every thread the same row, and the API must read from each tier. Exit status
1 if anything differs.
"""

import hashlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import requests
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

import settings
from benchmarks.demo.carrying import import_rest
from benchmarks.stack import ephemeral_stack
from embedded.supervision import procfs
from jobs.transfer.formats import chitchat
from models import codec
from models.message import Message
from selftest.bed.launching import StackFailed
from storage.errors import TierError
from webapp.http.auth import Tokens
from wiring.process import Services

TARGET_SECONDS = 60.0
SNAPSHOT_SECONDS = 300.0
PATIENCE_SECONDS = 300.0
TITLED = 200
SAMPLES = 50
_THREADS = text('SELECT * FROM threads ORDER BY user_id COLLATE "C", id COLLATE "C"')
_SOME = text(
    "SELECT user_id, thread_id, id::text AS id FROM messages ORDER BY md5(id::text) LIMIT :n"
)


class State(NamedTuple):
    """What must be the same afterwards: the number of messages, their bytes, and the threads."""

    messages: int
    export: str
    threads: list[tuple[Any, ...]]


class RecoveryTimes(NamedTuple):
    """Seconds: until the empty servers answered, of the recovery itself, and from the loss until
    everything was back; and the final status."""

    servers: float
    recovery: float
    whole: float
    status: dict[str, Any]


def main() -> int:
    """Runs it; gives the exit status."""
    say = Console(stderr=True, highlight=False).print
    conversations = chitchat.read(files("chitchat_dataset").joinpath("dataset.json").read_bytes())
    say("starting a stack of its own")
    try:
        with ephemeral_stack() as env:
            services = _services(env)
            say("importing all conversations, and naming some of them")
            import_rest(services, conversations, 0)
            _name_some(services, env)
            before = _state(services)
            say("killing Redis and PostgreSQL and deleting their data")
            figures = _disaster(services, env)
            # The old connections lead to servers that are gone.
            services = _services(env)
            after = _state(services)
            sources = _sample(services, env)
    except StackFailed as error:
        say(str(error), markup=False)
        return 1
    same = before == after
    Console(highlight=False).print(_table(before, after, figures, sources))
    return 0 if same and figures.status["state"] == "complete" else 1


def _services(env: Mapping[str, str]) -> Services:
    own = settings.load(env)
    return Services(msgspec.structs.replace(own, database_job_timeout_seconds=SNAPSHOT_SECONDS))


def _disaster(services: Services, env: Mapping[str, str]) -> RecoveryTimes:
    admin = _Admin(env["API_URL"], Tokens(services.settings))
    started = time.monotonic()
    _lose(env, "postgres", "cluster")
    _lose(env, "redis-data", ".")
    _until(lambda: _answers(services))
    servers = time.monotonic() - started
    asked = admin.post(
        "/api/admin/initiate-disaster-recovery",
        {"recovery_tier": "clickhouse", "target_rto_seconds": TARGET_SECONDS},
    )
    status = _until(lambda: _finished(admin, asked["id"]))
    whole = time.monotonic() - started
    return RecoveryTimes(servers, status["elapsed_seconds"], whole, status)


def _lose(env: Mapping[str, str], name: str, part: str) -> None:
    """Kills a server and deletes its data before the supervisor starts it again."""
    pid = int(dict(pair.split(":") for pair in env["THREADKEEP_PIDS"].split(","))[name])
    folder = Path(os.readlink(f"/proc/{pid}/cwd"))
    # Workers of PostgreSQL hold its folder, too.
    for one in {pid, *procfs.session_members(pid)}:
        os.kill(one, signal.SIGKILL)
    shutil.rmtree(folder / part, ignore_errors=True)


def _answers(services: Services) -> bool:
    try:
        with services.tiers.job_engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        return bool(services.tiers.redis_client.ping())
    except (SQLAlchemyError, RedisError):
        return False


def _finished(admin: "_Admin", run: str) -> dict[str, Any]:
    status = admin.get("/api/admin/disaster-recovery-status")
    is_over = status.get("id") == run and status["state"] in {"complete", "failed"}
    return status if is_over else {}


def _name_some(services: Services, env: Mapping[str, str]) -> None:
    """Sets titles, which only PostgreSQL's own tables have, so that there are some to lose."""
    with services.tiers.job_engine.connect() as connection:
        rows = connection.execute(_THREADS).all()
    for row in rows[:: max(1, len(rows) // TITLED)]:
        services.threads.change(row.user_id, row.id, title=f"about {row.id}", metadata={"kept": 1})
    _until(lambda: not sum(services.tiers.pending_log.backlog()))
    _until(lambda: not _queued(services))


def _queued(services: Services) -> int:
    query = text(
        "SELECT (SELECT count(*) FROM clickhouse_outbox) + (SELECT count(*) FROM row_copies_outbox)"
    )
    with services.tiers.job_engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def _state(services: Services) -> State:
    digest, count = hashlib.sha256(), 0
    for message in services.jobs.exporter.everything():
        if not isinstance(message, Message):
            continue
        digest.update(codec.encode(message) + b"\n")
        count += 1
    with services.tiers.job_engine.connect() as connection:
        threads = [tuple(row) for row in connection.execute(_THREADS)]
    return State(count, digest.hexdigest(), threads)


def _sample(services: Services, env: Mapping[str, str]) -> dict[str, int]:
    """Reads messages over the API twice: from a slower tier, and then from Redis."""
    tokens = Tokens(services.settings)
    with services.tiers.job_engine.connect() as connection:
        rows = connection.execute(_SOME, {"n": SAMPLES}).all()
    sources: dict[str, int] = {}
    for row in rows:
        token = tokens.issue(row.user_id, is_admin=False, ttl_seconds=600)
        headers = {"Authorization": f"Bearer {token}"}
        for path in (f"/api/messages/{row.id}", f"/api/messages/{row.id}/receipt"):
            found = requests.get(env["API_URL"] + path, headers=headers, timeout=10).json()
            if "retrieval_source" in found:
                source = found["retrieval_source"]
                sources[source] = sources.get(source, 0) + 1
            for tier, receipt in found.get("tiers", {}).items():
                if receipt.get("present"):
                    sources[f"receipt {tier}"] = sources.get(f"receipt {tier}", 0) + 1
    return sources


class _Admin:
    def __init__(self, url: str, tokens: Tokens) -> None:
        token = tokens.issue("benchmark", is_admin=True, ttl_seconds=3600)
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = self._session.get(self._url + path, timeout=10).json()
        return found

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        reply = self._session.post(self._url + path, json=body, timeout=10)
        reply.raise_for_status()
        found: dict[str, Any] = reply.json()
        return found


def _until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            if found := condition():
                return found
        except (TierError, requests.RequestException, KeyError):
            pass
        time.sleep(0.1)
    raise StackFailed("it did not come back in time")


def _table(before: State, after: State, figures: RecoveryTimes, sources: dict[str, int]) -> Table:
    table = Table(title="Redis and PostgreSQL lost, and made again from ClickHouse")
    for heading in ("", "before", "after"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row("messages exported", f"{before.messages:,}", f"{after.messages:,}")
    table.add_row("threads", f"{len(before.threads):,}", f"{len(after.threads):,}")
    same = sum(one == other for one, other in zip(before.threads, after.threads, strict=False))
    table.add_row("threads that are the same row", "", f"{same:,}")
    table.add_row("export, SHA-256", before.export[:16], after.export[:16])
    table.add_section()
    table.add_row("empty servers answer after", "", f"{figures.servers:.1f} s")
    table.add_row("recovery", "", f"{figures.recovery:.1f} s")
    table.add_row("from the loss until all is back", "", f"{figures.whole:.1f} s")
    table.add_row(
        "within the target", f"{TARGET_SECONDS:g} s", str(figures.status["within_target"])
    )
    for name, count in sorted(sources.items()):
        table.add_row(f"samples answered: {name}", "", f"{count}")
    for name, count in sorted(figures.status["counts"].items()):
        table.add_row(name, "", f"{count:,}")
    return table


if __name__ == "__main__":
    sys.exit(main())
