"""How a call becomes a method of either client."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar, overload

from threadkeep_client.answers.pages import Page
from threadkeep_client.calls.call import Call

P = ParamSpec("P")
Answer = TypeVar("Answer")
Item = TypeVar("Item")


class Blocking(ABC):
    """A client whose methods wait for the answer."""

    @abstractmethod
    def send(self, call: Call[Answer]) -> Answer:
        """Makes a call and returns its answer."""


class Awaiting(ABC):
    """A client whose methods are awaited."""

    @abstractmethod
    async def send(self, call: Call[Answer]) -> Answer:
        """Makes a call and returns its answer."""


class Method(Generic[P, Answer]):
    """`client.get_message(…)` makes the call that `get_message(…)` describes."""

    def __init__(self, describe: Callable[P, Call[Answer]]) -> None:
        self._describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, client: Blocking, owner: object = None) -> Callable[P, Answer]: ...
    @overload
    def __get__(self, client: Awaiting, owner: object = None) -> Callable[P, Awaitable[Answer]]: ...
    def __get__(self, client: Any, owner: object = None) -> Any:
        if client is None:
            return self

        def method(*given: P.args, **named: P.kwargs) -> Any:
            return client.send(self._describe(*given, **named))

        return update_wrapper(method, self._describe)


class Walk(Generic[P, Item]):
    """`for message in client.messages(…)` goes through all pages that `list_messages` gives."""

    def __init__(self, describe: Callable[P, Call[Page[Item]]]) -> None:
        self._describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, client: Blocking, owner: object = None) -> Callable[P, Iterator[Item]]: ...
    @overload
    def __get__(
        self, client: Awaiting, owner: object = None
    ) -> Callable[P, AsyncIterator[Item]]: ...
    def __get__(self, client: Any, owner: object = None) -> Any:
        if client is None:
            return self
        walk = _walk if isinstance(client, Blocking) else _walk_awaiting

        def method(*given: P.args, **named: P.kwargs) -> Any:
            return walk(client, self._describe(*given, **named))

        return update_wrapper(method, self._describe)


def _walk(client: Blocking, call: Call[Page[Item]]) -> Iterator[Item]:
    while True:
        page = client.send(call)
        yield from page.items
        if page.next_cursor is None:
            return
        call = call.at(page.next_cursor)


async def _walk_awaiting(client: Awaiting, call: Call[Page[Item]]) -> AsyncIterator[Item]:
    while True:
        page = await client.send(call)
        for item in page.items:
            yield item
        if page.next_cursor is None:
            return
        call = call.at(page.next_cursor)
