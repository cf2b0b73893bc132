"""The client whose methods are awaited."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from copy import copy
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from threadkeep_client.answers.events import Event
from threadkeep_client.api import Api
from threadkeep_client.async_stream_writer import AsyncStreamWriter
from threadkeep_client.calls.call import Call
from threadkeep_client.calls.messages import Role
from threadkeep_client.calls.streaming import open_stream
from threadkeep_client.core.effects import (
    Disconnected,
    Effect,
    Flow,
    NewToken,
    Pause,
    Request,
    Response,
)
from threadkeep_client.core.event_feed import EventFeed
from threadkeep_client.core.exchange import exchange
from threadkeep_client.core.identity import Identity, Token
from threadkeep_client.core.retries import Retries
from threadkeep_client.core.streamed_text import StreamedText
from threadkeep_client.errors import ConnectionLost
from threadkeep_client.http_options import SILENCE_SECONDS, TIMEOUT_SECONDS, http_options
from threadkeep_client.methods import Awaiting

Answer = TypeVar("Answer")


class AsyncThreadkeep(Api, Awaiting):
    """A client of the server at `url`, for any number of tasks; an async context manager.

    `token` is a token or an API key, or a function that returns or
    awaits one: it is called before the first
    request and again after a `401`. `http` is an `httpx.AsyncClient` of your own, for a proxy or
    certificates; it is closed with this client.
    """

    def __init__(
        self,
        url: str,
        token: Token,
        *,
        retries: Retries | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._identity = Identity(token)
        self._retries = retries or Retries()
        self._timeout_seconds = timeout_seconds
        self._http = http or httpx.AsyncClient()

    def on_behalf_of(self, user_id: str) -> "AsyncThreadkeep":
        """A client that acts for a user, which the API key must allow. It shares the
        connections."""
        other = copy(self)
        other._identity = self._identity.acting_for(user_id)
        return other

    async def send(self, call: Call[Answer]) -> Answer:
        """Makes a call of `threadkeep_client.calls` and returns its answer.

        Raises:
            ThreadkeepError: The server refused, or the attempts have all failed.
        """
        return await self._run(exchange(call, self._identity, self._retries))

    def stream(
        self,
        thread_id: str,
        *,
        role: Role = "assistant",
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncStreamWriter:
        """A message that is written piece by piece, in an `async with` statement."""
        opening = open_stream(
            thread_id, role=role, metadata=metadata, idempotency_key=idempotency_key
        )
        streamed = StreamedText(opening, self._identity, self._retries, time.monotonic)
        return AsyncStreamWriter(streamed, self._run)

    async def events(
        self, *thread_ids: str, last_event_id: str | None = None
    ) -> AsyncIterator[Event]:
        """What happens from now on in these threads, or in all of the user's, each event once.

        It comes back after a lost connection and continues after the last event; so does
        `last_event_id` for another process. A `reset` says that events were lost.
        """
        url = (await self.get_service_info()).events_url
        feed = EventFeed(url, thread_ids, last_event_id, self._identity, self._retries)
        while True:
            request = await self._run(feed.connect())
            try:
                async with self._http.stream(
                    **http_options(url, request, SILENCE_SECONDS)
                ) as reply:
                    if reply.status_code == 200:
                        async for data in reply.aiter_bytes():
                            for event in feed.take(data):
                                yield event
                    else:
                        refusal = Response(reply.status_code, reply.headers, await reply.aread())
                        await self._run(feed.refused(refusal))
                        continue
                failure = "the event stream ended"
            except httpx.TransportError as error:
                failure = str(error)
            await self._run(feed.lost(ConnectionLost(failure)))

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _run(self, flow: Flow[Answer]) -> Answer:
        """Does what a flow asks for, until it returns."""
        try:
            effect = next(flow)
            while True:
                try:
                    outcome = await self._perform(effect)
                except Disconnected as error:
                    effect = flow.throw(error)
                else:
                    effect = flow.send(outcome)
        except StopIteration as end:
            answer: Answer = end.value
            return answer

    async def _perform(self, effect: Effect) -> Any:
        match effect:
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case NewToken(provider):
                given = provider()
                return await given if isinstance(given, Awaitable) else given
            case Request():
                return await self._request(effect)

    async def _request(self, request: Request) -> Response:
        try:
            options = http_options(self._url, request, self._timeout_seconds)
            reply = await self._http.request(**options)
        except httpx.TransportError as error:
            raise Disconnected(str(error) or type(error).__name__) from error
        return Response(reply.status_code, reply.headers, reply.content)
