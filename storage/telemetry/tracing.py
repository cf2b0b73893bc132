"""The traces of requests, tasks and statements; these here record nothing."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

Found = TypeVar("Found")

_NOTHING = nullcontext()


class Tracing:
    """The traces of one process, of which there are none."""

    is_on = False

    def begin(self, name: str, traceparent: str) -> None:
        """A request begins in this thread, asked by whoever holds that span, if anybody does."""

    def end(self, facts: Mapping[str, str | int], *, failed: bool) -> None:
        """It is answered."""

    def work(self, name: str, sent_for: Sequence[str] = ()) -> AbstractContextManager[None]:
        """The block is traced, as a part of the first trace that it is done for; it names the
        others."""
        return _NOTHING

    def poll(self, name: str, poll: Callable[[], Found]) -> Found:
        """The result of a poll, which is traced if it says that something was done."""
        return poll()

    def statement(self, tier: str, statement: str, seconds: float, *, failed: bool) -> None:
        """A tier answered a moment ago, in this thread."""

    def traceparent(self) -> str:
        """Names what is traced here to others, as W3C Trace Context does; empty for nothing."""
        return ""
