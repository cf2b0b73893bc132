"""A source is read once, from wherever it comes, and named truly where it is of another format."""

import bz2
import gzip
import io
import json
import lzma
import os
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jobs.transfer.formats.opening import CHITCHAT, HEAD_BYTES, JSON_LINES, OpenSource
from jobs.transfer.formats.source import UnreadableSource

LINE = b'{"thread_id":"t","user_id":"u","content":"hello","created_at":"2020-01-01T00:00:00Z"}\n'
TURN = {"text": "mapping", "timestamp": "2020-01-01T00:00:00Z", "sender": "ann"}
DATASET = {"c": {"messages": [[TURN]]}}
CHATGPT = {"title": "t", "create_time": 1.5, "mapping": {"a": {"id": "a", "message": None}}}


@contextmanager
def piped(data: bytes) -> Iterator[io.BufferedReader]:
    """A pipe that gives the data in small pieces, and cannot be rewound."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb", 0) as stream:
            for start in range(0, len(data), 1_000):
                stream.write(data[start : start + 1_000])

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(reading, "rb") as stream:
        yield stream
        thread.join()


def opened(data: bytes, expected: str | None = None) -> tuple[str, bytes]:
    source = OpenSource(io.BytesIO(data))
    return source.format(expected), source.stream.read()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("data", [LINE, LINE * 10_000, b""], ids=["one", "many", "none"])
def test_a_pipe_gives_every_byte(data: bytes, packed: bool) -> None:
    with piped(gzip.compress(data) if packed else data) as stream:
        source = OpenSource(stream)
        assert source.format() == JSON_LINES
        assert source.stream.read() == data
        assert source.is_packed == packed


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (LINE, JSON_LINES),
        (b"\xef\xbb\xbf" + LINE, JSON_LINES),
        (b'{"thread_id": "t",\n' + LINE, CHITCHAT),
        (b'{"thread_id": "t"\n' + LINE, JSON_LINES),
        (LINE.replace(b"hello", b"x" * HEAD_BYTES), JSON_LINES),
        (LINE.replace(b'"created_at"', b'"metadata":{"messages":[]},"created_at"'), JSON_LINES),
        (b'{"thread":{"id":"t","messages":[]}}\n', JSON_LINES),
        (json.dumps(DATASET).encode(), CHITCHAT),
        (json.dumps(DATASET, indent=1).encode(), CHITCHAT),
        (json.dumps({"c": {"messages": [[TURN] * 5_000]}}).encode(), CHITCHAT),
        (b"", JSON_LINES),
        (b" \n\n", JSON_LINES),
    ],
    ids=str,
)
def test_the_format_is_told_from_the_head(data: bytes, expected: str) -> None:
    assert opened(data) == (expected, data)
    assert opened(data, JSON_LINES)[0] == JSON_LINES


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("conversations.json", "[]")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (json.dumps([CHATGPT]).encode(), "looks like a ChatGPT export"),
        (json.dumps([CHATGPT], indent=2).encode(), "looks like a ChatGPT export"),
        (json.dumps(CHATGPT).encode(), "a conversation of ChatGPT"),
        (json.dumps([{"type": "message", "ts": "1.2"}]).encode(), "looks like a Slack export"),
        (b"[" + LINE + b"]", "a JSON array"),
        (zipped(), "a zip archive"),
        (b"\x28\xb5\x2f\xfd1234", "zstd"),
        (bz2.compress(LINE), "bzip2"),
        (lzma.compress(LINE), "xz"),
        (gzip.compress(gzip.compress(LINE)), "gzip within gzip"),
        (gzip.compress(LINE)[:-9], "damaged or cut short"),
        (LINE.decode().encode("utf-16"), "UTF-16"),
        (b"SQLite format 3\0" + b"\0" * 99, "binary"),
        (b"id,thread_id,content\n1,t,hello\n", "looks like CSV"),
        (b"<html>", "not JSON: it begins with '<html>'"),
    ],
    ids=str,
)
def test_another_format_is_named_once(data: bytes, words: str) -> None:
    with pytest.raises(UnreadableSource, match=words):
        opened(data)


def test_lines_that_begin_badly_can_be_read_all_the_same() -> None:
    assert opened(b"nonsense\n" + LINE, JSON_LINES) == (JSON_LINES, b"nonsense\n" + LINE)


def test_gzip_that_is_cut_short_gives_what_stands_before() -> None:
    data = b"".join(LINE.replace(b"hello", str(number).encode()) for number in range(50_000))
    source = OpenSource(io.BytesIO(gzip.compress(data)[:-200]))
    lines = []
    with pytest.raises(UnreadableSource, match="cut short"):
        while line := source.stream.readline():
            lines.append(line)
    assert len(lines) > 40_000
    assert b"".join(lines) == data[: len(b"".join(lines))]
