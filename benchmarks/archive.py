"""Archiving all history: how fast, how much smaller, and whether readers see a difference.

`python -m benchmarks.archive` starts a stack of its own, imports 258,145 real messages, exports
them, archives all at once, exports them again, and reads threads over the API, first from
ClickHouse and then from Redis. Exit status 1 if the exports differ by a byte.
"""

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import ProxyHandler, Request, build_opener

import msgspec
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

import settings
from benchmarks.demo.carrying import import_rest
from benchmarks.stack import ephemeral_stack
from jobs.archive.run import ArchiveCounts, ArchiveRequest
from jobs.archive.tiering import rules_of
from jobs.transfer.formats import chitchat
from models import codec
from models.message import Message
from selftest.bed.launching import StackFailed
from webapp.http.auth import Tokens
from wiring.process import Services

THREADS = 200
SNAPSHOT_SECONDS = 300.0
_SIZES = text(
    "SELECT pg_database_size(current_database()) AS database, (SELECT coalesce("
    "sum(pg_total_relation_size(inhrelid)), 0)::bigint FROM pg_inherits"
    " WHERE inhparent = CAST('messages' AS regclass)) AS messages"
)
_CLICKHOUSE_SIZE = (
    "SELECT sum(bytes_on_disk) FROM system.parts"
    " WHERE active AND database = currentDatabase() AND table = 'messages'"
)
_LARGEST = text(
    "SELECT user_id, id FROM threads ORDER BY message_count DESC, user_id, id LIMIT :count"
)


class Sizes(NamedTuple):
    """Bytes on disk."""

    database: int
    messages: int


class Exported(NamedTuple):
    """An export of everything: its hash, the number of messages, and the seconds it took."""

    sha256: str
    messages: int
    seconds: float


class Reads(NamedTuple):
    """First pages of threads: milliseconds of each, and the tiers they came from."""

    milliseconds: list[float]
    sources: set[str]


def main() -> int:
    """Runs it; gives the exit status."""
    say = Console(stderr=True, highlight=False).print
    conversations = chitchat.read(files("chitchat_dataset").joinpath("dataset.json").read_bytes())
    say("starting a stack of its own")
    try:
        with ephemeral_stack() as env, tempfile.TemporaryDirectory() as folder:
            own = settings.load(env)
            services = Services(
                msgspec.structs.replace(own, database_job_timeout_seconds=SNAPSHOT_SECONDS)
            )
            say("importing")
            import_rest(services, conversations, 0)
            before, sizes = _export(services, Path(folder) / "before"), _sizes(services)
            say("archiving")
            done, seconds = _archive(services)
            after, smaller = _export(services, Path(folder) / "after"), _sizes(services)
            say("reading")
            cold, warm = _read(env, services)
            archive_bytes = _clickhouse_bytes(services)
    except StackFailed as error:
        say(str(error), markup=False)
        return 1
    is_same = before.sha256 == after.sha256
    table = Table(title="258,145 real messages out of PostgreSQL")
    table.add_column("")
    table.add_column("", justify="right")
    rate = done.messages / seconds
    rows = {
        "messages archived": f"{done.messages:,}",
        "weekly partitions, all dropped": f"{done.dropped:,} of {done.partitions:,}",
        "proven twice, detached and dropped in": f"{seconds:.2f} s",
        "messages a second": f"{rate:,.0f}",
        "shipped again, stopped": f"{done.reshipped:,}, {done.stopped:,}",
        "PostgreSQL before and after": f"{_mb(sizes.database)} → {_mb(smaller.database)}",
        "its messages with their indexes": f"{_mb(sizes.messages)} → {_mb(smaller.messages)}",
        "the same messages in ClickHouse": _mb(archive_bytes),
        "exported before and after in": f"{before.seconds:.1f} s, {after.seconds:.1f} s",
        "messages exported": f"{before.messages:,}, {after.messages:,}",
        "a thread's first page, from ClickHouse": _latencies(cold),
        "the same page again, from Redis": _latencies(warm),
        "exports": "the same to the byte" if is_same else "DIFFERENT",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    Console(highlight=False).print(table)
    return 0 if is_same and done.stopped == 0 else 1


def _archive(services: Services) -> tuple[ArchiveCounts, float]:
    request = ArchiveRequest(rules_of(services.settings), 0, "benchmark")
    started = time.perf_counter()
    *_, done = services.jobs.archive.archive_partitions(request)
    return done, time.perf_counter() - started


def _export(services: Services, file: Path) -> Exported:
    started, count, digest = time.perf_counter(), 0, hashlib.sha256()
    with file.open("wb") as stream:
        for message in services.jobs.exporter.everything():
            if not isinstance(message, Message):
                continue
            line = codec.encode(message) + b"\n"
            stream.write(line)
            digest.update(line)
            count += 1
    return Exported(digest.hexdigest(), count, time.perf_counter() - started)


def _sizes(services: Services) -> Sizes:
    with services.tiers.job_engine.connect() as connection:
        return Sizes(*connection.execute(_SIZES).one())


def _clickhouse_bytes(services: Services) -> int:
    with services.tiers.job_clickhouse.engine.connect() as connection:
        return int(connection.exec_driver_sql(_CLICKHOUSE_SIZE).scalar_one())


def _read(env: Mapping[str, str], services: Services) -> tuple[Reads, Reads]:
    """Reads the first pages of the largest threads twice: the first read warms Redis."""
    with services.tiers.job_engine.connect() as connection:
        threads = connection.execute(_LARGEST, {"count": THREADS}).all()
    tokens = Tokens(services.settings)
    opener = build_opener(ProxyHandler({}))
    rounds = []
    for _ in range(2):
        reads = Reads([], set())
        for user, thread in threads:
            token = tokens.issue(user, is_admin=False, ttl_seconds=600)
            url = f"{env['API_URL']}/api/threads/{thread}/messages?limit=50"
            request = Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
            started = time.perf_counter()
            with opener.open(request, timeout=30) as reply:
                page: dict[str, Any] = json.load(reply)
            reads.milliseconds.append((time.perf_counter() - started) * 1000)
            reads.sources.add(page["retrieval_source"])
        rounds.append(reads)
    return rounds[0], rounds[1]


def _latencies(reads: Reads) -> str:
    ordered = sorted(reads.milliseconds)
    p50, p95 = (ordered[len(ordered) * share // 100] for share in (50, 95))
    figures = f"p50 {p50:.1f} · p95 {p95:.1f} · max {ordered[-1]:.1f} ms"
    return f"{figures} ({', '.join(sorted(reads.sources))})"


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
