"""What PostgreSQL finds, and what it knows of what others found.

The index is behind a function that searches for the transaction's user alone and returns ids; the
rows are read under row-level security like all others (migration 0011).
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Text, Uuid, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY, TSQUERY

from models import ids
from models.message import Message
from models.search_terms import Terms
from models.tables import messages, threads, user_erasures
from storage.availability.hidden import archive_boundary
from storage.postgres.driver import message_of
from storage.postgres.reads import PostgresTier
from storage.search.query import Matches, SearchSpan, Wanted

_UUID = Uuid(as_uuid=False)
_UUIDS: ARRAY[str] = ARRAY(_UUID)


class KnownVersions(NamedTuple):
    """Versions by id, the id through which each thread is deleted, and that of all the user's."""

    messages: dict[str, Message]
    marks: dict[str, str]
    erased_through: str


class SearchRows:
    """The read verbs of search in PostgreSQL. Errors leave as the tier's."""

    def __init__(self, postgres: PostgresTier) -> None:
        self._postgres = postgres

    def candidates(self, user_id: str, wanted: Wanted, span: SearchSpan) -> Matches:
        """The newest messages of a span that have the words."""
        given = func.search_candidates(
            cast(_tsquery(user_id, wanted.terms), TSQUERY),
            cast(wanted.terms.patterns, ARRAY(Text)),
            cast(span.low, _UUID),
            cast(span.high, _UUID),
            cast(wanted.thread_id, Text),
            cast(wanted.role, Text),
            span.at_most,
        ).table_valued("id")
        query = (
            select(given.c.id.cast(Text).label("candidate"), messages)
            .select_from(given.outerjoin(messages, messages.c.id == given.c.id))
            .order_by(given.c.id.desc())
        )
        with self._postgres.as_user(user_id, is_bulk=True) as connection:
            rows = connection.execute(query).all()
            # Only now: what is archived after this was among the rows.
            boundary = archive_boundary(connection)
        horizon = rows[-1].candidate if len(rows) >= span.at_most else None
        return Matches([message_of(row) for row in rows if row.id], horizon, boundary)

    def known(
        self, user_id: str, message_ids: Iterable[str], thread_ids: Iterable[str]
    ) -> KnownVersions:
        """What there is of messages that others found, tombstones included, and of threads."""
        versions = select(messages).where(
            messages.c.user_id == user_id,
            messages.c.id == func.any(cast(list(message_ids), _UUIDS)),
        )
        marks = select(threads.c.id, threads.c.deleted_through).where(
            threads.c.user_id == user_id,
            threads.c.id == func.any(list(thread_ids)),
            threads.c.deleted_through.is_not(None),
        )
        erasure = select(user_erasures.c.erased_through).where(user_erasures.c.user_id == user_id)
        with self._postgres.as_user(user_id, is_bulk=True) as connection:
            found = {row.id: message_of(row) for row in connection.execute(versions)}
            deleted = {row.id: row.deleted_through for row in connection.execute(marks)}
            erased_through = connection.execute(erasure).scalar_one_or_none()
        return KnownVersions(found, deleted, erased_through or ids.LOWEST)


def _tsquery(user_id: str, terms: Terms) -> str:
    """All of the terms, marked as the user's. Quotes and backslashes are no part of terms."""
    mark = hashlib.md5(user_id.encode(), usedforsecurity=False).hexdigest()[:8]
    whole = [f"'{mark}{term}'" for term in terms.whole]
    return " & ".join(whole + [f"'{mark}{term}':*" for term in terms.beginnings])
