"""What tests of checks share: messages in all tiers, findings in short, a boundary."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from jobs.consistency.report import ConsistencyReport
from models import ids
from models.message import Message
from support.data.samples import message
from support.faults import damage
from wiring.process import Services


def named(found: ConsistencyReport) -> set[tuple[str, str, str]]:
    return {(one.id, one.name, one.outcome) for one in found.differences}


def three(services: Services, user: str) -> list[Message]:
    batch = [message(user, content=f"message {n}") for n in range(3)]
    damage.place(services, *batch)
    return batch


@contextmanager
def boundary(services: Services, below: str) -> Iterator[None]:
    def put(value: str) -> None:
        with services.tiers.job_engine.begin() as connection:
            connection.execute(text("UPDATE archive_boundary SET below = :b"), {"b": value})

    put(below)
    try:
        yield
    finally:
        put(ids.LOWEST)


def above(one: Message) -> str:
    """The next id of its thread after a message's."""
    return ids.mint(ids.time_us_of(one.id) + 1, ids.shard_in(one.id), 0)
