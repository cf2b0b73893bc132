"""What can be found wrong, and where all who look put what they find."""

import threading
from enum import StrEnum
from typing import Any

import msgspec


class Invariant(StrEnum):
    """What must hold whatever is killed, frozen or cut off; the value says it to a person."""

    NO_LOSS = "nothing acknowledged is lost"
    NO_DOUBLE = "nothing is there twice"
    NO_RESURRECTION = "nothing deleted comes back, no version goes backwards"
    READ_YOUR_WRITES = "what was acknowledged is found from then on"
    ORDER = "one writer's messages stand in the order of their acknowledgement"
    IN_TIME = "every request is answered within 5 s, and with what it may be answered"
    RECOVERY = "all is carried on by itself after the last disturbance"
    AGREEMENT = "the tiers agree"
    INTACT = "every copy matches its own hash"


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that must not be: which invariant, what happened, and what shows it."""

    invariant: Invariant
    what: str
    evidence: dict[str, Any] = {}


class Findings:
    """Violations from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: list[Violation] = []

    def add(self, invariant: Invariant, what: str, **evidence: Any) -> None:
        """Put one in."""
        with self._lock:
            self._found.append(Violation(invariant=invariant, what=what, evidence=evidence))

    def all(self) -> list[Violation]:
        """Return what was found so far."""
        with self._lock:
            return list(self._found)
