"""Users who are erased: a text of theirs to look for, and the steps of a worker."""

from collections.abc import Callable

from jobs.erase.receipt import UserErasure
from jobs.persist.drain import Drained
from models.message import Message
from support.data.samples import append_of, message
from support.waiting import eventually
from wiring.process import Services


def marker_of(user: str) -> str:
    """What this user alone has written."""
    return f"written by {user}"


def erase(alone: Services, user: str) -> UserErasure:
    """Erases a user, as often as it takes."""
    alone.jobs.user_erasure.request(user, by="an admin")

    def carried_on() -> UserErasure:
        done = alone.jobs.user_erasure.carry_on(user)
        assert done is not None
        assert done.state == "done", done.waits_for
        return done

    return eventually(carried_on, 60)


def persisted(
    alone: Services, drain: Callable[[], Drained], user: str, count: int
) -> list[Message]:
    """Messages that every tier has."""
    made = [message(user, content=marker_of(user)) for _ in range(count)]
    alone.tiers.redis.append([append_of(*made)], 60)
    drain()
    alone.jobs.replication.ship_all()
    return made


def finish(alone: Services, user: str) -> UserErasure:
    """What a worker does now and then."""
    alone.jobs.user_erasure.finish_due()
    return alone.jobs.user_erasure.receipt(user)


def copied_tables(alone: Services, user: str) -> set[str]:
    """The tables of which a copied row, or the key of one that is gone, names a user."""
    named = f"unhex('{user.encode().hex()}')"
    query = (
        "SELECT DISTINCT table_name FROM row_copies"
        f" WHERE position(row, {named}) > 0 OR position(key, {named}) > 0 SETTINGS final = 0"
    )
    with alone.tiers.job_clickhouse.engine.connect() as connection:
        return set(connection.exec_driver_sql(query).scalars())
