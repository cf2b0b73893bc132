"""The messages of an export."""

from collections.abc import Iterator

from jobs.transfer.export import MessageExporter
from models.message import Message
from storage.clickhouse.pages import Selection


def messages_of(
    exporter: MessageExporter,
    selection: Selection = Selection(),  # noqa: B008 - it is immutable.
) -> Iterator[Message]:
    """Those that are selected, in order; leaving midway ends the export."""
    everything = exporter.everything(selection)
    try:
        yield from (one for one in everything if isinstance(one, Message))
    finally:
        everything.close()
