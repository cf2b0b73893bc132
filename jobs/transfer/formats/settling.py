"""Gives imported messages their ids: those that they have already, or new ones in the source's
order. An id holds a message's thread, its time, its place among those of the same time, and a hash
of what its source knows it by."""

from collections.abc import Iterable, Sequence

import msgspec

from jobs.transfer.formats.source import PLACE_BITS, Item, Kept, Minted, RefusedLine
from models import codec, ids
from models.appends import Held, IdRange
from models.message import Message, Thread

TAIL_BITS = ids.RANDOM_BITS - PLACE_BITS
PLACES = 1 << PLACE_BITS
_TAIL = (1 << TAIL_BITS) - 1


class Settlement:
    """Ids for the messages of one batch, beside what is there."""

    def __init__(self, held: Iterable[Held]) -> None:
        # Of a user, a thread and a microsecond: the last place taken, and the ids by their tails.
        self._places: dict[tuple[str, str, int], int] = {}
        self._ids: dict[tuple[str, str, int, int], str] = {}
        self._earlier: dict[tuple[str, str, int], str] = {}
        for one in held:
            self._note(one)

    def settle(self, item: Item) -> Message | Thread | RefusedLine:
        """The sealed message; what came sealed or is none stays as it is."""
        if isinstance(item, Thread | RefusedLine):
            return item
        if isinstance(item, Message):
            self._note(item)
            return item
        message = item.message
        bits = ids.free_bits_of(item.earlier_id)
        known = self._earlier.get((message.user_id, message.thread_id, bits))
        name = known or self._place(message)
        if name is None:
            reason = f"its thread has {PLACES:,} messages of the same time before it"
            return RefusedLine(item.where, reason)
        moment = ids.timestamp(ids.time_us_of(name)) if known else message.created_at
        return codec.seal(
            msgspec.structs.replace(message, id=name, created_at=moment, updated_at=moment)
        )

    def _place(self, message: Message) -> str | None:
        """The id under which it is there, or one after all of its moment; None where there is no
        place left."""
        time_us = ids.time_us_of(message.id)
        moment = message.user_id, message.thread_id, time_us
        tail = ids.free_bits_of(message.id) & _TAIL
        if known := self._ids.get((*moment, tail)):
            return known
        place = self._places.get(moment, -1) + 1
        if place >= PLACES:
            return None
        name = ids.mint(time_us, ids.shard_in(message.id), place << TAIL_BITS | tail)
        self._places[moment], self._ids[*moment, tail] = place, name
        return name

    def _note(self, one: Held | Message) -> None:
        bits = ids.free_bits_of(one.id)
        moment = one.user_id, one.thread_id, ids.time_us_of(one.id)
        self._places[moment] = max(self._places.get(moment, -1), bits >> TAIL_BITS)
        self._ids[*moment, bits & _TAIL] = one.id
        self._earlier[one.user_id, one.thread_id, bits] = one.id


def spans(items: Sequence[Kept]) -> set[IdRange]:
    """Where foreign messages may be already: up to the end of the millisecond, over which messages
    of one second were once spread."""
    found = set()
    for item in items:
        if isinstance(item, Minted):
            user_id, thread_id = item.message.user_id, item.message.thread_id
            time_us, shard = ids.time_us_of(item.message.id), ids.shard_in(item.message.id)
            last_us = time_us // 1000 * 1000 + 999
            high = ids.mint(last_us, shard, (1 << ids.RANDOM_BITS) - 1)
            found.add(IdRange(user_id, thread_id, ids.mint(time_us, shard, 0), high))
            if item.earlier_id > high:
                found.add(IdRange(user_id, thread_id, item.earlier_id, item.earlier_id))
    return found
