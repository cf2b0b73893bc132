"""Judges one thread: its links, its head, its messages, and a head that was kept elsewhere.

Pure, no I/O.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from models import codec
from models.chain import BEGINNING, EMPTY, Head, Link
from models.message import Message

Kind = Literal[
    "link_changed",
    "links_missing",
    "head_differs",
    "head_missing",
    "kept_head_differs",
    "message_changed",
    "message_missing",
    "message_older",
    "message_unlinked",
    "erasure_unsigned",
]


class Flaw(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong in a thread, where, and in words. `position` is that of a link; where it is
    about a user as a whole `thread_id` is empty."""

    kind: Kind
    user_id: str
    thread_id: str
    position: int | None = None
    message_id: str | None = None
    detail: str


class Copy(NamedTuple):
    """A version of a message, maybe a tombstone, as it is somewhere, without its content."""

    where: str
    message_id: str
    version: int
    updated_at: str
    content_hash: str
    is_intact: bool

    @classmethod
    def of(cls, where: str, message: Message) -> "Copy":
        """The copy of a message, compared with its own hash."""
        facts = message.id, message.version, message.updated_at, message.content_hash
        return cls(where, *facts, codec.is_intact(message))


class ThreadEvidence(NamedTuple):
    """What there is of a thread. `kept` is its head as it was kept elsewhere; `erased_through` is
    the id up to which its user was erased, if they were.

    Messages from before `linked_since` or after `linked_until` (RFC 3339) may be without a link, as
    those that are `waiting` for one; where there are no links at all, `linked_since` is None.
    """

    user_id: str
    thread_id: str
    head: Head = EMPTY
    links: Sequence[Link] = ()
    copies: Sequence[Copy] = ()
    kept: Head = EMPTY
    erased_through: str = ""
    linked_since: str | None = None
    linked_until: str | None = None
    waiting: frozenset[str] = frozenset()

    def must_have_link(self, copy: Copy) -> bool:
        """Whether a version can only be there with a link."""
        if self.linked_since is None or copy.updated_at < self.linked_since:
            return False
        if self.linked_until is not None and copy.updated_at > self.linked_until:
            return False
        return copy.message_id not in self.waiting and copy.message_id > self.erased_through


def flaws_of(given: ThreadEvidence) -> Iterator[Flaw]:
    """Everything that is wrong with a thread."""
    yield from _flaws_of_links(given)
    yield from _flaws_of_ends(given)
    yield from _flaws_of_messages(given)


def _flaws_of_links(given: ThreadEvidence) -> Iterator[Flaw]:
    last = EMPTY
    for link in given.links:
        has_gap = link.position != last.length + 1
        if has_gap and not given.erased_through:
            detail = f"links {last.length + 1} to {link.position - 1} are missing"
            yield _flaw(given, "links_missing", detail, position=last.length + 1)
        # After a gap there is nothing that a link could be compared with.
        elif not has_gap and not link.follows(last.link):
            detail = "the link is not that of its entry and of the link before it"
            yield _flaw(given, "link_changed", detail, link=link)
        last = Head(link.position, link.link)


def _flaws_of_ends(given: ThreadEvidence) -> Iterator[Flaw]:
    at = {0: BEGINNING} | {link.position: link.link for link in given.links}
    ends: list[tuple[Kind, Head, str]] = [
        ("head_differs", given.head, "PostgreSQL's head"),
        ("kept_head_differs", given.kept, "the head that was kept elsewhere"),
    ]
    for kind, head, name in ends:
        if given.erased_through or at.get(head.length) == head.link:
            continue
        if head.length > max(at):
            detail = f"links {max(at) + 1} to {head.length} are missing, up to {name}"
            yield _flaw(given, "links_missing", detail, position=max(at) + 1)
        else:
            detail = f"the link at this position is not {name}"
            yield _flaw(given, kind, detail, position=head.length)
    if given.head == EMPTY and given.links and not (given.erased_through or given.waiting):
        yield _flaw(given, "head_missing", "there are links, and PostgreSQL has no head")


def _flaws_of_messages(given: ThreadEvidence) -> Iterator[Flaw]:
    links = {(link.message_id, link.version): link for link in given.links}
    copies: dict[str, list[Copy]] = {}
    for copy in given.copies:
        copies.setdefault(copy.message_id, []).append(copy)
        yield from _flaws_of_copy(given, copy, links.get((copy.message_id, copy.version)))
    newest: dict[str, Link] = {}
    for link in given.links[: given.head.length]:
        known = newest.get(link.message_id)
        if known is None or known.version <= link.version:
            newest[link.message_id] = link
    for message_id, link in newest.items():
        if link.is_forgotten or message_id <= given.erased_through:
            continue
        there = [copy.version for copy in copies.get(message_id, ())]
        if not there:
            yield _flaw(given, "message_missing", "no tier has the message", link=link)
        elif max(there) < link.version:
            detail = f"version {max(there)} is the newest that is there, version {link.version} was"
            yield _flaw(given, "message_older", detail, link=link)


def _flaws_of_copy(given: ThreadEvidence, copy: Copy, link: Link | None) -> Iterator[Flaw]:
    """One copy against its own hash, and against the link of its version."""
    if not copy.is_intact:
        detail = f"{copy.where}: the message does not match its own hash"
        yield _flaw(given, "message_changed", detail, link=link, message_id=copy.message_id)
    elif link is None:
        if given.must_have_link(copy):
            detail = (
                f"{copy.where}: version {copy.version} has no link: it was added beside the chain"
            )
            yield _flaw(given, "message_unlinked", detail, message_id=copy.message_id)
    elif not link.is_forgotten and copy.content_hash != link.content_hash:
        detail = f"{copy.where}: the message is another than the one that was linked"
        yield _flaw(given, "message_changed", detail, link=link)


def _flaw(
    given: ThreadEvidence,
    kind: Kind,
    detail: str,
    *,
    link: Link | None = None,
    position: int | None = None,
    message_id: str | None = None,
) -> Flaw:
    return Flaw(
        kind=kind,
        user_id=given.user_id,
        thread_id=given.thread_id,
        position=link.position if link else position,
        message_id=link.message_id if link else message_id,
        detail=detail,
    )
