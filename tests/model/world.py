"""The plain model of a store: what each user was promised, in dictionaries."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from models.streams import STREAM_MARK


@dataclass
class Said:
    """A message as it must be. `record` is what was acknowledged last, None for one that was
    imported and not seen yet; `text` is what an open stream has so far. `first` are its role,
    content and metadata before any edit."""

    label: str
    role: str
    content: str
    metadata: dict[str, Any]
    created_at: str = ""
    record: dict[str, Any] | None = None
    is_live: bool = True
    text: str | None = None

    def __post_init__(self) -> None:
        self.first = (self.role, self.content, self.metadata)

    @property
    def id(self) -> str:
        return self.record["id"] if self.record else ""

    @property
    def is_open(self) -> bool:
        return self.is_live and self.text is not None

    def take(self, answer: dict[str, Any]) -> None:
        """Takes note of a version as it was acknowledged, or shown."""
        self.record = {name: answer[name] for name in SHOWN}
        self.created_at = answer["created_at"]
        self.content, self.metadata = answer["content"], answer["metadata"]


SHOWN = (
    "id", "thread_id", "user_id", "role", "content", "metadata", "created_at", "updated_at",
    "version", "deleted_at", "content_hash",
)  # fmt: skip
"""What every tier has of a message."""


@dataclass
class Topic:
    """A thread that is there."""

    title: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    is_pinned: bool = False
    is_archived: bool = False
    messages: list[Said] = field(default_factory=list)

    def live(self) -> list[Said]:
        return [said for said in self.messages if said.is_live]


@dataclass(frozen=True)
class Line:
    """A line of an export: whose identity the source's id is, or else what it says."""

    thread: str
    label: str
    content: str
    created_at: str
    source_id: str | None


@dataclass
class Person:
    """A user. `gone` are the threads that were deleted: the past does not come back into them;
    `is_erased` says the same of all. `keys` are what Idempotency-Keys stand for."""

    name: str
    marker: str
    topics: dict[str, Topic] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    is_erased: bool = False
    keys: dict[tuple[str, str], Said] = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)
    dead: list[Said] = field(default_factory=list)

    def topic(self, thread: str) -> Topic:
        """The thread, opened by what is written into it."""
        return self.topics.setdefault(thread, Topic())

    def said(self, label: str) -> tuple[str, Said] | None:
        """A live message and its thread."""
        for thread, topic in self.topics.items():
            for said in topic.messages:
                if said.label == label and said.is_live:
                    return thread, said
        return None

    def live(self) -> Iterator[tuple[str, Said]]:
        for thread, topic in self.topics.items():
            for said in topic.live():
                yield thread, said

    def bury(self, said: Said) -> None:
        said.is_live = False
        self.dead.append(said)

    def drop(self, thread: str) -> None:
        """The thread goes with all that is in it."""
        for said in self.topics.pop(thread, Topic()).live():
            self.bury(said)
        self.gone.add(thread)

    def leave(self, marker: str) -> None:
        """The user is erased, and begins anew if ever."""
        for thread in list(self.topics):
            self.drop(thread)
        self.keys.clear()
        self.is_erased = True
        self.marker = marker


class Differs(AssertionError):
    """The store is not as the model says."""


def same(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise Differs(f"{what}\n  found    {found!r}\n  expected {expected!r}")


def without_mark(metadata: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metadata.items() if name != STREAM_MARK}
