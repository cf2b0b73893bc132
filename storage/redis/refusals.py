"""What each refusal of Redis means, and how much of Redis it puts out of reach.

A reason never repeats Redis's text beyond what Redis itself wrote: an argument could be in it.
"""

import re
from typing import Literal, NamedTuple

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ConnectionError,
    DataError,
    InvalidResponse,
    MaxConnectionsError,
    RedisError,
    TimeoutError,
)

from storage.errors import TierError, TierRejected, TierUnavailable

Reach = Literal["everything", "writes", "call"]

_NOT_AN_OUTAGE = {"full", "not_allowed"}
"""Writes are refused, and everything else goes on."""


class RedisRefusal(NamedTuple):
    """What a refusal means.

    `out` is what cannot be had from Redis: `everything`, `writes` (reads are answered), or this
    `call` alone. `passes` says whether the same call may succeed later, once somebody has done
    what `reason` says or time has passed; where it is false the call itself is wrong, and asking
    again changes nothing. `reason` is one line with no key, value or password in it.
    """

    kind: str
    out: Reach
    passes: bool
    reason: str


_MOVING = ("elsewhere", "its cluster is moving these keys")
_REPLIES: dict[tuple[Reach, bool], dict[str, tuple[str, str]]] = {
    ("everything", True): {
        "LOADING": ("loading", "it is reading its data from disk"),
        "BUSY": ("busy", "a script keeps it busy; SCRIPT KILL ends it"),
        "NOAUTH": ("credentials", "it wants a password; see REDIS_URL"),
        "WRONGPASS": ("credentials", "it does not know this user or password; see REDIS_URL"),
        "DENIED": ("credentials", "protected mode: it takes no calls from other machines"),
        "CLUSTERDOWN": ("cluster_down", "its cluster is down"),
        "MASTERDOWN": ("primary_down", "it is a replica that lost its primary"),
    },
    ("writes", True): {
        "OOM": ("full", "its memory is full of what may not be evicted"),
        "READONLY": ("read_only", "it is a replica that takes no writes"),
        "MISCONF": ("disk", "it cannot write to its disk"),
        "NOREPLICAS": ("too_few_replicas", "fewer replicas follow it than it wants for a write"),
        "NOPERM": ("not_allowed", "its rules let this user not do that"),
    },
    ("call", True): {
        "NOSCRIPT": ("script_missing", "it forgot a script, to be loaded again"),
        "NOGROUP": ("group_missing", "it has no such group, to be made again"),
        "TRYAGAIN": _MOVING,
        "ASK": _MOVING,
        "MOVED": ("elsewhere", "another node of its cluster has these keys"),
        "EXECABORT": ("aborted", "it refused a part of a transaction"),
    },
    ("call", False): {
        "CROSSSLOT": ("wrong_value", "keys of one call are on several nodes"),
        "WRONGTYPE": ("wrong_type", "something else is stored under that key"),
    },
}
_BY_WORD = {
    word: RedisRefusal(kind, out, passes, f"{word}: {reason}")
    for (out, passes), replies in _REPLIES.items()
    for word, (kind, reason) in replies.items()
}
"""What each word means that a reply may begin with."""

_LOGIN = "it does not take the user or password of REDIS_URL"
_BY_ERROR: dict[type[RedisError], tuple[str, Reach, bool, str]] = {
    TimeoutError: ("too_slow", "everything", True, "it did not answer in time"),
    MaxConnectionsError: ("crowded", "call", True, "every connection allowed is in use"),
    AuthenticationError: ("credentials", "everything", True, _LOGIN),
    AuthorizationError: ("credentials", "everything", True, _LOGIN),
    InvalidResponse: ("not_redis", "everything", True, "this is not how Redis answers"),
    DataError: ("wrong_value", "call", False, "the driver cannot send this value"),
}
"""Likewise of what the driver raises when no reply came, or none that it understood."""

_ADMINISTRATION = re.compile(
    r"'((?:config|info|debug|acl|client|latency|memory)(?:\|[a-z-]+)?)' command"
)
"""A command that no write needs: to be denied one of these leaves everything else as it is."""

_READS_GO_ON = "only accepts read commands"
_OF_A_SCRIPT = re.compile(rf"@user_script.*?:\s*-?({'|'.join(_BY_WORD)})\s")
"""Redis before 7 hides the word of a call within a script behind where the script made it."""

_OF_A_PIPELINE = " of pipeline caused error: "
_QUOTE = re.compile(r"""['"`(]""")
_LONGEST_REASON = 120


def refusal_of(error: RedisError) -> RedisRefusal:
    """What an error of the driver means. Pure; any `RedisError` is given a meaning."""
    word, text = _parts(error)
    if word == "NOPERM" or "ACL failure in script" in text:
        return _not_allowed(text)
    if word in _BY_WORD:
        reads_go_on = word == "CLUSTERDOWN" and _READS_GO_ON in text
        return _BY_WORD[word]._replace(out="writes") if reads_go_on else _BY_WORD[word]
    return _of_the_connection(error) or _unknown(error, word, text)


def _parts(error: RedisError) -> tuple[str, str]:
    """Redis's word and the text behind it, without what the driver put around them."""
    text = str(error).rpartition(_OF_A_PIPELINE)[2]
    # The driver takes the word off where it knows a class for it.
    word = getattr(error, "status_code", None) or ""
    if not word:
        word, _, text = text.partition(" ")
    if word == "ERR" and (inner := _OF_A_SCRIPT.search(text)):
        return inner.group(1), text
    return word, text


def _not_allowed(text: str) -> RedisRefusal:
    """Denied a question about the server: that one call. Denied anything else: the write."""
    denied = _ADMINISTRATION.search(text)
    if denied is None:
        return _BY_WORD["NOPERM"]
    reason = f"NOPERM: its rules do not let this user run {denied.group(1).replace('|', ' ')}"
    return RedisRefusal("not_allowed", "call", False, reason)


def _of_the_connection(error: RedisError) -> RedisRefusal | None:
    name = type(error).__name__
    for raised, (kind, out, passes, reason) in _BY_ERROR.items():
        if isinstance(error, raised):
            return RedisRefusal(kind, out, passes, f"{name}: {reason}")
    if not isinstance(error, ConnectionError):
        return None
    if "number of clients" in str(error):
        return RedisRefusal("crowded", "everything", True, "it has as many clients as it allows")
    # No reply was read, so that this text is the driver's and the kernel's own.
    return RedisRefusal("unreachable", "everything", True, _first_line(f"{name}: {error}"))


def _unknown(error: RedisError, word: str, text: str) -> RedisRefusal:
    """Redis's words up to where it begins to quote ours."""
    own = _QUOTE.split(text, maxsplit=1)[0]
    said = f"{word} {own}" if word.isupper() else type(error).__name__
    return RedisRefusal("unknown", "call", False, _first_line(said))


def _first_line(text: str) -> str:
    return " ".join(text.splitlines()[:1]).strip()[:_LONGEST_REASON]


def as_tier_error(error: RedisError) -> TierError:
    """The tier's word for a driver's error."""
    refusal = refusal_of(error)
    if not refusal.passes:
        return TierRejected("redis", refusal.reason)
    passing = refusal.out == "call" or refusal.kind in _NOT_AN_OUTAGE
    late = refusal.kind == "too_slow"
    return TierUnavailable("redis", refusal.reason, passing=passing, late=late)
