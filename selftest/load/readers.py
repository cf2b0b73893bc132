"""Readers: list threads and get messages while they change, and compare each answer with the
account as it was before the request.

An answer with a `warning` may be incomplete; only answers without one are judged.
"""

import random
from typing import Any, NamedTuple

import msgspec

from models import ids
from models.message import Message
from selftest.load.samples import sample_of
from selftest.load.traffic import Load, Traffic
from selftest.record.account import NOT_FOUND, OK, UNAVAILABLE
from selftest.record.client import Answer
from selftest.record.findings import Invariant

PAGE_LIMITS = (10, 50, 200)
SHARE_OF_CURSORS = 0.3
SHARE_OF_ASCENDING = 0.2

Snapshot = dict[str, tuple[int, bool, bool]]


class ReadPage(msgspec.Struct):
    """The members of a list that a reader needs."""

    messages: list[Message]
    next_cursor: str | None
    retrieval_source: str
    warning: str = ""


class ReadMessage(msgspec.Struct):
    """The members of a message that a reader needs."""

    id: str
    version: int
    content: str
    retrieval_source: str
    warning: str = ""


class View(NamedTuple):
    """A request for part of a thread. `cursor` is an id or empty."""

    user: int
    user_id: str
    thread_id: str
    order: str
    cursor: str
    limit: int

    @property
    def path(self) -> str:
        """Its path and query."""
        cursor = f"&cursor={self.cursor}" if self.cursor else ""
        order = f"&order={self.order}"
        return f"/api/threads/{self.thread_id}/messages?limit={self.limit}{order}{cursor}"

    def covers(self, page: ReadPage, message_id: str) -> bool:
        """Tell whether a page would show this id, if the message exists."""
        if page.next_cursor is not None and not page.messages:
            return False
        last = page.messages[-1].id if page.next_cursor is not None else ""
        if self.order == "asc":
            return self.cursor < message_id <= (last or ids.HIGHEST)
        return last <= message_id < (self.cursor or ids.HIGHEST)


_pages = msgspec.json.Decoder(ReadPage)
_founds = msgspec.json.Decoder(ReadMessage)


