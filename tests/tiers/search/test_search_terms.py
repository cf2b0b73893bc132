"""The databases fold at least as much as the search does: no index gives too little.

Character by character, over all of Unicode that folding changes, and text by text.
"""

import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import cycle

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import Text, literal, select

from models.search import InvalidQuery, fold, parse
from models.search_terms import Terms, terms_of
from storage.resilience.bites import batches
from storage.search.postgres import may_have
from support.data.samples import AWKWARD_TEXTS, TEXTS
from support.stack.clickhouse_requests import clickhouse_post
from wiring.process import Services

Lacking = Callable[[Sequence[str], Sequence[str]], list[str]]
"""Gives the queries that a database does not find in their texts."""

LONG = "word " * 500 + "x" * 3_000 + " \N{LATIN SMALL LETTER E WITH ACUTE}nd " + "\u5317" * 900
ENTRIES = (*AWKWARD_TEXTS, LONG, "a" * 60000, "café_résumé-1e5 007 3.14 x@y.org")


def lacking_in_postgres(
    alone: Services, contents: Sequence[str], queries: Sequence[str]
) -> list[str]:
    """By the very condition that rows are read with."""
    lost = []
    with alone.tiers.job_engine.connect() as connection:
        for some in batches(list(asked(contents, queries)), 500):
            may = [may_have(literal(content, Text), terms) for content, _, terms in some]
            found = connection.execute(
                select(*(one.label(f"n{number}") for number, one in enumerate(may)))
            ).one()
            lost += [one[1] for one, is_found in zip(some, found, strict=True) if not is_found]
    return lost


def in_clickhouse(alone: Services, contents: Sequence[str]) -> list[set[str]]:
    """By the very expression that the column is made with."""
    query = (
        "SELECT default_expression FROM system.columns"
        " WHERE table = 'messages' AND database = currentDatabase() AND name = 'words'"
        " FORMAT TabSeparatedRaw"
    )
    expression = clickhouse_post(alone.tiers.job_clickhouse, query).strip()
    server = alone.tiers.job_clickhouse
    clickhouse_post(
        server, "CREATE TABLE IF NOT EXISTS looked_at (n UInt64, content String) ENGINE = Memory"
    )
    clickhouse_post(server, "TRUNCATE TABLE looked_at")
    numbered = b"".join(
        msgspec.json.encode({"n": number, "content": one}) + b"\n"
        for number, one in enumerate(contents)
    )
    server.insert("looked_at", numbered)
    lines = server.lines(f"SELECT {expression} AS terms FROM looked_at ORDER BY n")
    clickhouse_post(server, "DROP TABLE looked_at")
    return [set(msgspec.json.decode(line)["terms"]) for line in lines.splitlines()]


def lacking_in_clickhouse(
    alone: Services, contents: Sequence[str], queries: Sequence[str]
) -> list[str]:
    """The queries whose terms the index of their text has not all of."""
    known = dict(zip(contents, in_clickhouse(alone, contents), strict=True))
    lost = []
    for content, query, wanted in asked(contents, queries):
        terms = known[content]
        begun = all(any(one.startswith(part) for one in terms) for part in wanted.beginnings)
        if not begun or not set(wanted.whole) <= terms:
            lost.append(query)
    return lost


def asked(contents: Sequence[str], queries: Sequence[str]) -> Iterator[tuple[str, str, Terms]]:
    """Each text with its query, if that has a word, and the terms to look for."""
    for content, query in zip(contents, queries, strict=True):
        with suppress(InvalidQuery):
            yield content, query, terms_of(parse(query))


@pytest.fixture(
    params=[lacking_in_postgres, lacking_in_clickhouse], ids=["postgresql", "clickhouse"]
)
def lacking(alone: Services, request: pytest.FixtureRequest) -> Lacking:
    return partial(request.param, alone)


def changed_characters() -> list[str]:
    """What folding changes, and what has another case; of Hangul, which is made by rule, a few."""
    return [
        one
        for one in map(chr, range(0x80, sys.maxunicode + 1))
        if unicodedata.category(one) not in {"Cs", "Cn", "Co"}
        and (fold(one).text != one or one.casefold() != one or one.lower() != one)
        and not ("\uac20" <= one <= "\ud790")
    ]


def test_every_character_that_folds_is_found_as_itself_and_as_what_it_folds_to(
    lacking: Lacking,
) -> None:
    characters = changed_characters()
    assert len(characters) > 5_000
    for form in (str, lambda one: fold(one).text):
        # Of two words of one text none ends as the other: none is found in its place.
        pairs = [
            (f"x{one}y{end}", f"x{form(one)}y{end}")
            for one, end in zip(characters, cycle("abcd"), strict=False)
        ]
        pairs = [pair for pair in pairs if not {'"', "*"} & set(pair[1])]
        groups = [
            [pair for pair in some if _matches(pair[1], pair[0])] for some in batches(pairs, 4)
        ]
        assert sum(map(len, groups)) > 0.9 * len(pairs)
        texts = [
            [" ".join(words) for words in zip(*group, strict=True)]
            for group in filter(None, groups)
        ]
        assert all(_matches(query, content) for content, query in texts)
        assert lacking(*map(list, zip(*texts, strict=True))) == []


def test_texts_are_found_by_their_own_words(lacking: Lacking) -> None:
    queries = [one.replace('"', " ").replace("*", " ")[:150] + "*" for one in ENTRIES]
    assert sum(map(_matches, queries, ENTRIES)) > 15
    assert lacking(ENTRIES, queries) == []


def test_any_text_is_found_by_any_word_of_it(lacking: Lacking) -> None:
    texts: list[str] = []

    @settings(max_examples=150, database=None, suppress_health_check=list(HealthCheck))
    @given(TEXTS)
    def gather(drawn: str) -> None:
        texts.append(drawn)

    gather()
    queries = [one.replace('"', " ").replace("*", " ")[:80] for one in texts]
    pairs = [
        (one, query) for one, query in zip(texts, queries, strict=True) if _matches(query, one)
    ]
    assert len(pairs) > 20
    assert lacking(*map(list, zip(*pairs, strict=True))) == []


def _matches(query: str, content: str) -> bool:
    try:
        return parse(query).matches(content)
    except InvalidQuery:
        return False
