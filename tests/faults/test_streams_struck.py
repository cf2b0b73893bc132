"""Agents stream while programs and Redis are killed and frozen: no chunk that was acknowledged is
missing from what becomes of its message, and none is in it twice."""

import itertools
import operator
import threading
from collections.abc import Sequence

import msgspec
import pytest

from models.streams import STREAM_MARK
from selftest.bed.stack import Testbed
from selftest.faults.disturbance import kind
from selftest.record.client import Answer, RecordingClient
from storage.redis import keys
from support.calls.api import ok
from support.calls.clients import api_of
from support.data.users import fresh_user
from support.waiting import eventually

pytestmark = pytest.mark.extensive

AGENTS = 8
PAUSE_SECONDS = 0.01
DISTURBANCES = {
    "web killed": 0.0,
    "redis-data frozen": 1.5,
    "worker killed": 0.0,
    "redis-data killed": 0.0,
    "redis-data reply lost": 1.0,
}
"""Each with the seconds that it lasts."""

PATIENCE_SECONDS = 60
LONG_AGO = 1.0


class Agent(threading.Thread):
    """Says numbered words until told that it is enough, each chunk repeated where it begins until
    it is acknowledged. Half of them leave without a last word."""

    def __init__(self, client: RecordingClient, number: int, enough: threading.Event) -> None:
        super().__init__(name=f"agent-{number}", daemon=True)
        self.number = number
        self.is_left = number % 2 == 1
        self.message_id = ""
        self.acknowledged = ""
        self.lost: list[bytes] = []
        self._client = client
        self._enough = enough

    def run(self) -> None:
        headers = {"Idempotency-Key": self.name}
        opened = self._insist("/api/threads/t/messages:stream", {}, headers)
        self.message_id = opened.json()["id"]
        for number in itertools.count():
            text = f"{self.number}.{number} é "
            chunk = {"text": text, "offset": len(self.acknowledged.encode())}
            self._insist(f"/api/messages/{self.message_id}/chunks", chunk)
            self.acknowledged += text
            if self.lost or self._enough.wait(PAUSE_SECONDS):
                break
        if not self.is_left:
            self._insist(f"/api/messages/{self.message_id}/finish", {})
        self._client.close()

    def _insist(self, path: str, body: object, headers: dict[str, str] | None = None) -> Answer:
        while True:
            answer = self._client.call("POST", path, msgspec.json.encode(body), headers)
            if answer.status in {200, 201}:
                return answer
            if answer.status == 409:
                self.lost.append(answer.body)
                return answer


def lengths(agents: Sequence[Agent]) -> list[int]:
    return [len(agent.acknowledged) for agent in agents]


def test_no_chunk_is_lost_whatever_is_killed(bed: Testbed) -> None:
    user, enough = fresh_user(), threading.Event()
    agents = [Agent(bed.client(user), number, enough) for number in range(AGENTS)]
    for agent in agents:
        agent.start()
    for name, seconds in DISTURBANCES.items():
        end = kind(name).begin(bed)
        enough.wait(seconds)
        end()
        said = lengths(agents)
        eventually(lambda said=said: all(map(operator.lt, said, lengths(agents))), PATIENCE_SECONDS)
    enough.set()
    for agent in agents:
        agent.join(timeout=PATIENCE_SECONDS)
        assert not agent.is_alive(), agent.name
    assert [agent.lost for agent in agents] == [[]] * AGENTS
    api, redis = api_of(bed, user), bed.services.tiers.redis
    for agent in agents:
        if agent.is_left:
            slot = redis.slot_of_message(agent.message_id)
            redis.client.zadd(keys.streams(slot), {agent.message_id: LONG_AGO})
    for agent in agents:

        def ended(agent: Agent = agent) -> bool:
            found = ok(api.get(f"/api/messages/{agent.message_id}"))
            mark = "interrupted" if agent.is_left else None
            assert found["metadata"].get(STREAM_MARK) == mark
            assert found["content"] == agent.acknowledged
            return True

        eventually(ended, PATIENCE_SECONDS)
    listed, _ = api.walk("t")
    assert sorted(one["id"] for one in listed) == sorted(agent.message_id for agent in agents)
    assert not redis.client.keys("stream*")
