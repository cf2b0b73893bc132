"""Of which messages and threads PostgreSQL has refused something, as its letters still say."""

from typing import NamedTuple

from sqlalchemy import Connection, text

from models.records import HEAD_BYTES, Address, address_of

_HEADS = text(
    "SELECT id, kind, substring(record FOR :head) AS head FROM dead_letters"
    " WHERE kind IN ('message', 'thread') ORDER BY id"
)


class Letter(NamedTuple):
    """A refused write: its number, its kind, and whose it is."""

    id: int
    kind: str
    address: Address


def letters(connection: Connection) -> list[Letter]:
    """All refused writes of messages and threads."""
    rows = connection.execute(_HEADS, {"head": HEAD_BYTES})
    return [Letter(row.id, row.kind, address_of(row.kind, bytes(row.head))) for row in rows]


def refused(connection: Connection) -> list[Address]:
    """The addresses of all versions of messages that are dead letters."""
    return [one.address for one in letters(connection) if one.kind == "message"]
