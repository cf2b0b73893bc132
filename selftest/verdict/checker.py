"""Compares the ledger with what is stored: a function for each invariant.

Each takes the evidence and gives violations. They have no side effects, so that tests can give
them falsified evidence.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from models import codec
from models.hot_page import HotPage
from models.message import Message
from selftest.record.account import MessageHistory, hash_of
from selftest.record.findings import Invariant, Violation
from selftest.verdict.evidence import Evidence, ThreadName

Check = Callable[[Evidence], list[Violation]]


def check(evidence: Evidence) -> list[Violation]:
    """Return all violations."""
    return [violation for each in CHECKS for violation in each(evidence)]


def nothing_is_lost(evidence: Evidence) -> list[Violation]:
    """Every acknowledged message is found by id, in its list, in PostgreSQL and ClickHouse, with
    its newest acknowledged content or that of a later edit without an answer."""
    listed = {name: _by_id(found) for name, found in evidence.lists.items()}
    committed, archived = _by_id(evidence.committed), _by_id(evidence.archived)
    found = []
    for history in evidence.account.histories():
        if not history.must_be_seen:
            continue
        places = {
            "the API by id": evidence.by_id.get(history.id),
            "the API's list": listed.get((history.user_id, history.thread_id), {}).get(history.id),
            "PostgreSQL": committed.get(history.id),
            "ClickHouse": archived.get(history.id),
        }
        for place, message in places.items():
            if message is None or message.deleted_at is not None:
                found.append(_of(Invariant.NO_LOSS, f"not in {place}", history))
            elif not history.fits(message.version, hash_of(message.content)):
                what = f"another version or content in {place}"
                found.append(_of(Invariant.NO_LOSS, what, history, found=message.version))
    return found


def nothing_is_doubled(evidence: Evidence) -> list[Violation]:
    """One id for a key, one visible message for a key, one row for an id, no id twice in a list."""
    found = [
        _of(Invariant.NO_DOUBLE, "one key was acknowledged with several ids", each, ids=each.ids)
        for each in evidence.account.histories()
        if len(each.ids) > 1
    ]
    for (user_id, thread_id), messages in evidence.lists.items():
        where = f"the list of {user_id}/{thread_id}"
        found += _doubles((each.id for each in messages), "an id", where)
        found += _doubles({each.id: _key(each) for each in messages}.values(), "a key", where)
    for where, rows in (("PostgreSQL", evidence.committed), ("ClickHouse", evidence.archived)):
        found += _doubles((each.id for each in rows), "an id", where)
        live = {each.id: _key(each) for each in rows if each.deleted_at is None}
        found += _doubles(live.values(), "a key", where)
    return found


def nothing_comes_back(evidence: Evidence) -> list[Violation]:
    """A message acknowledged as deleted is nowhere, and no tier has an older version than
    acknowledged."""
    found = []
    places: list[tuple[str, Iterable[Message | None]]] = [
        ("the API by id", evidence.by_id.values()),
        ("the API's list", (each for page in evidence.lists.values() for each in page)),
        ("PostgreSQL", evidence.committed),
        ("ClickHouse", evidence.archived),
        ("Redis", evidence.hot.values()),
    ]
    histories = {each.id: each for each in evidence.account.histories() if each.ids}
    for place, messages in places:
        for message in messages:
            history = histories.get(message.id) if message else None
            if message is None or history is None:
                continue
            if history.deleted and message.deleted_at is None:
                found.append(_of(Invariant.NO_RESURRECTION, f"deleted, but in {place}", history))
            elif message.version < history.version:
                what = f"an older version than acknowledged in {place}"
                found.append(_of(Invariant.NO_RESURRECTION, what, history, found=message.version))
    return found


def order_is_kept(evidence: Evidence) -> list[Violation]:
    """A list is in the order of ids, and one writer's messages in that of acknowledgement."""
    found = []
    op_of = {each.id: (each.writer, each.op) for each in evidence.account.histories() if each.ids}
    for (user_id, thread_id), messages in evidence.lists.items():
        where = f"{user_id}/{thread_id}"
        shown = [message.id for message in reversed(messages)]
        if shown != sorted(shown):
            found.append(Violation(invariant=Invariant.ORDER, what=f"{where} is not in order"))
        latest: dict[int, int] = {}
        for message_id in shown:
            writer, op = op_of.get(message_id, (-1, 0))
            if writer >= 0 and op < latest.get(writer, -1):
                what = f"a message of writer {writer} in {where} comes after a later one"
                evidence_of = {"id": message_id, "op": op, "later_op": latest[writer]}
                found.append(Violation(invariant=Invariant.ORDER, what=what, evidence=evidence_of))
            latest[writer] = max(op, latest.get(writer, -1))
    return found


def all_is_carried_on(evidence: Evidence) -> list[Violation]:
    """The log and the outbox are empty, nothing was refused, and everything answers."""
    waiting = {
        "entries wait in the log": evidence.pending,
        "messages wait in the outbox": evidence.outbox,
        "entries were refused by PostgreSQL": evidence.dead_letters,
    }
    found = [
        Violation(invariant=Invariant.RECOVERY, what=f"{count} {what}")
        for what, count in waiting.items()
        if count
    ]
    if evidence.unanswered:
        what = f"{len(evidence.unanswered)} requests were not answered after the end"
        sample = {"first": evidence.unanswered[:5]}
        found.append(Violation(invariant=Invariant.RECOVERY, what=what, evidence=sample))
    return found


