"""Legal holds: what stands under one is not erased, whoever asks."""

from typing import NamedTuple

from sqlalchemy import Connection, text

from storage.errors import OnHold

# Whoever sets a hold at this moment comes before or after, never in between.
_LOCK = text("LOCK TABLE retention_policies IN SHARE MODE")
_OF_USER = text("SELECT count(*) FROM retention_policies WHERE user_id = :user_id AND legal_hold")
_ALL = text("SELECT user_id, thread_id FROM retention_policies WHERE legal_hold")


class Holds(NamedTuple):
    """Users, and threads of users, that are on hold."""

    users: frozenset[str]
    threads: frozenset[tuple[str, str]]

    def cover(self, user_id: str, thread_id: str) -> bool:
        """Whether a thread is on hold, or its user."""
        return user_id in self.users or (user_id, thread_id) in self.threads


def refuse(connection: Connection, user_id: str) -> None:
    """Raises `OnHold` where any hold is on the user or a thread of theirs.

    None is set before the transaction ends.
    """
    connection.execute(_LOCK)
    if connection.execute(_OF_USER, {"user_id": user_id}).scalar_one():
        raise OnHold(user_id)


def standing(connection: Connection) -> Holds:
    """Every hold."""
    rows = connection.execute(_ALL).all()
    users = frozenset(row.user_id for row in rows if not row.thread_id)
    threads = frozenset((row.user_id, row.thread_id) for row in rows if row.thread_id)
    return Holds(users, threads)
