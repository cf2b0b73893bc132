"""States as tests write and read them, and what the tiers have of them."""

from typing import Any

import msgspec
from sqlalchemy import text

from models.ids import Clock
from models.state import StateName
from storage.states.service import StateAnswer, StateService
from support.faults.outages import end_bypasses
from support.waiting import eventually
from wiring.process import Services


def is_whole(own: Services) -> None:
    """Tells Redis what it missed, lets those who wrote beside it be over, and waits until it is
    believed alone."""
    own.failover.redis_recovery.reconcile()
    end_bypasses(own)
    eventually(lambda: own.failover.lease.current().redis_complete)


def run(user: str, name: str = "r") -> StateName:
    return StateName("run", user, name)


def session(user: str) -> StateName:
    return StateName("session", user, "")


def raw(state: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(state))


def save(own: Services, whose: StateName, state: Any, **options: Any) -> StateAnswer:
    """Saves a state by a process of these services; `expected_version` is one version."""
    if "expected_version" in options:
        options["expected_version"] = {options["expected_version"]}
    return own.states.put(whose, raw(state), **options)


def load(own: Services, whose: StateName) -> Any:
    """The state that a process of these services reads."""
    return msgspec.json.decode(bytes(own.states.get(whose).record.state))


def at(own: Services, seconds: float) -> StateService:
    """The same process with a clock that is ahead."""
    clock = Clock(lambda: own.tiers.clock.now_us() * 1000 + int(seconds * 1e9))
    return StateService(
        own.failover.state_chain, clock, own.settings, redis_durability=own.redis_durability
    )


def committed(own: Services, whose: StateName) -> tuple[int, Any] | None:
    """Version and state in PostgreSQL."""
    query = text(
        "SELECT version, state FROM state_records"
        " WHERE kind = :kind AND user_id = :user_id AND name = :name"
    )
    with own.tiers.job_engine.connect() as connection:
        row = connection.execute(query, whose._asdict()).one_or_none()
    return (row.version, row.state) if row else None


def kept(own: Services, whose: StateName) -> list[int]:
    """The versions of checkpoints in PostgreSQL."""
    query = text(
        "SELECT version FROM checkpoints WHERE user_id = :user_id AND run_id = :name ORDER BY 1"
    )
    with own.tiers.job_engine.connect() as connection:
        return list(connection.execute(query, whose._asdict()).scalars())


def archived(own: Services, whose: StateName) -> list[str]:
    """The tables of which ClickHouse has a copy that names this user, once for each row."""
    query = (
        "SELECT table_name FROM row_copies FINAL WHERE is_deleted = 0"
        f" AND position(key, '{whose.user_id}') > 0"
        " AND table_name IN ('state_records', 'checkpoints') ORDER BY table_name"
    )
    with own.tiers.job_clickhouse.engine.connect() as connection:
        return [row[0] for row in connection.exec_driver_sql(query)]
