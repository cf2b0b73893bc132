"""The little of ClickHouse's SQL that its HTTP interface must understand: where data begins."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Quoted text and comments are one token each, so that a keyword or a semicolon inside them does not
# count. A quote without an end falls through to the last alternative, one byte, as do ClickHouse's
# other comments, which nest, and quotes: no client sends any to this server, and reading them
# differently from ClickHouse would be a hole.
_TOKEN = re.compile(
    rb"(?P<space>\s+)"
    rb"|(?P<comment>--[^\n]*)"
    rb"|(?P<quoted>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`(?:[^`\\]|\\.)*`)"
    rb"|(?P<word>\d+\.\d\w*|\w+)"
    rb"|(?P<mark>//|/\*|.)",
    re.DOTALL,
)
_SELECT_BEGINS = re.compile(rb"\(\s*(\(\s*)*(SELECT|WITH)\b", re.IGNORECASE)
_FORMAT_NAME = re.compile(rb"\s+(\w+)[ \t\f]*;?\r?\n?")
_NAME_FOLLOWS = {b"INTO", b"TABLE", b"FUNCTION", b"."}


class SqlRefused(ValueError):
    """A statement that only a full server could run; `code` is ClickHouse's error code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Insert:
    """An INSERT that brings its rows along: `head` + data in `format`, `data` if any follows."""

    head: bytes
    settings: bytes
    format: bytes
    data: bytes

    def reading(self, path: str) -> bytes:
        """Return the statement that inserts the rows of the file at `path` instead.

        The rows never pass through the parser of statements this way: in the text of a query,
        chDB takes what follows an empty line or a semicolon in them for the next statement.
        """
        words = (self.head, f"FROM INFILE '{path}'".encode(), self.settings, b"FORMAT", self.format)
        return b" ".join(word for word in words if word)


def split_insert(text: bytes) -> Insert | None:
    """Return the parts of an INSERT with data, or None for any other statement.

    Raises:
        SqlRefused: The statement feeds its data through `input()`.
    """
    settings_at: int | None = None
    previous = b""
    is_select = False
    for kind, start, end in top_level(text):
        word = text[start:end].upper()
        if not previous and word != b"INSERT":
            return None
        is_keyword = kind == "word" and previous not in _NAME_FOLLOWS
        in_brackets = word == b"(" and _SELECT_BEGINS.match(text, start)
        if in_brackets or (is_keyword and word in {b"SELECT", b"WITH", b"INFILE"}):
            is_select = True
        elif is_keyword and word == b"SETTINGS":
            settings_at = start
        elif is_keyword and word == b"FORMAT":
            if is_select:
                raise SqlRefused(48, "INSERT ... SELECT with data of its own is not supported")
            found = _FORMAT_NAME.match(text, end)
            if found:
                return _insert(text, settings_at, start, found.group(1), text[found.end() :])
        elif is_keyword and word == b"VALUES" and not is_select:
            return _insert(text, settings_at, start, b"Values", text[end:])
        elif word == b";":
            break
        previous = word
    if is_select or not previous:
        return None
    return _insert(text.rstrip().rstrip(b";"), settings_at, None, b"Values", b"")


def refuse_several(text: bytes) -> None:
    """Raise `SqlRefused` if a second statement follows the first, as ClickHouse does over HTTP."""
    ended = False
    if b";" not in text:
        return
    for _, start, end in tokens(text):
        if ended and text[start:end] != b";":
            raise SqlRefused(62, "Syntax error: Multi-statements are not allowed")
        ended = ended or text[start:end] == b";"


def _insert(
    text: bytes, settings_at: int | None, end: int | None, name: bytes, data: bytes
) -> Insert:
    head_end = end if settings_at is None else settings_at
    settings = b"" if settings_at is None else text[settings_at:end].strip()
    return Insert(head=text[:head_end].strip(), settings=settings, format=name, data=data)


def top_level(text: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield the tokens outside parentheses, and the parentheses."""
    depth = 0
    for kind, start, end in tokens(text):
        mark = text[start:end]
        if mark in b")]}":
            depth -= 1
        if depth == 0:
            yield kind, start, end
        if mark in b"([{":
            depth += 1


def tokens(text: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield kind, start and end of every token but spaces and the comments before a statement."""
    has_begun = False
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup
        if kind is not None and kind != "space" and (has_begun or kind != "comment"):
            has_begun = True
            yield kind, found.start(), found.end()
