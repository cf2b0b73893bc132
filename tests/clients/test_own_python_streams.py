"""Our Python client: messages that are written piece by piece, and events."""

import asyncio
from contextlib import closing
from typing import Any

import pytest

from support.calls.api import Api
from support.own_clients.python import MakeClient, awaiting
from support.stack.processes import Launched
from threadkeep_client import Conflict, NotAuthenticated, OffsetMismatch

TEXT = "It is noon, ☀️ \N{GRINNING FACE}."
UNKNOWN = "1-1"
"""An id that no event has: `reset` is the answer, and says that the stream is open."""


def test_a_message_is_written_in_pieces(client: Any, stack: Launched, user_token: str) -> None:
    client.post_message("t", "what time is it?")
    api = Api(stack.url, user_token)
    message_id = write(client, list(TEXT), idempotency_key="k")
    read = client.get_message(message_id)
    assert (read.content, read.role, read.metadata) == (TEXT, "assistant", {"model": "m"})
    assert (read.version, read.stream) == (2, None)
    assert [one["content"] for one in api.page("t")["messages"]] == [TEXT, "what time is it?"]


def write(client: Any, pieces: list[str], *, breaks: bool = False, **options: Any) -> str:
    """Writes a message, with an error at the end where it breaks; its id."""

    def blocking() -> str:
        with client.stream("t", metadata={"model": "m"}, **options) as writer:
            for piece in pieces:
                writer.write(piece)
            if breaks:
                raise KeyboardInterrupt(writer.message.id)
        return str(writer.finished.id)

    async def waiting() -> str:
        async with client._client.stream("t", metadata={"model": "m"}, **options) as writer:
            for piece in pieces:
                await writer.write(piece)
            if breaks:
                raise KeyboardInterrupt(writer.message.id)
        assert writer.finished is not None
        return writer.finished.id

    if hasattr(client, "_loop"):
        return str(client._loop.run_until_complete(waiting()))
    return blocking()


def test_what_breaks_is_left_open_and_its_key_continues_it(client: Any) -> None:
    with pytest.raises(KeyboardInterrupt) as broken:
        write(client, ["It is ", "n"], breaks=True, idempotency_key="k")
    message_id = broken.value.args[0]
    open_still = client.get_message(message_id)
    assert (open_still.stream.state, open_still.stream.text) == ("open", "It is n")
    assert write(client, ["oon."], idempotency_key="k") == message_id
    assert client.get_message(message_id).content == "It is noon."


def test_another_writer_is_refused(client: Any) -> None:
    opened = client.open_stream("t")
    client.append_chunk(opened.id, "It is ", offset=0)
    with pytest.raises(OffsetMismatch) as refused:
        client.append_chunk(opened.id, "noon.", offset=9)
    assert refused.value.length == 6
    assert client.finish_stream(opened.id, metadata={"a": 1}).metadata == {"a": 1}
    with pytest.raises(Conflict) as late:
        client.append_chunk(opened.id, "noon.", offset=6)
    assert late.value.code == "not_streaming"


def test_events_of_several_threads_are_heard_and_continued(client: Any) -> None:
    with closing(client.events("t", "u", last_event_id=UNKNOWN)) as events:
        assert next(events).type == "reset"
        client.post_message("other", "not this")
        sent = [client.post_message(thread, f"in {thread}") for thread in ("t", "u")]
        client.edit_message(sent[0].id, "changed")
        client.change_thread("u", title="U")
        write(client, ["It is ", "noon."])
        heard = [next(events)]
        while heard[-1].text != "noon.":
            heard.append(next(events))
    received = [one for one in heard if one.type == "message_received"]
    assert [one.message.content for one in received[:2]] == ["in t", "in u"]
    assert {"message_updated", "message_chunk"} < {one.type for one in heard}
    assert [one.thread.title for one in heard if one.type == "thread_updated"] == ["U"]
    with closing(client.events("t", "u", last_event_id=heard[0].event_id)) as later:
        assert [next(later) for _ in heard[1:]] == heard[1:]


def test_a_listener_without_a_token_is_told(make_client: MakeClient, stack: Launched) -> None:
    with pytest.raises(NotAuthenticated):
        next(iter(make_client(stack.url, "nonsense").events()))


def test_tasks_share_a_client(stack: Launched, user_token: str, api: Api) -> None:
    async def post() -> None:
        async with awaiting(stack.url, user_token) as client:
            await asyncio.gather(*(client.post_message("t", f"{n}") for n in range(50)))

    asyncio.run(post())
    found, _ = api.walk("t")
    assert sorted(int(one["content"]) for one in found) == list(range(50))
