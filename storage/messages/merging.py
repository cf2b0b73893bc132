"""Merges what several tiers know of one range of a thread into one list. Pure, no I/O."""

from collections.abc import Sequence
from typing import NamedTuple

from models.message import Message, Tier


class TierPart(NamedTuple):
    """Messages of a range in order, tombstones included.

    `horizon` is the id up to which the part is known to be whole; None means to the range's end.
    """

    messages: list[Message]
    sources: set[Tier]
    horizon: str | None

    @classmethod
    def of(cls, source: Tier, messages: list[Message], count: int) -> "TierPart":
        """What a tier gave when asked for `count`: fewer means that there are no more."""
        full = len(messages) >= count
        return cls(messages, {source} if messages else set(), messages[-1].id if full else None)


def merge(parts: Sequence[TierPart], order: str) -> TierPart:
    """One list with the highest version of each id, no further than every part is whole.

    Parts come fastest tier first; one that adds nothing newer is not a source. What a part holds
    beyond another's horizon is left for the next step: there could be
    more between.
    """
    nearest = min if order == "asc" else max
    horizons = [part.horizon for part in parts if part.horizon is not None]
    horizon = nearest(horizons) if horizons else None
    newest: dict[str, Message] = {}
    sources: set[Tier] = set()
    for part in parts:
        for message in part.messages:
            if horizon is not None and _is_past(message.id, horizon, order):
                continue
            known = newest.get(message.id)
            if known is None or known.version < message.version:
                newest[message.id] = message
                sources |= part.sources
    ordered = [newest[name] for name in sorted(newest, reverse=order != "asc")]
    return TierPart(ordered, sources, horizon)


def _is_past(message_id: str, horizon: str, order: str) -> bool:
    return message_id > horizon if order == "asc" else message_id < horizon
