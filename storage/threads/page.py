"""A list of threads: what is asked for, one entry of it, and a page as it is kept."""

import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from models.message import Caveat, Source, ThreadSummary

PREVIEW_CHARACTERS = 200
PREVIEW_READ = PREVIEW_CHARACTERS + 1
"""One more says whether there is more, and what the cut would part."""

_LONGEST_SEQUENCE = 16
_JOINER = "\N{ZERO WIDTH JOINER}"
_SKIN_TONES = range(0x1F3FB, 0x1F400)

Position = tuple[str, str]
"""Where an entry stands: the time of its last activity, and its thread's id."""


class ThreadQuery(NamedTuple):
    """Which part of a list: so many threads behind a position, and of which kind."""

    limit: int
    cursor: Position | None = None
    is_archived: bool | None = None
    is_pinned: bool | None = None

    def takes(self, entry: "ThreadEntry") -> bool:
        """Whether an entry is of what is asked for, wherever the page may end."""
        thread = entry.summary
        return (
            (self.cursor is None or entry.position < self.cursor)
            and self.is_archived in {None, thread.is_archived}
            and self.is_pinned in {None, thread.is_pinned}
        )

    @property
    def name(self) -> str:
        """A name for the page that answers it."""
        return msgspec.json.encode(tuple(self)).decode()


FIRST_PAGE = ThreadQuery(50)
"""What most ask for, and what others fall back to."""


class ThreadEntry(msgspec.Struct, frozen=True):
    """One thread of a list, with the time it is ordered by, and the version and the watermark of
    its own data."""

    activity: str
    version: int
    deleted_through: str | None
    summary: ThreadSummary

    @property
    def position(self) -> Position:
        """Where it stands."""
        return self.activity, self.summary.id


class StoredPage(msgspec.Struct, frozen=True):
    """A page as Redis keeps it. The generation comes first, so that a script can tell it."""

    generation: str
    entries: list[ThreadEntry]
    following: Position | None


class ThreadList(NamedTuple):
    """Part of a user's threads, the cursor of the next part, where they came from, and a warning
    if a tier did not answer."""

    threads: list[ThreadSummary]
    following: Position | None
    source: Source
    warning: Caveat | None


def cut(entries: Iterable[ThreadEntry], limit: int) -> tuple[list[ThreadEntry], Position | None]:
    """The first entries in their order, and the position of the last if there are more."""
    ordered = sorted(entries, key=lambda entry: entry.position, reverse=True)
    shown = ordered[:limit]
    return shown, shown[-1].position if len(ordered) > limit else None


def preview_of(content: str) -> str:
    """How a message begins. What is seen as one character is not parted where that can be helped:
    an accent, an emoji of several."""
    if len(content) <= PREVIEW_CHARACTERS:
        return content
    end = PREVIEW_CHARACTERS
    while PREVIEW_CHARACTERS - end < _LONGEST_SEQUENCE:
        if not _goes_on(content[end - 1], content[end]):
            return content[:end]
        end -= 1
    return content[:PREVIEW_CHARACTERS]


def _goes_on(before: str, after: str) -> bool:
    """Whether two code points are of what is seen as one character."""
    return (
        unicodedata.category(after).startswith("M")
        or _JOINER in {before, after}
        or ord(after) in _SKIN_TONES
    )
