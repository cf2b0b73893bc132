"""A user's part of Redis: log entries, copies, streams, hot pages, threads, keys, events.

First a watermark is set that the scripts respect, so that nothing at or below it comes in again
by a write or a page that was read before. Then the log is read through, and all keys are passed.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from jobs.erase.receipt import Target
from models import ids
from models.records import address_of, created_at
from storage.errors import TierError
from storage.redis import keys
from storage.redis.driver import RedisGateway, Script
from storage.redis.pending_log import LogEntry, PendingLog

SCAN_KEYS = 1_000
"""Keys that one look at Redis passes over: about a millisecond in which it does nothing else."""

SHUT_OUT_SECONDS = 3_600
"""At least: far longer than anybody holds a page or a message in hand."""

COPIES_AT_ONCE = 200
LOG_ENTRIES = 500


class RedisEraser:
    """Looks for, and takes out, what Redis has of a user. Errors leave as `TierError`."""

    def __init__(self, door: RedisGateway, log: PendingLog, hot_seconds: int) -> None:
        self._door = door
        self._log = log
        self._seconds = max(hot_seconds, SHUT_OUT_SECONDS)
        self._copies = Script(door, "erase_copies")
        self._thread = Script(door, "erase_thread")
        self._states = Script(door, "erase_states")

    def newest_logged(self, user_id: str) -> str:
        """The highest message id of the user in the log, the lowest of all ids if there is none."""
        entries = self._entries(lambda entry: _owner(entry) == user_id)
        found = (address_of(entry.kind, entry.record).message_id for entry in entries)
        return max((name for name in found if name), default=ids.LOWEST)

    def block_writes(self, target: Target, now_us: int) -> None:
        """From now on no script takes in what is at or below the watermark."""
        ahead = max(0, ids.time_us_of(target.through) - now_us) // 1_000_000
        with self._door.guarded() as client:
            pipeline = client.pipeline(transaction=False)
            for slot in range(self._log.slots):
                name = keys.erased(slot, target.user_id)
                pipeline.set(name, target.through, ex=self._seconds + ahead)
            pipeline.unlink(keys.thread_pages(target.user_id), keys.analytics(target.user_id))
            pipeline.execute()

    def purge_log(self, target: Target) -> dict[str, int]:
        """Takes the user's entries out of the log."""
        gone = 0
        for entry in self._entries(lambda entry: _is_due(entry, target)):
            with self._door.guarded() as client:
                gone += int(client.xdel(keys.pending(entry.slot), entry.entry_id))
        return {"log_entries": gone}

    def clear(self, target: Target) -> dict[str, int]:
        """Takes out everything else."""
        return self._pass_all(target, remove=True)

    def look(self, target: Target) -> dict[str, int]:
        """Counts what is there of all of it."""
        entries = sum(1 for _ in self._entries(lambda entry: _is_due(entry, target)))
        return {"log_entries": entries, **self._pass_all(target, remove=False)}

    def rewrite_file(self) -> str:
        """Has the append-only file written anew, or sees how far that is; gives its state."""
        with self._door.guarded() as client:
            info: Any = client.info("persistence")
            if not info.get("aof_enabled"):
                return "no append-only file"
            if info["aof_rewrite_in_progress"] or info.get("aof_rewrite_scheduled"):
                return BUSY
            client.bgrewriteaof()
        return REWRITING

    def is_rewriting(self) -> bool:
        """Whether the append-only file is being written anew, or did not get to its end."""
        with self._door.guarded() as client:
            info: Any = client.info("persistence")
        unfinished = info["aof_rewrite_in_progress"] or info.get("aof_rewrite_scheduled")
        return bool(unfinished) or info.get("aof_last_bgrewrite_status") != "ok"

    def _entries(self, wanted: Callable[[LogEntry], bool]) -> Iterator[LogEntry]:
        for slot in range(self._log.slots):
            after = "-"
            while page := self._log.page(slot, after, LOG_ENTRIES):
                yield from filter(wanted, page)
                after = f"({page[-1].entry_id}"

    def _pass_all(self, target: Target, *, remove: bool) -> dict[str, int]:
        counts = Counter(
            messages=0,
            streams=0,
            index_entries=0,
            threads=0,
            watermarks=0,
            idempotency_keys=0,
            states=0,
        )
        threads: set[str] = set()
        for names in self._names():
            counts["messages"] += self._take_copies(names, "message:active:{", target, remove)
            # The head of a stream begins as the record of its message does.
            counts["streams"] += self._take_copies(names, "stream:{", target, remove)
            threads |= {found for name in names if (found := _thread_in(name, target.user_id))}
            states = [name for name in names if _is_state(name, target.user_id)]
            counts["states"] += self._take_states(states, target, remove)
            made = [name for name in names if _is_idempotency(name, target.user_id)]
            counts["idempotency_keys"] += self._take_keys(made, target, remove)
        for stem in sorted(threads):
            names = [f"{stem}:{part}" for part in ("ids", "record", "deleted-through")]
            arguments = [target.through, target.moment, "1" if remove else "0"]
            listed, record, mark = self._thread(names, arguments)
            counts.update(index_entries=listed, threads=record, watermarks=mark)
        counts["events"] = self._take_events(target, remove)
        return dict(counts)

    def _take_events(self, target: Target, remove: bool) -> int:
        """What those who listen were told lately. If any of it goes, all does, with the list of
        threads: whoever listens is told to read anew."""
        names = keys.of_listeners(target.user_id)
        with self._door.guarded() as client:
            entries: Any = client.xrange(names[0])
            if remove:
                client.unlink(*names, keys.analytics(target.user_id))
                client.zrem(keys.ACTIVE_LISTS, target.user_id)
        return sum(1 for _, fields in entries if _is_told(fields, target))

    def _names(self) -> Iterator[list[str]]:
        """Every key, page by page. A key that is there throughout is given at least once."""
        cursor: Any = 0
        while True:
            with self._door.guarded() as client:
                answer: Any = client.scan(cursor, count=SCAN_KEYS)
            cursor, found = answer
            yield [name.decode(errors="replace") for name in found]
            if int(cursor) == 0:
                return

    def _take_copies(self, names: Sequence[str], prefix: str, target: Target, remove: bool) -> int:
        by_slot: dict[int, list[str]] = {}
        for name in names:
            if name.startswith(prefix):
                by_slot.setdefault(_slot_of(name), []).append(name)
        user = msgspec.json.encode(target.user_id).decode()
        calls: list[tuple[list[str], list[Any]]] = [
            (
                found[at : at + COPIES_AT_ONCE],
                [user, target.through, "1" if remove else "0"],
            )
            for found in by_slot.values()
            for at in range(0, len(found), COPIES_AT_ONCE)
        ]
        return sum(_answered(self._copies.many(calls))) if calls else 0

    def _take_states(self, names: Sequence[str], target: Target, remove: bool) -> int:
        calls: list[tuple[list[str], list[Any]]] = [
            ([name], [target.moment, "1" if remove else "0"]) for name in names
        ]
        return sum(_answered(self._states.many(calls))) if calls else 0

    def _take_keys(self, names: Sequence[str], target: Target, remove: bool) -> int:
        if not names:
            return 0
        with self._door.guarded() as client:
            pipeline = client.pipeline(transaction=False)
            for name in names:
                pipeline.get(name)
            due = [
                name
                for name, made in zip(names, pipeline.execute(), strict=True)
                if made is not None and made.decode(errors="replace") <= target.through
            ]
            if due and remove:
                for name in due:
                    pipeline.delete(name)
                pipeline.execute()
        return len(due)


