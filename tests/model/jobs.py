"""What operators and accidents do, done to the store and to the model."""

import json
import signal
from pathlib import Path
from typing import Any

import msgspec
from redis.exceptions import RedisError

from model.acts import Acts
from model.talk import must
from model.world import Differs, Line, Person, Said, same
from storage.redis import keys
from support.calls.api import Api
from support.calls.commands import threadkeep
from support.calls.disasters import lose_postgresql, lose_redis
from support.stack.processes import Launched
from support.waiting import eventually
from wiring.process import Services

BACK_SECONDS = 90


class Jobs:
    """The operations of everyone's, by the commands that operators use."""

    def __init__(
        self, stack: Launched, services: Services, folder: Path, admin: Api, acts: Acts
    ) -> None:
        self._stack = stack
        self._services = services
        self._folder = folder
        self._admin = admin
        self._acts = acts
        self._number = 0

    def run(self, *arguments: str, status: int = 0) -> bytes:
        """A command, which must end so; gives what it said."""
        done = threadkeep(self._folder, self._stack.env, *arguments)
        if done.returncode != status:
            said = (done.stdout + done.stderr).decode()[-3000:]
            raise Differs(f"threadkeep {' '.join(arguments)}: {done.returncode}\n{said}")
        return done.stdout

    def import_lines(self, person: Person, given: dict[str, Any]) -> None:
        self._number += 1
        file = self._folder / f"{self._number}.jsonl"
        file.write_text("".join(_text(person, line) for line in given["lines"]), encoding="utf-8")
        new = [line for line in given["lines"] if self._is_new(person, line)]
        summary = json.loads(self.run("import", str(file), "--json"))
        same("lines imported", summary["written"], len(new))
        for line in new:
            person.lines[line.label] = line
            said = Said(line.label, "user", line.content, {}, moment(line.created_at))
            person.topic(line.thread).messages.append(said)

    def _is_new(self, person: Person, line: Line) -> bool:
        """The past does not come back into what was deleted since."""
        is_gone = person.is_erased or line.thread in person.gone
        return not is_gone and line.label not in person.lines

    def backfill(self) -> None:
        self.run("backfill")

    def recover_cache(self) -> None:
        reply = self._admin.post("/api/admin/recover-redis-cache", json={})
        must(reply, 200)

    def check(self) -> None:
        self.run("check")

    def repair(self) -> None:
        self.run("check", "--repair")

    def archive(self) -> None:
        self.run("archive", "--older-than", "30d", "--grace", "0")

    def export(self, person: Person) -> None:
        """All that is live, each as it was acknowledged."""
        exported = map(json.loads, self.run("export", "--user", person.name).splitlines())
        lines = [one for one in exported if "content" in one]
        found = {one["id"]: one for one in lines}
        same("lines exported", len(lines), len(found))
        # What was imported is known by its text until it is seen.
        names = {one["content"]: one["id"] for one in lines}
        for said in (said for _, said in person.live() if not said.is_open):
            one = found.pop(said.id or names.get(said.content, ""), None)
            if one is None:
                raise Differs(f"{said.label} is not exported")
            if said.record is not None:
                same("a line exported", {name: one.get(name) for name in said.record}, said.record)
        rest = [one for one in found.values() if not one["metadata"].get("threadkeep.stream")]
        same("other lines exported", rest, [])

    def evict(self, given: dict[str, Any]) -> None:
        """As memory pressure would: some of what may leave Redis does."""
        client = self._services.tiers.redis_client
        for pattern in (*keys.EVERY_RECORD, keys.EVERY_INDEX, keys.EVERY_LIST):
            for name in sorted(client.scan_iter(pattern))[:: given["every"]]:
                if client.ttl(name) != -1:
                    client.delete(name)

    def kill_redis(self) -> None:
        """It comes back by itself, with what is on its disk."""
        self._acts.is_shaken = True
        self._stack.signal("redis-data", signal.SIGKILL)

    def erase_user(self, person: Person) -> None:
        self._acts.end_streams(person)
        self.run("erase-user", person.name, "--yes")
        self._number += 1
        person.leave(f"{person.marker}again{self._number}")

    def lose(self, people: list[Person]) -> None:
        """PostgreSQL and Redis are empty; all comes back from ClickHouse, but for the keys."""
        self.wait_until_well()
        lose_postgresql(self._services)
        lose_redis(self._services)
        self.run("recover", "--from", "clickhouse")
        for person in people:
            person.keys.clear()
        self.wait_until_well()

    def wait_until_well(self) -> None:
        """Until Redis answers, and every process believes it and PostgreSQL again."""
        eventually(self._answers, BACK_SECONDS)
        eventually(self._is_well, BACK_SECONDS)

    def _answers(self) -> bool:
        try:
            return bool(self._services.tiers.redis_client.ping())
        except RedisError:
            return False

    def _is_well(self) -> bool:
        # Several, for each process has looked for itself.
        for _ in range(6):
            reply = self._admin.get("/health/persistence")
            must(reply, 200)
            tiers = {name: tier["breaker"]["state"] for name, tier in reply.json()["tiers"].items()}
            same("breakers", tiers, dict.fromkeys(tiers, "closed"))
        return True


def moment(created_at: str) -> str:
    """A time of an import as it is shown."""
    return created_at.replace("Z", ".000000Z")


def _text(person: Person, line: Line) -> str:
    fields = {
        "thread_id": line.thread,
        "user_id": person.name,
        "content": line.content,
        "created_at": line.created_at,
    }
    if line.source_id is not None:
        fields["id"] = line.source_id
    return msgspec.json.encode(fields).decode() + "\n"
