"""The list of a user's threads over HTTP: cold and warm, alternated.

`python -m benchmarks.threads` starts a stack of its own, gives a user 1,000 threads, of which 300
are archived, and another 10,000, and asks for first pages: with the pages in Redis deleted before
each, and again at once. Between them one message is posted and the list asked for once more.
Exit status 1 if a list is not the same cold and warm.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import requests
from rich.console import Console
from rich.table import Table

import settings
from benchmarks.stack import ephemeral_stack
from jobs.archive.run import ArchiveRequest
from jobs.archive.tiering import rules_of
from jobs.transfer.bulk_import import BulkImporter
from models import codec, ids
from models.message import Message
from selftest.bed.launching import StackFailed
from storage.redis import keys
from webapp.http.auth import Tokens
from wiring.process import Services

THREADS = {"threads-1000": 1_000, "threads-10000": 10_000}
MESSAGES = 5
ARCHIVED = 300
OLD_US = 1_577_664_000_000_000
"""2019-12-30: an archiver takes what is from there."""

ROUNDS = 40
TIMEOUT_SECONDS = 10
LOOK_SECONDS = 0.02


class ListTimings(NamedTuple):
    """Milliseconds of each call: cold, warm, right after a write, and the write itself."""

    cold: list[float]
    warm: list[float]
    written: list[float]
    posts: list[float]


def main() -> int:
    """Runs it; gives the exit status."""
    say = Console(stderr=True, highlight=False).print
    try:
        with ephemeral_stack() as env:
            services = Services(settings.load(env))
            say("writing")
            for user_id, threads in THREADS.items():
                made = _messages(user_id, threads)
                list(
                    BulkImporter(
                        services.tiers,
                    ).run(made)
                )
            services.jobs.replication.ship_all()
            say("archiving")
            request = ArchiveRequest(rules_of(services.settings), 0, "benchmark")
            *_, archived = services.jobs.archive.archive_partitions(request)
            say(f"{archived.messages:,} messages archived")
            say("reading")
            measured = {
                (user_id, limit, kind): _measure(env, services, user_id, limit, kind)
                for user_id in THREADS
                for limit, kind in ((50, "newest"), (50, "archived"), (1_000, "newest"))
            }
    except StackFailed as error:
        say(str(error), markup=False)
        return 1
    table = Table(title="A page of a user's threads over HTTP, p50 · p95 in ms")
    for name in ("threads", "page", "cold", "warm", "after a write", "the write"):
        table.add_column(name, justify="right")
    for (user_id, limit, kind), found in measured.items():
        figures = [_figures(part) for part in found]
        table.add_row(f"{THREADS[user_id]:,}", f"{limit:,} {kind}", *figures)
    Console(highlight=False).print(table)
    return 0


def _messages(user_id: str, threads: int) -> Iterator[Message]:
    """Threads with so many messages each: archived ones end in the past, the others now."""
    now_us = time.time_ns() // 1_000
    for number in range(threads):
        name = f"thread-{number:05}"
        start_us = OLD_US if number < ARCHIVED else now_us - 1_000_000_000
        for at in range(MESSAGES):
            time_us = start_us + number * 1_000 + at * 10_000_000
            moment = ids.timestamp(time_us)
            yield codec.seal(
                Message(
                    version=1,
                    id=ids.mint(time_us, ids.shard_of(user_id, name)),
                    thread_id=name,
                    user_id=user_id,
                    role="user",
                    content=f"message {at} of {name} " + "x" * 280,
                    metadata={},
                    created_at=moment,
                    updated_at=moment,
                )
            )


def _measure(
    env: Mapping[str, str], services: Services, user_id: str, limit: int, kind: str
) -> ListTimings:
    token = Tokens(services.settings).issue(user_id, is_admin=False, ttl_seconds=3_600)
    session = requests.Session()
    session.trust_env = False
    session.headers["Authorization"] = f"Bearer {token}"
    address = f"{env['API_URL']}/api/threads"
    query: dict[str, Any] = {"limit": limit}
    if kind == "archived":
        query["cursor"] = _cursor_before_archived(session, address)
    found = ListTimings([], [], [], [])
    for number in range(ROUNDS if limit <= 50 else ROUNDS // 4):
        services.tiers.redis_client.unlink(keys.thread_pages(user_id))
        cold = _timed(session, address, query, found.cold)
        warm = _timed(session, address, query, found.warm)
        if warm["retrieval_source"] != "redis" or warm["threads"] != cold["threads"]:
            raise StackFailed(f"the list is not the same cold and warm: {warm['threads'][:1]}")
        started = time.perf_counter()
        body = {"message": f"round {number}"}
        path = f"{address}/thread-{1 + number % 50 + ARCHIVED:05}/messages"
        session.post(path, json=body, timeout=TIMEOUT_SECONDS).raise_for_status()
        found.posts.append((time.perf_counter() - started) * 1_000)
        _timed(session, address, query, found.written)
        # The commit is a write too: it invalidates what was read before it.
        while services.tiers.redis_client.exists(keys.waiting_threads(user_id)):
            time.sleep(LOOK_SECONDS)
    return found


def _cursor_before_archived(session: requests.Session, address: str) -> str:
    """The cursor after which all threads are archived."""
    cursor = None
    while True:
        query: dict[str, Any] = {"limit": 50, "cursor": cursor}
        reply = session.get(address, params=query, timeout=TIMEOUT_SECONDS)
        page: dict[str, Any] = reply.json()
        if page["threads"][-1]["last_message_at"] < "2021":
            return str(page["next_cursor"])
        cursor = page["next_cursor"]


def _timed(
    session: requests.Session, address: str, query: Mapping[str, Any], times: list[float]
) -> dict[str, Any]:
    started = time.perf_counter()
    reply = session.get(address, params=query, timeout=TIMEOUT_SECONDS)
    times.append((time.perf_counter() - started) * 1_000)
    reply.raise_for_status()
    found: dict[str, Any] = reply.json()
    return found


def _figures(times: list[float]) -> str:
    ordered = sorted(times)
    p50, p95 = (ordered[len(ordered) * share // 100] for share in (50, 95))
    return f"{p50:.1f} · {p95:.1f}"


if __name__ == "__main__":
    sys.exit(main())
