"""Fifty writers of one run's state, each replacing the version it saw, and concurrent readers.

`python -m benchmarks.run_state [--seconds 5]` starts a stack of its own. Exit status 1 if a version
that was acknowledged was overwritten by a writer that had not seen it.
"""

import argparse
import heapq
import itertools
import selectors
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
from rich.console import Console
from rich.table import Table

import settings
from benchmarks import load
from benchmarks.stack import ephemeral_stack
from selftest.bed.launching import StackFailed
from webapp.http.auth import Tokens

WRITERS = 50
READERS = 2
PAUSES_SECONDS = (0.0, 0.5, 2.0)
"""The pause of a writer between two versions."""
READ_SECONDS = 0.005
"""The pause of a reader between two reads."""
FILLING = "x" * 1_000


class CallResult(NamedTuple):
    """The seconds that a call took, and its status."""

    seconds: float
    status: bytes
    body: bytes


class SavedState(msgspec.Struct):
    """The members of an acknowledgement that are needed."""

    version: int
    state: dict[str, Any]


class Actor:
    """A client that sends its next call after the last answer and a pause."""

    def __init__(self, url: str, pause_seconds: float, call: bytes = b"") -> None:
        parts = urlsplit(url)
        self.client = load.LoadClient(
            (parts.hostname or "127.0.0.1", parts.port or 80), self._calls()
        )
        self.pause_seconds = pause_seconds
        self.answers: list[CallResult] = []
        self._call = call

    def _calls(self) -> Iterator[bytes]:
        while True:
            yield self._call

    def pause(self) -> float:
        """The seconds of the next pause."""
        return self.pause_seconds


class StateWriter(Actor):
    """Reads and saves the next version; retries at once after a conflict, else pauses."""

    def __init__(self, url: str, path: str, token: str, number: int, pause_seconds: float) -> None:
        super().__init__(url, pause_seconds)
        self._where = (url, path, token)
        self._number = number
        self._saves = False

    def _calls(self) -> Iterator[bytes]:
        for count in itertools.count():
            self._saves = False
            yield load.call("GET", *self._where)
            read = self.answers[-1]
            version = msgspec.json.decode(read.body)["version"] if read.status == b"200" else 0
            mark = f"{self._number}-{count}"
            state = {"by": mark, "expected_version": version, "filling": FILLING}
            self._saves = True
            body = msgspec.json.encode({"state": state, "version": version})
            yield load.call("PUT", *self._where, body)

    def pause(self) -> float:
        return self.pause_seconds if self._saves and self.answers[-1].status == b"200" else 0.0


