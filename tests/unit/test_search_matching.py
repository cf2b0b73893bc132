"""What matches: words, phrases and beginnings, in any writing, and where they stand."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import search
from models.search import MOST_MARKS, InvalidQuery, fold, parse, words_of
from support.data.samples import TEXTS

SPACELESS = st.text(
    st.sampled_from(
        "\u5317\u4eac\u5927\u5b66\u3067\u65e5\u672c\u8a9e\u30ac\u30ab\uff76\uff9e\ud559\uad50\u0e2a\u0e27"
    ),
    min_size=1,
    max_size=12,
)


def shown(query: str, content: str) -> list[str] | None:
    """What is highlighted, None where nothing matches."""
    ranges = parse(query).highlights(content)
    return None if ranges is None else [content[start:end] for start, end in ranges]


def quoted(text: str) -> str:
    """A text as somebody would ask for it, without what means something in a query."""
    return text.translate({ord(one): " " for one in '"*\u201c\u201d\u201e'})


@pytest.mark.parametrize(
    ("query", "content", "expected"),
    [
        ("hello", "Hello, HELLO world", ["Hello", "HELLO"]),
        ("world hello", "hello wide world", ["hello", "world"]),
        ("hello moon", "hello world", None),
        ("hell", "hello", None),
        ("hell*", "hello", ["hell"]),
        ('"to be"', "be to; To\u2014be", ["To\u2014be"]),
        ('"to be', "to be", ["to be"]),
        ('"to b*"', "to begin", ["to b"]),
        ('"to be" or', "to be", None),
        ("e-mail", "by E mail or e_mail", ["E mail", "e_mail"]),
        ("e-mail", "email", None),
        ("don't", "we don\u2019t", ["don\u2019t"]),
        ("cafe", "CAFE\u0301 caf\u00e9", ["CAFE\u0301", "caf\u00e9"]),
        ("caf\u00e9", "cafe", ["cafe"]),
        ("fish", "\ufb01sh", ["\ufb01sh"]),
        ("f*", "\ufb01sh", ["\ufb01"]),
        ("strasse", "Stra\u00dfe", ["Stra\u00dfe"]),
        ("istanbul", "\u0130STANBUL", ["\u0130STANBUL"]),
        ("\u03c3\u03bf\u03c6\u03cc\u03c2", "\u03a3\u039f\u03a6\u039f\u03a3",
         ["\u03a3\u039f\u03a6\u039f\u03a3"]),
        ("\u0435\u043b\u043a\u0430", "\u0401\u043b\u043a\u0430", ["\u0401\u043b\u043a\u0430"]),
        ("\u0645\u0631\u062d\u0628\u0627", "\u0645\u064e\u0631\u0652\u062d\u064e\u0628\u064b\u0627",
         ["\u0645\u064e\u0631\u0652\u062d\u064e\u0628\u064b\u0627"]),
        ("\u4eac\u5927", "\u5317\u4eac\u5927\u5b66", ["\u4eac\u5927"]),
        ("\u5927\u4eac", "\u5317\u4eac\u5927\u5b66", None),
        ("\u5317\u5927", "\u5317\uff0c\u5927", None),
        ("\u5317 \u5927", "\u5927\u5b66\u5728\u5317", ["\u5927", "\u5317"]),
        ("\u30ac", "\uff76\uff9e\uff97", ["\uff76\uff9e"]),
        ("\u30ab", "\u30ac", None),
        ("\ud559\uad50", "\ud559\uad50\uc5d0\uc11c", ["\ud559\uad50"]),
        ("\u1112\u1161\u11a8", "\ud559", ["\ud559"]),
        ("\ud558", "\ud559", None),
        ("iphone\u624b\u673a", "my iPhone\u624b\u673a!", ["iPhone\u624b\u673a"]),
        ("\N{WAVING HAND SIGN}", "hi\N{WAVING HAND SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}",
         ["\N{WAVING HAND SIGN}"]),
        ("soft", "so\u00adft", ["so\u00adft"]),
        ("3.14", "pi is 3.14", ["3.14"]),
    ],
)  # fmt: skip
def test_what_matches(query: str, content: str, expected: list[str] | None) -> None:
    assert shown(query, content) == expected


@given(TEXTS)
def test_a_text_is_found_by_all_its_words_and_by_each(content: str) -> None:
    words = [word.text for word in words_of(fold(content))]
    for word in set(words[:20]):
        assert shown(word, content)
        assert shown(f"{word[:1]}*", content)
    if words and len(words) <= 30 and len(content) <= 190:
        assert shown(quoted(content), content) is not None
        assert shown(f'"{quoted(content)}"', content) is not None


@given(SPACELESS, SPACELESS, SPACELESS)
def test_any_part_of_writing_without_spaces_is_found(before: str, middle: str, after: str) -> None:
    # A mark that stands first belongs to the character before it.
    if unicodedata.category(unicodedata.normalize("NFKC", middle)[0]).startswith("M"):
        return
    if "\uff9e" in middle[:1] + after[:1]:
        return
    assert shown(middle, before + middle + after)


@given(TEXTS, TEXTS)
def test_highlights_are_in_order_and_lie_where_they_say(content: str, asked: str) -> None:
    try:
        query = parse(quoted(asked)[:150])
    except InvalidQuery:
        return
    both = f"{content} {asked}"
    ranges = query.highlights(both)
    assert ranges
    ends = [0]
    for start, end in ranges:
        assert ends[-1] <= start < end <= len(both)
        ends.append(end)
    for phrase in query.phrases:
        assert any(phrase.words[0].text in fold(both[start:end]).text for start, end in ranges)


@given(TEXTS)
def test_forms_of_one_text_are_one(content: str) -> None:
    composed, apart = (unicodedata.normalize(form, content) for form in ("NFC", "NFD"))
    assert fold(composed).text == fold(apart).text
    assert fold(fold(content).text).text == fold(content).text


def test_folding_ends_where_it_ends_for_every_character() -> None:
    for one in map(chr, range(0x80, sys.maxunicode + 1)):
        if unicodedata.category(one) not in {"Cs", "Cn"}:
            folded = fold(one).text
            assert fold(folded).text == folded, hex(ord(one))


@pytest.mark.parametrize("query", ["", " ", "!?", '""', "***", "\u2014", "'", "\u00ad"])
def test_a_query_without_a_word_is_refused(query: str) -> None:
    with pytest.raises(InvalidQuery) as caught:
        parse(query)
    assert caught.value.code == "query_empty"


@pytest.mark.parametrize("query", ["a" * 201, " ".join(map(str, range(40)))])
def test_a_query_that_is_too_long_is_refused(query: str) -> None:
    with pytest.raises(InvalidQuery) as caught:
        parse(query)
    assert caught.value.code == "query_too_long"


def test_no_number_of_marks_on_one_letter_is_put_into_order_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would take as long as their square."""
    asked: list[int] = []
    normalize = unicodedata.normalize

    def counted(form: str, text: str) -> str:
        asked.append(len(text))
        return normalize(form, text)

    monkeypatch.setattr(unicodedata, "normalize", counted)
    heavy = "ka\u0f40" + "\u0f72\u0f71" * 1_000
    folded = fold(heavy)
    assert max(asked) <= MOST_MARKS + 1
    assert folded.starts[0] == 0 and folded.ends[-1] == len(heavy)
    assert sorted(folded.text) == sorted(heavy)


def test_only_short_forms_are_remembered() -> None:
    before = search._fold.cache_info().currsize
    fold("".join(chr(0x904 + number) + "\u0f71" * 60 for number in range(40)))
    assert search._fold.cache_info().currsize == before
