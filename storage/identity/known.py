"""What one process knows of API keys and revoked tokens: all of them, read again whenever
PostgreSQL's counter of changes has moved, which a thread asks every second.

While PostgreSQL is down what is known goes on to hold: revocations for ever, keys for an hour.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog
from sqlalchemy import Connection, Engine

from storage.errors import TierError, TierUnavailable
from storage.identity.credentials import KnownKey
from storage.postgres.driver import execute, rows_of, translated
from storage.resilience.breaker import Breaker
from storage.resilience.periodic import PeriodicThread

log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
LEAST_SECONDS = 0.05
"""An unknown key has PostgreSQL asked again, but not so soon after another one has."""
KEYS_SECONDS = 3600.0
"""For so long keys are taken while nobody can say that one was revoked."""
USED_SECONDS = 60.0
"""How often the use of keys is written down."""

_NUMBER = "SELECT number FROM credential_changes"
_KEYS = """
SELECT id::text, hash, name, user_id, scopes,
       coalesce(extract(epoch FROM expires_at), 'Infinity')::float AS until
FROM api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())
"""
_REVOKED = """
SELECT token_id, user_id, extract(epoch FROM before)::float AS before FROM token_revocations
WHERE until IS NULL OR until > clock_timestamp()
"""
_USED = """
UPDATE api_keys SET last_used_at = clock_timestamp()
WHERE id = ANY(CAST(:ids AS uuid[]))
  AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '30 seconds')
"""


class KnownCredentials:
    """The keys and revocations that this process knows. Safe for threads."""

    def __init__(self, engine: Engine, breaker: Breaker) -> None:
        self._engine = engine
        self._breaker = breaker
        self.on_change: list[Callable[[], None]] = []
        self._number = -1
        self._keys: dict[bytes, KnownKey] = {}
        self._key_ids: frozenset[str] = frozenset()
        self._tokens: frozenset[str] = frozenset()
        self._users: dict[str, float] = {}
        self._asking = threading.Lock()
        self._sought_at = self._asked_at = self._heard_at = float("-inf")
        self._used: set[str] = set()
        self._used_at = time.monotonic()
        self._thread = PeriodicThread(
            "credentials",
            self._poll,
            lambda: POLL_SECONDS,
            "credentials_not_read",
            waits_first=True,
        )

    def begin(self) -> None:
        """Reads everything, and from now on whatever changes. PostgreSQL may be down."""
        self._poll()
        if not self._is_known:
            log.warning("credentials_unknown", reason="PostgreSQL does not answer")
        self._thread.begin()

    def key(self, hashed: bytes, *, may_wait: bool) -> KnownKey | None:
        """The key with this hash, if it may be used; one that is found counts as used.

        One that is new is looked for if the caller may wait. Raises `TierUnavailable` then while
        nothing is known.
        """
        found = self._keys.get(hashed)
        if found is None and may_wait:
            self._ask_again()
            found = self._keys.get(hashed)
            if found is None and not self._is_known:
                raise TierUnavailable("postgresql", "API keys are not known yet")
        if found is None or found.until <= time.time():
            return None
        self._used.add(found.id)
        return found

    def has_key(self, key_id: str) -> bool:
        """Whether a key may be used still."""
        return key_id in self._key_ids

    def has_revoked(self, user_id: str, token_id: str, issued_at: float) -> bool:
        """Whether a token was revoked: by itself, or with those of its user that are as old."""
        return token_id in self._tokens or issued_at < self._users.get(user_id, float("-inf"))

    def refresh(self) -> None:
        """Reads what changed, if anything. Raises `TierError`."""
        with self._asking:
            self._ask()

    @property
    def _is_known(self) -> bool:
        return self._number >= 0

    def _ask_again(self) -> None:
        came_at = time.monotonic()
        with self._asking, suppress(TierError):
            # Those who waited while another asked have the same answer.
            if self._asked_at < came_at:
                time.sleep(max(0.0, self._sought_at + LEAST_SECONDS - time.monotonic()))
                self._sought_at = time.monotonic()
                self._ask()

    def _poll(self) -> None:
        try:
            self.refresh()
            self._write_used()
        except TierError:
            # The breaker says why.
            if self._keys and time.monotonic() - self._heard_at > KEYS_SECONDS:
                log.warning("api_keys_unknown", reason="PostgreSQL was down for too long")
                self._number, self._keys, self._key_ids = -1, {}, frozenset()
                self._tell()

    def _ask(self) -> None:
        asked_at = self._asked_at = time.monotonic()
        with self._breaker.guard():
            number = rows_of(self._engine, _NUMBER)[0].number
            if number != self._number:
                with translated(), self._engine.connect() as connection:
                    self._read(connection)
                # What changes after this is read again.
                self._number = number
                self._tell()
        self._heard_at = asked_at

    def _read(self, connection: Connection) -> None:
        keys = {
            bytes(row.hash): KnownKey(
                row.id, row.name, row.user_id, frozenset(row.scopes), row.until
            )
            for row in execute(connection, _KEYS)
        }
        revoked = execute(connection, _REVOKED).all()
        users: dict[str, float] = {}
        for row in revoked:
            if row.user_id is not None:
                users[row.user_id] = max(row.before, users.get(row.user_id, row.before))
        self._keys, self._key_ids = keys, frozenset(key.id for key in keys.values())
        self._tokens = frozenset(row.token_id for row in revoked if row.token_id is not None)
        self._users = users

    def _tell(self) -> None:
        for told in self.on_change:
            told()

    def _write_used(self) -> None:
        if self._used and time.monotonic() - self._used_at >= USED_SECONDS:
            used, self._used = self._used, set()
            self._used_at = time.monotonic()
            with translated(), self._engine.begin() as connection:
                execute(connection, _USED, {"ids": sorted(used)})
