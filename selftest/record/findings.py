"""The invariants, and the violations of them."""

import threading
from enum import StrEnum
from typing import Any

import msgspec


class Invariant(StrEnum):
    """What must hold under every fault; the value is its text for a person."""

    NO_LOSS = "nothing acknowledged is lost"
    NO_DOUBLE = "nothing is there twice"
    NO_RESURRECTION = "nothing deleted comes back, no version goes backwards"
    READ_YOUR_WRITES = "what was acknowledged is found from then on"
    ORDER = "one writer's messages are in the order of their acknowledgement"
    IN_TIME = "every request is answered within 5 s, and with what it may be answered"
    RECOVERY = "after the last fault the backlog drains by itself"
    AGREEMENT = "the tiers agree"
    INTACT = "every copy matches its own hash"


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One violation: the invariant, what happened, and the evidence."""

    invariant: Invariant
    what: str
    evidence: dict[str, Any] = {}


class Findings:
    """Violations from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: list[Violation] = []

    def add(self, invariant: Invariant, what: str, **evidence: Any) -> None:
        """Add one."""
        with self._lock:
            self._found.append(Violation(invariant=invariant, what=what, evidence=evidence))

    def all(self) -> list[Violation]:
        """Return the violations so far."""
        with self._lock:
            return list(self._found)
