"""New messages of which some are known already: only the rest is asked for."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from models.appends import Append, IdTooOld, Key, Made, NewMessage, Stored
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

    def made_of(self, append: Append) -> dict[str, str]:
        """The messages of an append whose keys have made others, each with the id of that one."""
        found = ((one.id, self.before(key, one)) for key, one in keyed(append))
        return {message_id: made for message_id, made in found if made is not None}

    def too_old(self, append: Append, fresh: Sequence[NewMessage]) -> IdTooOld | None:
        """The answer where the thread has a newer message than the first of these."""
        newest = self.newest.get((append.user_id, append.thread_id))
        if newest is None or append.ids_are_final or fresh[0].id > newest:
            return None
        return IdTooOld(newest)


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
    made = [known.made_of(append) for append in appends]
    rests = [
        append._replace(messages=[one for one in append.messages if one.id not in instead])
        for append, instead in zip(appends, made, strict=True)
    ]
    answers: list[Answer | None] = [
        known.too_old(rest, rest.messages) if rest.messages else Stored([], False) for rest in rests
    ]
    unknown = [at for at, answer in enumerate(answers) if answer is None]
    asked = ask([rests[at] for at in unknown]) if unknown else ()
    for at, answer in zip(unknown, asked, strict=True):
        answers[at] = answer
    return [
        _whole(append, instead, answer)
        for append, instead, answer in zip(appends, made, answers, strict=True)
        if answer is not None
    ]


def _whole(append: Append, instead: Mapping[str, str], answer: Answer) -> Answer:
    """The answer to the rest of an append as the answer to all."""
    if not isinstance(answer, Stored):
        return answer
    fresh = iter(answer.ids)
    made = [instead.get(one.id) or next(fresh) for one in append.messages]
    return Stored(made, answer.wake)


class AppendPlan:
    """What becomes of each message of some appends, given what is known already.

    `fresh` are the messages to be written, by id; `keys` what they claim; `gone` are those keys
    that stood for something which is gone, with its id.
    """

    def __init__(self, appends: Sequence[Append], known: AcknowledgedBefore) -> None:
        self._appends = appends
        self._too_old: dict[int, IdTooOld] = {}
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
        if fresh and (answer := known.too_old(append, fresh)):
            self._too_old[at] = answer
            return {}
        self.keys.update(own)
        self.fresh.update({one.id: one for one in fresh})
        return own

    def made(self) -> dict[Key, Made]:
        """What the keys claim, with its hash."""
        return {key: Made(name, self.fresh[name].content_hash) for key, name in self.keys.items()}

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
            self._too_old.get(at)
            or Stored([self._instead.get(one.id, one.id) for one in append.messages], False)
            for at, append in enumerate(self._appends)
        ]
