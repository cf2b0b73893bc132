"""Named places in the code where a fault test may let the process die, stop, fail or wait.

A point does nothing until `THREADKEEP_FAULTPOINTS` arms it and `THREADKEEP_DRILLS=1` allows that.
The variable holds strikes, comma-separated, `name:n:action` each: at the n-th pass of the point in
this process comes the action, `kill` (SIGKILL), `stop` (SIGSTOP), `raise` (`TierUnavailable`) or
`sleep=SECONDS`. A supervisor starts a killed program anew, which would be struck at the same point
for ever: `name:n:action@FILE` strikes only where FILE does not exist, and makes it first.
"""

import math
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import structlog

from settings import Settings, SettingsError
from storage.errors import TierUnavailable

log = structlog.get_logger(__name__)

_TIER_OF = {
    "api.before_write": "redis",
    "api.after_write": "redis",
    "drain.after_read": "redis",
    "drain.before_commit": "postgresql",
    "drain.after_commit": "redis",
    "ship.after_insert": "clickhouse",
    "archive.after_plan": "postgresql",
    "archive.after_reship": "clickhouse",
    "archive.after_proof": "postgresql",
    "archive.before_detach_commit": "postgresql",
    "archive.after_detach": "postgresql",
    "archive.before_drop": "postgresql",
    "archive.after_drop": "postgresql",
    "copies.after_insert": "clickhouse",
    "recovery.opened": "postgresql",
    "recovery.after_page": "postgresql",
    "recovery.finished": "postgresql",
}
NAMES = tuple(_TIER_OF)
"""Every point there is. The tier of each is the one that `raise` says does not answer."""

_ACTIONS = ("kill", "stop", "raise", "sleep")
_FORM = "strikes are name:n:kill, :stop, :raise or :sleep=SECONDS, and @FILE behind for once only"


class Injection(NamedTuple):
    """What happens at which pass; `seconds` are those of `sleep`."""

    name: str
    at_pass: int
    action: str
    seconds: float
    once: Path | None


class _Armed:
    """The strikes of this process, and how often each point was passed."""

    def __init__(self, strikes: list[Injection]) -> None:
        self._strikes = strikes
        self._lock = threading.Lock()
        self.passes: Counter[str] = Counter()

    def passed(self, name: str) -> None:
        with self._lock:
            self.passes[name] += 1
            number = self.passes[name]
        for strike in self._strikes:
            if strike.name == name and strike.at_pass == number and _is_first(strike.once):
                _carry_out(strike)


_armed: _Armed | None = None


def faultpoint(name: str) -> None:
    """Passes a point: a single look at a global where nothing is armed."""
    if _armed is not None:
        _armed.passed(name)


def passes(name: str) -> int:
    """How often this process passed a point since it was armed; 0 where nothing is armed."""
    return 0 if _armed is None else _armed.passes[name]


def enable(settings: Settings) -> None:
    """Arms what the settings say, and disarms whatever was armed before.

    Raises `SettingsError` for a strike that is misspelt, and where drills are not allowed: a fault
    test whose faults never come would prove nothing.
    """
    global _armed
    wanted = injections(settings)
    _armed = _Armed(wanted) if wanted else None


def injections(settings: Settings) -> list[Injection]:
    """What the settings say. Raises `SettingsError` as `enable` does."""
    found = [_strike(part) for part in settings.faultpoints.split(",") if part.strip()]
    if found and not settings.drills:
        raise SettingsError("THREADKEEP_FAULTPOINTS is set, which needs THREADKEEP_DRILLS=1")
    return found


def _strike(text: str) -> Injection:
    name, _, rest = text.strip().partition(":")
    number, _, what = rest.partition(":")
    if name not in _TIER_OF:
        raise _wrong(text, f"the points are {', '.join(NAMES)}")
    if not (number.isascii() and number.isdigit() and int(number) >= 1):
        raise _wrong(text, _FORM)
    what, at, file = what.partition("@")
    action, equals, seconds = what.partition("=")
    if action not in _ACTIONS or bool(equals) != (action == "sleep") or bool(at) != bool(file):
        raise _wrong(text, _FORM)
    once = Path(file) if file else None
    if once is not None and not once.parent.is_dir():
        raise _wrong(text, "the folder of its file does not exist")
    return Injection(name, int(number), action, _seconds(text, seconds) if equals else 0.0, once)


def _seconds(text: str, given: str) -> float:
    try:
        seconds = float(given)
    except ValueError:
        raise _wrong(text, _FORM) from None
    if not (math.isfinite(seconds) and seconds > 0):
        raise _wrong(text, "sleep takes a number of seconds above 0")
    return seconds


def _wrong(text: str, why: str) -> SettingsError:
    return SettingsError(f"THREADKEEP_FAULTPOINTS holds {text!r}: {why}")


def _is_first(once: Path | None) -> bool:
    """Whether the strike is still to come. Of several processes one makes the file."""
    if once is None:
        return True
    try:
        os.close(os.open(once, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    return True


def _carry_out(strike: Injection) -> None:
    log.warning("fault_struck", point=strike.name, at_pass=strike.at_pass, action=strike.action)
    if strike.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif strike.action == "stop":
        # Sent to this very thread: sent to the process, another thread would take it, and this one
        # might get past the point before it stands.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
    elif strike.action == "sleep":
        time.sleep(strike.seconds)
    else:
        raise TierUnavailable(_TIER_OF[strike.name], f"a drill at {strike.name}", passing=True)
