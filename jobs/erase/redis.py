"""A user's part of Redis: log entries, copies, streams, hot pages, threads, keys, events. First a
watermark is set, at or below which the scripts take nothing in; then log and keys are scanned."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from jobs.erase.receipt import Target
from models import codec, ids
from models.records import address_of
from storage.redis import keys
from storage.redis.driver import Call, Script
from storage.redis.pending_log import LogEntry
from storage.resilience.bites import batches
from storage.tiers import Tiers

BLOCKED_SECONDS = 3_600
"""At least: far longer than anybody holds a page or a message in hand."""

COPIES_AT_ONCE = 200
LOG_ENTRIES = 500

BUSY = "the append-only file is being written anew for somebody else, and then once more"
REWRITING = "the append-only file is being written anew"
REWRITTEN = "the append-only file was written anew"


class RedisEraser:
    """Counts and removes what Redis has of a user. Errors leave as `TierError`."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers
        self._door = tiers.redis_door
        self._seconds = max(tiers.settings.hot_seconds, BLOCKED_SECONDS)
        self._copies = Script(self._door, "erase_copies")
        self._thread = Script(self._door, "erase_thread")
        self._states = Script(self._door, "erase_states")

    def newest_logged(self, user_id: str) -> str:
        """The highest message id of the user in the log, the lowest of all ids if there is none."""
        addresses = (address_of(one.kind, one.record) for one in self._entries())
        names = (one.message_id for one in addresses if one.user_id == user_id)
        return max(filter(None, names), default=ids.LOWEST)

    def block_writes(self, target: Target) -> None:
        """From now on no script takes in what is at or below the watermark."""
        ahead = max(0, ids.time_us_of(target.through) - self._tiers.clock.now_us()) // 1_000_000
        with self._door.guarded() as client:
            pipeline = client.pipeline(transaction=False)
            for slot in range(self._tiers.pending_log.slots):
                name = keys.erased(slot, target.user_id)
                pipeline.set(name, target.through, ex=self._seconds + ahead)
            pipeline.unlink(keys.thread_pages(target.user_id), keys.analytics(target.user_id))
            pipeline.execute()

    def purge_log(self, target: Target) -> dict[str, int]:
        """Takes the user's entries out of the log."""
        gone = 0
        for entry in self._covered(target):
            with self._door.guarded() as client:
                gone += int(client.xdel(keys.pending(entry.slot), entry.entry_id))
        return {"log_entries": gone}

    def count(self, target: Target) -> dict[str, int]:
        """Counts by kind what is there."""
        entries = sum(1 for _ in self._covered(target))
        return {"log_entries": entries, **self.clear(target, remove=False)}

    def _covered(self, target: Target) -> Iterator[LogEntry]:
        return (one for one in self._entries() if target.covers(one.kind, one.record))

    def clear(self, target: Target, *, remove: bool = True) -> dict[str, int]:
        """Takes out everything but the log's entries, or only counts it."""
        counts = Counter(messages=0, streams=0, index_entries=0, threads=0, watermarks=0)
        owner = f"}}:{keys.encode(target.user_id)}"
        threads: set[str] = set()
        for names in self._door.scan():
            counts["messages"] += self._take_copies(names, "message:active:{", target, remove)
            # The head of a stream begins as the record of its message does.
            counts["streams"] += self._take_copies(names, "stream:{", target, remove)
            owned = [name for name in names if f"{owner}:" in name]
            # What all keys of a thread begin with.
            threads |= {one.rpartition(":")[0] for one in owned if one.startswith("thread:{")}
            made = [name for name in owned if name.startswith("idempotency:{")]
            counts["idempotency_keys"] += self._take_keys(made, target, remove)
            states = [name for name in owned if name.startswith("state:primary:{")]
            states += [one for one in names if one.startswith("session:{") and one.endswith(owner)]
            arguments = [target.moment, int(remove)]
            counts["states"] += sum(self._states.every([([name], arguments) for name in states]))
        for stem in sorted(threads):
            names = [f"{stem}:{part}" for part in ("ids", "record", "deleted-through")]
            listed, record, mark = self._thread(names, [target.through, target.moment, int(remove)])
            counts.update(index_entries=listed, threads=record, watermarks=mark)
        counts["events"] = self._take_events(target, remove)
        return dict(counts)

    def rewrite_file(self, before: str | None) -> str:
        """Has the append-only file rewritten, or sees how far that is; gives its state, given the
        one before."""
        if before == REWRITTEN:
            return before
        with self._door.guarded() as client:
            info: Any = client.info("persistence")
            is_busy = info["aof_rewrite_in_progress"] or info.get("aof_rewrite_scheduled")
            if before == REWRITING:
                is_done = not is_busy and info.get("aof_last_bgrewrite_status") == "ok"
                return REWRITTEN if is_done else REWRITING
            if not info.get("aof_enabled"):
                return "no append-only file"
            if is_busy:
                return BUSY
            client.bgrewriteaof()
        return REWRITING

    def _entries(self) -> Iterator[LogEntry]:
        for slot in range(self._tiers.pending_log.slots):
            after = "-"
            while page := self._tiers.pending_log.page(slot, after, LOG_ENTRIES):
                yield from page
                after = f"({page[-1].entry_id}"

    def _take_events(self, target: Target, remove: bool) -> int:
        """Counts the events that are to go; all of the user are removed, with the list of threads,
        and listeners read again."""
        names = keys.of_listeners(target.user_id)
        with self._door.guarded() as client:
            entries: Any = client.xrange(names[0])
            if remove:
                client.unlink(*names, keys.analytics(target.user_id))
                client.zrem(keys.ACTIVE_LISTS, target.user_id)
        return sum(1 for _, fields in entries if _is_about(fields, target))

    def _take_copies(self, names: Sequence[str], prefix: str, target: Target, remove: bool) -> int:
        by_slot: dict[str, list[str]] = defaultdict(list)
        for name in names:
            if name.startswith(prefix):
                by_slot[name[len(prefix) : name.index("}")]].append(name)
        arguments = [codec.text(target.user_id), target.through, int(remove)]
        calls: list[Call] = [
            (batch, arguments)
            for found in by_slot.values()
            for batch in batches(found, COPIES_AT_ONCE)
        ]
        return sum(self._copies.every(calls))

    def _take_keys(self, names: Sequence[str], target: Target, remove: bool) -> int:
        found = self._door.each(lambda pipeline, name: pipeline.get(name), names)
        due = [
            name
            for name, made in zip(names, found, strict=True)
            if made is not None and made.decode(errors="replace") <= target.through
        ]
        if remove:
            self._door.each(lambda pipeline, name: pipeline.delete(name), due)
        return len(due)


def _is_about(fields: dict[bytes, bytes], target: Target) -> bool:
    """Whether an event is about what is to go."""
    kind = "thread" if fields.get(b"type") == b"thread_updated" else "message"
    record = fields.get(b"record")
    if record is None or b"message" in fields:
        return b"message" in fields and fields[b"message"].decode() <= target.through
    return target.is_past(kind, record)
