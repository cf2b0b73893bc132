"""Writers: each posts, edits and deletes its own messages, one request at a time.

A create is repeated with its key until it is acknowledged. Edits and deletes have no key and are
not repeated: one without an answer may have happened or not.
"""

import random
import string

import msgspec

from models.message import Durability, Tier
from selftest.load.samples import sample_of
from selftest.load.traffic import Load, Traffic
from selftest.record.account import OK, hash_of
from selftest.record.client import Answer
from selftest.record.findings import Invariant
from selftest.record.ledger import Answered, AttemptedRequest, Verb

KEPT_MESSAGES = 50
"""How many of its latest messages a writer still edits and deletes."""

_LETTERS = string.ascii_letters + "äöüßéñ漢字😀 \n"


class AcknowledgedBody(msgspec.Struct):
    """The members of a 200 that a writer needs."""

    id: str
    version: int
    content: str
    tier_used: Tier
    durability: Durability


_decoder = msgspec.json.Decoder(AcknowledgedBody)


class LoadWriter:
    """One client, with messages in threads of one user."""

    def __init__(self, traffic: Traffic, load: Load, number: int, seed: int) -> None:
        self._traffic = traffic
        self._load = load
        self._number = number
        self._random = random.Random(f"{seed}:{number}")
        self._user_id = traffic.user(number % load.users)
        self._client = traffic.connect(self._user_id)
        self._own: list[str] = []

    def run(self) -> None:
        """Work until the run is over."""
        try:
            while not self._traffic.ended:
                self._act()
                self._traffic.pause(self._random.random() * self._load.pause_seconds)
        finally:
            self._client.close()

    def _act(self) -> None:
        drawn = self._random.random()
        key = self._random.choice(self._own) if self._own else ""
        if key and drawn < self._load.delete_share:
            self._own.remove(key)
            self._revise("delete", key)
        elif key and drawn < self._load.delete_share + self._load.edit_share:
            self._revise("edit", key)
        else:
            self._create()

    def _create(self) -> None:
        op = next(self._traffic.operations)
        key = f"{self._traffic.name}-{op}"
        content = self._content(op)
        thread_id = f"thread-{self._random.randrange(self._load.threads)}"
        body = msgspec.json.encode({"message": content, "metadata": {"key": key}})
        attempt = 0
        wanted = 1 + (self._random.random() < self._load.repeat_share)
        while wanted and not self._traffic.ended:
            asked = AttemptedRequest(
                op=op,
                attempt=attempt,
                writer=self._number,
                verb="create",
                user_id=self._user_id,
                thread_id=thread_id,
                key=key,
                content_hash=hash_of(content),
            )
            path = f"/api/threads/{thread_id}/messages"
            acknowledged = self._ask(asked, "POST", path, body, {"Idempotency-Key": key})
            attempt += 1
            if acknowledged:
                wanted -= 1
            else:
                self._traffic.pause(self._load.retry_seconds * (0.5 + self._random.random()))
        if not wanted:
            self._own = [*self._own[-KEPT_MESSAGES:], key]

    def _revise(self, verb: Verb, key: str) -> None:
        history = self._traffic.account.history(key)
        op = next(self._traffic.operations)
        content = self._content(op) if verb == "edit" else ""
        asked = AttemptedRequest(
            op=op,
            attempt=0,
            writer=self._number,
            verb=verb,
            user_id=self._user_id,
            thread_id=history.thread_id,
            key=key,
            content_hash=hash_of(content),
            message_id=history.id,
            based_on=history.version,
        )
        method, body = ("DELETE", None)
        if verb == "edit":
            method, body = ("PATCH", msgspec.json.encode({"message": content}))
        self._ask(asked, method, f"/api/messages/{history.id}", body, {})

    def _ask(
        self,
        asked: AttemptedRequest,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
    ) -> bool:
        """Make one attempt, with an entry before and one after it; gives whether it was a 200."""
        traffic = self._traffic
        traffic.note(asked)
        answer = self._client.call(method, path, body, headers)
        answered = Answered(
            op=asked.op,
            attempt=asked.attempt,
            outcome=answer.outcome,
            status=answer.status,
            latency_ms=round(answer.latency_ms, 3),
        )
        if answer.status == OK:
            answered = self._acknowledged(asked, answered, answer)
        traffic.note(answered)
        sample = sample_of(answer, asked.verb)
        traffic.samples.append(msgspec.structs.replace(sample, tier_used=answered.tier_used))
        return answer.status == OK

    def _acknowledged(
        self, asked: AttemptedRequest, answered: Answered, answer: Answer
    ) -> Answered:
        found = _decoder.decode(answer.body)
        if hash_of(found.content) != asked.content_hash:
            self._traffic.findings.add(
                Invariant.IN_TIME,
                "an acknowledgement shows another content than was sent",
                key=asked.key,
                id=found.id,
                verb=asked.verb,
            )
        return msgspec.structs.replace(
            answered,
            id=found.id,
            version=found.version,
            tier_used=found.tier_used,
            durability=found.durability,
        )

    def _content(self, op: int) -> str:
        length = self._random.randrange(self._load.content_characters)
        return f"{op}:{''.join(self._random.choices(_LETTERS, k=length))}"
