"""How threads whose messages are all committed begin their newest one that is not deleted.

Mostly PostgreSQL knows. For threads whose newest messages are archived ClickHouse is asked, once
for all of them; what was deleted there since is known to PostgreSQL first.
"""

from collections.abc import Mapping, Sequence

from models import ids
from models.message import Source, Tier
from storage.clickhouse.reads import ClickHouseTier
from storage.errors import TierUnavailable
from storage.messages.retrieval_service import UnifiedMessageRetrievalService
from storage.postgres.reads import ThreadRow
from storage.threads.page import PREVIEW_READ, preview_of
from storage.threads.rows import Newest, ThreadRows

MOST_SINGLE = 100
"""Threads of a page that are read one by one; the others show no preview."""


class Reading:
    """What was asked in reading a list: which tiers gave some of it, and which did not answer."""

    def __init__(self) -> None:
        self.sources: set[Tier] = set()
        self.down: dict[str, TierUnavailable] = {}
        self.singles = 0

    @property
    def source(self) -> Source:
        """Where it came from."""
        return next(iter(self.sources)) if len(self.sources) == 1 else "mixed"


class Previews:
    """Finds how threads begin their newest message."""

    def __init__(
        self,
        rows: ThreadRows,
        clickhouse: ClickHouseTier,
        retrieval: UnifiedMessageRetrievalService,
    ) -> None:
        self._rows = rows
        self._clickhouse = clickhouse
        self._retrieval = retrieval

    def committed(
        self, user_id: str, rows: Sequence[ThreadRow], boundary: str, reading: Reading
    ) -> dict[str, str]:
        """The previews of threads without uncommitted writes, as far as there are any.

        Raises `TierUnavailable` without PostgreSQL; ClickHouse's previews are left out without it.
        """
        newest = self._rows.newest(user_id, [row for row in rows if row.message_count > 0])
        found = {
            name: preview_of(one.content) for name, one in newest.items() if one.content is not None
        }
        old = {
            name: one
            for name, one in newest.items()
            if not one.is_last and (one.id or ids.LOWEST) < boundary
        }
        if old and boundary > ids.LOWEST:
            found |= self._archived(user_id, old, boundary, reading)
        return found

    def single(self, user_id: str, thread_id: str, reading: Reading) -> str | None:
        """The preview of a thread that is read over all tiers. Only so many at once."""
        reading.singles += 1
        if reading.singles > MOST_SINGLE:
            return None
        try:
            page = self._retrieval.page(user_id, thread_id, limit=1, cursor=None, order="desc")
        except TierUnavailable as error:
            reading.down[error.tier] = error
            return None
        return preview_of(page.messages[0].content) if page.messages else None

    def _archived(
        self, user_id: str, old: Mapping[str, Newest], boundary: str, reading: Reading
    ) -> dict[str, str]:
        try:
            marks = {name: one.mark for name, one in old.items()}
            archived = self._clickhouse.newest(user_id, marks, boundary, PREVIEW_READ)
        except TierUnavailable as error:
            reading.down["clickhouse"] = error
            return {}
        newer = {name: one for name, one in archived.items() if one[0] > (old[name].id or "")}
        if not newer:
            return {}
        reading.sources.add("clickhouse")
        known = self._rows.copies(user_id, [message_id for message_id, _ in newer.values()])
        found: dict[str, str] = {}
        for name, (message_id, content) in newer.items():
            current = known.get(message_id, content)
            # Of one that was deleted a moment ago the next is to be found.
            preview = (
                preview_of(current) if current is not None else self.single(user_id, name, reading)
            )
            if preview is not None:
                found[name] = preview
        return found
