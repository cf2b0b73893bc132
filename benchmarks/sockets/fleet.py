"""Many clients of many users, what they write, and what all of them receive."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.sockets.client import RETRY_SECONDS, SocketClient
from benchmarks.sockets.history import Anomaly, SentMessage, faults_of
from benchmarks.sockets.http import Http
from benchmarks.sockets.ledger import SocketLedger
from webapp.http.auth import Tokens

THREAD = "live"
SETTLE_SECONDS = 30.0
OPEN_AT_ONCE = 25
TEXT = "x" * 300
TOKEN_SECONDS = 7_200


class FleetOutcome(NamedTuple):
    """The result of a part of the run. `events` are frames of messages that clients received."""

    written: int
    unanswered: int
    sent_again: int
    events: int
    resets: int
    opened: int
    findings: list[Anomaly]
    refused: Counter[str]


class Fleet:
    """Users with some sockets each, on one event loop."""

    def __init__(
        self, env: Mapping[str, str], tokens: Tokens, users: int, sockets_each: int, name: str
    ) -> None:
        self.ledger = SocketLedger()
        self.http = Http(env["API_URL"])
        self._tokens = {
            user: tokens.issue(user, is_admin=False, ttl_seconds=TOKEN_SECONDS)
            for user in (f"{name}-{number}" for number in range(users))
        }
        self.users = list(self._tokens)
        self._each = sockets_each
        self.clients = [
            self._client(number, env["WS_URL"]) for number in range(users * sockets_each)
        ]
        self._running: list[asyncio.Task[None]] = []
        self._posting: set[asyncio.Task[None]] = set()
        self._number = 0

    async def open(self) -> None:
        """Connects all clients, some at once; returns when all are connected."""
        for at in range(0, len(self.clients), OPEN_AT_ONCE):
            batch = self.clients[at : at + OPEN_AT_ONCE]
            self._running += [asyncio.create_task(client.run()) for client in batch]
            await asyncio.gather(*(client.is_in.wait() for client in batch))

    async def close(self) -> None:
        """Disconnects all clients."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self.http.close()

    async def begin_anew(self) -> None:
        """Begins a new part: nothing was written or received so far. Everybody stays connected."""
        # An event still on its way would be received in one part and written in another.
        await self.settle()
        self.ledger.written.clear()
        self.ledger.again = 0
        self.ledger.http_latencies.clear()
        for client in self.clients:
            client.history.clear()
            client.refused.clear()
            client.opened = client.resets = 0

    async def write(self, per_second: float, seconds: float) -> None:
        """Writes at a steady rate, whatever the answers; every other round over HTTP."""
        started = time.perf_counter()
        for count in range(int(per_second * seconds)):
            late = started + count / per_second - time.perf_counter()
            if late > 0:
                await asyncio.sleep(late)
            self._write_one()
        while self._posting:
            await asyncio.gather(*self._posting)

    async def settle(self) -> FleetOutcome:
        """Waits until all clients have received everything, or too long; gives the result."""
        deadline = time.perf_counter() + SETTLE_SECONDS
        while True:
            outcome = self._outcome()
            is_done = not (outcome.unanswered or any(one.is_reading for one in self.clients))
            missed = any(one.fault == "missed" for one in outcome.findings)
            if (is_done and not missed) or time.perf_counter() > deadline:
                return outcome
            await asyncio.sleep(0.5)

    def latencies(self, start: float, end: float) -> tuple[list[float], list[float]]:
        """For every message sent within a time and every other client of its user: seconds until
        it was received, since the message was sent, and since it was acknowledged."""
        sent: list[float] = []
        acknowledged: list[float] = []
        wanted = {one.message_id: one for one in self.ledger.between(start, end)}
        for client in self.clients:
            for frame in client.history:
                one = wanted.get(frame.message_id)
                if one is not None and frame.type == "message_received":
                    sent.append(frame.at - one.sent_at)
                    acknowledged.append(frame.at - one.acknowledged_at)
        return sent, acknowledged

    def longest_silence(self, start: float, end: float) -> float:
        """The longest time in an interval without a new message at any client, in seconds."""
        moments = sorted(
            frame.at
            for client in self.clients
            for frame in client.history
            if frame.type == "message_received" and start <= frame.at < end
        )
        edges = [start, *moments, end]
        return max(after - before for before, after in itertools.pairwise(edges))

    def _client(self, number: int, address: str) -> SocketClient:
        user_id = self.users[number // self._each]
        token = self._tokens[user_id]
        return SocketClient(
            number, user_id, token, address, self.ledger, lambda: self.http.read(token, THREAD)
        )

    def _write_one(self) -> None:
        self._number += 1
        turn, place = divmod(self._number, len(self.users))
        user_id, ref = self.users[place], f"message-{self._number}"
        text = f"{ref} {TEXT}"
        if turn % 2:
            client = self.clients[place * self._each + turn // 2 % self._each]
            work = client.send(ref, THREAD, text)
        else:
            work = self._post(ref, user_id, text)
        task = asyncio.create_task(work)
        self._posting.add(task)
        task.add_done_callback(self._posting.discard)

    async def _post(self, ref: str, user_id: str, text: str) -> None:
        self.ledger.ask(ref, user_id, None)
        body = b'{"message":"' + text.encode() + b'"}'
        while True:
            try:
                answer, message_id = await self.http.post(self._tokens[user_id], THREAD, body, ref)
            except OSError:
                message_id = None
            if message_id is not None:
                self.ledger.http_latencies.append(answer.seconds)
                self.ledger.acknowledge(ref, message_id, time.perf_counter())
                return
            self.ledger.again += 1
            await asyncio.sleep(random.uniform(0, RETRY_SECONDS))

    def _outcome(self) -> FleetOutcome:
        ledger = self.ledger
        own: dict[str, list[SentMessage]] = {user_id: [] for user_id in self.users}
        for one in ledger.written.values():
            own[one.user_id].append(one)
        findings = [
            finding
            for client in self.clients
            for finding in faults_of(
                client.number, client.user_id, client.history, own[client.user_id], ledger.written
            )
        ]
        return FleetOutcome(
            len(ledger.written),
            len(ledger.waiting),
            ledger.again,
            sum(frame.message_id != "" for one in self.clients for frame in one.history),
            sum(client.resets for client in self.clients),
            sum(client.opened for client in self.clients),
            findings,
            Counter(code for client in self.clients for code in client.refused),
        )
