"""How a message begins: short enough, and not in the middle of what is seen as one character."""

import pytest

from storage.threads.page import PREVIEW_CHARACTERS, PREVIEW_READ, preview_of

FILLER = "x" * (PREVIEW_CHARACTERS - 2)


@pytest.mark.parametrize("content", ["a", "x" * PREVIEW_CHARACTERS, "e\u0301" * 100])
def test_what_is_short_enough_is_whole(content: str) -> None:
    assert preview_of(content) == content


@pytest.mark.parametrize(
    "together",
    [
        "e\u0301",
        "a\u0300\u0301\u0302",
        "\N{THUMBS UP SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}",
        "\N{MAN}\u200d\N{WOMAN}\u200d\N{BOY}",
        "\N{HEAVY BLACK HEART}\ufe0f",
    ],
)
def test_what_is_seen_as_one_is_not_parted(together: str) -> None:
    # One place is left for two code points or more, or for none of them.
    text = f"{FILLER}y{together}{together}"
    assert preview_of(text) == f"{FILLER}y"
    # A tier is asked for one character more than is shown, which is enough to see it.
    assert preview_of(text[:PREVIEW_READ]) == preview_of(text)


def test_what_never_ends_is_cut_all_the_same() -> None:
    assert len(preview_of("a" + "\u0301" * 500)) == PREVIEW_CHARACTERS
    assert len(preview_of("plain " * 100)) == PREVIEW_CHARACTERS
