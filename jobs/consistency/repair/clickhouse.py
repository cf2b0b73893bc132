"""The right rows into ClickHouse, and out of it those that would hide them.

What must go is a row with a higher version, another row of the same version, and one in another
place of the table. It goes only after the right one was read back.
"""

import hashlib
import secrets
from collections.abc import Sequence

from jobs.consistency.judge.copies import ArchivedRow, archived_rows
from jobs.consistency.judge.verdict import CopyVerdict
from models import codec
from models.message import Message
from storage.clickhouse.driver import ClickHouse, batches, literal, translated

BATCH = 500


class ClickHouseRepair:
    """Inserts, reads back, deletes; in this order."""

    def __init__(self, server: ClickHouse) -> None:
        self._server = server

    def put(self, verdicts: Sequence[CopyVerdict]) -> None:
        """Has ClickHouse show what is right. Raises `TierError`."""
        for at in range(0, len(verdicts), BATCH):
            truths = {one.id: one.truth for one in verdicts[at : at + BATCH] if one.truth}
            self._insert(list(truths.values()))
            rows = archived_rows(self._server, truths)
            hiding = [
                (name, row)
                for name, truth in truths.items()
                if truth in [row.message for row in rows.get(name, ())]
                for row in rows[name]
                if _hides(row, truth)
            ]
            for some in batches(hiding, _place):
                self._delete(some)

    def _insert(self, truths: Sequence[Message]) -> None:
        lines = b"\n".join(map(codec.encode, truths))
        # The same rows may have been inserted before, in the same batch; they are to count again.
        token = hashlib.sha256(lines + secrets.token_bytes(16)).hexdigest()
        self._server.insert("messages", lines, token)

    def _delete(self, hiding: Sequence[tuple[str, ArchivedRow]]) -> None:
        named = ", ".join(map(_place, hiding))
        statement = (
            "ALTER TABLE messages DELETE WHERE"
            " (toString(id), version, user_id, thread_id, toString(created_at),"
            f" toString(archived_at)) IN ({named})"
            " SETTINGS mutations_sync = 2"
        )
        with translated(), self._server.engine.begin() as connection:
            connection.exec_driver_sql(statement)


def _place(hiding: tuple[str, ArchivedRow]) -> str:
    name, row = hiding
    return (
        f"('{name}', {row.version}, {literal(row.user_id)}, {literal(row.thread_id)},"
        f" '{_text(row.created_at)}', '{_text(row.archived_at)}')"
    )


def _hides(row: ArchivedRow, truth: Message) -> bool:
    place = (row.user_id, row.thread_id, row.created_at)
    if place != (truth.user_id, truth.thread_id, truth.created_at):
        return True
    return row.version > truth.version or (row.version == truth.version and row.message != truth)


def _text(moment: str) -> str:
    """A time as ClickHouse itself writes it."""
    return moment.rstrip("Z").replace("T", " ")
