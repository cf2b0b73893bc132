"""What clients do with messages whose text comes in chunks."""

from collections.abc import Callable
from typing import Any

from requests import Response

from model.talk import body_of, key_of, must, said_of
from model.world import Person, Said, same, without_mark
from models.streams import STREAM_MARK


class StreamActs:
    """As a part of all that clients do, which knows how to ask."""

    ask: Callable[..., tuple[Response, bool]]
    ok: Callable[..., dict[str, Any]]

    def open_stream(self, person: Person, given: dict[str, Any]) -> None:
        path = f"/api/threads/{given['thread']}/messages:stream"
        headers = {"Idempotency-Key": key_of("stream", given)}
        answer = self.ok(person, "POST", path, 201, json=body_of(given), headers=headers)
        same("a stream's text", answer["content"], given["content"])
        said = said_of(given)
        said.take(answer)
        said.text = given["content"]
        person.topic(given["thread"]).messages.append(said)

    def append_chunk(self, person: Person, given: dict[str, Any]) -> None:
        found = person.said(given["of"])
        if found is None or not found[1].is_open:
            return
        said = found[1]
        assert said.text is not None
        path, offset = f"/api/messages/{said.id}/chunks", len(said.text.encode())
        chunk = {"text": given["text"], "offset": offset}
        reply, _ = self.ask(person, "POST", path, json=chunk)
        if reply.status_code == 409 and reply.json()["code"] == "stream_interrupted":
            self.look_at_stream(person, said)
            return
        if lacks_chunks(reply):
            # It was opened beside Redis: what it lacks is sent once more.
            known = reply.json()["length"]
            chunk = {"text": (said.text.encode()[known:]).decode() + given["text"], "offset": known}
            reply, _ = self.ask(person, "POST", path, json=chunk)
        must(reply, 200)
        said.text += given["text"]
        same("a stream's length", reply.json()["length"], len(said.text.encode()))

    def finish_stream(self, person: Person, given: dict[str, Any]) -> None:
        found = person.said(given["of"])
        if found is None or not found[1].is_open:
            return
        said = found[1]
        whole = {} if given["content"] is None else {"message": given["content"]}
        reply, _ = self.ask(person, "POST", f"/api/messages/{said.id}/finish", json=whole)
        if reply.status_code == 409 and reply.json()["code"] == "stream_interrupted":
            self.look_at_stream(person, said)
            return
        if lacks_chunks(reply):
            whole = {"message": said.text or given["of"]}
            given = {**given, "content": whole["message"]}
            reply, _ = self.ask(person, "POST", f"/api/messages/{said.id}/finish", json=whole)
        must(reply, 200)
        same("a finished text", reply.json()["content"], given["content"] or said.text)
        same("its metadata", reply.json()["metadata"], without_mark(said.metadata))
        said.text = None
        said.take(reply.json())

    def look_at_stream(self, person: Person, said: Said) -> None:
        """One to which no chunk came for long may have been finished with what it has."""
        answer = self.ok(person, "GET", f"/api/messages/{said.id}")
        if answer["metadata"].get(STREAM_MARK) == "open":
            same("a stream's text", answer["stream"]["text"], said.text)
            return
        same("an interrupted text", answer["content"], said.text)
        same("its mark", answer["metadata"].get(STREAM_MARK), "interrupted")
        said.text = None
        said.take(answer)

    def end_streams(self, person: Person) -> None:
        """Finishes all that are open."""
        for said in [said for _, said in person.live() if said.is_open]:
            self.finish_stream(person, {"of": said.label, "content": None})


def lacks_chunks(reply: Response) -> bool:
    """Whether Redis lacks what was streamed, as it does of what was opened while it was out."""
    return reply.status_code == 409 and reply.json()["code"] == "offset_mismatch"
