"""The message id: a UUIDv7 whose free bits carry the shard and the microsecond.

    48 bits  milliseconds since 1970 (RFC 9562, section 5.7)
     4 bits  version, 7
    12 bits  shard: a stable hash of (user, thread)
     2 bits  variant, 10
    10 bits  microseconds within the millisecond
    52 bits  random; of imported messages, see `jobs.transfer.formats.settling`

Within a thread the shard never changes, so ids there sort by their time to the microsecond, and an
id alone tells its time, its Redis slot and its PostgreSQL partition. Ids are kept as canonical
lower-case text: text order, byte order and time order are then one order.
"""

import hashlib
import os
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

SHARD_BITS = 12
SHARD_SPACE = 1 << SHARD_BITS
RANDOM_BITS = 52
MAX_MICROSECONDS = 253_402_300_799_999_999
"""The last microsecond of the year 9999, where RFC 3339 ends; the 48 bits would go on."""
LOWEST = "00000000-0000-0000-0000-000000000000"
HIGHEST = "ffffffff-ffff-ffff-ffff-ffffffffffff"

_RANDOM_BYTES = 7
_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=65_536)
def shard_of(user_id: str, thread_id: str) -> int:
    """The 12-bit shard of a thread, the same in every process and for ever."""
    name = f"{len(user_id)}:{user_id}{thread_id}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=2).digest()) >> 4


def mint(time_us: int, shard: int, random_bits: int | None = None) -> str:
    """The id for a moment (microseconds since 1970) in a shard; random unless bits are given."""
    if not 0 <= time_us <= MAX_MICROSECONDS:
        raise ValueError("the time does not fit an id")
    if not 0 <= shard < SHARD_SPACE:
        raise ValueError("the shard does not fit an id")
    bits = int.from_bytes(os.urandom(_RANDOM_BYTES)) if random_bits is None else random_bits
    milliseconds, microseconds = divmod(time_us, 1000)
    high = milliseconds << 16 | 7 << SHARD_BITS | shard
    low = 2 << 62 | microseconds << RANDOM_BITS | bits & ((1 << RANDOM_BITS) - 1)
    text = f"{high:016x}{low:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def highest(time_us: int) -> str:
    """The highest id of a moment's millisecond, in whichever shard."""
    return mint(time_us // 1000 * 1000 + 999, SHARD_SPACE - 1, (1 << RANDOM_BITS) - 1)


def lowest(moment: str) -> str:
    """The lowest id of the millisecond of an RFC 3339 time, in whichever shard."""
    return mint(max(0, time_us(datetime.fromisoformat(moment)) // 1000 * 1000), 0, 0)


def highest_of(moment: str, shard: int) -> str:
    """The highest id of the microsecond of an RFC 3339 time, in a shard."""
    return mint(time_us(datetime.fromisoformat(moment)), shard, (1 << RANDOM_BITS) - 1)


def source_bits(*source: str) -> int:
    """52 bits for an imported message: a hash of its source's own identity."""
    digest = hashlib.sha256("\0".join(source).encode()).digest()
    return int.from_bytes(digest[:8]) >> (64 - RANDOM_BITS)


def is_id(text: str) -> bool:
    """Whether the text is a message id in canonical form, of a time that can be written."""
    return _CANONICAL.fullmatch(text) is not None and time_us_of(text) <= MAX_MICROSECONDS


def time_us_of(message_id: str) -> int:
    """Microseconds since 1970, read back from an id."""
    milliseconds = int(message_id[:8] + message_id[9:13], 16)
    return milliseconds * 1000 + (int(message_id[19:23], 16) >> 4 & 0x3FF)


def free_bits_of(message_id: str) -> int:
    """The 52 bits behind the time, read back from an id."""
    return int(message_id[20:23] + message_id[24:], 16) & ((1 << RANDOM_BITS) - 1)


def shard_in(message_id: str) -> int:
    """The 12-bit shard, read back from an id."""
    return int(message_id[15:18], 16)


def timestamp(time_us: int) -> str:
    """RFC 3339 in UTC with six digits, for microseconds since 1970."""
    seconds, microseconds = divmod(time_us, 1_000_000)
    return f"{_second(seconds)}.{microseconds:06d}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    # Most messages share their second with others, and formatting it is the dear part.
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def in_utc(text: str) -> str:
    """A time of RFC 3339 that somebody gave, as `timestamp` has it. What is before the first or
    after the last moment that an id has becomes that moment. Raises `ValueError`, also for a time
    without a zone."""
    # RFC 3339 has t and z in either case.
    moment = datetime.fromisoformat(text.upper())
    if moment.tzinfo is None:
        raise ValueError("the time has no zone")
    return timestamp(min(max(0, time_us(moment)), MAX_MICROSECONDS))


def time_us(moment: datetime) -> int:
    """Whole microseconds since 1970 of an aware datetime."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


class Clock:
    """Microseconds since 1970 that strictly rise within a process, whatever the wall clock does.

    Safe for threads. The source (nanoseconds) is a parameter so that tests can move it.
    """

    def __init__(self, source_ns: Callable[[], int] = time.time_ns) -> None:
        self._source_ns = source_ns
        self._last_us = 0
        self._lock = threading.Lock()

    def now_us(self) -> int:
        """The next moment: later than every one given before."""
        with self._lock:
            self._last_us = max(self._source_ns() // 1000, self._last_us + 1)
            return self._last_us