class Reader:
    """One client that only reads."""

    def __init__(self, traffic: Traffic, load: Load, number: int, seed: int) -> None:
        self._traffic = traffic
        self._load = load
        self._number = number
        self._random = random.Random(f"{seed}:reader:{number}")
        self._clients = [traffic.connect(traffic.user(user)) for user in range(load.users)]
        self._versions: dict[str, int] = {}
        self.pages = 0
        self.gets = 0
        self.warned = 0

    def run(self) -> None:
        """Read until the run is over."""
        try:
            while not self._traffic.ended:
                if self._random.random() < 0.5:
                    self.read_page()
                else:
                    self.read_message()
                self._traffic.pause(self._random.random() * self._load.pause_seconds)
        finally:
            self.close()

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            client.close()

    def read_page(self) -> None:
        """List some part of some thread, the newest messages more often than others."""
        user, thread_id = self._somewhere()
        user_id = self._traffic.user(user)
        before = self._traffic.account.snapshot(user_id, thread_id)
        cursor = ""
        if before and self._random.random() < SHARE_OF_CURSORS:
            cursor = self._random.choice(list(before))
        order = "asc" if self._random.random() < SHARE_OF_ASCENDING else "desc"
        view = View(user, user_id, thread_id, order, cursor, self._random.choice(PAGE_LIMITS))
        answer = self._get(user, view.path)
        if answer.status == NOT_FOUND and any(must for _, must, _ in before.values()):
            self._wrong("a thread with acknowledged messages does not exist", path=view.path)
        elif answer.status == OK:
            self.pages += 1
            page = _pages.decode(answer.body)
            if page.warning:
                self.warned += 1
            else:
                self._judge_page(view, before, page)
        elif answer.outcome == "answered" and answer.status not in {NOT_FOUND, UNAVAILABLE}:
            self._unexpected(view.path, answer.status, answer.body)

    def read_message(self) -> None:
        """Get some acknowledged message."""
        user, thread_id = self._somewhere()
        user_id = self._traffic.user(user)
        before = self._traffic.account.snapshot(user_id, thread_id)
        if not before:
            return
        message_id = self._random.choice(list(before))
        version, must_be_seen, deleted = before[message_id]
        path = f"/api/messages/{message_id}"
        answer = self._get(user, path)
        evidence = {"id": message_id, "user": user_id, "thread": thread_id}
        if answer.status == NOT_FOUND:
            if must_be_seen and self._still_must_be_seen(user_id, thread_id, message_id):
                self._wrong("an acknowledged message is not found by its id", **evidence)
        elif answer.status == OK:
            self.gets += 1
            found = _founds.decode(answer.body)
            if found.warning:
                self.warned += 1
                return
            evidence["source"] = found.retrieval_source
            if deleted:
                self._back("a message acknowledged as deleted is found by its id", **evidence)
            self._judge_version(message_id, version, found.version, evidence)
        elif answer.outcome == "answered" and answer.status != UNAVAILABLE:
            self._unexpected(path, answer.status, answer.body)

    def _get(self, user: int, path: str) -> Answer:
        answer = self._clients[user].call("GET", path)
        self._traffic.samples.append(sample_of(answer, "read"))
        return answer

    def _judge_page(self, view: View, before: Snapshot, page: ReadPage) -> None:
        shown = {message.id: message for message in page.messages}
        evidence = {
            "user": view.user_id,
            "path": view.path,
            "source": page.retrieval_source,
            "shown": len(shown),
            "next_cursor": page.next_cursor,
        }
        missing = [
            message_id
            for message_id, (_, must_be_seen, _) in before.items()
            if must_be_seen and message_id not in shown and view.covers(page, message_id)
        ]
        for message_id in missing:
            # A concurrent delete may have come first.
            if self._still_must_be_seen(view.user_id, view.thread_id, message_id):
                self._wrong("a page without a warning misses a message", id=message_id, **evidence)
        if len(shown) != len(page.messages):
            self._traffic.findings.add(Invariant.NO_DOUBLE, "a page shows an id twice", **evidence)
        if list(shown) != sorted(shown, reverse=view.order == "desc"):
            self._traffic.findings.add(Invariant.ORDER, "a page is out of order", **evidence)
        for message_id, message in shown.items():
            version, _, deleted = before.get(message_id, (0, False, False))
            if deleted:
                self._back("a page shows a deleted message", id=message_id, **evidence)
            self._judge_version(message_id, version, message.version, evidence)

    def _judge_version(
        self, message_id: str, acknowledged: int, shown: int, evidence: dict[str, Any]
    ) -> None:
        evidence = {**evidence, "id": message_id, "shown_version": shown}
        if shown < acknowledged:
            self._wrong("an older version than acknowledged", acknowledged=acknowledged, **evidence)
        seen = self._versions.get(message_id, 0)
        if shown < seen:
            self._back("one reader saw a version go backwards", seen_before=seen, **evidence)
        self._versions[message_id] = max(seen, shown)

    def _still_must_be_seen(self, user_id: str, thread_id: str, message_id: str) -> bool:
        now = self._traffic.account.snapshot(user_id, thread_id)
        return now[message_id][1]

    def _somewhere(self) -> tuple[int, str]:
        user = self._random.randrange(self._load.users)
        return user, f"thread-{self._random.randrange(self._load.threads)}"

    def _wrong(self, what: str, **evidence: Any) -> None:
        taken_by = self._traffic.account.taken_by(evidence.get("id", ""))
        self._traffic.findings.add(
            Invariant.READ_YOUR_WRITES, what, reader=self._number, taken_by=taken_by, **evidence
        )

    def _back(self, what: str, **evidence: Any) -> None:
        self._traffic.findings.add(Invariant.NO_RESURRECTION, what, reader=self._number, **evidence)

    def _unexpected(self, path: str, status: int, body: bytes) -> None:
        text = body[:300].decode(errors="replace")
        self._traffic.findings.add(
            Invariant.IN_TIME, f"a read was answered with {status}", path=path, body=text
        )
