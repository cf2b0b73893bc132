"""Puts the right rows into ClickHouse, and, once they were read back, takes out those that would
hide them: of a higher version, of the same version, or in another place of the table."""

import secrets
from collections.abc import Collection, Sequence

from jobs.consistency.judge.copies import ArchivedRow, archived_rows
from jobs.consistency.judge.verdict import CopyVerdict
from models import codec
from models.message import Message
from storage.clickhouse.driver import ClickHouse, batches, literal
from storage.resilience import bites

BATCH = 500


def put(server: ClickHouse, verdicts: Sequence[CopyVerdict]) -> None:
    """Has ClickHouse show what is right: inserts, reads back, deletes. Raises `TierError`."""
    for batch in bites.batches(verdicts, BATCH):
        truths = {one.id: one.truth for one in batch if one.truth}
        _insert(server, truths.values())
        rows = archived_rows(server, truths)
        hiding = [
            (name, row)
            for name, truth in truths.items()
            if truth in [row.message for row in rows.get(name, ())]
            for row in rows[name]
            if _hides(row, truth)
        ]
        for some in batches(hiding, _place):
            server.execute(
                "ALTER TABLE messages DELETE WHERE"
                " (toString(id), version, user_id, thread_id, toString(created_at),"
                f" toString(archived_at)) IN ({', '.join(map(_place, some))})"
                " SETTINGS mutations_sync = 2"
            )
        # Until the others were deleted, a merge may have taken the right row for superseded.
        names = {name for name, _ in hiding}
        _insert(server, [truths[name] for name in names - archived_rows(server, names).keys()])


def _insert(server: ClickHouse, truths: Collection[Message]) -> None:
    if truths:
        # The same rows may have been inserted before, in the same batch; they are to count again.
        server.insert("messages", b"\n".join(map(codec.encode, truths)), secrets.token_hex(32))


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
