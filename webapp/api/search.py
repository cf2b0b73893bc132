"""The route of search."""

from collections.abc import Sequence

import msgspec
from flask import Blueprint, Response, request
from msgspec import UNSET, UnsetType

from models.message import Caveat, Message, Source, check_role, check_text, check_thread_id
from models.search import parse
from storage.search.query import Hit, Wanted
from webapp.http.context import caller, web
from webapp.http.errors import BadRequest
from webapp.http.operation import Operation
from webapp.http.requests import answer, latency_ms, query_id_cursor, query_limit, query_time

blueprint = Blueprint("search", __name__, url_prefix="/api")


class FoundMessage(Message, kw_only=True, frozen=True):
    """A message, and the ranges of its content that match: first character and the one after the
    last, counted in Unicode characters."""

    highlights: Sequence[tuple[int, int]]


class SearchPage(msgspec.Struct, kw_only=True, frozen=True):
    """Matches, newest first. A page may be short or empty while `next_cursor` is there: the next
    page continues where it stopped. It is null at the end."""

    messages: Sequence[FoundMessage]
    next_cursor: str | None
    retrieval_source: Source
    latency_ms: float
    warning: Caveat | UnsetType = UNSET


@Operation(
    "Find messages by their words, newest first",
    {200: SearchPage},
    query=("q", "thread_id", "role", "since", "until", "limit", "cursor"),
    required=("q",),
)
@blueprint.get("/search")
def search_messages() -> Response:
    """The caller's messages in which all words of `q` occur, from all tiers, with the matches."""
    wanted = _wanted()
    found = web().services.search.search(
        caller().user_id, wanted, limit=query_limit(), cursor=query_id_cursor()
    )
    return answer(
        SearchPage(
            messages=[_shown(hit) for hit in found.hits],
            next_cursor=found.next_cursor,
            retrieval_source=found.source,
            latency_ms=latency_ms(),
            warning=found.warning or UNSET,
        )
    )


def _wanted() -> Wanted:
    """The query of the request. Raises `BadRequest`, `InvalidQuery` or `InvalidMessage`."""
    given = request.args
    text = given.get("q", "")
    check_text(text, "q")
    thread_id, role = given.get("thread_id") or None, given.get("role") or None
    if thread_id is not None:
        check_thread_id(thread_id)
    if role is not None:
        check_role(role)
    since, until = query_time("since"), query_time("until")
    if since is not None and until is not None and since >= until:
        raise BadRequest(422, "invalid_until", "until must be later than since")
    return Wanted(parse(text), thread_id, role, since, until)


def _shown(hit: Hit) -> FoundMessage:
    return FoundMessage(**msgspec.structs.asdict(hit.message), highlights=hit.highlights)
