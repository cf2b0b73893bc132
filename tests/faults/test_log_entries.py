"""What stands in the log that should not: a record nobody can keep, and entries come back."""

import random
from collections.abc import Callable
from contextlib import AbstractContextManager

import msgspec

from models import codec
from models.message import Message
from selftest.bed.stack import Testbed
from storage.redis.pending_log import LogEntry
from support.calls.api import ok
from support.calls.clients import api_of
from support.data.pending import committed, entries, put
from support.data.samples import message, revised
from support.data.users import fresh_user
from support.faults.trial import RECOVERY_SECONDS, Trial
from support.waiting import eventually

Loaded = Callable[..., AbstractContextManager[Trial]]
GOOD = 499
TIMES = 3


def slot_of(bed: Testbed, one: Message) -> int:
    return bed.services.tiers.redis.slot_of_thread(one.user_id, one.thread_id)


def test_f34_a_record_that_postgresql_cannot_keep_stands_beside_499_good_ones(
    bed: Testbed, load: Loaded
) -> None:
    user = fresh_user()
    own, admin = api_of(bed, user), api_of(bed, is_admin=True)
    good = message(user)
    record = msgspec.json.decode(codec.encode(good))
    poison = msgspec.json.encode(record | {"content": "a\0b"})
    with load() as trial:
        with trial.broken("worker frozen"):
            made = [one["id"] for one in own.send_many("t", GOOD // 2)]
            put(bed.services, [LogEntry(slot_of(bed, good), "", "message", poison)])
            made += [one["id"] for one in own.send_many("t", GOOD - len(made))]
        eventually(lambda: len(committed(bed.services, made)) == GOOD, RECOVERY_SECONDS)

        (letter,) = ok(admin.get("/api/admin/dead-letters"))["dead_letters"]
        assert (letter["message_id"], letter["user_id"]) == (good.id, user)
        assert "\\u0000" in letter["reason"] or "unicode" in letter["reason"].lower()
        health = ok(own.get("/health/persistence"))["tiers"]["postgresql"]
        assert health["dead_letters"] == 1
        trial.wait_until_said("worker", '"dead_lettered"')
        assert committed(bed.services, [good.id]) == {}

        path = f"/api/admin/dead-letters/{letter['id']}/replay"
        assert ok(admin.post(path, json={"record": codec.encode(good).decode()}))["written"]
        assert committed(bed.services, [good.id])[good.id].version == 1


def test_f43_entries_come_back_three_times_and_out_of_order(bed: Testbed, load: Loaded) -> None:
    """Entries of a second of load are put into the log again, thrice, each time in another order,
    while newer ones come in; and those of one message with the newest version first."""
    user = fresh_user()
    first = message(user)
    second = revised(first)
    newest_first = [
        LogEntry(slot_of(bed, first), "", "message", codec.encode(one))
        for one in (revised(second), first, second)
    ]
    with load() as trial:
        with trial.broken("worker frozen"):
            trial.wait_for_more(100)
            seen = entries(bed.services)
        edited = [one for one in seen if not one.record.startswith(b'{"version":1,')]
        assert edited, "nobody edited or deleted anything meanwhile"
        drawn = random.Random(43)
        for _ in range(TIMES):
            drawn.shuffle(seen)
            again = put(bed.services, newest_first + seen + seen[::-1])
            eventually(lambda again=again: not still_there(bed, again), RECOVERY_SECONDS)
            assert committed(bed.services, [first.id])[first.id].version == 3
    assert counted(bed, trial) == listed(bed, trial)


def still_there(bed: Testbed, entry_ids: list[str]) -> set[str]:
    """Those of these entries that the log still holds."""
    return {entry.entry_id for entry in entries(bed.services)} & set(entry_ids)


def counted(bed: Testbed, trial: Trial) -> dict[tuple[str, str], int]:
    """What each thread of the load says of itself: how many messages it has."""
    return {
        (user, thread): ok(api_of(bed, user).get(f"/api/threads/{thread}"))["message_count"]
        for user, thread in trial.traffic.account.threads()
    }


def listed(bed: Testbed, trial: Trial) -> dict[tuple[str, str], int]:
    """How many messages each thread of the load lists."""
    return {
        (user, thread): len(api_of(bed, user).walk(thread, limit=200)[0])
        for user, thread in trial.traffic.account.threads()
    }
