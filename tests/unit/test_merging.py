"""Merging: any split of versions over tiers ends in the newest of each, in order."""

from hypothesis import given
from hypothesis import strategies as st

from models.message import Message, Tier
from storage.messages.page_reader import TierPart, merge
from support.data.samples import message, revised

TIERS: tuple[Tier, ...] = ("redis", "postgresql", "clickhouse")
MESSAGES = [message("u") for _ in range(8)]
VERSIONS = [[one, revised(one), revised(one, version=3, deleted=True)] for one in MESSAGES]

ORDERS = st.sampled_from(("asc", "desc"))
SPLITS = st.lists(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 2)), max_size=8), min_size=1, max_size=3
)


def in_order(messages: list[Message], order: str) -> list[Message]:
    return sorted(messages, key=lambda one: one.id, reverse=order == "desc")


def newest(messages: list[Message], order: str) -> list[Message]:
    """The plain way to say it: for every id its highest version, in order."""
    names = {one.id for one in messages}
    best = [max((m for m in messages if m.id == name), key=lambda m: m.version) for name in names]
    return in_order(best, order)


def tier_part(source: Tier, picks: list[tuple[int, int]], order: str) -> TierPart:
    """What a tier gives: one version of each id it has."""
    held = {at: VERSIONS[at][version] for at, version in picks}
    return TierPart(in_order(list(held.values()), order), {source} if held else set(), None)


@given(SPLITS, ORDERS)
def test_any_split_over_tiers_ends_in_the_newest_versions(
    splits: list[list[tuple[int, int]]], order: str
) -> None:
    parts = [tier_part(tier, picks, order) for tier, picks in zip(TIERS, splits, strict=False)]
    merged = merge(parts, order)
    everything = [one for part in parts for one in part.messages]
    assert merged.messages == newest(everything, order)
    assert merged.horizon is None


@given(SPLITS, st.lists(st.integers(1, 5), min_size=3, max_size=3), ORDERS)
def test_nothing_is_given_beyond_what_every_tier_knows(
    splits: list[list[tuple[int, int]]], counts: list[int], order: str
) -> None:
    whole = [tier_part(tier, picks, order) for tier, picks in zip(TIERS, splits, strict=False)]
    cut = [
        TierPart.of(tier, part.messages[:count], count)
        for tier, part, count in zip(TIERS, whole, counts, strict=False)
    ]
    merged = merge(cut, order)
    everything = [one for part in whole for one in part.messages]
    known = newest(everything, order)
    # What is given is the beginning of the truth: nothing is left out between.
    assert merged.messages == known[: len(merged.messages)]
    if merged.horizon is None:
        assert merged.messages == known


@given(SPLITS, st.lists(st.integers(1, 5), min_size=3, max_size=3), ORDERS)
def test_the_order_of_tiers_changes_no_message(
    splits: list[list[tuple[int, int]]], counts: list[int], order: str
) -> None:
    cut = [
        TierPart.of(tier, tier_part(tier, picks, order).messages[:count], count)
        for tier, picks, count in zip(TIERS, splits, counts, strict=False)
    ]
    forwards, backwards = merge(cut, order), merge(cut[::-1], order)
    assert forwards.messages == backwards.messages
    assert forwards.horizon == backwards.horizon


def test_a_tier_that_adds_nothing_is_no_source() -> None:
    first, second = VERSIONS[0][:2]
    same = merge(
        [TierPart([first], {"redis"}, None), TierPart([first], {"postgresql"}, None)], "asc"
    )
    assert same.sources == {"redis"}
    newer = merge(
        [TierPart([first], {"redis"}, None), TierPart([second], {"postgresql"}, None)], "asc"
    )
    assert newer.messages == [second]
    assert "postgresql" in newer.sources


def test_a_full_answer_may_not_be_the_whole_range() -> None:
    assert TierPart.of("redis", MESSAGES[:3], 3).horizon == MESSAGES[2].id
    assert TierPart.of("redis", MESSAGES[:3], 4).horizon is None
    assert TierPart.of("redis", [], 4).sources == set()


def test_no_tier_at_all_is_an_empty_range() -> None:
    assert merge([], "asc") == TierPart([], set(), None)
