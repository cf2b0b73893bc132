"""The links of the hash chains, as ClickHouse has them."""

from collections.abc import Iterable, Iterator

import msgspec

from models.chain import Link, ThreadHead
from storage.clickhouse.driver import ClickHouse, literal
from storage.clickhouse.pages import Selection

TABLE = "thread_links"
PAGE_LINKS = 20_000
PAGE_HEADS = 10_000

_COLUMNS = (
    "user_id, thread_id, toUInt64(position) AS position, toString(message_id) AS message_id,"
    " version, content_hash, salt, entry, link,"
    " concat(replaceOne(toString(linked_at), ' ', 'T'), 'Z') AS linked_at"
)
_PAGE = (
    f"SELECT {_COLUMNS} FROM {TABLE} FINAL WHERE {{where}}"  # noqa: S608
    f" ORDER BY user_id, thread_id, position LIMIT {PAGE_LINKS}"
)
_OF_MESSAGE = (
    f"SELECT {_COLUMNS} FROM {TABLE} FINAL"  # noqa: S608
    " WHERE user_id = {user} AND thread_id = {thread} AND message_id = '{message}'"
    " ORDER BY position DESC"
)
_HEADS = (
    "SELECT user_id, thread_id, max(position) AS length,"  # noqa: S608
    f" argMax(link, (position, linked_at)) AS link FROM {TABLE} WHERE {{where}}"
    f" GROUP BY user_id, thread_id ORDER BY user_id, thread_id LIMIT {PAGE_HEADS}"
)
_FIRST = f"SELECT toString(min(linked_at)) AS first, count() AS links FROM {TABLE}"  # noqa: S608

# The entry is computed as `models.chain` does.
_FORGET = (
    "UPDATE entry = lower(hex(SHA256(concat(salt, ':', toString(message_id), ':',"
    " toString(version), ':', content_hash)))), content_hash = '', salt = ''"
    " WHERE content_hash != '' AND ({condition})"
)


class ThreadLink(Link, frozen=True, kw_only=True):
    """A link, whose it is, and when it was made, RFC 3339."""

    user_id: str
    thread_id: str
    linked_at: str

    @property
    def thread(self) -> tuple[str, str]:
        """Whose it is, and its name."""
        return self.user_id, self.thread_id


_line = msgspec.json.Decoder(ThreadLink, strict=False)


class _HeadLine(msgspec.Struct):
    user_id: str
    thread_id: str
    length: int
    link: str


_head_line = msgspec.json.Decoder(_HeadLine, strict=False)


def insert(server: ClickHouse, links: Iterable[bytes]) -> None:
    """Adds links, each a JSON object of the table's columns. Raises `TierError`."""
    server.insert(TABLE, b"\n".join(links))


def of_message(
    server: ClickHouse, user_id: str, thread_id: str, message_id: str
) -> list[ThreadLink]:
    """The links of a message, the newest first. Raises `TierError`."""
    query = _OF_MESSAGE.format(user=literal(user_id), thread=literal(thread_id), message=message_id)
    return [_line.decode(line) for line in server.lines(query).splitlines()]


def links(server: ClickHouse, selection: Selection) -> Iterator[ThreadLink]:
    """Every link by user, thread and position, a page at a time. Raises `TierError`."""
    chosen = _of(selection)
    after = ""
    while True:
        where = " AND ".join([chosen, after] if after else [chosen])
        lines = server.lines(_PAGE.format(where=where)).splitlines()
        for line in lines:
            last = _line.decode(line)
            yield last
        if len(lines) < PAGE_LINKS:
            return
        place = f"{literal(last.user_id)}, {literal(last.thread_id)}, {last.position}"
        after = f"(user_id, thread_id, position) > ({place})"


def heads(server: ClickHouse) -> Iterator[list[ThreadHead]]:
    """The end of every chain, a page at a time. Raises `TierError`."""
    where = "true"
    while lines := server.lines(_HEADS.format(where=where)).splitlines():
        found = [ThreadHead(*msgspec.structs.astuple(_head_line.decode(line))) for line in lines]
        yield found
        last = found[-1]
        where = f"(user_id, thread_id) > ({literal(last.user_id)}, {literal(last.thread_id)})"


def first_linked_at(server: ClickHouse) -> str | None:
    """When the oldest link was made, RFC 3339; None where there is none. Raises `TierError`."""
    ((first, count),) = server.rows(_FIRST)
    return f"{first.replace(' ', 'T')}Z" if int(count) else None


def forget(server: ClickHouse, condition: str) -> None:
    """Has links that meet a condition keep nothing but the hashes of their entries. Raises
    `TierError`."""
    server.mutate(TABLE, _FORGET.format(condition=condition))


def _of(selection: Selection) -> str:
    chosen = {"user_id": selection.user_id, "thread_id": selection.thread_id}
    conditions = [f"{name} = {literal(one)}" for name, one in chosen.items() if one is not None]
    return " AND ".join(conditions) or "true"
