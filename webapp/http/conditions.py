"""Conditional requests (RFC 9110, section 13).

The ETag of a versioned resource is its version, that of any other a hash of the answer; a weak one
where the answer also says how it came about.
"""

from collections.abc import Container, Sequence
from hashlib import sha1
from typing import Any

import msgspec
from flask import Response, request
from werkzeug.datastructures import ETags

from webapp.http.errors import BadRequest
from webapp.http.json_answer import JsonAnswer

NONE = frozenset({0})
"""The versions of a resource that does not exist."""
_DIGITS = 24


class _Named:
    """The versions that a list of ETags names; `*` names every version but 0."""

    def __init__(self, tags: ETags) -> None:
        self._tags = tags

    def __contains__(self, version: object) -> bool:
        return version != 0 and self._tags.contains(str(version))


def if_match() -> Container[int] | None:
    """The versions that `If-Match` allows, None without it. Raises `BadRequest`.

    The comparison is strong: a weak ETag never matches.
    """
    if "HTTP_IF_MATCH" not in request.environ:
        return None
    tags = request.if_match
    if not tags.star_tag and not tags.as_set():
        detail = 'a weak ETag (W/…) never satisfies If-Match; give the version, as If-Match: "1"'
        raise BadRequest(412, "version_conflict", detail)
    return _Named(tags)


def expected_version(version: int | None) -> Container[int] | None:
    """The versions that a write may replace, by its body and its conditions, None for any.

    Raises `BadRequest`.
    """
    allowed: list[Container[int]] = [] if version is None else [frozenset({version})]
    if "HTTP_IF_NONE_MATCH" in request.environ:
        if not request.if_none_match.star_tag:
            detail = "a write heeds If-None-Match: *, for what is not there yet, and no ETags"
            raise BadRequest(400, "condition_unsupported", detail)
        allowed.append(NONE)
    by_header = if_match()
    if by_header is not None:
        allowed.append(by_header)
    return _All(allowed) if allowed else None


class _All:
    """The intersection of several sets of versions."""

    def __init__(self, sets: Sequence[Container[int]]) -> None:
        self._sets = sets

    def __contains__(self, version: object) -> bool:
        return all(version in one for one in self._sets)


def etag(version: int) -> dict[str, str]:
    """The `ETag` header of a version."""
    return {"ETag": f'"{version}"'}


def weak_etag(*parts: bytes | str | None) -> dict[str, str]:
    """The `ETag` header of an answer that says these, whichever tier they came from."""
    return {"ETag": f'W/"{_hash_of(b" ".join([_bytes(part) for part in parts]))}"'}


def unless_known(response: Response) -> Response:
    """The answer to a read, 304 if the caller has this ETag already."""
    if "HTTP_IF_NONE_MATCH" in request.environ:
        response.make_conditional(request)
    return response


def answer_tagged(body: Any) -> Response:
    """A JSON answer with a hash of it as its ETag, or 304; for bodies without varying fields."""
    encoded = msgspec.json.encode(body)
    return unless_known(JsonAnswer(encoded, headers={"ETag": f'"{_hash_of(encoded)}"'}))


def _hash_of(answer: bytes) -> str:
    return sha1(answer, usedforsecurity=False).hexdigest()[:_DIGITS]


def _bytes(part: bytes | str | None) -> bytes:
    return part if isinstance(part, bytes) else (part or "").encode()
