"""Everything that the API shows, held against the model."""

import random
from datetime import UTC, datetime
from typing import Any

from model.acts import Acts
from model.talk import must
from model.world import SHOWN, Differs, Person, Said, Topic, same
from models.streams import STREAM_MARK
from support.calls.api import Api, ok
from support.waiting import eventually

SEARCHED = 3
DEAD_LOOKED_AT = 8
FIGURES_SECONDS = 30


class ModelReads:
    """Reads by one user's own calls."""

    def __init__(self, apis: dict[str, Api], acts: Acts, drawn: random.Random) -> None:
        self._apis = apis
        self._acts = acts
        self._random = drawn

    def everything(self, person: Person) -> None:
        """What holds at any moment at which all tiers are up."""
        self.threads(person)
        for thread in list(person.topics):
            self.thread(person, thread)
        for _, said in person.live():
            self._message(person, said)
        self._dead(person)
        self._search(person)

    def threads(self, person: Person, *, is_quiet: bool = False) -> None:
        api, found, cursor = self._apis[person.name], [], None
        while True:
            query = {"limit": self._random.choice([1, 2, 50])}
            query |= {"cursor": cursor} if cursor else {}
            page = self._whole(api, query)
            found += page["threads"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        same("threads", sorted(one["id"] for one in found), sorted(person.topics))
        active = [one["last_message_at"] or one["created_at"] for one in found]
        same("the order of threads", active, sorted(active, reverse=True))
        for one in found:
            self._thread_fields(person, one, is_quiet)
            alone = ok(api.get(f"/api/threads/{one['id']}"))
            self._thread_fields(person, alone, is_quiet)

    def _whole(self, api: Api, query: dict[str, Any]) -> dict[str, Any]:
        """A page of threads to which every tier has said what it knows: on a machine that stalls
        one of them may be too late, and the answer warns of it."""

        def without_warning() -> dict[str, Any]:
            page: dict[str, Any] = ok(api.get("/api/threads", params=query))
            return {} if page.get("warning") else page

        return eventually(without_warning, FIGURES_SECONDS)

    def _thread_fields(self, person: Person, one: dict[str, Any], is_quiet: bool) -> None:
        topic = person.topics[one["id"]]
        for name in ("title", "metadata", "is_pinned", "is_archived"):
            same(f"{name} of thread {one['id']}", one[name], getattr(topic, name))
        if is_quiet:
            count = len(topic.live())
            same(f"message_count of thread {one['id']}", one["message_count"], count)
        live = [said.created_at for said in topic.live()]
        if live and (one["last_message_at"] or "") < max(live):
            raise Differs(f"last_message_at {one['last_message_at']} of {one['id']}: {max(live)}")

    def thread(self, person: Person, thread: str) -> None:
        """The list of a thread, in both orders, page by page."""
        api, topic = self._apis[person.name], person.topics[thread]
        for said in [said for said in topic.live() if said.is_open]:
            self._acts.look_at_stream(person, said)
        rising, _ = api.walk(thread, order="asc", limit=self._random.choice([1, 3, 7, 50, 1000]))
        falling, _ = api.walk(thread, limit=self._random.choice([2, 5, 50, 1000]))
        names = [one["id"] for one in rising]
        same(f"ids of {thread}, once each in order", names, sorted(set(names)))
        same(f"both orders of {thread}", [one["id"] for one in falling], names[::-1])
        self._recognise(topic, rising)
        wanted = sorted(topic.live(), key=lambda said: (said.created_at, said.id))
        # One may be interrupted between this look and the last.
        still_open = {said.id for said in wanted if said.is_open}
        same(
            f"messages of {thread}",
            [one["content"].split(" ")[0] for one in rising if one["id"] not in still_open],
            [said.content.split(" ")[0] for said in wanted if not said.is_open],
        )
        by_id = {one["id"]: one for one in rising}
        for said in wanted:
            self._listed(person, said, by_id.get(said.id))

    def _recognise(self, topic: Topic, found: list[dict[str, Any]]) -> None:
        """What was imported is known by its text until it is seen; then by its id."""
        unseen = {said.content: said for said in topic.live() if said.record is None}
        for one in found:
            said = unseen.get(one["content"])
            if said is not None:
                same("time of what was imported", one["created_at"], said.created_at)
                wanted = (said.role, {}, 1, None)
                fields = ("role", "metadata", "version", "deleted_at")
                same("what was imported", tuple(one[name] for name in fields), wanted)
                said.take(one)

    def _listed(self, person: Person, said: Said, found: dict[str, Any] | None) -> None:
        if found is None:
            raise Differs(f"{said.label} is not listed")
        if said.is_open:
            self._acts.look_at_stream(person, said)
        if not said.is_open and not _is_open(found):
            same(f"{said.label} as listed", {name: found[name] for name in SHOWN}, said.record)

    def _message(self, person: Person, said: Said) -> None:
        if said.is_open:
            self._acts.look_at_stream(person, said)
        found = ok(self._apis[person.name].get(f"/api/messages/{said.id}"))
        if not said.is_open:
            same(f"{said.label} by its id", {name: found[name] for name in SHOWN}, said.record)

    def _dead(self, person: Person) -> None:
        for said in [one for one in person.dead if one.id][-DEAD_LOOKED_AT:]:
            must(self._apis[person.name].get(f"/api/messages/{said.id}"), 404)

    def _search(self, person: Person) -> None:
        live = [said for _, said in person.live() if not said.is_open]
        hidden = person.dead[-SEARCHED:]
        for said in self._random.sample(live, min(SEARCHED, len(live))) + hidden:
            word = said.content.split(" ")[0]
            if not word:
                continue
            page = ok(self._apis[person.name].get("/api/search", params={"q": word}))
            wanted = [one.id for one in live if word in one.content.split(" ")]
            same(f"search for {word}", [one["id"] for one in page["messages"]], wanted)

    def quiet(self, person: Person) -> None:
        """What holds once all that was acknowledged has been carried on."""
        self.threads(person, is_quiet=True)
        for _, said in person.live():
            receipt = self._apis[person.name].receipt(said.id)
            same(f"receipt of {said.label}", receipt["state"], "archived")
            assert said.record is not None
            same("its version", receipt["version"], said.record["version"])
            copies = [copy for tier in receipt["tiers"].values() for copy in tier["copies"]]
            newest = [copy for copy in copies if copy["version"] == receipt["version"]]
            hashes = {(copy["content_hash"], copy["intact"], copy["deleted"]) for copy in newest}
            same("its copies", hashes, {(said.record["content_hash"], True, False)})
        eventually(lambda: self._figures(person), FIGURES_SECONDS)

    def _figures(self, person: Person) -> bool:
        query = {"since": "2020-01-01T00:00:00Z", "until": datetime.now(UTC).isoformat()}
        reply = self._apis[person.name].get("/api/analytics/summary", params=query)
        found = ok(reply)["messages"]
        same("messages as counted", found, sum(1 for _ in person.live()))
        return True


def _is_open(one: dict[str, Any]) -> bool:
    return one["metadata"].get(STREAM_MARK) == "open"
