"""Brings together what several places have of each thread, one thread at a time."""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import NamedTuple

from jobs.verify.thread_check import Copy, ThreadEvidence
from models.chain import EMPTY, Head
from models.message import Message
from storage.clickhouse.pages import Selection
from storage.clickhouse.thread_links import ThreadLink
from storage.postgres.thread_heads import Thread


class Part(NamedTuple):
    """What one place says of a thread: one of these."""

    thread: Thread
    head: Head | None = None
    kept: Head | None = None
    link: ThreadLink | None = None
    copy: Copy | None = None

    @classmethod
    def of_link(cls, link: ThreadLink) -> "Part":
        """A link."""
        return cls(link.thread, link=link)

    @classmethod
    def of_message(cls, where: str, message: Message) -> "Part":
        """A message, without its content."""
        return cls((message.user_id, message.thread_id), copy=Copy.of(where, message))


def by_thread(*streams: Iterable[Part]) -> Iterator[ThreadEvidence]:
    """The evidence of each thread, from streams that are sorted by thread. One thread is in memory
    at a time."""
    merged = heapq.merge(*streams, key=_thread)
    for thread, parts in groupby(merged, key=_thread):
        yield _gathered(thread, list(parts))


def kept_parts(kept: Mapping[Thread, Head], selection: Selection) -> Iterator[Part]:
    """Heads that were kept elsewhere, of the selected threads."""
    for thread in sorted(kept):
        if all(one in {None, own} for one, own in zip(selection, thread, strict=True)):
            yield Part(thread, kept=kept[thread])


def _thread(part: Part) -> Thread:
    return part.thread


def _gathered(thread: Thread, parts: list[Part]) -> ThreadEvidence:
    return ThreadEvidence(
        *thread,
        head=next((part.head for part in parts if part.head), EMPTY),
        kept=next((part.kept for part in parts if part.kept), EMPTY),
        links=[part.link for part in parts if part.link],
        copies=[part.copy for part in parts if part.copy],
    )
