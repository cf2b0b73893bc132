"""A message that is written piece by piece."""

from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from msgspec import UNSET, UnsetType

from threadkeep_client.answers.messages import AcknowledgedMessage
from threadkeep_client.core.effects import Flow
from threadkeep_client.core.streamed_text import StreamedText

Outcome = TypeVar("Outcome")


class Runner(Protocol):
    """Does what a flow asks for."""

    def __call__(self, flow: Flow[Outcome]) -> Outcome: ...


class StreamWriter:
    """Opens the message where the `with` block begins and finishes it where that ends.

    A chunk that cannot be delivered now holds nobody up: its text is kept, and goes with the next
    one or with the finish. Where the block raises, the message is left as it is: the server
    finishes it with what it has and marks it as interrupted.
    """

    def __init__(self, streamed: StreamedText, run: Runner) -> None:
        self._streamed = streamed
        self._run = run
        self.finished: AcknowledgedMessage | None = None

    @property
    def message(self) -> AcknowledgedMessage:
        """The message, as it was acknowledged last."""
        if (known := self.finished or self._streamed.message) is None:
            raise RuntimeError("the stream is not open: use it in a `with` statement")
        return known

    @property
    def text(self) -> str:
        """What was written so far; of a message that its key had opened before, all of it."""
        return self._streamed.text

    def write(self, text: str) -> None:
        """Appends text, which listeners receive at once.

        Raises:
            ThreadkeepError: The server refuses the text for good.
        """
        self._run(self._streamed.append(text))

    def finish(
        self, message: str | UnsetType = UNSET, *, metadata: dict[str, Any] | UnsetType = UNSET
    ) -> AcknowledgedMessage:
        """Finishes the message with the text, or with `message` in its place."""
        self.finished = self._run(self._streamed.finish(message, metadata))
        return self.finished

    def __enter__(self) -> Self:
        self._run(self._streamed.open())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self.finished is None:
            self.finish()
