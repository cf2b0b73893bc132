"""The lines of an event stream."""

from collections.abc import Iterator
from typing import NamedTuple


class Lines(NamedTuple):
    """What stands between two empty lines. `data` is None in what is no event."""

    event_id: str | None
    data: str | None


class LineReader:
    """Puts together what arrives in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, data: bytes) -> Iterator[Lines]:
        """What is complete with these bytes."""
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        return map(_lines, blocks)


def _lines(block: bytes) -> Lines:
    fields: dict[bytes, str] = {}
    for line in block.split(b"\n"):
        name, _, value = line.partition(b": ")
        fields[name] = value.decode()
    return Lines(fields.get(b"id"), fields.get(b"data"))
