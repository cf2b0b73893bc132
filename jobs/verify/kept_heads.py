"""Heads of chains that are kept elsewhere: what no owner of the databases can change."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from sqlalchemy import Engine

from jobs.transfer.files import opened
from models import ids
from models.chain import Head
from models.ids import Clock
from storage.errors import Refused
from storage.postgres import thread_heads
from storage.postgres.driver import transact
from storage.postgres.thread_heads import Thread

MAX_LINE_BYTES = 64 * 1024


class KeptHead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of a file of heads: the end of a thread's chain at a moment, RFC 3339."""

    user_id: str
    thread_id: str
    length: int
    link: str
    kept_at: str


_line = msgspec.json.Decoder(KeptHead)


def heads_since(engine: Engine, clock: Clock, since: str | None) -> Iterator[KeptHead]:
    """The heads that were moved at or after a moment (RFC 3339), or all, as of now. Raises
    `TierError`."""
    kept_at = ids.timestamp(clock.now_us())
    for one in transact(engine, thread_heads.changed_since, since):
        yield KeptHead(**one._asdict(), kept_at=kept_at)


def lines(heads: Iterable[KeptHead]) -> Iterator[bytes]:
    """Heads as lines of JSON."""
    return (msgspec.json.encode(head) + b"\n" for head in heads)


def read(path: Path) -> dict[Thread, Head]:
    """The heads of a file, or of several that were put one after the other: of each thread the
    longest. Raises `Refused` for a file that is none."""
    found: dict[Thread, Head] = {}
    try:
        with opened(path) as stream:
            for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE_BYTES), b""), 1):
                head = _decoded(path, number, line)
                thread = head.user_id, head.thread_id
                if head.length > found.get(thread, Head(0, "")).length:
                    found[thread] = Head(head.length, head.link)
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from error
    return found


def _decoded(path: Path, number: int, line: bytes) -> KeptHead:
    try:
        return _line.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(f"{path}, line {number}: no head of a thread: {error}") from error
