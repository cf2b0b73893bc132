"""The clients' ledger on disk: every request before it is sent, every answer after it came.

It is all that the clients know, so the store is compared with it. A killed writer leaves at most a
torn last line.
"""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec

from selftest.record.client import Outcome

Verb = Literal["create", "edit", "delete"]


class AttemptedRequest(msgspec.Struct, frozen=True, kw_only=True, tag="asked"):
    """A request that is about to be sent.

    `op` counts operations over all writers; the attempts of one share it. `content_hash` is that
    of the content alone, see `hash_of`. An edit or a delete names its message and the version
    that it expects.
    """

    op: int
    attempt: int
    writer: int
    verb: Verb
    user_id: str
    thread_id: str
    key: str
    content_hash: str = ""
    message_id: str = ""
    based_on: int = 0


class Answered(msgspec.Struct, frozen=True, kw_only=True, tag="answered"):
    """The outcome of an attempt; `status` is 0 without an answer.

    `id`, `version`, `tier_used` and `durability` are those of a 200.
    """

    op: int
    attempt: int
    outcome: Outcome
    status: int
    latency_ms: float
    id: str = ""
    version: int = 0
    tier_used: str = ""
    durability: str = ""


Entry = AttemptedRequest | Answered

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


class RequestLedger:
    """A ledger being written. Safe for threads; a context manager that closes the file."""

    def __init__(self, path: Path) -> None:
        """Open the file for appending."""
        self._file = path.open("ab", buffering=0)
        self._write_lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._written = 0
        self._synced = 0

    def append(self, entry: Entry) -> None:
        """Append an entry and return once it is on disk; concurrent writers share an fsync."""
        with self._write_lock:
            self._file.write(_encode(entry) + b"\n")
            self._written += 1
            own = self._written
        with self._sync_lock:
            if self._synced < own:
                covered = self._written
                os.fsync(self._file.fileno())
                self._synced = covered

    def close(self) -> None:
        """Close the file; a later entry raises `ValueError`."""
        self._file.close()

    def __enter__(self) -> Self:
        """Do nothing more."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()


def read(path: Path) -> Iterator[Entry]:
    """Yield the entries of a ledger in order, without a torn last line.

    Raises:
        msgspec.MsgspecError: A line other than the last is no entry.
    """
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield _decode(line)
