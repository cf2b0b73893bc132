"""Draws operations: the same seed draws the same ones, for as long as the store does as it must."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from model.world import Line, Person

THREADS = ("plan", "inbox", "notes")
ROLES = ("user", "assistant", "tool")
LONG_AGO = datetime(2025, 1, 6, 9, tzinfo=UTC)
TEXTS = ("plain", "é \N{GRINNING FACE} \u2028", "'quoted' \\N \"", "line\r\nfeed", '{"a": [1]}')

WEIGHTS = {
    "post": 22, "batch": 5, "edit": 9, "delete": 6, "create_thread": 3, "change_thread": 3,
    "delete_thread": 4, "post_and_delete_thread": 4, "edit_and_delete": 2, "burst": 3, "race": 2,
    "open_stream": 3, "append_chunk": 5, "finish_stream": 3, "import_lines": 4, "settle": 4,
    "backfill": 1, "recover_cache": 1, "check": 1, "repair": 2, "archive": 2, "evict": 2,
    "kill_redis": 1, "erase_user": 1, "lose": 1, "export": 1,
}  # fmt: skip
"""What is drawn, and how often beside the others."""


class Op(NamedTuple):
    """One operation: of which user, and with what."""

    name: str
    user: int
    given: dict[str, Any]

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.given.items())
        return f"{self.name}(user={self.user}, {given})"


class Drawing:
    """The next operation, given what there is."""

    def __init__(self, seed: int, people: list[Person]) -> None:
        self.random = random.Random(seed)
        self._people = people
        self._number = 0

    def next(self) -> Op:
        while True:
            (name,) = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))
            user = self.random.randrange(len(self._people))
            draw = getattr(self, f"_{name}", None)
            given = draw(self._people[user]) if draw else {}
            if given is not None:
                return Op(name, user, given)

    def _thread(self) -> str:
        return self.random.choice(THREADS)

    def _new(self, person: Person) -> dict[str, Any]:
        """What a new message says, which no other does."""
        self._number += 1
        label = f"word{self._number}x{self.random.randrange(16**4):04x}"
        metadata = self.random.choice([{}, {}, {"n": self._number}, {"tags": ["a", "é"]}])
        return {
            "label": label,
            "role": self.random.choice(ROLES),
            "content": f"{label} {person.marker} {self.random.choice(TEXTS)}",
            "metadata": metadata,
        }

    def _post(self, person: Person) -> dict[str, Any]:
        thread, kind = self._thread(), self.random.random()
        known = [key for (place, key) in person.keys if place == thread]
        new = self._new(person)
        if kind < 0.5:
            return {"thread": thread, "key": None, **new}
        if kind < 0.7 or not known:
            return {"thread": thread, "key": f"key {self._number}", **new}
        key = self.random.choice(known)
        before = person.keys[thread, key]
        if self.random.random() < 0.6:
            new |= dict(zip(("role", "content", "metadata"), before.first, strict=True))
        return {"thread": thread, "key": key, **new}

    def _batch(self, person: Person) -> dict[str, Any]:
        items = [
            {"thread": self._thread(), **self._new(person)}
            for _ in range(self.random.randrange(1, 6))
        ]
        key = f"batch {self._number}" if self.random.random() < 0.5 else None
        return {"items": items, "key": key, "again": key is not None and self.random.random() < 0.6}

    def _live(self, person: Person, *, is_open: bool = False) -> str | None:
        found = [said.label for _, said in person.live() if said.is_open == is_open]
        return self.random.choice(found) if found else None

    def _edit(self, person: Person) -> dict[str, Any] | None:
        label = self._live(person)
        if label is None:
            return None
        new = self._new(person)
        what = self.random.choice([("content",), ("metadata",), ("content", "metadata")])
        given = {name: new[name] for name in what}
        return {"of": label, "match": self.random.choice([None, "right", "stale"]), **given}

    def _delete(self, person: Person) -> dict[str, Any] | None:
        label = self._live(person, is_open=self.random.random() < 0.2)
        return None if label is None else {"of": label}

    def _edit_and_delete(self, person: Person) -> dict[str, Any] | None:
        label = self._live(person)
        return None if label is None else {"of": label, "content": self._new(person)["content"]}

    def _own(self) -> dict[str, Any]:
        return {
            "title": self.random.choice([None, "a title", "é \N{GRINNING FACE}"]),
            "metadata": self.random.choice([{}, {"colour": "blue"}]),
        }

    def _create_thread(self, person: Person) -> dict[str, Any]:
        return {"thread": self._thread(), **self._own()}

    def _change_thread(self, person: Person) -> dict[str, Any]:
        marks = {
            "is_pinned": self.random.random() < 0.5,
            "is_archived": self.random.random() < 0.5,
        }
        return {"thread": self._thread(), **self._own(), **marks}

    def _delete_thread(self, person: Person) -> dict[str, Any]:
        return {"thread": self._thread()}

    def _post_and_delete_thread(self, person: Person) -> dict[str, Any]:
        return {"thread": self._thread(), "again": self.random.random() < 0.5, **self._new(person)}

    def _burst(self, person: Person) -> dict[str, Any]:
        return {"thread": self._thread(), "items": [self._new(person) for _ in range(6)]}

    _race = _burst

    def _open_stream(self, person: Person) -> dict[str, Any]:
        new = self._new(person)
        return {
            "thread": self._thread(),
            **new,
            "content": self.random.choice(["", new["content"]]),
        }

    def _append_chunk(self, person: Person) -> dict[str, Any] | None:
        label = self._live(person, is_open=True)
        return None if label is None else {"of": label, "text": f" {self._new(person)['content']}"}

    def _finish_stream(self, person: Person) -> dict[str, Any] | None:
        label = self._live(person, is_open=True)
        if label is None:
            return None
        whole = self._new(person)["content"] if self.random.random() < 0.3 else None
        return {"of": label, "content": whole}

    def _import_lines(self, person: Person) -> dict[str, Any]:
        again = list(person.lines.values())
        lines = self.random.sample(again, min(len(again), self.random.randrange(4)))
        for _ in range(self.random.randrange(1, 6)):
            new = self._new(person)
            # Each at a time of its own, in no order.
            moment = LONG_AGO + timedelta(hours=self.random.randrange(2000), seconds=self._number)
            source_id = f"src-{self._number}" if self.random.random() < 0.5 else None
            created_at = moment.isoformat(timespec="seconds").replace("+00:00", "Z")
            lines.append(Line(self._thread(), new["label"], new["content"], created_at, source_id))
        self.random.shuffle(lines)
        return {"lines": lines}

    def _evict(self, person: Person) -> dict[str, Any]:
        return {"every": self.random.choice([1, 2, 3])}
