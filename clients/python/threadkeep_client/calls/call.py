"""A call, before anybody makes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar
from urllib.parse import quote
from uuid import uuid4

import msgspec
from msgspec import UNSET

Answer = TypeVar("Answer", covariant=True)


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One request, the same however often it is sent. `answer` is the type of the body, and
    `if_made` reads what a repeat finds made."""

    method: str
    path: str
    answer: type[Answer]
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    if_made: "Call[Answer] | None" = None

    def at(self, cursor: str) -> "Call[Answer]":
        """The same list from this cursor on."""
        return replace(self, query={**self.query, "cursor": cursor})


def path(*parts: str) -> str:
    """An address below `/api`, its parts escaped."""
    return "/".join(["/api", *(quote(part, safe=":") for part in parts)])


def body(**fields: Any) -> bytes:
    """The fields that are given, as JSON."""
    return msgspec.json.encode({name: one for name, one in fields.items() if one is not UNSET})


def query(**fields: Any) -> dict[str, str]:
    """The parameters that are given."""
    return {name: _text(one) for name, one in fields.items() if one is not None}


def keyed(key: str | None) -> dict[str, str]:
    """The header that makes one message of all repeats: with a key of its own, if none is given."""
    return {"Idempotency-Key": key or uuid4().hex}


def if_version(version: int | None) -> dict[str, str]:
    """The header that has a write replace this version alone."""
    return {} if version is None else {"If-Match": f'"{version}"'}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else f"{value}"
