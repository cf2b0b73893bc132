"""Named points in the code where a fault test may let the process die, stop, fail or wait.

`THREADKEEP_FAULTPOINTS` holds `name:n:action`, comma-separated: at the n-th pass comes `kill`,
`stop`, `raise` or `sleep=SECONDS`; with `@FILE` behind it only where FILE, which it makes, is not.
"""

import math
import os
import re
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

_FORM = "strikes are name:n:kill, :stop, :raise or :sleep=SECONDS, and @FILE behind for once only"
_INJECTION = re.compile(
    r"(?P<name>[^:]+):0*(?P<at_pass>[1-9][0-9]*):"
    r"(?P<action>kill|stop|raise|sleep=(?P<seconds>[0-9]*\.?[0-9]+))(@(?P<once>.+))?"
)


class Injection(NamedTuple):
    """What happens at which pass; `seconds` are those of `sleep`."""

    name: str
    at_pass: int
    action: str
    seconds: float
    once: Path | None


_injections: list[Injection] = []
_passes: Counter[str] = Counter()
_counting = threading.Lock()


def faultpoint(name: str) -> None:
    """Passes a point: a single read of a global where nothing is armed."""
    if not _injections:
        return
    with _counting:
        _passes[name] += 1
        number = _passes[name]
    for one in _injections:
        if one.name == name and one.at_pass == number and _is_first(one.once):
            _inject(one)


def passes(name: str) -> int:
    """How often this process passed a point since it was armed; 0 where nothing is armed."""
    return _passes[name]


def enable(settings: Settings) -> None:
    """Arms what the settings say, and disarms whatever was armed before.

    Raises `SettingsError` for a misspelt injection, and where drills are not allowed: a fault test
    whose faults never come would prove nothing.
    """
    global _injections
    _injections = injections(settings)
    _passes.clear()


def injections(settings: Settings) -> list[Injection]:
    """What the settings say. Raises `SettingsError` as `enable` does."""
    found = [_parsed(part.strip()) for part in settings.faultpoints.split(",") if part.strip()]
    if found and not settings.drills:
        raise SettingsError("THREADKEEP_FAULTPOINTS is set, which needs THREADKEEP_DRILLS=1")
    return found


def _parsed(text: str) -> Injection:
    if text.partition(":")[0] not in _TIER_OF:
        raise _wrong(text, f"the points are {', '.join(NAMES)}")
    form = _INJECTION.fullmatch(text)
    if form is None:
        raise _wrong(text, _FORM)
    once = Path(form["once"]) if form["once"] else None
    if once is not None and not once.parent.is_dir():
        raise _wrong(text, "the folder of its file does not exist")
    action, seconds = form["action"].partition("=")[0], float(form["seconds"] or 0)
    if form["seconds"] and not 0 < seconds < math.inf:
        raise _wrong(text, "sleep takes a number of seconds above 0")
    return Injection(form["name"], int(form["at_pass"]), action, seconds, once)


def _wrong(text: str, why: str) -> SettingsError:
    return SettingsError(f"THREADKEEP_FAULTPOINTS holds {text!r}: {why}")


def _is_first(once: Path | None) -> bool:
    """Whether it is still to come. Of several processes one makes the file."""
    if once is None:
        return True
    try:
        once.touch(0o600, exist_ok=False)
    except FileExistsError:
        return False
    return True


def _inject(one: Injection) -> None:
    log.warning("fault_struck", point=one.name, at_pass=one.at_pass, action=one.action)
    if one.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif one.action == "stop":
        # Sent to this very thread: sent to the process, another thread would take it, and this one
        # might get past the point before it stands.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
    elif one.action == "sleep":
        time.sleep(one.seconds)
    else:
        raise TierUnavailable(_TIER_OF[one.name], f"a drill at {one.name}", passing=True)
