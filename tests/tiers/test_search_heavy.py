"""Texts that are heavy to index: they hold up nobody, and are found like all others."""

from collections.abc import Callable

import pytest

from storage.persistence import Drained
from storage.services import Services
from support.moving import archived
from support.samples import append_of, message
from support.searching import find

MARKS = "a" + "\u0301\u0316" * 15_900
"""Each two in the wrong order."""
MARKS_OF_TIBET = "\u0f40" + "\u0f72\u0f71" * 10_800
"""Likewise, and they are not left out."""
HONORIFICS = "\ufdfa" * 21_800
"""One character stands for eighteen."""


@pytest.mark.parametrize("heavy", [MARKS, MARKS_OF_TIBET, HONORIFICS])
def test_one_who_writes_heavy_texts_holds_up_nobody(
    alone: Services, user: str, drain: Callable[[], Drained], heavy: str
) -> None:
    """As many as one transaction takes, within one statement's time."""
    made = [message(user, "t", f"needle {heavy}"[:32_000]) for _ in range(6)]
    alone.redis.append([append_of(*made)], 60)
    names = [one.id for one in reversed(made)]
    assert find(alone, user, "needle") == names
    assert drain().written == len(made)
    assert find(alone, user, "needle") == names
    alone.replication.ship_all()
    with archived(
        alone, [{"id": one.id, "user_id": user, "thread_id": one.thread_id} for one in made]
    ):
        assert find(alone, user, "needle") == names


def test_a_word_that_grows_when_it_is_folded_is_found(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    texts = ("\ufb03" * 200, "ffi" * 200, "ffi" * 200 + " z" * 1_500, "ffi" * 199)
    made = [message(user, content=one) for one in texts]
    alone.redis.append([append_of(*made)], 60)
    wanted = sorted((one.id for one in made[:3]), reverse=True)
    for carry in (lambda: None, drain, alone.replication.ship_all):
        carry()
        assert find(alone, user, "\ufb03" * 200) == wanted
