"""Opens a source, which may be a pipe or gzip, and tells its format from its head. Nothing is
rewound."""

import gzip
import io
import re
import zlib
from typing import Any

import msgspec

from jobs.transfer.formats.source import UnreadableSource

HEAD_BYTES = 64 * 1024
BUFFER_BYTES = 1 << 20
JSON_LINES = "jsonl"
CHITCHAT = "chitchat"

_GZIP = b"\x1f\x8b"
_PACKED = (
    (b"PK\x03\x04", "a zip archive"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ\x00", "compressed with xz"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
)
_MEMBERS = re.compile(rb'"(mapping|thread_id|messages|ts|type)"\s*:')
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class _Prepended(io.RawIOBase):
    """A head that was read already, and the rest behind it."""

    def __init__(self, head: bytes, rest: io.BufferedIOBase) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._head[: len(buffer)] or self._read(len(buffer))
        self._head = self._head[len(data) :]
        buffer[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        try:
            return self._rest.read1(size)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise UnreadableSource("its gzip is damaged or cut short") from None


class OpenSource:
    """A source whose head is known; `stream` has all of it, unpacked."""

    def __init__(self, raw: io.BufferedIOBase) -> None:
        self.is_packed = False
        self.head, self.stream = _peeked(raw)
        if self.head.startswith(_GZIP):
            self.is_packed = True
            self.head, self.stream = _peeked(gzip.GzipFile(fileobj=self.stream))
        for magic, words in (*_PACKED, (_GZIP, "gzip within gzip")):
            if self.head.startswith(magic):
                raise UnreadableSource(f"it is {words}, which is not read: unpack it first")
        if self.head.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise UnreadableSource("it is UTF-16, and JSON is UTF-8")
        if b"\0" in self.head:
            raise UnreadableSource("it is binary, not JSON")

    def format(self, expected: str | None = None) -> str:
        """Its format, which may be named. Raises `UnreadableSource` for one that is not read."""
        head = self.head.removeprefix(_BYTE_ORDER_MARK).lstrip()
        if head.startswith(b"["):
            raise UnreadableSource(_array(head))
        members = _members(head)
        if "mapping" in members and "thread_id" not in members:
            raise UnreadableSource("it looks like a conversation of ChatGPT, which is not read yet")
        if expected is not None or not head:
            return expected or JSON_LINES
        if not head.startswith(b"{"):
            raise UnreadableSource(_no_json(head))
        return CHITCHAT if _is_one_object(head) else JSON_LINES


def _peeked(raw: io.BufferedIOBase) -> tuple[bytes, io.BufferedReader]:
    rest = _Prepended(b"", raw)
    head = b""
    while len(head) < HEAD_BYTES and (data := rest.read(HEAD_BYTES - len(head))):
        head += data
    return head, io.BufferedReader(_Prepended(head, raw), BUFFER_BYTES)


def _is_one_object(head: bytes) -> bool:
    """Whether a file is one object of conversations, and not an object a line."""
    line, ends, _ = head.partition(b"\n")
    line = line.strip()
    if not ends and len(head) >= HEAD_BYTES - len(_BYTE_ORDER_MARK):
        return "messages" in _members(head) and "thread_id" not in _members(head)
    try:
        first = msgspec.json.decode(line, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # A line that ends in the middle of an object, as those of indented JSON do.
        return line.endswith((b"{", b"[", b","))
    if "thread_id" in first or "thread" in first:
        return False
    return any(isinstance(value, dict) and "messages" in value for value in first.values())


def _members(head: bytes) -> set[str]:
    """The telling members that its objects have."""
    return {found.decode() for found in _MEMBERS.findall(head)}


def _array(head: bytes) -> str:
    members = _members(head)
    if "mapping" in members:
        return (
            "it looks like a ChatGPT export (a JSON array of conversations), which is not read yet"
        )
    if {"ts", "type"} <= members:
        return "it looks like a Slack export (a JSON array of messages), which is not read yet"
    return "it is a JSON array; JSON Lines has an object a line, as jq -c '.[]' makes them"


def _no_json(head: bytes) -> str:
    line = head.partition(b"\n")[0].strip()
    separators = sum(line.count(one) for one in (b",", b";", b"\t"))
    kind = "it looks like CSV" if separators > 1 else "it is not JSON"
    begins = line[:40].decode(errors="replace")
    return f"{kind}: it begins with {begins!a}; --format jsonl reads its lines all the same"
