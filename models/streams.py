"""A message that is still being written: the mark in its metadata that says so."""

from typing import Any, Literal, get_args

StreamState = Literal["open", "interrupted", "finished"]

STREAM_MARK = "threadkeep.stream"
"""The reserved key of a message's metadata: `open` while chunks may come, `interrupted` where none
came any more. A finished message has none."""

_MARKS: tuple[str, ...] = get_args(StreamState)[:2]


def state_of(metadata: dict[str, Any]) -> StreamState:
    """What the metadata of a message says of its text: `finished` for all that were never
    streamed, too."""
    mark: Any = metadata.get(STREAM_MARK)
    return mark if mark in _MARKS else "finished"


def marked(metadata: dict[str, Any], state: StreamState) -> dict[str, Any]:
    """The same metadata with the mark of a state."""
    rest = {name: value for name, value in metadata.items() if name != STREAM_MARK}
    return rest if state == "finished" else {**rest, STREAM_MARK: state}
