"""What a search finds: the words of a text, of a query, and where the one is in the other.

This is the truth for all tiers. ClickHouse says by an index which messages may match
(`models.search_terms`), PostgreSQL by reading them, and never fewer than do; what is shown has
passed `Query.highlights`.

A text is folded before it is looked at: compatibility forms are one (`ﬁ` is `fi`, `①` is `1`), so
are capitals and small letters, and the marks above and below letters go (`é` is `e`), as do
characters that nobody sees. Then it falls into words: letters and digits that stand together, but
each character alone in scripts that put no space between words, and in Hangul, and each emoji.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

MAX_QUERY_CHARACTERS = 200
MAX_QUERY_WORDS = 32

MOST_MARKS = 64
"""Of one character that are put into order together, which takes as long as their square."""
REMEMBERED_CHARACTERS = 4
"""Of a unit whose folded form is kept for the next time: most are of one."""

DROPPED = (
    (0xAD, 0xAD), (0x300, 0x36F), (0x483, 0x489), (0x591, 0x5BD), (0x5BF, 0x5BF), (0x5C1, 0x5C2),
    (0x5C4, 0x5C5), (0x5C7, 0x5C7), (0x610, 0x61A), (0x61C, 0x61C), (0x640, 0x640), (0x64B, 0x65F),
    (0x670, 0x670), (0x6D6, 0x6DC), (0x6DF, 0x6E4), (0x6E7, 0x6E8), (0x6EA, 0x6ED), (0x711, 0x711),
    (0x730, 0x74A), (0x180B, 0x180F), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x200B, 0x200F),
    (0x202A, 0x202E), (0x2060, 0x206F), (0x20D0, 0x20FF), (0xFE00, 0xFE0F), (0xFE20, 0xFE2F),
    (0xFEFF, 0xFEFF), (0x1F3FB, 0x1F3FF), (0xE0000, 0xE01EF),
)  # fmt: skip
"""Accents and other marks, and characters without a shape of their own: as if they were not there.
ClickHouse drops the same, so a migration goes with every change."""

_SPACELESS = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e50-\u0e59\u0e81-\u0edf\u0f20-\u0f33\u0f40-\u0fbc\u1000-\u1049"
    "\u1050-\u109d\u1780-\u17d3\u17e0-\u17e9\u1950-\u1aad\u3005-\u3007\u3021-\u3029\u3041-\u3096"
    "\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\ua4cf\uaa60-\uaadf\uf900-\ufaff\U00016fe0-\U00018dff\U0001b000-\U0001b2ff"
    "\U00020000-\U0003ffff"
)
_SYMBOLS = (
    "\u00a9\u00ae\u00b0\u2100-\u214f\u2190-\u21ff\u2300-\u23ff\u2500-\u27bf\u2900-\u297f"
    "\u2b00-\u2bff\U0001f000-\U0001fbff"
)
_HANGUL = "[\u1100-\u115f][\u1160-\u11a7]?[\u11a8-\u11ff]?"
_VOICED = "[\u3099\u309a]?"
# Vowel signs and the like, which `\w` leaves out.
_SIGNS = (
    "\u07a6-\u07b0\u07eb-\u07f3\u0816-\u082d\u0900-\u0963\u0966-\u096f\u0971-\u0dff\u1b00-\u1bf3"
)
_LETTER = f"(?![{_SPACELESS}{_SYMBOLS}\u1100-\u11ff])(?:[^\\W_]|[{_SIGNS}])"
_WORDS = re.compile(f"{_HANGUL}|[{_SPACELESS}]{_VOICED}|[{_SYMBOLS}]|(?:{_LETTER})+")
_ASCII_WORDS = re.compile("[a-z0-9]+")
_DROPPED = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in DROPPED) + "]+")


class InvalidQuery(ValueError):
    """Nothing can be looked for with this. `code` is stable, the text is for a person."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Folded(NamedTuple):
    """A text as it is compared, and for each of its characters from where to where the characters
    stand that it came from."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]


class Word(NamedTuple):
    """A word of a folded text and where it stands there. With `is_joined` nothing stands between
    it and the word before."""

    text: str
    start: int
    end: int
    is_joined: bool


class Phrase(NamedTuple):
    """Words that must follow each other; of the last one the beginning is enough if it is a
    `prefix`."""

    words: tuple[Word, ...]
    is_prefix: bool


class Query(NamedTuple):
    """Phrases that must all be found."""

    phrases: tuple[Phrase, ...]

    def highlights(self, text: str) -> list[tuple[int, int]] | None:
        """Where a text has what is looked for, in characters, in order and without overlaps; None
        where it has not all of it."""
        folded = fold(text)
        words = list(words_of(folded))
        at: dict[str, list[int]] = {}
        for number, word in enumerate(words):
            at.setdefault(word.text, []).append(number)
        ranges: list[tuple[int, int]] = []
        for phrase in self.phrases:
            found = list(_places(phrase, words, at))
            if not found:
                return None
            for first, last in found:
                end = words[last].end
                if phrase.is_prefix:
                    end = words[last].start + len(phrase.words[-1].text)
                ranges.append((folded.starts[words[first].start], folded.ends[end - 1]))
        return _united(ranges)

    def matches(self, text: str) -> bool:
        """Whether a text has all that is looked for."""
        return self.highlights(text) is not None


def parse(text: str) -> Query:
    """A query as somebody typed it: words that must all be there, `"some words"` that must follow
    each other, `begin*` for words that begin so.

    What has no space within, as `e-mail` or a word of Chinese, is a phrase by itself. Raises
    `InvalidQuery`.
    """
    if len(text) > MAX_QUERY_CHARACTERS:
        detail = f"q has at most {MAX_QUERY_CHARACTERS} characters"
        raise InvalidQuery("query_too_long", detail)
    phrases = tuple(dict.fromkeys(filter(None, map(_phrase, _parts(text)))))
    if not phrases:
        detail = "q has no word in it: no letter, digit or symbol to look for"
        raise InvalidQuery("query_empty", detail)
    if sum(len(phrase.words) for phrase in phrases) > MAX_QUERY_WORDS:
        raise InvalidQuery("query_too_long", f"q has at most {MAX_QUERY_WORDS} words")
    return Query(phrases)


def fold(text: str) -> Folded:
    """A text as it is compared."""
    if text.isascii():
        return Folded(text.lower(), range(len(text)), range(1, len(text) + 1))
    parts: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for start, end in _units(text):
        folding = _fold if end - start <= REMEMBERED_CHARACTERS else _folded
        part = folding(text[start:end])
        parts.append(part)
        starts += [start] * len(part)
        ends += [end] * len(part)
    return Folded("".join(parts), starts, ends)


def words_of(folded: Folded) -> Iterator[Word]:
    """The words of a folded text, in order."""
    pattern = _ASCII_WORDS if folded.text.isascii() else _WORDS
    end = -1
    for found in pattern.finditer(folded.text):
        yield Word(found.group(), found.start(), found.end(), found.start() == end)
        end = found.end()


def _folded(unit: str) -> str:
    # Folding may give marks, and taking marks away may give what can be folded. Cherokee folds to
    # its capitals; they are made small like all others, which is all that a database may know.
    once = _DROPPED.sub("", unicodedata.normalize("NFKD", unit)).casefold().lower()
    return _DROPPED.sub("", unicodedata.normalize("NFKD", once))


@lru_cache(maxsize=65_536)
def _fold(unit: str) -> str:
    return _folded(unit)


def _units(text: str) -> Iterator[tuple[int, int]]:
    """Characters with the marks that follow them, whose order may differ and means nothing."""
    start = 0
    for at in range(1, len(text)):
        is_mark = text[at] >= "\u0300" and unicodedata.combining(text[at])
        if not is_mark or at - start > MOST_MARKS:
            yield start, at
            start = at
    yield start, len(text)


def _parts(text: str) -> Iterator[tuple[str, bool]]:
    """What stands in quotes, and what stands between spaces outside; a quote that is not closed
    reaches to the end. Each with whether a star follows."""
    for number, part in enumerate(re.split('["\u201c\u201d\u201e]', text)):
        for piece in [part] if number % 2 else part.split():
            yield piece.rstrip("*"), piece.endswith("*")


def _phrase(part: tuple[str, bool]) -> Phrase | None:
    text, is_prefix = part
    words: list[Word] = []
    for word in words_of(fold(text)):
        joined = bool(words) and word.is_joined
        words.append(Word(word.text, 0, 0, joined))
    return Phrase(tuple(words), is_prefix) if words else None


def _places(
    phrase: Phrase, words: Sequence[Word], at: dict[str, list[int]]
) -> Iterator[tuple[int, int]]:
    """The first and the last word of each place where a phrase stands."""
    first, last = phrase.words[0], len(phrase.words) - 1
    if last == 0 and phrase.is_prefix:
        starts: Sequence[int] = range(len(words))
    else:
        starts = at.get(first.text, ())
    for start in starts:
        if start + last >= len(words):
            return
        if all(
            _fits(wanted, words[start + number], phrase.is_prefix and number == last)
            for number, wanted in enumerate(phrase.words)
        ):
            yield start, start + last


def _fits(wanted: Word, word: Word, is_prefix: bool) -> bool:
    if wanted.is_joined and not word.is_joined:
        return False
    return word.text.startswith(wanted.text) if is_prefix else word.text == wanted.text


def _united(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    united: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if united and start <= united[-1][1]:
            united[-1] = united[-1][0], max(end, united[-1][1])
        else:
            united.append((start, end))
    return united
