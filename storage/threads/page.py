"""A list of threads: the query, one entry, and a page as it is cached."""

import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from models.message import Caveat, Source, Thread, ThreadSummary
from storage.postgres.reads import ThreadRow

PREVIEW_CHARACTERS = 200
PREVIEW_READ = PREVIEW_CHARACTERS + 1
"""One more says whether there is more, and what the cut would separate."""

_LONGEST_SEQUENCE = 16
_JOINER = "\N{ZERO WIDTH JOINER}"
_SKIN_TONES = range(0x1F3FB, 0x1F400)

Position = tuple[str, str]
"""The sort key of an entry: the time of its last activity, and its thread's id."""


class ThreadQuery(NamedTuple):
    """Part of a list: at most `limit` threads after a position, of one kind or of all."""

    limit: int
    cursor: Position | None = None
    is_archived: bool | None = None
    is_pinned: bool | None = None

    def takes(self, entry: "ThreadEntry") -> bool:
        """Whether an entry matches, wherever the page ends."""
        thread = entry.thread
        return (
            (self.cursor is None or entry.position < self.cursor)
            and self.is_archived in {None, thread.is_archived}
            and self.is_pinned in {None, thread.is_pinned}
        )

    @property
    def name(self) -> str:
        """The field under which its page is cached."""
        return msgspec.json.encode(tuple(self)).decode()


FIRST_PAGE = ThreadQuery(50)
"""What most callers ask for; the fallback while PostgreSQL is down."""


class ThreadEntry(msgspec.Struct, frozen=True):
    """One thread of a list: its own data, and what its messages say of it."""

    thread: Thread
    last_message_at: str | None
    message_count: int
    preview: str | None

    @property
    def position(self) -> Position:
        """Its sort key."""
        return self.last_message_at or self.thread.created_at, self.thread.id

    @property
    def row(self) -> ThreadRow:
        """What PostgreSQL knew of it when it was read."""
        return ThreadRow(self.thread, self.last_message_at, self.message_count)

    @property
    def unshown(self) -> "Unshown":
        """The rest of it, beside its summary."""
        return self.thread.version, self.thread.updated_at, self.thread.deleted_through

    @property
    def summary(self) -> ThreadSummary:
        """The thread as callers see it."""
        return self.thread.summary(self.last_message_at, self.message_count, self.preview)


class ThreadPart(NamedTuple):
    """Part of a list, in order, and the position of its last entry if there are more."""

    entries: list[ThreadEntry]
    following: Position | None


Unshown = tuple[int, str, str | None]
"""What callers are not shown of a thread: its version, when it was changed, and up to which id it
was deleted."""


class StoredPage(msgspec.Struct, frozen=True):
    """A page as Redis keeps it: its threads as callers are shown them, and the rest of each. What
    comes first a script reads: the generation, and the changes that it has seen."""

    generation: str
    changes: int
    following: Position | None
    unshown: list[Unshown]
    threads: msgspec.Raw

    @property
    def entries(self) -> list[ThreadEntry]:
        """Its entries."""
        shown = _summaries.decode(self.threads)
        return [_entry_of(*both) for both in zip(shown, self.unshown, strict=True)]


class ThreadList(NamedTuple):
    """Part of a user's threads as a JSON array, the cursor of the next part, the tiers they came
    from, and a warning if a tier did not answer."""

    written: msgspec.Raw
    following: Position | None
    source: Source
    warning: Caveat | None

    @property
    def threads(self) -> list[ThreadSummary]:
        """The threads."""
        return _summaries.decode(self.written)


_summaries = msgspec.json.Decoder(list[ThreadSummary])


def written(part: ThreadPart) -> msgspec.Raw:
    """The threads of a part as callers see them, as a JSON array."""
    return msgspec.Raw(msgspec.json.encode([entry.summary for entry in part.entries]))


def _entry_of(shown: ThreadSummary, unshown: Unshown) -> ThreadEntry:
    version, updated_at, deleted_through = unshown
    thread = Thread(
        version=version,
        id=shown.id,
        user_id=shown.user_id,
        title=shown.title,
        metadata=shown.metadata,
        created_at=shown.created_at,
        updated_at=updated_at,
        deleted_through=deleted_through,
        is_pinned=shown.is_pinned,
        is_archived=shown.is_archived,
    )
    return ThreadEntry(
        thread, shown.last_message_at, shown.message_count, shown.last_message_preview
    )


def cut(entries: Iterable[ThreadEntry], limit: int) -> ThreadPart:
    """The first of some entries, most recently active first."""
    ordered = sorted(entries, key=lambda entry: entry.position, reverse=True)
    shown = ordered[:limit]
    return ThreadPart(shown, shown[-1].position if len(ordered) > limit else None)


def preview_of(content: str) -> str:
    """How a message begins. What is seen as one character stays together where that is possible:
    an accent, an emoji of several code points."""
    if len(content) <= PREVIEW_CHARACTERS:
        return content
    end = PREVIEW_CHARACTERS
    while PREVIEW_CHARACTERS - end < _LONGEST_SEQUENCE:
        if not _goes_on(content[end - 1], content[end]):
            return content[:end]
        end -= 1
    return content[:PREVIEW_CHARACTERS]


def _goes_on(before: str, after: str) -> bool:
    """Whether two code points belong to one visible character."""
    return (
        unicodedata.category(after).startswith("M")
        or _JOINER in {before, after}
        or ord(after) in _SKIN_TONES
    )
