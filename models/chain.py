"""The hash chain of a thread: every committed version of a message is a link, which holds the hash
of the link before it.

An entry is the SHA-256 of what a version was, with a salt; a link the SHA-256 of the link before it
and of its entry. All are in hex. When what was written is to be forgotten its hash and its salt go
and the entry stays, which proves the chain and tells nothing.
"""

import hashlib
from typing import NamedTuple

import msgspec

SALT_BYTES = 16
BEGINNING = ""
"""What stands before the first link."""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """One link. Positions count from 1; one that is forgotten has no `content_hash` and no `salt`,
    and one that is not has no `entry`."""

    position: int
    message_id: str
    version: int
    content_hash: str
    salt: str
    entry: str = ""
    link: str

    @property
    def is_forgotten(self) -> bool:
        """Whether only the hash of the entry is left."""
        return not self.content_hash

    def follows(self, previous: str) -> bool:
        """Whether the link is what it must be after another one."""
        entry = self.entry
        if not self.is_forgotten:
            entry = entry_of(self.salt, self.message_id, self.version, self.content_hash)
        return self.link == link_of(previous, entry)


class Head(NamedTuple):
    """The end of a chain: how many links it has, and the last one."""

    length: int
    link: str


EMPTY = Head(0, BEGINNING)


class ThreadHead(NamedTuple):
    """A thread, and the end of its chain."""

    user_id: str
    thread_id: str
    length: int
    link: str

    @property
    def thread(self) -> tuple[str, str]:
        """Whose it is, and its name."""
        return self.user_id, self.thread_id

    @property
    def head(self) -> Head:
        """The end of its chain."""
        return Head(self.length, self.link)


def entry_of(salt: str, message_id: str, version: int, content_hash: str) -> str:
    """The hash of what one version was. ClickHouse computes it in the same way."""
    return _sha256(f"{salt}:{message_id}:{version}:{content_hash}")


def link_of(previous: str, entry: str) -> str:
    """The link of an entry after another link."""
    return _sha256(f"{previous}:{entry}")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
