"""The ChitChat dataset: conversations of two people at most, with times in whole seconds.

`{conversation: {"messages": [[{"text", "timestamp", "sender"}, …], …], …}}`, a list for each turn.
A message belongs to its sender, so each sender has a thread of that conversation's name; given one
user, all of it is theirs, and the roles show who speaks.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jobs.transfer.formats.source import (
    Item,
    Minted,
    Minter,
    UnreadableSource,
    attempt,
    new_draft,
    time_us_from,
)
from models.message import InvalidMessage

MAX_BYTES = 64 * 1024 * 1024
"""A dataset is read as a whole, and takes ten to thirty times its size of memory."""

Conversations = Mapping[str, Any]


def read(data: bytes) -> Conversations:
    """The conversations of a file. Raises `UnreadableSource`."""
    if len(data) > MAX_BYTES:
        raise UnreadableSource(f"it is one JSON object of more than {MAX_BYTES:,} bytes")
    try:
        # The standard library's reader lets lone surrogates through, so that one such message
        # is refused by itself and not with the whole file.
        conversations = json.loads(data)
    except MemoryError:
        raise UnreadableSource("it takes more memory than there is, read as a whole") from None
    except RecursionError:
        raise UnreadableSource("its JSON is nested too deeply") from None
    except UnicodeDecodeError:
        raise UnreadableSource("it is not UTF-8") from None
    except ValueError as error:
        raise UnreadableSource(f"it is not JSON as a whole: {error}") from None
    if not _looks_right(conversations):
        raise UnreadableSource(
            "it is JSON, but neither a ChitChat dataset (conversations that have messages)"
            " nor JSON Lines (an object a line)"
        )
    return dict(conversations)


def count(conversations: Conversations) -> int:
    """How many messages there are."""
    return sum(len(_said(conversation)) for conversation in conversations.values())


def source(
    conversations: Conversations,
    user_id: str | None = None,
    clock_ns: Callable[[], int] = time.time_ns,
) -> Iterator[Item]:
    """Messages and refusals, in order. All belong to the user, and `metadata` names the sender;
    without a user the owner of a message is its sender."""
    reader = _Reader(user_id, Minter(clock_ns() // 1000))
    for name, conversation in conversations.items():
        said = _said(conversation)
        first = said[0].get("sender") if said and isinstance(said[0], dict) else None
        for number, one in enumerate(said):
            where = f"message {number + 1} of {name!a}"
            yield attempt(where, reader.item, one, name, number, first, where)


class _Reader:
    """Makes items of what was said."""

    def __init__(self, user_id: str | None, minter: Minter) -> None:
        self._user_id = user_id
        self._minter = minter

    def item(self, one: Any, name: str, number: int, first: Any, where: str) -> Minted:
        """The message at a place of a conversation that `first` began. Raises `InvalidMessage`."""
        text, moment, sender = (
            one.get(field) if isinstance(one, dict) else None
            for field in ("text", "timestamp", "sender")
        )
        if not (isinstance(text, str) and isinstance(moment, str) and isinstance(sender, str)):
            raise InvalidMessage("shape", "it has no text, timestamp and sender")
        identity = ("chitchat", str(number))
        if self._user_id is None:
            made = new_draft(sender, name, "user", text, {})
        else:
            role = "user" if sender == first else "assistant"
            made = new_draft(self._user_id, name, role, text, {"sender": sender})
        return self._minter.mint(where, made, time_us_from(moment), identity, identity)


def _said(conversation: Any) -> list[Any]:
    return [one for turn in conversation["messages"] for one in turn]


def _looks_right(conversations: object) -> bool:
    """Whether every conversation has a list of turns."""
    return isinstance(conversations, dict) and all(
        isinstance(conversation, dict) and _is_turns(conversation.get("messages"))
        for conversation in conversations.values()
    )


def _is_turns(turns: object) -> bool:
    return isinstance(turns, list) and all(isinstance(turn, list) for turn in turns)
