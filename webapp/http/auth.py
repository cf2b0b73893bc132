"""Who is calling: JSON Web Tokens (RFC 7519) and API keys.

The user is the token's `sub`, or the key's; nothing else in a request identifies the caller, except
that a key may name a user whom it acts for. What was verified is cached until it expires, or until
something was revoked: a dictionary look-up instead of 35 µs.
"""

import secrets
import threading
import time
from typing import Any, NamedTuple
from urllib.parse import unquote

from models.message import InvalidMessage, check_user_id
from settings import Settings, SettingsError
from storage.identity.credentials import ADMIN, ON_BEHALF_OF, Credentials, hash_of, is_key
from webapp.identity.caller import AskElsewhere, Caller, InvalidToken, NotAllowed
from webapp.identity.loading import library, signing_keys

ALGORITHM = "HS256"
TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""The `typ` of a token, where it has one: others are not for access (RFC 8725, section 3.11)."""
LATEST = 100_000_000_000
"""The latest `exp` of a token, in seconds since 1970: far beyond what anybody issues."""
CACHED_TOKENS = 10_000
KEY_CACHE_SECONDS = 30.0
"""A key that is used for longer is noted as used again."""


class Verified(NamedTuple):
    """A caller, until when the credential is good, and until when that need not be checked again,
    in seconds since 1970."""

    caller: Caller
    until: float
    checked_until: float


def bearer_of(authorization: str) -> str:
    """The token of an `Authorization` header (RFC 6750). Raises `InvalidToken`."""
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise InvalidToken("the header Authorization: Bearer <token> is missing", "no_token")
    return token


def user_of(header: str | None) -> str | None:
    """The user of a header `Threadkeep-User`, which is percent-encoded UTF-8, None without one.
    Raises `NotAllowed`."""
    if header is None:
        return None
    try:
        return unquote(header.strip(), errors="strict")
    except UnicodeDecodeError:
        raise NotAllowed("user_id_invalid", "Threadkeep-User is no UTF-8") from None


class Tokens:
    """Issues tokens, and verifies credentials. Safe for threads.

    `generation` counts what made cached verifications void.
    """

    def __init__(self, settings: Settings, credentials: Credentials | None = None) -> None:
        """Without `credentials` there are no API keys, and nothing was revoked. Raises
        `SettingsError` for a key set that cannot be used."""
        self._jwt: Any = library(settings)
        self._secrets = settings.jwt_secrets
        self._keys = signing_keys(settings, self.forget)
        self._credentials = credentials
        self._issuer = settings.jwt_issuer or None
        self._audience = settings.jwt_audience or None
        self._leeway_seconds = settings.jwt_leeway_seconds
        self._most_seconds = settings.jwt_most_seconds
        self._verified: dict[str, Verified] = {}
        self._lock = threading.Lock()
        self.generation = 0

    def begin(self) -> None:
        """Reads the key set, where there is one, and keeps it up to date from now on."""
        if self._keys is not None:
            self._keys.begin()

    def issue(self, user_id: str, *, is_admin: bool, ttl_seconds: int) -> str:
        """A token for a user. Raises `InvalidMessage` for a user id that cannot be kept, and
        `SettingsError` where only the identity provider can sign."""
        check_user_id(user_id)
        if not self._secrets:
            raise SettingsError("THREADKEEP_JWT_SECRET is not set, which tokens are signed with")
        now = int(time.time())
        claims: dict[str, Any] = {"sub": user_id, "iat": now, "exp": now + ttl_seconds}
        claims["jti"] = secrets.token_hex(16)
        if is_admin:
            claims["roles"] = ["admin"]
        if self._issuer:
            claims["iss"] = self._issuer
        if self._audience:
            claims["aud"] = self._audience
        signed: str = self._jwt.encode(claims, self._secrets[0], algorithm=ALGORITHM)
        return signed

    def verify(self, token: str, scope: str | None = None) -> Caller:
        """The caller behind a token, for threads that must not wait: what cannot be said at once
        raises `AskElsewhere`, as does an API key without the scope. Raises `InvalidToken`."""
        found = self._verified.get(token)
        if found is None or found.checked_until <= time.time():
            found = self._check(token, may_wait=False)
        caller = found.caller
        if caller.scopes is not None and scope not in caller.scopes:
            raise AskElsewhere("this key may not do that, or not here")
        return caller

    def owner(self, token: str) -> str:
        """The user of a credential, whatever it may do, for threads that must not wait. Raises as
        `verify` does."""
        return self._check(token, may_wait=False).caller.user_id

    def verify_until(self, token: str, on_behalf_of: str | None = None) -> tuple[Caller, float]:
        """The caller behind a credential, and when it expires (seconds since 1970, leeway
        included). A key that may acts `on_behalf_of` a user.

        Raises `InvalidToken`, `KeysUnavailable`, and `TierUnavailable` while no API key is known.
        """
        found = self._verified.get(token)
        if found is None or found.checked_until <= time.time():
            found = self._check(token, may_wait=True)
        if on_behalf_of is None:
            return found.caller, found.until
        return _acting(found.caller, on_behalf_of), found.until

    def holds(self, caller: Caller, since: float) -> bool:
        """Whether a caller who came at `since` may stay, as far as anything was revoked."""
        known = self._credentials
        if known is None:
            return True
        if caller.key_id:
            return known.has_key(caller.key_id)
        return not known.has_revoked(caller.user_id, caller.token_id, caller.issued_at or since)

    def forget(self) -> None:
        """Has everything verified again. What is being verified meanwhile is not remembered."""
        with self._lock:
            self.generation += 1
            self._verified.clear()

    def _check(self, token: str, *, may_wait: bool) -> Verified:
        generation = self.generation
        found = (
            self._decode_key(token, may_wait) if is_key(token) else self._decode(token, may_wait)
        )
        with self._lock:
            if generation == self.generation:
                if len(self._verified) >= CACHED_TOKENS:
                    self._verified.clear()
                self._verified[token] = found
        return found

    def _decode_key(self, token: str, may_wait: bool) -> Verified:
        known = self._credentials
        found = known.key(hash_of(token), may_wait=may_wait) if known is not None else None
        if found is None:
            kind = InvalidToken if may_wait else AskElsewhere
            raise kind("the API key is unknown, revoked or expired", "unknown_key")
        caller = Caller(
            found.user_id,
            ADMIN in found.scopes,
            found.scopes,
            key_id=found.id,
            key_name=found.name,
        )
        return Verified(caller, found.until, min(found.until, time.time() + KEY_CACHE_SECONDS))

    def _decode(self, token: str, may_wait: bool) -> Verified:
        jwt = self._jwt
        required = ["sub", "exp"]
        if self._issuer:
            required.append("iss")
        if self._audience:
            required.append("aud")
        try:
            claims: dict[str, Any] = self._signed(token, may_wait, required)
            check_user_id(claims["sub"])
            until = self._end(claims["exp"])
            issued_at = float(claims.get("iat", 0))
        except jwt.ExpiredSignatureError:
            raise InvalidToken("the token has expired", "expired_token") from None
        except (jwt.PyJWTError, InvalidMessage, ValueError, TypeError, ArithmeticError) as error:
            # Times of a wrong type or size raise various exceptions.
            raise InvalidToken(f"the token is not valid: {error}") from None
        roles = claims.get("roles")
        is_admin = isinstance(roles, list) and "admin" in roles
        caller = Caller(
            claims["sub"],
            is_admin,
            token_id=claims.get("jti", ""),
            issued_at=issued_at,
        )
        known = self._credentials
        if known is not None and known.has_revoked(
            caller.user_id, caller.token_id, caller.issued_at
        ):
            raise InvalidToken("the token was revoked", "revoked_token")
        return Verified(caller, until, until)

    def _signed(self, token: str, may_wait: bool, required: list[str]) -> Any:
        """The claims of a token that one of the keys has signed. Raises PyJWT's errors."""
        jwt = self._jwt
        header = jwt.get_unverified_header(token)
        kind = header.get("typ", "JWT")
        if not isinstance(kind, str) or kind.lower() not in TYPES:
            raise jwt.InvalidTokenError("its typ is none of an access token")
        if header.get("alg") == ALGORITHM:
            keys: list[tuple[str, Any]] = [(ALGORITHM, secret) for secret in self._secrets]
        else:
            keys = self._public_keys(header, may_wait)
        failure: Exception = jwt.InvalidTokenError("no key here is for its algorithm")
        for algorithm, key in keys:
            try:
                return jwt.decode(
                    token,
                    key,
                    algorithms=[algorithm],
                    issuer=self._issuer,
                    audience=self._audience,
                    leeway=self._leeway_seconds,
                    options={"require": required, "verify_aud": self._audience is not None},
                )
            except jwt.InvalidSignatureError as error:
                failure = error
        raise failure

    def _public_keys(self, header: dict[str, Any], may_wait: bool) -> list[tuple[str, Any]]:
        """The key of the key set that a header names, none where there is none."""
        algorithm, kid = header.get("alg"), header.get("kid")
        if self._keys is None or not isinstance(algorithm, str):
            return []
        found = self._keys.find(kid, algorithm, may_wait=may_wait)
        if found is None and not may_wait:
            raise AskElsewhere("the key set may have another key by now")
        return [] if found is None else [(found.algorithm, found.key)]

    def _end(self, given: Any) -> float:
        """The `exp` of a token with the leeway (RFC 7519, 4.1.4). Raises `InvalidToken`."""
        is_number = isinstance(given, int | float) and not isinstance(given, bool)
        if not is_number or not 0 <= given <= LATEST:
            raise InvalidToken(f"the token is not valid: exp is no number from 0 to {LATEST}")
        until = float(given) + self._leeway_seconds
        if self._most_seconds and until > time.time() + self._most_seconds + self._leeway_seconds:
            most = f"more than {self._most_seconds} seconds"
            raise InvalidToken(f"the token is not valid: it is for {most}, which is too long")
        return until


def _acting(caller: Caller, on_behalf_of: str) -> Caller:
    """The user for whom a key acts, with the key's scopes but never as an admin."""
    if caller.scopes is None:
        raise NotAllowed("on_behalf_of_refused", "Threadkeep-User is for API keys, not for tokens")
    if ON_BEHALF_OF not in caller.scopes:
        raise NotAllowed("insufficient_scope", f"this key lacks the scope {ON_BEHALF_OF}")
    try:
        check_user_id(on_behalf_of)
    except InvalidMessage as error:
        raise NotAllowed(error.code, f"Threadkeep-User: {error}") from None
    return caller._replace(user_id=on_behalf_of, is_admin=False)
