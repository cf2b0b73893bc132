"""Search and figures over HTTP, on real messages: archived ones, and recent ones.

`python -m benchmarks.search [MESSAGES]` starts a stack of its own, imports the 258,145 messages of
ChitChat (or so many) for one user at their original times and archives them all, gives another
user 50,000 of the texts within the last days, and a third some of the same. Then it asks, page by
page and figure by figure. Every first page is compared with what the texts themselves say. Exit
status 1 if a hit is missing, too much, or somebody else's.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import islice
from typing import Any, NamedTuple

import msgspec
import requests
from rich.console import Console
from rich.table import Table

import settings
from benchmarks.stack import ephemeral_stack
from jobs.archive.run import ArchiveRequest
from jobs.archive.tiering import rules_of
from jobs.transfer.bulk_import import BulkImporter
from jobs.transfer.formats import chitchat
from jobs.transfer.formats.settling import Settlement
from models import codec, ids
from models.message import Message
from models.search import parse
from selftest.bed.launching import StackFailed
from webapp.http.auth import Tokens
from wiring.process import Services

ARCHIVED, RECENT, OTHER = "reads-the-archive", "reads-the-recent", "somebody-else"
RECENT_MESSAGES = 50_000
OTHERS_MESSAGES = 5_000
RECENT_DAYS = 6
QUERIES = {
    "rare": ("giraffe", "accordion", "volcano"),
    "common": ("the", "i", "you"),
    "two words": ("favorite movie", "cold weather"),
    "phrase": ('"how are you"', '"have a great day"'),
    "beginning": ("photogra*", "gui*"),
    "nothing": ("xylophonist", "\u5317\u4eac", '"you the i"'),
}
ROUNDS = 15
LIMIT = 50
TIMEOUT_SECONDS = 30
FAR_AHEAD = "2200-01-01T00:00:00.{:06}Z"


class SearchTimings(NamedTuple):
    """Milliseconds of each call, and the wrong answers."""

    times: list[float]
    foreign: int = 0
    different: int = 0


def main(arguments: Sequence[str]) -> int:
    """Runs it; gives the exit status."""
    say = Console(stderr=True, highlight=False).print
    wanted = int(arguments[0]) if arguments else None
    say("reading the messages")
    old = list(islice(_old(), wanted))
    recent = _recent(old, RECENT, RECENT_MESSAGES)
    try:
        with ephemeral_stack() as env:
            services = Services(settings.load(env))
            say(f"importing and archiving {len(old):,}, and {len(recent):,} recent ones")
            _prepare(services, old, recent)
            say("asking")
            rows = {
                (kind, where): _ask_all(env, services, user_id, made, kind)
                for where, user_id, made in (
                    ("archived", ARCHIVED, old),
                    ("recent", RECENT, recent),
                )
                for kind in QUERIES
            }
            rows[("second page", "archived")] = _second_pages(env, services)
            for path in ("summary", "series?bucket=week", "series?metric=p95_bytes"):
                rows[(path, "archived")] = _figures(env, services, path)
    except StackFailed as error:
        say(str(error), markup=False)
        return 1
    Console(highlight=False).print(_table(rows))
    return 1 if any(one.foreign or one.different for one in rows.values()) else 0


def _old() -> list[Message]:
    conversations = chitchat.read(files("chitchat_dataset").joinpath("dataset.json").read_bytes())
    settlement = Settlement([])
    settled = map(settlement.settle, chitchat.source(conversations, ARCHIVED))
    return [one for one in settled if isinstance(one, Message)]


def _recent(old: Sequence[Message], user_id: str, count: int) -> list[Message]:
    """The texts of some messages, as if they had been written within the last days."""
    chosen = old[:count]
    width_us = RECENT_DAYS * 86_400_000_000
    start_us = time.time_ns() // 1_000 - width_us
    made = []
    for number, one in enumerate(chosen):
        time_us = start_us + number * width_us // len(chosen)
        moment = ids.timestamp(time_us)
        own: dict[str, Any] = {
            "id": ids.mint(time_us, ids.shard_of(user_id, one.thread_id)),
            "user_id": user_id,
            "created_at": moment,
            "updated_at": moment,
        }
        made.append(codec.seal(msgspec.structs.replace(one, **own)))
    return made


def _prepare(services: Services, old: Sequence[Message], recent: Sequence[Message]) -> None:
    def load(made: Sequence[Message]) -> None:
        importer = BulkImporter(services.tiers)
        list(importer.run(made))
        services.jobs.replication.ship_all()

    load(old)
    request = ArchiveRequest(rules_of(services.settings), 0, "benchmark")
    *_, done = services.jobs.archive.archive_partitions(request)
    if done.messages != len(old):
        raise StackFailed(f"{done.messages:,} of {len(old):,} messages were archived")
    load(recent)
    load(_recent(old, OTHER, OTHERS_MESSAGES))


def _session(services: Services, user_id: str) -> requests.Session:
    token = Tokens(services.settings).issue(user_id, is_admin=True, ttl_seconds=3_600)
    session = requests.Session()
    session.trust_env = False
    session.headers["Authorization"] = f"Bearer {token}"
    return session


def _ask_all(
    env: Mapping[str, str],
    services: Services,
    user_id: str,
    made: Sequence[Message],
    kind: str,
) -> SearchTimings:
    session = _session(services, user_id)
    address = f"{env['API_URL']}/api/search"
    times: list[float] = []
    foreign = different = 0
    for query in QUERIES[kind]:
        truth = _truth(made, query)
        for _ in range(ROUNDS):
            page = _timed(session, address, {"q": query, "limit": LIMIT}, times)
            names = [one["id"] for one in page["messages"]]
            foreign += sum(one["user_id"] != user_id for one in page["messages"])
            # A page that ran out of time is short, and has a next one.
            is_whole = page["next_cursor"] is None or len(names) == LIMIT
            different += names != truth[: LIMIT if is_whole else len(names)]
    return SearchTimings(times, foreign, different)


def _truth(made: Sequence[Message], query: str) -> list[str]:
    """The expected first page, from the texts themselves. Slow, so only for few queries."""
    wanted = parse(query)
    words = [word.text for phrase in wanted.phrases for word in phrase.words]
    return sorted(
        (
            one.id
            for one in made
            if not one.content.isascii() or all(word in one.content.lower() for word in words)
            if wanted.matches(one.content)
        ),
        reverse=True,
    )


def _second_pages(env: Mapping[str, str], services: Services) -> SearchTimings:
    """The later pages of queries for common words."""
    session = _session(services, ARCHIVED)
    address = f"{env['API_URL']}/api/search"
    times: list[float] = []
    different = 0
    for query in QUERIES["common"]:
        cursor = _timed(session, address, {"q": query, "limit": LIMIT}, [])["next_cursor"]
        for _ in range(ROUNDS):
            asked = {"q": query, "limit": LIMIT, "cursor": cursor}
            page = _timed(session, address, asked, times)
            different += page["messages"][0]["id"] >= cursor
            cursor = page["next_cursor"]
    return SearchTimings(times, 0, different)


def _figures(env: Mapping[str, str], services: Services, path: str) -> SearchTimings:
    """A different range each time, so that nothing is cached."""
    session = _session(services, ARCHIVED)
    session.headers["Authorization"] = "Bearer " + Tokens(services.settings).issue(
        ARCHIVED, is_admin=False, ttl_seconds=3_600
    )
    address = f"{env['API_URL']}/api/analytics/{path}"
    times: list[float] = []
    for number in range(ROUNDS):
        since = f"2018-{1 + number % 3:02}-{1 + number // 3:02}T00:00:00Z"
        until = "2019-01-01T00:00:00Z" if "?" in path else FAR_AHEAD.format(number)
        _timed(session, address, {"since": since, "until": until}, times)
    return SearchTimings(times)


def _timed(
    session: requests.Session, address: str, query: Mapping[str, Any], times: list[float]
) -> dict[str, Any]:
    started = time.perf_counter()
    reply = session.get(address, params=query, timeout=TIMEOUT_SECONDS)
    times.append((time.perf_counter() - started) * 1_000)
    reply.raise_for_status()
    found: dict[str, Any] = reply.json()
    if "warning" in found:
        raise StackFailed(f"an answer has a warning: {found['warning']}")
    return found


def _table(rows: Mapping[tuple[str, str], SearchTimings]) -> Table:
    table = Table(title="Search and figures over HTTP, ms")
    for name in ("", "messages", "p50", "p95", "max", "foreign hits", "different pages"):
        table.add_column(name, justify="left" if not name else "right")
    for (kind, where), asked in rows.items():
        ordered = sorted(asked.times)
        figures = (ordered[len(ordered) * share // 100] for share in (50, 95))
        shown = [f"{value:.1f}" for value in (*figures, ordered[-1])]
        table.add_row(kind, where, *shown, f"{asked.foreign}", f"{asked.different}")
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
