"""The text of a message that is being written, and how much of it the server has."""

from collections.abc import Callable
from typing import Any

from msgspec import UNSET, UnsetType

from threadkeep_client.answers.messages import AcknowledgedMessage
from threadkeep_client.calls import streaming
from threadkeep_client.calls.call import Call
from threadkeep_client.calls.messages import get_message
from threadkeep_client.core.effects import Flow
from threadkeep_client.core.exchange import exchange
from threadkeep_client.core.identity import Identity
from threadkeep_client.core.retries import ONCE, Attempts, Retries
from threadkeep_client.errors import PASSING, OffsetMismatch, StreamInterrupted

MOST_CHUNK_BYTES = 32 * 1024


class StreamedText:
    """Keeps the whole text until it is finished, so that nothing is lost with a chunk."""

    def __init__(
        self,
        opening: Call[AcknowledgedMessage],
        identity: Identity,
        retries: Retries,
        clock: Callable[[], float],
    ) -> None:
        """`clock` gives seconds that only grow."""
        self._opening = opening
        self._identity = identity
        self._retries = retries
        self._text = b""
        self._sent = 0
        self._takes_chunks = True
        self._clock = clock
        self._attempts = Attempts(retries)
        self._resume_at = 0.0
        self.message: AcknowledgedMessage | None = None

    @property
    def text(self) -> str:
        """All of it so far."""
        return self._text.decode()

    def open(self) -> Flow[None]:
        """Opens the message. One that its key has opened before goes on where its text ends."""
        message = yield from exchange(self._opening, self._identity, self._retries)
        if message.stream is not None and message.stream.length:
            call = get_message(message.id)
            known = yield from exchange(call, self._identity, self._retries)
            self._text = ((known.stream and known.stream.text) or known.content).encode()
            self._sent = len(self._text)
        self.message = message

    def append(self, text: str) -> Flow[None]:
        """Adds text and sends what the server has not. What it cannot take now is sent with a later
        chunk, or at the end."""
        self._text += text.encode()
        if self._clock() < self._resume_at:
            return
        try:
            while self._takes_chunks and self._sent < len(self._text):
                self._sent = yield from self._send_next()
                self._attempts.begin_anew()
        except PASSING as error:
            self._resume_at = self._clock() + self._attempts.next_pause(error)
        except StreamInterrupted:
            # Such a message still takes its whole text.
            self._takes_chunks = False

    def finish(
        self, message: str | UnsetType, metadata: dict[str, Any] | UnsetType
    ) -> Flow[AcknowledgedMessage]:
        """Finishes it with the text, or with `message` in its place."""
        if message is UNSET and self._sent < len(self._text):
            message = self.text
        try:
            return (yield from self._finish(message, metadata))
        except OffsetMismatch:
            if message is not UNSET:
                raise
            # The server has lost some of it.
            return (yield from self._finish(self.text, metadata))

    def _finish(
        self, message: str | UnsetType, metadata: dict[str, Any] | UnsetType
    ) -> Flow[AcknowledgedMessage]:
        call = streaming.finish_stream(self._id, message, metadata=metadata)
        return (yield from exchange(call, self._identity, self._retries))

    def _send_next(self) -> Flow[int]:
        """Sends the next part once; how long the text is at the server afterwards."""
        part = _whole_characters(self._text[self._sent : self._sent + MOST_CHUNK_BYTES])
        call = streaming.append_chunk(self._id, part, offset=self._sent)
        try:
            return (yield from exchange(call, self._identity, ONCE)).length
        except OffsetMismatch as error:
            if error.length is None or error.length == self._sent or error.length > len(self._text):
                # Somebody else writes it too.
                raise
            return error.length

    @property
    def _id(self) -> str:
        if self.message is None:
            raise RuntimeError("the stream is not open: use it in a `with` statement")
        return self.message.id


def _whole_characters(data: bytes) -> str:
    """The text without the first bytes of a character whose others were cut off."""
    return data.decode(errors="ignore")
