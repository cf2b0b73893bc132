"""A seed played on a stack: operations drawn and done, and the store held against the model."""

import random
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from model.acts import Acts
from model.drawing import Drawing, Op
from model.jobs import Jobs
from model.reads import ModelReads
from model.stores import Stores
from model.world import Person
from support.calls.api import Api
from support.stack.processes import Launched
from wiring.process import Services

PEOPLE = 2
KNOWN_TO_REDIS_ALONE = frozenset({"create_thread", "change_thread", "delete_thread"})
"""They go by whether there is such a thread. Until that is carried on only Redis knows, and while
it is out they are answered by what PostgreSQL knows."""
LOOKS_AFTER = 0.3
"""How often what an operation touched is read at once."""


class Play:
    """Users that nobody else is, with the model of what they were promised."""

    def __init__(
        self,
        stack: Launched,
        services: Services,
        folder: Path,
        token: Callable[..., str],
        seed: int,
    ) -> None:
        run = secrets.token_hex(4)
        self.people = [
            Person(f"{name}-{run}", f"mark{seed}x{number}x{run}")
            for number, name in enumerate(("ann", "bob", "eve")[:PEOPLE])
        ]
        apis = {one.name: Api(stack.url, token(one.name)) for one in self.people}
        admin = Api(stack.url, token(f"admin-{run}", admin=True))
        self._random = random.Random(seed)
        self.acts = Acts(apis)
        self.jobs = Jobs(stack, services, folder, admin, self.acts)
        self.reads = ModelReads(apis, self.acts, self._random)
        self.stores = Stores(services)
        self.drawing = Drawing(seed, self.people)

    def draw(self, seconds: float, done: list[Op]) -> None:
        """Plays for so long, and ends with a look at all; notes what it does in `done`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            op = self.drawing.next()
            done.append(op)
            self.do(op)
        self.end()

    def repeat(self, ops: list[Op]) -> None:
        """Plays these operations, as far as there is what they are about."""
        self.jobs.wait_until_well()
        for op in ops:
            self.do(op)
        self.end()

    def do(self, op: Op) -> None:
        person = self.people[op.user]
        if op.name == "settle":
            self.settle()
            return
        if op.name == "lose":
            self.settle(ends_streams=True)
            self.jobs.lose(self.people)
            return
        if self.acts.is_shaken and op.name in KNOWN_TO_REDIS_ALONE:
            self.jobs.wait_until_well()
        if op.name in {"check", "archive", "recover_cache", "backfill", "repair", "export"}:
            self._calm_down()
        if hasattr(self.acts, op.name):
            getattr(self.acts, op.name)(person, op.given)
        elif op.name in {"import_lines", "evict", "export", "erase_user"}:
            given = {"import_lines": (person, op.given), "evict": (op.given,)}
            self._calm_down()
            getattr(self.jobs, op.name)(*given.get(op.name, (person,)))
        else:
            getattr(self.jobs, op.name)()
        if not self.acts.is_shaken and self._random.random() < LOOKS_AFTER:
            thread = op.given.get("thread")
            self.reads.threads(person)
            if thread in person.topics:
                self.reads.thread(person, thread)

    def settle(self, *, ends_streams: bool = False) -> None:
        """Looks at all, at once and when it has been carried on."""
        self._calm_down()
        for person in self.people:
            if ends_streams:
                self.acts.end_streams(person)
            self.reads.everything(person)
        self.stores.wait_until_quiet()
        for person in self.people:
            self.reads.everything(person)
            if not any(said.is_open for _, said in person.live()):
                self.reads.quiet(person)
            self.stores.check(person)
        # What of a deleted thread is in ClickHouse alone leaves it with the next maintenance.
        self.stores.purge()
        for person in self.people:
            if not any(said.is_open for _, said in person.live()):
                self.stores.hold(person)

    def end(self) -> None:
        """The last look, also at what is to be nowhere."""
        self.settle(ends_streams=True)
        for person in self.people:
            self.jobs.export(person)
        live = {said.content for one in self.people for _, said in one.live()}
        dead = [said.content for one in self.people for said in one.dead]
        words = [text.split(" ")[0] for text in dead if text and text not in live]
        self.stores.hold_nothing_of(*words[-3:])
        self.jobs.check()

    def _calm_down(self) -> None:
        if self.acts.is_shaken:
            self.jobs.wait_until_well()
            self.stores.wait_until_quiet()
            self.acts.is_shaken = False
