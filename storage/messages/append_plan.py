"""New messages of which some are known already: only the rest is asked for."""

from collections.abc import Callable, Sequence

from models.appends import Append, IdTooOld, Stored
from storage.errors import TierError
from storage.messages.postgres_writes import AcknowledgedBefore, keyed

Answer = Stored | IdTooOld | TierError
Ask = Callable[[Sequence[Append]], Sequence[Answer]]


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