BUSY = "the append-only file is being written anew for somebody else, and then once more"
REWRITING = "the append-only file is being written anew"


def _is_told(fields: dict[bytes, bytes], target: Target) -> bool:
    """Whether an event tells of what is to go."""
    kind = "thread" if fields.get(b"type") == b"thread_updated" else "message"
    record = fields.get(b"record")
    if record is None or b"message" in fields:
        return b"message" in fields and fields[b"message"].decode() <= target.through
    return _is_old(kind, record, target)


def _owner(entry: LogEntry) -> str | None:
    return address_of(entry.kind, entry.record).user_id


def _is_due(entry: LogEntry, target: Target) -> bool:
    return _owner(entry) == target.user_id and _is_old(entry.kind, entry.record, target)


def _is_old(kind: str, record: bytes, target: Target) -> bool:
    message_id = address_of(kind, record).message_id
    return message_id <= target.through if message_id else created_at(record) <= target.moment


def _slot_of(name: str) -> int:
    return int(name[name.index("{") + 1 : name.index("}")])


def _thread_in(name: str, user_id: str) -> str | None:
    """What all keys of the thread whose key this is begin with, if it is the user's."""
    if not name.startswith("thread:{") or f"}}:{keys.encode(user_id)}:" not in name:
        return None
    return name.rpartition(":")[0]


def _is_idempotency(name: str, user_id: str) -> bool:
    return name.startswith("idempotency:{") and f"}}:{keys.encode(user_id)}:" in name


def _is_state(name: str, user_id: str) -> bool:
    owner = f"}}:{keys.encode(user_id)}"
    is_session = name.startswith("session:{") and name.endswith(owner)
    return is_session or (name.startswith("state:primary:{") and f"{owner}:" in name)


def _answered(answers: Sequence[Any]) -> list[int]:
    for answer in answers:
        if isinstance(answer, TierError):
            raise answer
    return [int(answer) for answer in answers]
