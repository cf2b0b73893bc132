"""The account of a ledger: what must be stored of each message, what may be, and what must not.

An attempt without a 200 may have happened or not, and a retry may find that it did. So each
message has its acknowledged states and its possible ones.
"""

import hashlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from selftest.record.ledger import Answered, AttemptedRequest, Entry

OK = 200
NOT_FOUND = 404
UNAVAILABLE = 503


def hash_of(content: str) -> str:
    """Return the SHA-256, in hex, of a message's content alone."""
    return hashlib.sha256(content.encode()).hexdigest()


@dataclass
class MessageHistory:
    """One created message and its operations.

    `ids` are those its creation was acknowledged with, which should be one. `version` is the
    newest acknowledged one and `acknowledged` the content hash of each. `open_edits` are the
    content hashes of edits without an answer, which may have happened or may happen yet.
    """

    key: str
    op: int
    writer: int
    user_id: str
    thread_id: str
    content_hash: str
    ids: list[str] = field(default_factory=list)
    version: int = 0
    acknowledged: dict[int, str] = field(default_factory=dict)
    open_edits: set[str] = field(default_factory=set)
    delete_asked: bool = False
    deleted: bool = False

    @property
    def id(self) -> str:
        """The acknowledged id, empty while there is none."""
        return self.ids[0] if self.ids else ""

    @property
    def must_be_seen(self) -> bool:
        """Whether it was acknowledged and no delete has begun."""
        return bool(self.ids) and not self.delete_asked

    def fits(self, version: int, content_hash: str) -> bool:
        """Tell whether a version with this content may be the newest there is."""
        if version in self.acknowledged:
            return self.acknowledged[version] == content_hash and version >= self.version
        return version > self.version and content_hash in self.open_edits


@dataclass(frozen=True)
class WrongAnswer:
    """A wrong answer: neither 200 nor 503, nor a 404 for a deleted message."""

    asked: AttemptedRequest
    answered: Answered


class Account:
    """The histories of a ledger, kept while it is written or made from a file. Safe for threads."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._lock = threading.Lock()
        self._by_key: dict[str, MessageHistory] = {}
        self._by_thread: dict[tuple[str, str], list[MessageHistory]] = {}
        self._open: dict[tuple[int, int], tuple[AttemptedRequest, bool]] = {}
        self.refusals: list[WrongAnswer] = []
        self.answers: list[Answered] = []
        for entry in entries:
            self.note(entry)

    def note(self, entry: Entry) -> None:
        """Add an entry, in the order of the ledger."""
        with self._lock:
            if isinstance(entry, AttemptedRequest):
                self._ask(entry)
            else:
                self.answers.append(entry)
                self._answer(*self._open.pop((entry.op, entry.attempt)), entry)

    def histories(self) -> list[MessageHistory]:
        """Return every requested message, in the order of requests."""
        with self._lock:
            return list(self._by_key.values())

    def history(self, key: str) -> MessageHistory:
        """Return one message's history. Raises `KeyError` for a key nobody used."""
        with self._lock:
            return self._by_key[key]

    def of_thread(self, user_id: str, thread_id: str) -> list[MessageHistory]:
        """Return the messages of one thread, in the order of requests."""
        with self._lock:
            return list(self._by_thread.get((user_id, thread_id), ()))

    def threads(self) -> list[tuple[str, str]]:
        """Return every (user id, thread id) that was ever written to."""
        with self._lock:
            return list(self._by_thread)

    def taken_by(self, message_id: str) -> list[str]:
        """Return the tiers that acknowledged an operation of a message, in order."""
        with self._lock:
            return [each.tier_used for each in self.answers if each.id == message_id]

    def snapshot(self, user_id: str, thread_id: str) -> dict[str, tuple[int, bool, bool]]:
        """Return id -> (version, must be seen, is deleted) of what is acknowledged now."""
        with self._lock:
            return {
                history.id: (history.version, history.must_be_seen, history.deleted)
                for history in self._by_thread.get((user_id, thread_id), ())
                if history.ids
            }

    def _ask(self, asked: AttemptedRequest) -> None:
        history = self._by_key.get(asked.key) or self._create(asked)
        self._open[asked.op, asked.attempt] = (asked, history.delete_asked)
        if asked.verb == "edit":
            history.open_edits.add(asked.content_hash)
        elif asked.verb == "delete":
            history.delete_asked = True

    def _create(self, asked: AttemptedRequest) -> MessageHistory:
        history = MessageHistory(
            key=asked.key,
            op=asked.op,
            writer=asked.writer,
            user_id=asked.user_id,
            thread_id=asked.thread_id,
            content_hash=asked.content_hash,
        )
        self._by_key[asked.key] = history
        self._by_thread.setdefault((asked.user_id, asked.thread_id), []).append(history)
        return history

    def _answer(self, asked: AttemptedRequest, delete_was_asked: bool, answered: Answered) -> None:
        if answered.status == OK:
            self._acknowledge(self._by_key[asked.key], asked, answered)
        elif answered.status == NOT_FOUND and delete_was_asked:
            # A delete without an answer has happened after all.
            pass
        elif answered.outcome == "answered" and answered.status != UNAVAILABLE:
            self.refusals.append(WrongAnswer(asked, answered))

    def _acknowledge(
        self, history: MessageHistory, asked: AttemptedRequest, answered: Answered
    ) -> None:
        if asked.verb == "delete":
            history.deleted = True
        elif asked.verb == "edit":
            history.open_edits.discard(asked.content_hash)
            history.acknowledged[answered.version] = asked.content_hash
        else:
            if answered.id not in history.ids:
                history.ids.append(answered.id)
            history.acknowledged.setdefault(answered.version, asked.content_hash)
        history.version = max(history.version, answered.version)
