"""What verifies signatures, loaded only where it is needed."""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol

from settings import Settings


class KeysUnavailable(Exception):
    """The keys that verify tokens were never read so far; the text is for a person."""


class SigningKey(Protocol):
    """A key that verifies signatures of one algorithm."""

    @property
    def algorithm(self) -> str:
        """As a token's header names it."""

    @property
    def key(self) -> Any:
        """The key as PyJWT takes it."""


class SigningKeys(Protocol):
    """The public keys of an identity provider."""

    def begin(self) -> None:
        """Reads them, and again and again from now on."""

    def find(self, kid: str | None, algorithm: str, *, may_wait: bool) -> SigningKey | None:
        """The key of a token's header, None where there is none."""


def library(settings: Settings) -> ModuleType:
    """PyJWT. It loads `cryptography` wherever that is installed, which takes 11 MB and 0.1 s of
    each process, and which only key sets need."""
    if settings.has_key_set or "jwt" in sys.modules:
        return importlib.import_module("jwt")
    sys.modules["cryptography"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("jwt")
    finally:
        del sys.modules["cryptography"]


def signing_keys(settings: Settings, on_change: Callable[[], None]) -> SigningKeys | None:
    """The key set, whose packages are loaded only where there is one."""
    if not settings.has_key_set:
        return None
    source: SigningKeys = importlib.import_module("webapp.identity.key_source").KeySource(
        settings, on_change
    )
    return source
