"""New messages of which some are known already: only the rest is asked for."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from models.appends import Append, IdTooOld, Key, NewMessage, Stored
from storage.errors import TierError

Answer = Stored | IdTooOld | TierError
Ask = Callable[[Sequence[Append]], Sequence[Answer]]


class AcknowledgedBefore(NamedTuple):
    """What a new message must respect: the newest id of each thread, and the messages that
    Idempotency-Keys have made."""

    newest: Mapping[tuple[str, str], str]
    made: Mapping[Key, str]

    def before(self, key: Key, one: NewMessage) -> str | None:
        """What the key of a new message has made, unless that is gone."""
        made = self.made.get(key)
        return made if made is not None and made > one.instead_of else None


def keyed(append: Append) -> list[tuple[Key, NewMessage]]:
    """The messages of an append that have an Idempotency-Key, with it."""
    return [
        (Key(append.user_id, append.thread_id, one.idempotency_key), one)
        for one in append.messages
        if one.idempotency_key is not None
    ]


def wanted_of(appends: Iterable[Append]) -> dict[Key, str]:
    """The keys of new messages, each with the id up to which what it made is gone."""
    wanted: dict[Key, str] = {}
    for append in appends:
        for key, one in keyed(append):
            wanted[key] = max(one.instead_of, wanted.get(key, ""))
    return wanted


def ask_remaining(appends: Sequence[Append], known: AcknowledgedBefore, ask: Ask) -> list[Answer]:
    """Gives an answer for each append, after asking for what is not known of it, if anything."""
    rests = [_Remainder(append, known) for append in appends]
    open_rests = [rest for rest in rests if rest.answer is None]
    if open_rests:
        answers = ask([rest.append for rest in open_rests])
        for rest, answer in zip(open_rests, answers, strict=True):
            rest.answer = rest.whole(answer)
    return [rest.answer for rest in rests if rest.answer is not None]


class _Remainder:
    """What is left of an append once it was looked up; `answer` if nothing is."""

    def __init__(self, append: Append, known: AcknowledgedBefore) -> None:
        self._whole = append
        self._instead = {
            one.id: before
            for key, one in keyed(append)
            if (before := known.before(key, one)) is not None
        }
        fresh = [one for one in append.messages if one.id not in self._instead]
        self.append = append._replace(messages=fresh)
        self.answer: Answer | None = None
        newest = known.newest.get((append.user_id, append.thread_id))
        if not fresh:
            self.answer = self.whole(Stored([], False))
        elif newest is not None and fresh[0].id <= newest and not append.ids_are_final:
            self.answer = IdTooOld(newest)

    def whole(self, answer: Answer) -> Answer:
        """The answer to the rest as the answer to all."""
        if not isinstance(answer, Stored):
            return answer
        fresh = iter(answer.ids)
        made = [self._instead.get(one.id) or next(fresh) for one in self._whole.messages]
        return Stored(made, answer.wake)


class AppendPlan:
    """What becomes of each message of some appends, given what is known already.

    `fresh` are the messages to be written, by id; `keys` what they claim; `gone` are those keys
    that stood for something which is gone, with its id.
    """

    def __init__(self, appends: Sequence[Append], known: AcknowledgedBefore) -> None:
        self._appends = appends
        self._behind: dict[int, str] = {}
        self._instead: dict[str, str] = {}
        self.fresh: dict[str, NewMessage] = {}
        self.keys: dict[Key, str] = {}
        self.gone = {key: gone for key, gone in wanted_of(appends).items() if gone}
        made = dict(known.made)
        for at, append in enumerate(appends):
            made |= self._take(at, append, AcknowledgedBefore(known.newest, made))

    def _take(self, at: int, append: Append, known: AcknowledgedBefore) -> dict[Key, str]:
        """Plans for one of them; gives what its keys make."""
        keys = {one.id: key for key, one in keyed(append)}
        newest = known.newest.get((append.user_id, append.thread_id))
        own: dict[Key, str] = {}
        fresh = []
        for one in append.messages:
            key = keys.get(one.id)
            first = known.before(key, one) or own.get(key) if key else None
            if first is not None:
                self._instead[one.id] = first
                continue
            fresh.append(one)
            if key is not None:
                own[key] = one.id
        if fresh and not append.ids_are_final and newest is not None and fresh[0].id <= newest:
            self._behind[at] = newest
            return {}
        self.keys.update(own)
        self.fresh.update({one.id: one for one in fresh})
        return own

    def yield_to(self, claimed: dict[Key, str]) -> None:
        """Lets go of messages whose key somebody else took at the same moment."""
        for key, mine in self.keys.items():
            theirs = claimed[key]
            if theirs != mine:
                self._instead[mine] = theirs
                del self.fresh[mine]

    def answers(self) -> list[Answer]:
        """An answer for each append, in order."""
        return [
            IdTooOld(self._behind[at])
            if at in self._behind
            else Stored([self._instead.get(one.id, one.id) for one in append.messages], False)
            for at, append in enumerate(self._appends)
        ]
