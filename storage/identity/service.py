"""API keys are made and revoked here, tokens are revoked, and each of it has its audit entry."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Connection, Engine, Row

from models import codec, ids
from models.ids import Clock
from models.message import InvalidMessage, check_text, check_user_id
from storage.errors import NotFound
from storage.identity.credentials import (
    PREFIX_LENGTH,
    ApiKey,
    Revocation,
    check_key,
    hash_of,
    new_key,
)
from storage.postgres.driver import execute, rfc3339, rows_of, translated

MAX_TOKEN_ID_BYTES = 1024

_KEY_COLUMNS = (
    "id::text AS id, prefix, name, user_id, scopes, created_at, created_by, expires_at,"
    " last_used_at, revoked_at, revoked_by"
)
_CREATE = f"""
INSERT INTO api_keys (id, hash, prefix, name, user_id, scopes, created_at, created_by, expires_at)
VALUES (:id, :hash, :prefix, :name, :user_id, CAST(:scopes AS json), :at, :by, :expires_at)
RETURNING {_KEY_COLUMNS}
"""  # noqa: S608
_KEYS = (
    f"SELECT {_KEY_COLUMNS} FROM api_keys"  # noqa: S608
    " WHERE (CAST(:cursor AS uuid) IS NULL OR id < :cursor) ORDER BY api_keys.id DESC LIMIT :limit"
)
_REVOKE_KEY = f"""
UPDATE api_keys SET revoked_at = coalesce(revoked_at, clock_timestamp()),
    revoked_by = coalesce(revoked_by, :by)
