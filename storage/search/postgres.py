"""What PostgreSQL adds to a search: messages that ClickHouse lacks, newer versions of what others
found, and the marks of what is deleted.

It has no index of words: a few rows are read, or as many of a user's as there is time for.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, Text, Uuid, all_, cast, func, literal, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from models import ids
from models.search_terms import Terms
from models.tables import messages
from storage.availability import hidden
from storage.postgres.driver import execute, message_of
from storage.postgres.partitions import id_at
from storage.postgres.reads import PostgresTier
from storage.search.query import Known, Matches, SearchSpan, Wanted

MOST_WAITING = 20_000
"""Of the outbox. Where more rows wait, reading those of the user is quicker."""

_UUIDS: ARRAY[str] = ARRAY(Uuid(as_uuid=False))

# The outbox has ids of everybody's messages; row-level security joins the user's alone.
_WAITING = """
WITH waiting AS MATERIALIZED (
    SELECT message_id FROM clickhouse_outbox ORDER BY sequence DESC LIMIT :most + 1)
SELECT CASE WHEN (SELECT count(*) FROM waiting) <= :most AND NOT EXISTS (
    SELECT FROM notices WHERE name = 'disaster-recovery'
        AND body ->> 'state' NOT IN ('complete', 'failed'))
THEN ARRAY(SELECT DISTINCT m.id::text FROM waiting w JOIN messages m ON m.id = w.message_id
           WHERE m.user_id = :user_id) END
"""


class SearchRows:
    """The read verbs of search in PostgreSQL. Errors leave as the tier's."""

    def __init__(self, postgres: PostgresTier) -> None:
        self._postgres = postgres

    def waiting(self, user_id: str) -> list[str] | None:
        """The ids of a user's messages that ClickHouse may not have in their newest version; None
        where there are too many to name, or a recovery is carrying over all there are."""
        values = {"user_id": user_id, "most": MOST_WAITING}
        with self._postgres.as_user(user_id) as connection:
            found: list[str] | None = execute(connection, _WAITING, values).scalar_one()
        return found

    def floor(self, user_id: str, wanted: Wanted, span: SearchSpan, rows: int) -> str:
        """An id below about so many of the messages in a span; the lowest id if there are fewer."""
        lowest = (
            select(messages.c.id)
            .where(*_within(user_id, wanted, span))
            .order_by(messages.c.id.desc())
            .offset(rows - 1)
            .limit(1)
        )
        with self._postgres.as_user(user_id, is_bulk=True) as connection:
            found = connection.execute(lowest).scalar_one_or_none()
        return id_at(ids.time_us_of(found) // 1_000) if found else ids.LOWEST

    def candidates(
        self, user_id: str, wanted: Wanted, span: SearchSpan, among: Sequence[str] | None = None
    ) -> Matches:
        """The newest messages of a span that may match, of all or among some ids."""
        query = (
            select(messages)
            .where(
                *_within(user_id, wanted, span),
                messages.c.deleted_at.is_(None),
                may_have(messages.c.content, wanted.terms),
            )
            .order_by(messages.c.id.desc())
            .limit(span.at_most)
        )
        if among is not None:
            query = query.where(messages.c.id == func.any(cast(among, _UUIDS)))
        if wanted.role is not None:
            query = query.where(messages.c.role == wanted.role)
        with self._postgres.as_user(user_id, is_bulk=True) as connection:
            found = [message_of(row) for row in connection.execute(query)]
        return Matches(found, found[-1].id if len(found) >= span.at_most else None)

    def known(self, user_id: str, message_ids: Iterable[str], thread_ids: Iterable[str]) -> Known:
        """What there is of messages that others found, and of threads."""
        versions = select(messages).where(
            messages.c.user_id == user_id,
            messages.c.id == func.any(cast(list(message_ids), _UUIDS)),
        )
        with self._postgres.as_user(user_id, is_bulk=True) as connection:
            found = [message_of(row) for row in connection.execute(versions)]
            marks = hidden.committed(connection, ((user_id, name) for name in thread_ids))
        return Known(found, {name: mark.through for (_, name), mark in marks.items()})


def may_have(content: ColumnElement[str], terms: Terms) -> ColumnElement[bool]:
    """Whether a text may have all of these terms. Of a text in ASCII PostgreSQL knows the small
    letters; every other text may have them."""
    parts = [f"%{term}%" for term in (*terms.whole, *terms.beginnings)]
    small = func.lower(content.collate("C"), type_=Text)
    return or_(
        func.octet_length(content) != func.char_length(content),
        small.like(all_(literal(parts, ARRAY(Text)))),
    )


def _within(user_id: str, wanted: Wanted, span: SearchSpan) -> list[ColumnElement[bool]]:
    conditions = [
        messages.c.user_id == user_id,
        messages.c.id > span.low,
        messages.c.id < span.high,
    ]
    if wanted.thread_id is not None:
        conditions.append(messages.c.thread_id == wanted.thread_id)
    return conditions
