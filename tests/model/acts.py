"""What a client does, done to the store and to the model; each answer must be as the model says."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from requests import RequestException, Response

from model.streaming import StreamActs
from model.talk import body_of, key_of, must, said_of, shown
from model.world import Differs, Person, Said, same
from support.calls.api import Api
from support.waiting import eventually

OUT = 503
AGAIN_SECONDS = 45


class Acts(StreamActs):
    """The operations of users. `is_shaken` while a server may still be on its way back: then what
    is refused for the moment is asked for again, under a key where it would double."""

    def __init__(self, apis: dict[str, Api]) -> None:
        self._apis = apis
        self.is_shaken = False

    def ask(self, person: Person, method: str, path: str, **options: Any) -> tuple[Response, bool]:
        """The answer, and whether an earlier one may have been lost."""
        tries = []

        def answer() -> list[Response]:
            tries.append(path)
            try:
                reply = self._apis[person.name].call(method, path, **options)
            except RequestException:
                if not self.is_shaken:
                    raise
                return []
            return [] if reply.status_code == OUT and self.is_shaken else [reply]

        (reply,) = eventually(answer, AGAIN_SECONDS)
        return reply, len(tries) > 1

    def ok(self, person: Person, method: str, path: str, status: int = 200, **options: Any) -> Any:
        reply, _ = self.ask(person, method, path, **options)
        must(reply, status)
        return reply.json() if reply.content else None

    def post(self, person: Person, given: dict[str, Any]) -> None:
        thread, key = given["thread"], given["key"]
        if key is None and self.is_shaken:
            key = key_of("key", given)
        before = person.keys.get((thread, key)) if key else None
        headers = {"Idempotency-Key": key} if key else {}
        path = f"/api/threads/{thread}/messages"
        reply, is_repeat = self.ask(person, "POST", path, json=body_of(given), headers=headers)
        if before is not None and before.is_live:
            assert before.record is not None
            is_other = before.first != (given["role"], given["content"], given["metadata"])
            # After an edit it can be told only from when PostgreSQL has the first version.
            if is_other and (before.record["version"] == 1 or reply.status_code != 200):
                must(reply, 422)
                same("refusal", reply.json()["code"], "idempotency_key_reused")
                return
            must(reply, 200)
            same("a repeated message", shown(reply), before.record)
            return
        must(reply, 200)
        if not is_repeat:
            same("replayed", reply.headers.get("Idempotency-Replayed"), None)
        self._made(person, thread, given, reply.json(), key)

    def batch(self, person: Person, given: dict[str, Any]) -> None:
        key = given["key"]
        if key is None and self.is_shaken:
            key = key_of("batch", given["items"][0])
        headers = {"Idempotency-Key": key} if key else {}
        items = [{"thread_id": one["thread"], **body_of(one)} for one in given["items"]]
        results = []
        for _ in range(2 if given["again"] else 1):
            reply, _ = self.ask(
                person, "POST", "/api/messages:batch", json={"messages": items}, headers=headers
            )
            must(reply, 200)
            results.append([one["message"] for one in reply.json()["results"]])
        same("a repeated batch", results[-1], results[0])
        for one, made in zip(given["items"], results[0], strict=True):
            self._made(person, one["thread"], one, made, None)

    def edit(self, person: Person, given: dict[str, Any]) -> None:
        found = person.said(given["of"])
        if found is None:
            return
        _, said = found
        record = self._record(person, said)
        change = {
            name: given[field]
            for name, field in (("message", "content"), ("metadata", "metadata"))
            if field in given
        }
        version = {"right": record["version"], "stale": record["version"] + 7}.get(given["match"])
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        path = f"/api/messages/{said.id}"
        reply, is_repeat = self.ask(person, "PATCH", path, json=change, headers=headers)
        if given["match"] == "stale":
            must(reply, 412)
            return
        if is_repeat and reply.status_code == 412:
            reply, _ = self.ask(person, "GET", path)
        wanted = {"content": given.get("content", said.content)}
        wanted["metadata"] = given.get("metadata", said.metadata)
        if not wanted["content"] and not wanted["metadata"]:
            # Of a stream without a word nothing would be left.
            must(reply, 422)
            return
        must(reply, 200)
        answer = reply.json()
        same("an edit", {name: answer[name] for name in wanted}, wanted)
        if answer["version"] <= record["version"]:
            raise Differs(f"version {answer['version']} after {record['version']}")
        said.take(answer)

    def delete(self, person: Person, given: dict[str, Any]) -> None:
        found = person.said(given["of"])
        if found is None:
            return
        _, said = found
        self._record(person, said)
        reply, is_repeat = self.ask(person, "DELETE", f"/api/messages/{said.id}")
        must(reply, 404 if is_repeat and reply.status_code == 404 else 200)
        person.bury(said)
        reply, _ = self.ask(person, "GET", f"/api/messages/{said.id}")
        must(reply, 404)

    def edit_and_delete(self, person: Person, given: dict[str, Any]) -> None:
        self.edit(person, {"of": given["of"], "match": None, "content": given["content"]})
        self.delete(person, given)

    def create_thread(self, person: Person, given: dict[str, Any]) -> None:
        thread = given["thread"]
        own = {"title": given["title"], "metadata": given["metadata"]}
        reply, is_repeat = self.ask(person, "POST", "/api/threads", json={"id": thread, **own})
        if thread in person.topics:
            must(reply, 409)
            return
        if not is_repeat or reply.status_code != 409:
            must(reply, 201)
        topic = person.topic(thread)
        topic.title, topic.metadata = given["title"], given["metadata"]

    def change_thread(self, person: Person, given: dict[str, Any]) -> None:
        thread = given["thread"]
        own = {name: given[name] for name in ("title", "metadata", "is_pinned", "is_archived")}
        reply, _ = self.ask(person, "PATCH", f"/api/threads/{thread}", json=own)
        if thread not in person.topics:
            must(reply, 404)
            return
        must(reply, 200)
        same("a change", {name: reply.json()[name] for name in own}, own)
        for name, value in own.items():
            setattr(person.topics[thread], name, value)

    def delete_thread(self, person: Person, given: dict[str, Any]) -> None:
        thread = given["thread"]
        reply, is_repeat = self.ask(person, "DELETE", f"/api/threads/{thread}")
        if thread not in person.topics:
            must(reply, 404)
            return
        must(reply, 404 if is_repeat and reply.status_code == 404 else 204)
        person.drop(thread)
        reply, _ = self.ask(person, "GET", f"/api/threads/{thread}")
        must(reply, 404)

    def post_and_delete_thread(self, person: Person, given: dict[str, Any]) -> None:
        """Faster than any worker looks."""
        self.post(person, {"key": None, **given})
        self.delete_thread(person, given)
        if given["again"]:
            again = {
                name: given[name].replace(
                    given["label"], given["label"].replace("word", "again"), 1
                )
                for name in ("label", "content")
            }
            self.post(person, {"key": None, **given, **again})

    def burst(self, person: Person, given: dict[str, Any]) -> None:
        """Several clients post to one thread at one moment."""
        with ThreadPoolExecutor(len(given["items"])) as pool:
            list(
                pool.map(
                    lambda one: self.post(person, {"key": None, "thread": given["thread"], **one}),
                    given["items"],
                )
            )
        person.topic(given["thread"]).messages.sort(key=lambda said: said.id)

    def race(self, person: Person, given: dict[str, Any]) -> None:
        """Likewise, while somebody deletes the thread: what is there then must stay."""
        thread, items = given["thread"], given["items"]
        before, path = person.topics.get(thread), f"/api/threads/{thread}/messages"
        keyed = [(one, {"Idempotency-Key": key_of("race", one)}) for one in items]
        with ThreadPoolExecutor(len(items) + 1) as pool:
            posts = [
                pool.submit(self.ok, person, "POST", path, json=body_of(one), headers=headers)
                for one, headers in keyed
            ]
            reply, _ = pool.submit(self.ask, person, "DELETE", f"/api/threads/{thread}").result()
            made = [one.result() for one in posts]
        answers = (204,) if before and not self.is_shaken else (204, 404)
        if reply.status_code not in answers:
            raise Differs(f"a deletion was answered {reply.status_code}")
        if reply.status_code == 204:
            person.drop(thread)
        for given_one, answer in sorted(zip(items, made, strict=True), key=lambda p: p[1]["id"]):
            reply, _ = self.ask(person, "GET", f"/api/messages/{answer['id']}")
            said = said_of(given_one)
            said.take(answer)
            if reply.status_code == 200:
                person.topic(thread).messages.append(said)
            else:
                must(reply, 404)
                person.bury(said)

    def _record(self, person: Person, said: Said) -> dict[str, Any]:
        """The message as it is; one that was imported is looked for by what it says."""
        if said.record is None:
            for thread, topic in person.topics.items():
                if said in topic.messages:
                    for one in self._apis[person.name].walk(thread, limit=1000)[0]:
                        if one["content"] == said.content:
                            said.take(one)
        if said.record is None:
            raise Differs(f"{said.label} of an import is not listed")
        return said.record

    def _made(
        self, person: Person, thread: str, given: dict[str, Any], made: Any, key: str | None
    ) -> None:
        wanted = {name: given[name] for name in ("role", "content", "metadata")}
        wanted |= {"thread_id": thread, "user_id": person.name, "version": 1, "deleted_at": None}
        same("an acknowledgement", {name: made[name] for name in wanted}, wanted)
        said = said_of(given)
        said.take(made)
        person.topic(thread).messages.append(said)
        if key is not None:
            person.keys[thread, key] = said
