"""Events over as many connections as it takes: each continues after the last event."""

from collections.abc import Iterator, Sequence
from urllib.parse import urlencode

import msgspec

from threadkeep_client.answers.events import Event
from threadkeep_client.core.effects import Flow, Pause, Request, Response
from threadkeep_client.core.event_lines import LineReader
from threadkeep_client.core.identity import Identity
from threadkeep_client.core.retries import Attempts, Retries
from threadkeep_client.errors import PASSING, NotAuthenticated, ThreadkeepError, error_of

_EVENT = msgspec.json.Decoder(Event)


class EventFeed:
    """One listener, across its connections."""

    def __init__(
        self,
        url: str,
        thread_ids: Sequence[str],
        last_event_id: str | None,
        identity: Identity,
        retries: Retries,
    ) -> None:
        threads = urlencode([("thread_id", one) for one in thread_ids])
        self._url = f"{url}?{threads}" if threads else url
        self._last_event_id = last_event_id
        self._identity = identity
        self._attempts = Attempts(retries)
        self._lines = LineReader()
        self._is_renewed = False
        self._is_opening = True

    def connect(self) -> Flow[Request]:
        """The request for the events after the last one."""
        self._lines = LineReader()
        self._is_opening = True
        headers = {"Accept": "text/event-stream"}
        if self._last_event_id is not None:
            headers["Last-Event-ID"] = self._last_event_id
        return (yield from self._identity.signed(Request("GET", self._url, {}, headers, None)))

    def take(self, data: bytes) -> Iterator[Event]:
        """The events that are complete with these bytes."""
        for event_id, text in self._lines.take(data):
            if event_id is not None:
                self._last_event_id = event_id
            if not self._is_opening:
                self._attempts.begin_anew()
                self._is_renewed = False
            self._is_opening = False
            if text is not None:
                yield _EVENT.decode(text)

    def refused(self, response: Response) -> Flow[None]:
        """Waits if the refusal will pass, and raises it if not."""
        error = error_of(response.status, response.headers, response.body)
        if isinstance(error, NotAuthenticated) and not self._is_renewed and self._identity.forget():
            self._is_renewed = True
            return
        yield from self.lost(error)

    def lost(self, failure: ThreadkeepError) -> Flow[None]:
        """Waits before the next connection, of which there may be any number. Raises a failure that
        does not pass."""
        if not isinstance(failure, PASSING):
            raise failure
        yield Pause(self._attempts.next_pause(failure))