WHERE id = :id RETURNING {_KEY_COLUMNS}
"""  # noqa: S608
_REVOCATION_COLUMNS = "id::text AS id, token_id, user_id, before, until, created_at, created_by"
_REVOKE_TOKENS = f"""
INSERT INTO token_revocations (id, token_id, user_id, before, until, created_at, created_by)
VALUES (:id, :token_id, :user_id, :before, :until, :at, :by) RETURNING {_REVOCATION_COLUMNS}
"""  # noqa: S608
_REVOCATIONS = (
    f"SELECT {_REVOCATION_COLUMNS} FROM token_revocations"  # noqa: S608
    " WHERE (CAST(:cursor AS uuid) IS NULL OR id < :cursor)"
    " ORDER BY token_revocations.id DESC LIMIT :limit"
)
_LIFT = f"DELETE FROM token_revocations WHERE id = :id RETURNING {_REVOCATION_COLUMNS}"  # noqa: S608
_TIDY = "DELETE FROM token_revocations WHERE until < clock_timestamp() - interval '1 day'"


class Recorder(Protocol):
    """Adds an entry to the audit trail, in the caller's transaction."""

    def __call__(
        self,
        connection: Connection,
        actor: str,
        action: str,
        subject: str,
        counts: Mapping[str, int] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None: ...


class MadeKey(NamedTuple):
    """A new key, whose secret is seen once."""

    secret: str
    key: ApiKey


class CredentialService:
    """The keys and revocations over one engine. Each verb raises `TierUnavailable`."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        record: Recorder,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_change` is called after each change: this process need not wait for its own poll."""
        self._engine = engine
        self._clock = clock
        self._record = record
        self._on_change = on_change

    def create_key(
        self,
        name: str,
        scopes: list[str],
        *,
        user_id: str | None = None,
        expires_at: str | None = None,
        by: str,
    ) -> MadeKey:
        """Makes a key. Without a user it acts as one of its own, `key:` and its id. `expires_at`
        is RFC 3339. Raises `InvalidMessage`."""
        check_key(name, user_id, scopes)
        secret, now_us = new_key(), self._clock.now_us()
        key_id = ids.mint(now_us, 0)
        values = {
            "id": key_id,
            "hash": hash_of(secret),
            "prefix": secret[:PREFIX_LENGTH],
            "name": name,
            "user_id": user_id or f"key:{key_id}",
            "scopes": codec.text(sorted(set(scopes))),
            "at": ids.timestamp(now_us),
            "by": by,
            "expires_at": expires_at,
        }
        with translated(), self._engine.begin() as connection:
            made = _key(execute(connection, _CREATE, values).one())
            details = {"name": name, "user_id": made.user_id, "scopes": made.scopes}
            self._record(connection, by, "key.created", f"key:{key_id}", details=details)
        self._on_change()
        return MadeKey(secret, made)

    def list_keys(
        self, *, limit: int, cursor: str | None = None
    ) -> tuple[list[ApiKey], str | None]:
        """Keys, newest first, revoked ones too; and the cursor of the next page, None at the
        end."""
        rows = rows_of(self._engine, _KEYS, {"cursor": cursor, "limit": limit + 1})
        return _page([_key(row) for row in rows], limit)

    def revoke_key(self, key_id: str, *, by: str) -> ApiKey:
        """Revokes a key for good; nothing new for one that is revoked. Raises `NotFound`."""
        key_id = _known_id(key_id)
        with translated(), self._engine.begin() as connection:
            found = execute(connection, _REVOKE_KEY, {"id": key_id, "by": by}).one_or_none()
            if found is None:
                raise NotFound
            revoked = _key(found)
            details = {"name": revoked.name, "user_id": revoked.user_id}
            self._record(connection, by, "key.revoked", f"key:{key_id}", details=details)
        self._on_change()
        return revoked

    def revoke_token(self, token_id: str, *, until: str | None = None, by: str) -> Revocation:
        """Revokes the token with this `jti`, until a time at which it has expired anyway. Raises
        `InvalidMessage`."""
        check_text(token_id, "token_id")
        if not 1 <= len(token_id.encode()) <= MAX_TOKEN_ID_BYTES:
            detail = f"token_id has 1 to {MAX_TOKEN_ID_BYTES} bytes"
            raise InvalidMessage("invalid_token_id", detail)
        return self._revoke(f"token:{token_id}", by, token_id=token_id, until=until)

    def revoke_user(self, user_id: str, *, before: str | None = None, by: str) -> Revocation:
        """Revokes all tokens of a user that were issued before a time, now if none is given.
        Raises `InvalidMessage`."""
        check_user_id(user_id)
        before = before or ids.timestamp(self._clock.now_us())
        return self._revoke(f"user:{user_id}", by, user_id=user_id, before=before)

    def list_revocations(
        self, *, limit: int, cursor: str | None = None
    ) -> tuple[list[Revocation], str | None]:
        """Revocations, newest first; and the cursor of the next page, None at the end."""
        rows = rows_of(self._engine, _REVOCATIONS, {"cursor": cursor, "limit": limit + 1})
        return _page([_revocation(row) for row in rows], limit)

    def lift(self, revocation_id: str, *, by: str) -> Revocation:
        """Takes a revocation away; gives what it was. Raises `NotFound`."""
        revocation_id = _known_id(revocation_id)
        with translated(), self._engine.begin() as connection:
            found = execute(connection, _LIFT, {"id": revocation_id}).one_or_none()
            if found is None:
                raise NotFound
            lifted = _revocation(found)
            subject = f"user:{lifted.user_id}" if lifted.user_id else f"token:{lifted.token_id}"
            self._record(connection, by, "tokens.restored", subject)
        self._on_change()
        return lifted

    def _revoke(
        self,
        subject: str,
        by: str,
        *,
        token_id: str | None = None,
        user_id: str | None = None,
        before: str | None = None,
        until: str | None = None,
    ) -> Revocation:
        now_us = self._clock.now_us()
        values = {"id": ids.mint(now_us, 0), "at": ids.timestamp(now_us), "by": by}
        given = {"token_id": token_id, "user_id": user_id, "before": before, "until": until}
        with translated(), self._engine.begin() as connection:
            execute(connection, _TIDY)
            made = _revocation(execute(connection, _REVOKE_TOKENS, values | given).one())
            details = {"before": made.before} if made.before else {}
            self._record(connection, by, "tokens.revoked", subject, details=details)
        self._on_change()
        return made


def _page(found: list[Any], limit: int) -> tuple[list[Any], str | None]:
    shown = found[:limit]
    return shown, shown[-1].id if len(found) > limit else None


def _known_id(given: str) -> str:
    """An id that somebody typed, in capitals or not. Raises `NotFound` for what can be none."""
    if not ids.is_id(given.lower()):
        raise NotFound
    return given.lower()


def _key(row: Row[Any]) -> ApiKey:
    times = ("created_at", "expires_at", "last_used_at", "revoked_at")
    return ApiKey(**row._asdict() | _times(row, times))


def _revocation(row: Row[Any]) -> Revocation:
    return Revocation(**row._asdict() | _times(row, ("before", "until", "created_at")))


def _times(row: Row[Any], names: tuple[str, ...]) -> dict[str, str | None]:
    found = row._asdict()
    return {name: rfc3339(found[name]) if found[name] else None for name in names}
