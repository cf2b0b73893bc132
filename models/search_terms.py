"""What ClickHouse indexes of a text, and which of it every text has that a query finds.

It folds at least as much as `models.search` does, and then takes apart without knowing any
alphabet: runs of `a-z0-9` as they are, of all other characters each one and each two that stand
together. So what it gives is never too little, whichever version of Unicode it knows.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from models.search import Phrase, Query

_RUNS = re.compile("([a-z0-9]+)|([^\0-\x7f]+)")


class Terms(NamedTuple):
    """What each text has that a query finds: terms, beginnings of terms, and, if it is of ASCII
    alone, places for these regular expressions in its small letters."""

    whole: list[str]
    beginnings: list[str]
    patterns: list[str]


def terms_of(query: Query) -> Terms:
    """The terms of a query."""
    whole: dict[str, None] = {}
    beginnings: dict[str, None] = {}
    for phrase in query.phrases:
        pieces = list(_pieces(phrase))
        for number, piece in enumerate(pieces):
            is_open = phrase.is_prefix and number == len(pieces) - 1
            for run in _RUNS.finditer(piece):
                word, others = run.groups()
                if others:
                    whole.update(dict.fromkeys(_neighbours(others)))
                elif is_open and run.end() == len(piece):
                    beginnings[word] = None
                else:
                    whole[word] = None
    patterns = [found for phrase in query.phrases if (found := _pattern(phrase))]
    return Terms(list(whole), list(beginnings), patterns)


def _pieces(phrase: Phrase) -> Iterator[str]:
    """What of a phrase stands together without anything between."""
    piece = ""
    for word in phrase.words:
        if not word.is_joined and piece:
            yield piece
            piece = ""
        piece += word.text
    yield piece


def _pattern(phrase: Phrase) -> str | None:
    """Most texts that have all words of a phrase have them elsewhere: this tells them apart."""
    words = [word.text for word in phrase.words]
    if len(words) < 2 or not all(word.isascii() for word in words):
        return None
    end = "" if phrase.is_prefix else "([^a-z0-9]|$)"
    return f"(^|[^a-z0-9]){'[^a-z0-9]+'.join(words)}{end}"


def _neighbours(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)] or [run]
