"""Where the key set of tokens comes from: a file, or an address of the identity provider.

The last good set stays while its source cannot be read. It is read again in the background, and,
for a token with an unknown key, by the request itself: by one at a time, and not again at once.
"""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import requests
import structlog

from settings import Settings, SettingsError
from storage.resilience import budget
from storage.resilience.periodic import PeriodicThread
from webapp.identity.key_set import KeySet, PublicKey, parse
from webapp.identity.loading import KeysUnavailable

log = structlog.get_logger(__name__)

REFRESH_SECONDS = 60.0
LEAST_SECONDS = 5.0
"""An unknown key has the set read again, but not so soon after another one has."""
FETCH_SECONDS = 2.0
MOST_BYTES = 256 * 1024

_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?(/\S*)?")
_HTTPS = re.compile(r"https://[^/\s@]+(/\S*)?")


class KeySource:
    """The key set of this process. Safe for threads."""

    def __init__(self, settings: Settings, on_change: Callable[[], None] = lambda: None) -> None:
        """`on_change` is called when another set was read than before. Raises `SettingsError` for
        a file that has no key set, and for an address that is not safe."""
        self._variable = "THREADKEEP_JWKS_FILE" if settings.jwks_file else "THREADKEEP_JWKS_URL"
        self._url = settings.jwks_url
        self._file = settings.jwks_file
        self._on_change = on_change
        self._keys: KeySet | None = None
        self._read_at = float("-inf")
        self._asked_at = float("-inf")
        self._is_failing = False
        self._reading = threading.Lock()
        self._thread = PeriodicThread(
            "key-set",
            self._refresh,
            lambda: LEAST_SECONDS if self._is_failing else REFRESH_SECONDS,
            "key_set_not_read",
            waits_first=True,
        )
        if self._file and self._url:
            raise SettingsError("THREADKEEP_JWKS_FILE and THREADKEEP_JWKS_URL exclude each other")
        if self._url and not (_HTTPS.fullmatch(self._url) or _LOOPBACK.fullmatch(self._url)):
            raise SettingsError(f"{self._variable} must begin with https:// or be on this machine")
        if self._file:
            self._keys = self._of_file()

    def begin(self) -> None:
        """Reads the set, and again and again from now on. A provider that is down is logged."""
        if self._keys is None:
            self._refresh()
        self._thread.begin()

    def find(self, kid: str | None, algorithm: str, *, may_wait: bool) -> PublicKey | None:
        """The key of a token's header, None where there is none.

        An unknown one is looked for at the source, if the caller may wait; then it also raises
        `KeysUnavailable` while no set was ever read.
        """
        keys = self._keys
        found = keys.find(kid, algorithm) if keys is not None else None
        if found is None and may_wait:
            self._refresh_for_unknown()
            keys = self._keys
            found = keys.find(kid, algorithm) if keys is not None else None
        if keys is None and may_wait:
            raise KeysUnavailable("the key set could not be read yet; this is temporary")
        return found

    def _refresh_for_unknown(self) -> None:
        came_at = time.monotonic()
        # Those who come while another reads wait for the same answer.
        if self._reading.acquire(timeout=budget.bounded(FETCH_SECONDS)):
            try:
                if self._read_at < came_at and came_at - self._asked_at >= LEAST_SECONDS:
                    self._asked_at = came_at
                    self._read()
            finally:
                self._reading.release()

    def _refresh(self) -> None:
        with self._reading:
            self._read()

    def _read(self) -> None:
        """Reads the set; keeps the last one, and says why, where that does not work."""
        try:
            found = parse(self._of_url()) if self._url else self._of_file()
        except (OSError, ValueError, SettingsError) as error:
            if not self._is_failing:
                log.warning("key_set_unavailable", variable=self._variable, reason=_reason(error))
            self._is_failing = True
        else:
            if self._is_failing:
                log.info("key_set_again", variable=self._variable)
            self._is_failing = False
            is_new, self._keys = found != self._keys, found
            if is_new:
                self._on_change()
        finally:
            self._read_at = time.monotonic()

    def _of_file(self) -> KeySet:
        path = Path(self._file)
        try:
            with path.open("rb") as stream:
                return parse(stream.read(MOST_BYTES))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SettingsError(f"{self._variable}: {path} cannot be used: {reason}") from None

    def _of_url(self) -> bytes:
        """The set as the provider gives it. Raises `OSError` and `ValueError`."""
        deadline = time.monotonic() + FETCH_SECONDS
        with requests.Session() as session:
            # No proxy stands between two programs of one machine.
            session.trust_env = not _LOOPBACK.fullmatch(self._url)
            with session.get(
                self._url, timeout=FETCH_SECONDS, allow_redirects=False, stream=True
            ) as answer:
                if answer.status_code != requests.codes.ok:
                    raise ValueError(f"it answered with status {answer.status_code}")
                content = b""
                for part in answer.iter_content(16 * 1024):
                    content += part
                    if len(content) > MOST_BYTES or time.monotonic() > deadline:
                        raise ValueError("it is too large, or came too slowly")
        return content


def _reason(error: Exception) -> str:
    """What went wrong, without the address, which may hold a secret."""
    return str(error) if isinstance(error, ValueError | SettingsError) else type(error).__name__
