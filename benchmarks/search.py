"""Search and figures over HTTP, on real messages: archived ones, and recent ones.

`python -m benchmarks.search [MESSAGES]` starts a stack of its own, imports the 258,145 messages of
ChitChat (or so many) for one user at their original times and archives them all, gives another
user 50,000 of the texts within the last days, and a third some of the same. Then it asks, page by
page and figure by figure; right after edits, deletions and an erasure; and in drills without
PostgreSQL and without ClickHouse. Every first page is compared with what the texts themselves say.
Exit status 1 if a hit is missing, too much, or somebody else's.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import requests
from rich.console import Console
from rich.table import Table

import settings
from benchmarks.search_data import (
    ARCHIVED,
    FIRST_PAGE,
    OTHER,
    RECENT,
    RECENT_MESSAGES,
    first_page,
    old_messages,
    prepare,
    recent_messages,
)
from benchmarks.stack import ephemeral_stack
from models.message import Message
from selftest.bed.launching import StackFailed
from webapp.http.auth import Tokens
from wiring.process import Services

QUERIES = {
    "rare": ("giraffe", "accordion", "volcano"),
    "common": ("the", "i", "you"),
    "two words": ("favorite movie", "cold weather"),
    "phrase": ('"how are you"', '"have a great day"'),
    "beginning": ("photogra*", "gui*"),
    "nothing": ("xylophonist", "\u5317\u4eac", '"you the i"'),
}
WITHOUT = {
    "postgresql": "degraded_mode_postgresql_unavailable",
    "clickhouse": "incomplete_clickhouse_unavailable",
}
ROUNDS = 15
OUTAGE_ROUNDS = 5
OUTAGE_SECONDS = 120
NOTICED_SECONDS = 1.5
TIMEOUT_SECONDS = 30
FAR_AHEAD = "2200-01-01T00:00:00.{:06}Z"

Row = tuple[str, str]
"""What is asked, and of which messages."""


class SearchTimings(NamedTuple):
    """Milliseconds of each call, and the wrong answers."""

    times: list[float]
    foreign: int = 0
    different: int = 0


class Client:
    """One user of the API."""

    def __init__(self, services: Services, url: str, user_id: str, *, is_admin: bool) -> None:
        token = Tokens(services.settings).issue(user_id, is_admin=is_admin, ttl_seconds=3_600)
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._url = url
        self.user_id = user_id

    def call(self, method: str, path: str, **fields: Any) -> requests.Response:
        """One request. Raises for a refusal."""
        reply = self._session.request(
            method, f"{self._url}/api/{path}", timeout=TIMEOUT_SECONDS, **fields
        )
        reply.raise_for_status()
        return reply

    def timed(
        self, path: str, query: Mapping[str, Any], times: list[float], warning: str | None = None
    ) -> dict[str, Any]:
        """An answer, whose milliseconds are noted. Raises `StackFailed` for another warning."""
        started = time.perf_counter()
        reply = self.call("GET", path, params=query)
        times.append((time.perf_counter() - started) * 1_000)
        found: dict[str, Any] = reply.json()
        if found.get("warning") not in {None, warning}:
            raise StackFailed(f"an answer has a warning: {found['warning']}")
        return found

    def search(self, query: str, times: list[float], **fields: Any) -> dict[str, Any]:
        """A page of a search."""
        warning = fields.pop("warning", None)
        asked = {"q": query, "limit": FIRST_PAGE, **fields}
        return self.timed("search", asked, times, warning)


def main(arguments: Sequence[str]) -> int:
    """Runs it; gives the exit status."""
    say = Console(stderr=True, highlight=False).print
    say("reading the messages")
    old = old_messages(int(arguments[0]) if arguments else None)
    recent = recent_messages(old, RECENT, RECENT_MESSAGES)
    try:
        with ephemeral_stack(THREADKEEP_DRILLS="1") as env:
            services = Services(settings.load(env))
            say(f"importing and archiving {len(old):,}, and {len(recent):,} recent ones")
            prepare(services, old, recent)
            say("asking")
            rows = _rows(services, env["API_URL"], old, recent)
    except StackFailed as error:
        say(str(error), markup=False)
        return 1
    Console(highlight=False).print(_table(rows))
    return 1 if any(one.foreign or one.different for one in rows.values()) else 0


def _rows(
    services: Services, url: str, old: Sequence[Message], recent: Sequence[Message]
) -> dict[Row, SearchTimings]:
    archived, of_recent, other = (
        Client(services, url, name, is_admin=False) for name in (ARCHIVED, RECENT, OTHER)
    )
    admin = Client(services, url, "an-admin", is_admin=True)
    rows: dict[Row, SearchTimings] = {}
    truth = {
        ("archived", query): first_page(old, query) for kind in QUERIES.values() for query in kind
    } | {
        ("recent", query): first_page(recent, query) for kind in QUERIES.values() for query in kind
    }
    for client, where in ((archived, "archived"), (of_recent, "recent")):
        for kind in QUERIES:
            rows[kind, where] = _ask(client, where, kind, truth, ROUNDS)
    rows["second page", "archived"] = _second_pages(archived)
    for path in ("summary", "series?bucket=week", "series?metric=p95_bytes"):
        rows[path, "archived"] = _figures(archived, path)
    for tier, warning in WITHOUT.items():
        with _drill(admin, tier):
            for kind in QUERIES:
                row = kind, f"recent, without {tier}"
                rows[row] = _ask(of_recent, "recent", kind, truth, OUTAGE_ROUNDS, warning)
    rows["after an edit", "recent"], rows["after a deletion", "recent"] = _changes(
        of_recent, recent
    )
    rows["after an erasure", "recent"] = _erasure(admin, other)
    return rows


def _ask(
    client: Client,
    where: str,
    kind: str,
    truth: Mapping[tuple[str, str], list[str]],
    rounds: int,
    warning: str | None = None,
) -> SearchTimings:
    times: list[float] = []
    foreign = different = 0
    for query in QUERIES[kind]:
        expected = truth[where, query]
        for _ in range(rounds):
            page = client.search(query, times, warning=warning)
            names = [one["id"] for one in page["messages"]]
            foreign += sum(one["user_id"] != client.user_id for one in page["messages"])
            # A page that ran out of time is short, and has a next one.
            is_whole = page["next_cursor"] is None or len(names) == FIRST_PAGE
            different += names != expected[: FIRST_PAGE if is_whole else len(names)]
    return SearchTimings(times, foreign, different)


def _second_pages(client: Client) -> SearchTimings:
    """The later pages of queries for common words."""
    times: list[float] = []
    different = 0
    for query in QUERIES["common"]:
        cursor = client.search(query, [])["next_cursor"]
        for _ in range(ROUNDS):
            page = client.search(query, times, cursor=cursor)
            different += page["messages"][0]["id"] >= cursor
            cursor = page["next_cursor"]
    return SearchTimings(times, 0, different)


def _changes(client: Client, made: Sequence[Message]) -> tuple[SearchTimings, SearchTimings]:
    """Each edit gives a message a word of its own, which is searched for at once; and again after
    the message was deleted."""
    edits: list[float] = []
    deletions: list[float] = []
    missing = left = 0
    for number, one in enumerate(made[-ROUNDS:]):
        word = f"quokka{number}"
        client.call("PATCH", f"messages/{one.id}", json={"message": f"a {word}"})
        found = client.search(word, edits)["messages"]
        missing += [hit["id"] for hit in found] != [one.id]
        client.call("DELETE", f"messages/{one.id}")
        left += len(client.search(word, deletions)["messages"])
    return SearchTimings(edits, 0, missing), SearchTimings(deletions, 0, left)


def _erasure(admin: Client, client: Client) -> SearchTimings:
    times: list[float] = []
    assert client.search("the", [])["messages"]
    admin.call("DELETE", f"admin/users/{client.user_id}")
    found = sum(len(client.search("the", times)["messages"]) for _ in range(ROUNDS))
    return SearchTimings(times, 0, found)


@contextmanager
def _drill(admin: Client, tier: str) -> Iterator[None]:
    """A tier is silent for the block, which begins when all processes know it."""

    def begin(scenario: str) -> None:
        body = {"scenario": scenario, "duration_seconds": OUTAGE_SECONDS}
        admin.call("POST", "admin/simulate-disaster", json=body)
        time.sleep(NOTICED_SECONDS)

    begin(f"{tier}_unavailable")
    try:
        yield
    finally:
        begin("none")
        while admin.call("GET", "search", params={"q": "anything"}).json().get("warning"):
            time.sleep(NOTICED_SECONDS)


def _figures(client: Client, path: str) -> SearchTimings:
    """A different range each time, so that nothing is cached."""
    times: list[float] = []
    for number in range(ROUNDS):
        since = f"2018-{1 + number % 3:02}-{1 + number // 3:02}T00:00:00Z"
        until = "2019-01-01T00:00:00Z" if "?" in path else FAR_AHEAD.format(number)
        client.timed(f"analytics/{path}", {"since": since, "until": until}, times)
    return SearchTimings(times)


def _table(rows: Mapping[Row, SearchTimings]) -> Table:
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
