"""API keys: what they look like, what they may do, and who acts with one."""

import hashlib
import re
import secrets
from typing import NamedTuple, Protocol

import msgspec

from models.message import InvalidMessage, check_text, check_user_id

SCOPES = (
    "messages:read",
    "messages:write",
    "threads:read",
    "threads:write",
    "states:read",
    "states:write",
    "on_behalf_of",
    "admin",
)
"""What a key may be for. `admin` is for the admin's routes alone."""
ON_BEHALF_OF = "on_behalf_of"
ADMIN = "admin"

KEY_BYTES = 32
PREFIX_LENGTH = 11
"""So much of a key is shown, to recognise it by."""
MAX_NAME = 100

_KEY = re.compile(r"tk_[0-9a-f]{64}")


class ApiKey(msgspec.Struct, kw_only=True, frozen=True):
    """A key without what is secret of it. It acts as `user_id`, or, with the scope `on_behalf_of`,
    as the user whom a request names. `last_used_at` is true to a minute or two."""

    id: str
    prefix: str
    name: str
    user_id: str
    scopes: list[str]
    created_at: str
    created_by: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None
    revoked_by: str | None


class Revocation(msgspec.Struct, kw_only=True, frozen=True):
    """Tokens that are refused: the one with the `jti` `token_id`, or all of a user that were issued
    before `before`. It ends at `until`, when they have expired anyway."""

    id: str
    token_id: str | None
    user_id: str | None
    before: str | None
    until: str | None
    created_at: str
    created_by: str


class KnownKey(NamedTuple):
    """A key that may be used now. Times are in seconds since 1970; it never ends at infinity."""

    id: str
    name: str
    user_id: str
    scopes: frozenset[str]
    until: float


class Credentials(Protocol):
    """What a process knows of API keys and revoked tokens."""

    def key(self, hashed: bytes, *, may_wait: bool) -> KnownKey | None:
        """The key with this hash, if it may be used; one that is found counts as used."""

    def has_key(self, key_id: str) -> bool:
        """Whether a key may be used still."""

    def has_revoked(self, user_id: str, token_id: str, issued_at: float) -> bool:
        """Whether a token was revoked."""


def new_key() -> str:
    """A key that nobody can guess."""
    return f"tk_{secrets.token_hex(KEY_BYTES)}"


def is_key(token: str) -> bool:
    """Whether a token looks like a key."""
    return _KEY.fullmatch(token) is not None


def hash_of(key: str) -> bytes:
    """What is kept of a key. It has no salt and is quick: a key is random, no word of a person."""
    return hashlib.sha256(key.encode()).digest()


def check_key(name: str, user_id: str | None, scopes: list[str]) -> None:
    """Raises `InvalidMessage` for what a new key cannot be."""
    check_text(name, "name")
    if not 1 <= len(name) <= MAX_NAME or not name.strip():
        raise InvalidMessage("invalid_name", f"name must have 1 to {MAX_NAME} characters")
    if user_id is not None:
        check_user_id(user_id)
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        found = f"{unknown[0]!r} is none" if unknown else "none was given"
        raise InvalidMessage("invalid_scopes", f"scopes are {', '.join(SCOPES)}; {found}")
