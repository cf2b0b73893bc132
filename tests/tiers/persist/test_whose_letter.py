"""Whose a refused write is, as PostgreSQL reads it off the record: the same as everybody else."""

import pytest
from sqlalchemy import text

from models import codec
from models.message import Thread
from models.records import HEAD_BYTES, address_of
from models.state import StateRecord
from support.data.samples import AWKWARD_TEXTS, message
from support.data.states import raw
from wiring.process import Services

USER_OF = text("SELECT user_of_record(:record)")
MOMENT = "2026-01-01T00:00:00.000000Z"


def user_of(alone: Services, record: bytes) -> str | None:
    with alone.tiers.job_engine.connect() as connection:
        found: str | None = connection.execute(USER_OF, {"record": record}).scalar_one()
    return found


def records_of(name: str) -> dict[str, bytes]:
    thread = Thread(
        version=1,
        id="t",
        user_id=name,
        title=None,
        metadata={},
        created_at=MOMENT,
        updated_at=MOMENT,
    )
    state = StateRecord(
        version=1,
        updated_at=MOMENT,
        kind="run",
        user_id=name,
        name="r",
        expires_at=None,
        state=raw({"nul": "\0"}),
    )
    sent = message(name, content="refused: \x00")
    return {
        "message": codec.encode(sent),
        "thread": codec.encode(thread),
        "state": codec.encode(state),
    }


@pytest.mark.parametrize("awkward", AWKWARD_TEXTS)
def test_a_record_says_whose_it_is(alone: Services, awkward: str) -> None:
    name = f"user {awkward}"
    for kind, record in records_of(name).items():
        for seen in (record, record[:HEAD_BYTES], record + b"\xff\xfe broken"):
            assert user_of(alone, seen) == name == address_of(kind, seen).user_id


@pytest.mark.parametrize(
    "record", [b"", b"{", b"\x00\xff", b"[1]", b'{"version":1,"id":"x","user_id":"no end', b"null"]
)
def test_what_does_not_say_so_is_nobodys(alone: Services, record: bytes) -> None:
    assert user_of(alone, record) is None