def main() -> int:
    """Measures, prints, and judges; gives the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5.0)
    seconds = parser.parse_args().seconds
    try:
        with ephemeral_stack() as env:
            own = settings.load(env)
            token = Tokens(own).issue("bench", is_admin=False, ttl_seconds=3600)
            table = Table(title="One run's state, and a session")
            for heading in ("", "calls", "a second", "p50", "p95", "p99"):
                table.add_column(heading, justify="right" if heading else "left")
            url = env["API_URL"]
            rounds = [_contend(url, token, seconds, pause, table) for pause in PAUSES_SECONDS]
            _sessions(url, token, seconds, table)
    except StackFailed as error:
        Console(stderr=True).print(str(error), markup=False)
        return 1
    Console(highlight=False, width=100).print(table)
    return 0 if all(rounds) else 1


def _contend(url: str, token: str, seconds: float, pause: float, table: Table) -> bool:
    path = f"/api/runs/bench-{pause}/state"
    writers = [StateWriter(url, path, token, number, pause) for number in range(WRITERS)]
    get = load.call("GET", url, path, token)
    readers = [Actor(url, READ_SECONDS, get) for _ in range(READERS)]
    run([*writers, *readers], seconds)
    written = [one for writer in writers for one in writer.answers]
    puts = [one for one in written if b'"tiers"' in one.body]
    conflicts = sum(one.status == b"409" for one in written)
    name = f"{WRITERS} writers, {f'{pause:g} s between' if pause else 'no pause'}"
    _row(table, f"{name}: saved", puts, seconds)
    table.add_row("  conflicts", f"{conflicts:,}", f"{conflicts / seconds:,.0f}")
    reads = [one for reader in readers for one in reader.answers if one.status == b"200"]
    _row(table, "  reads meanwhile", reads, seconds)
    saved = [msgspec.json.decode(one.body, type=SavedState) for one in puts]
    final = msgspec.json.decode(_once(url, get).body, type=SavedState)
    overwritten = _overwritten(sorted(saved, key=lambda one: one.version), final)
    table.add_row("  overwritten unseen", f"{overwritten:,}")
    return overwritten == 0


def _overwritten(saved: Sequence[SavedState], final: SavedState) -> int:
    """How many acknowledged versions another writer replaced without having seen them.

    Each must replace the one before it, or a later one whose answer was lost.
    """
    pairs = itertools.pairwise(saved)
    wrong = sum(
        not one.version <= two.state["expected_version"] < two.version for one, two in pairs
    )
    return wrong + (final.version < saved[-1].version)


def _sessions(url: str, token: str, seconds: float, table: Table) -> None:
    path = "/api/session"
    _once(url, load.call("PUT", url, path, token, b'{"state":{"theme":"dark"}}'))
    patch = b'{"state":{"seen":1}}'
    calls = {
        "session: read": load.call("GET", url, path, token),
        "session: merged": load.call("PATCH", url, path, token, patch),
        "a message: posted": load.post(
            url, "/api/threads/t/messages", token, b'{"message":"hello"}'
        ),
    }
    for name, call in calls.items():
        for clients in (1, 16):
            actors = [Actor(url, 0.0, call) for _ in range(clients)]
            run(actors, seconds / 2)
            answers = [answer for actor in actors for answer in actor.answers]
            _row(table, f"{name}, {clients} at once", answers, seconds / 2)


def run(actors: Sequence[Actor], seconds: float) -> None:
    """Runs all clients for so many seconds; each keeps its answers."""
    started = time.perf_counter()
    # Started at different moments, as they would stay in step otherwise.
    due = [(started + at * one.pause_seconds / len(actors), at) for at, one in enumerate(actors)]
    heapq.heapify(due)
    waiting = 0
    with selectors.DefaultSelector() as selector:
        for at, actor in enumerate(actors):
            selector.register(actor.client.socket, selectors.EVENT_READ, at)
        while due or waiting:
            now = time.perf_counter()
            while due and due[0][0] <= now:
                _, at = heapq.heappop(due)
                if now - started < seconds:
                    actors[at].client.send()
                    waiting += 1
            timeout = max(0.0, due[0][0] - now) if due else 10.0
            for key, _ in selector.select(timeout):
                actor = actors[key.data]
                status = actor.client.receive()
                if status is None:
                    continue
                now = time.perf_counter()
                waiting -= 1
                actor.answers.append(
                    CallResult(now - actor.client.sent_at, status, actor.client.body)
                )
                heapq.heappush(due, (now + actor.pause(), key.data))
    for actor in actors:
        actor.client.socket.close()


def _once(url: str, call: bytes) -> CallResult:
    actor = Actor(url, 1.0, call)
    run([actor], 0.5)
    return actor.answers[0]


def _row(table: Table, name: str, answers: list[CallResult], seconds: float) -> None:
    sample = load.LoadSample([answer.seconds for answer in answers], 0, seconds)
    shares = (f"{sample.percentile(share):.1f} ms" for share in (0.5, 0.95, 0.99))
    table.add_row(name, f"{len(answers):,}", f"{sample.per_second:,.0f}", *shares)


if __name__ == "__main__":
    sys.exit(main())