def tiers_agree(evidence: Evidence) -> list[Violation]:
    """Redis and ClickHouse hold what PostgreSQL holds; the hot page is complete where it says so,
    and the API lists what PostgreSQL has."""
    committed = _by_id(evidence.committed)
    live = {name: each for name, each in committed.items() if each.deleted_at is None}
    found = _different("Redis", evidence.hot.values(), committed)
    found += _different("ClickHouse", evidence.archived, committed)
    found += _missing("ClickHouse", set(live), {each.id for each in evidence.archived})
    of_thread: dict[ThreadName, set[str]] = defaultdict(set)
    for message in live.values():
        of_thread[message.user_id, message.thread_id].add(message.id)
    for name, page in evidence.hot_pages.items():
        # Readers skip messages whose record says deleted, so such an id is harmless.
        buried = {each for each, _ in page.records if _is_buried(evidence, each)}
        found += _page_differs("/".join(name), page, of_thread[name], buried)
    for name, messages in evidence.lists.items():
        where = f"the API's list of {'/'.join(name)}"
        found += _missing(where, of_thread[name], {each.id for each in messages})
    return found + _miscounted(evidence.counts, of_thread)


def copies_are_intact(evidence: Evidence) -> list[Violation]:
    """Every copy anywhere matches its own hash."""
    copies: list[tuple[str, Iterable[Message | None]]] = [
        ("the API by id", evidence.by_id.values()),
        ("the API's list", (each for page in evidence.lists.values() for each in page)),
        ("PostgreSQL", evidence.committed),
        ("ClickHouse", evidence.archived),
        ("Redis", evidence.hot.values()),
    ]
    found = [
        _at(Invariant.INTACT, f"a copy in {place} does not match its hash", message.id)
        for place, messages in copies
        for message in messages
        if message is not None and not codec.is_intact(message)
    ]
    return found + [
        _at(Invariant.INTACT, "a record in Redis is no message", message_id)
        for message_id in evidence.corrupt
    ]


def answers_are_allowed(evidence: Evidence) -> list[Violation]:
    """Every write was answered with 200, 503, or a 404 for a deleted message."""
    return [
        Violation(
            invariant=Invariant.IN_TIME,
            what=f"a {each.asked.verb} was answered with {each.answered.status}",
            evidence={"op": each.asked.op, "id": each.asked.message_id, "key": each.asked.key},
        )
        for each in evidence.account.refusals
    ]


CHECKS: tuple[Check, ...] = (
    nothing_is_lost,
    nothing_is_doubled,
    nothing_comes_back,
    order_is_kept,
    all_is_carried_on,
    tiers_agree,
    copies_are_intact,
    answers_are_allowed,
)


def _miscounted(
    counts: dict[ThreadName, int], of_thread: dict[ThreadName, set[str]]
) -> list[Violation]:
    return [
        Violation(
            invariant=Invariant.AGREEMENT,
            what=f"PostgreSQL counts {count} messages in {'/'.join(name)}",
            evidence={"there_are": len(of_thread[name])},
        )
        for name, count in counts.items()
        if count != len(of_thread[name])
    ]


def _is_buried(evidence: Evidence, message_id: str) -> bool:
    record = evidence.hot.get(message_id)
    return record is not None and record.deleted_at is not None


def _page_differs(
    where: str, page: HotPage, committed: set[str], buried: set[str]
) -> list[Violation]:
    """The index of a thread in Redis is complete above its floor."""
    if page.floor is None:
        return []
    floor = page.floor
    indexed = {message_id for message_id, _ in page.records}
    above = {message_id for message_id in committed if message_id >= floor}
    place = f"the hot page of {where}"
    found = _missing(place, above, indexed)
    return found + [
        _at(Invariant.AGREEMENT, f"{place} has what PostgreSQL has not", message_id)
        for message_id in sorted(indexed - committed - buried)
    ]


def _different(
    place: str, messages: Iterable[Message], committed: dict[str, Message]
) -> list[Violation]:
    found = []
    for message in messages:
        row = committed.get(message.id)
        if row is None:
            found.append(_at(Invariant.AGREEMENT, f"in {place}, not in PostgreSQL", message.id))
        elif (message.version, message.content_hash) != (row.version, row.content_hash):
            what = f"{place} has version {message.version}, PostgreSQL {row.version}"
            found.append(_at(Invariant.AGREEMENT, what, message.id))
    return found


def _missing(place: str, wanted: set[str], there: set[str]) -> list[Violation]:
    return [
        _at(Invariant.AGREEMENT, f"{place} misses what PostgreSQL has", message_id)
        for message_id in sorted(wanted - there)
    ]


def _doubles(names: Iterable[str], what: str, where: str) -> list[Violation]:
    return [
        Violation(
            invariant=Invariant.NO_DOUBLE,
            what=f"{what} is {count} times in {where}",
            evidence={"name": name},
        )
        for name, count in Counter(names).items()
        if count > 1 and name
    ]


def _key(message: Message) -> str:
    """The Idempotency-Key of a message, which its writer put into the metadata."""
    return str(message.metadata.get("key", ""))


def _by_id(messages: Iterable[Message]) -> dict[str, Message]:
    return {message.id: message for message in messages}


def _at(invariant: Invariant, what: str, message_id: str) -> Violation:
    return Violation(invariant=invariant, what=what, evidence={"id": message_id})


def _of(invariant: Invariant, what: str, history: MessageHistory, **more: object) -> Violation:
    facts = {
        "id": history.id,
        "key": history.key,
        "op": history.op,
        "user": history.user_id,
        "thread": history.thread_id,
        "version": history.version,
        **more,
    }
    return Violation(invariant=invariant, what=what, evidence=facts)
