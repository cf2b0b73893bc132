"""What each refusal of Redis means, and how much of Redis it puts out of reach.

Redis says no in one word at the beginning of its reply. One table tells what each word means to a
caller: go to the next tier for everything, for writes only, or for this one call. A reason never
repeats Redis's own text beyond what Redis itself wrote: an argument could be in it.
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

Kind = Literal[
    "unreachable",
    "too_slow",
    "loading",
    "busy",
    "credentials",
    "crowded",
    "cluster_down",
    "primary_down",
    "not_redis",
    "full",
    "read_only",
    "disk",
    "too_few_replicas",
    "not_allowed",
    "script_missing",
    "group_missing",
    "elsewhere",
    "aborted",
    "wrong_type",
    "wrong_value",
    "unknown",
]
Reach = Literal["everything", "writes", "call"]


class RedisRefusal(NamedTuple):
    """What a refusal means.

    `out` is what cannot be had from Redis: `everything`, `writes` (reads are answered), or this
    `call` alone. `passes` says whether the same call may succeed later, once somebody has done
    what `reason` says or time has passed; where it is false the call itself is wrong, and asking
    again changes nothing. `reason` is one line with no key, value or password in it.
    """

    kind: Kind
    out: Reach
    passes: bool
    reason: str


_TABLE: dict[str, RedisRefusal] = {
    "LOADING": RedisRefusal("loading", "everything", True, "it is reading its data from disk"),
    "BUSY": RedisRefusal("busy", "everything", True, "a script keeps it busy; SCRIPT KILL ends it"),
    "NOAUTH": RedisRefusal("credentials", "everything", True, "it wants a password; see REDIS_URL"),
    "WRONGPASS": RedisRefusal(
        "credentials", "everything", True, "it does not know this user or password; see REDIS_URL"
    ),
    "DENIED": RedisRefusal(
        "credentials", "everything", True, "protected mode: it takes no calls from other machines"
    ),
    "CLUSTERDOWN": RedisRefusal("cluster_down", "everything", True, "its cluster is down"),
    "MASTERDOWN": RedisRefusal(
        "primary_down", "everything", True, "it is a replica that lost its primary"
    ),
    "OOM": RedisRefusal("full", "writes", True, "its memory is full of what may not be evicted"),
    "READONLY": RedisRefusal("read_only", "writes", True, "it is a replica that takes no writes"),
    "MISCONF": RedisRefusal("disk", "writes", True, "it cannot write to its disk"),
    "NOREPLICAS": RedisRefusal(
        "too_few_replicas", "writes", True, "fewer replicas follow it than it wants for a write"
    ),
    "NOPERM": RedisRefusal("not_allowed", "writes", True, "its rules let this user not do that"),
    "NOSCRIPT": RedisRefusal(
        "script_missing", "call", True, "it forgot a script, to be loaded again"
    ),
    "NOGROUP": RedisRefusal(
        "group_missing", "call", True, "it has no such group, to be made again"
    ),
    "TRYAGAIN": RedisRefusal("elsewhere", "call", True, "its cluster is moving these keys"),
    "ASK": RedisRefusal("elsewhere", "call", True, "its cluster is moving these keys"),
    "MOVED": RedisRefusal("elsewhere", "call", True, "another node of its cluster has these keys"),
    "EXECABORT": RedisRefusal("aborted", "call", True, "it refused a part of a transaction"),
    "CROSSSLOT": RedisRefusal(
        "wrong_value", "call", False, "keys of one call are on several nodes"
    ),
    "WRONGTYPE": RedisRefusal(
        "wrong_type", "call", False, "something else is stored under that key"
    ),
}
"""Redis's word to its meaning; `refusal_of` puts the word before the reason."""

_ADMINISTRATION = re.compile(
    r"'((?:config|info|debug|acl|client|latency|memory)(?:\|[a-z-]+)?)' command"
)
"""A command that no write needs: to be denied one of these leaves everything else as it is."""

_READS_GO_ON = "only accepts read commands"
_OF_A_SCRIPT = re.compile(rf"@user_script.*?:\s*-?({'|'.join(_TABLE)})\s")
"""Redis before 7 hides the word of a call within a script behind where the script made it."""

_OF_A_PIPELINE = " of pipeline caused error: "
_QUOTE = re.compile(r"""['"`(]""")
_LONGEST_REASON = 120


def refusal_of(error: RedisError) -> RedisRefusal:
    """What an error of the driver means. Pure; any `RedisError` is given a meaning."""
    word, text = _parts(error)
    if word == "NOPERM" or "ACL failure in script" in text:
        return _not_allowed(text)
    if word == "CLUSTERDOWN" and _READS_GO_ON in text:
        return _named(word, _TABLE[word]._replace(out="writes"))
    if word in _TABLE:
        return _named(word, _TABLE[word])
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


def _named(word: str, refusal: RedisRefusal) -> RedisRefusal:
    return refusal._replace(reason=f"{word}: {refusal.reason}")


def _not_allowed(text: str) -> RedisRefusal:
    """Denied a question about the server: that one call. Denied anything else: the write."""
    denied = _ADMINISTRATION.search(text)
    if denied is None:
        return _named("NOPERM", _TABLE["NOPERM"])
    reason = f"NOPERM: its rules do not let this user run {denied.group(1).replace('|', ' ')}"
    return RedisRefusal("not_allowed", "call", False, reason)


def _of_the_connection(error: RedisError) -> RedisRefusal | None:
    """What the driver says of itself when no reply came, or none that it understood."""
    name = type(error).__name__
    if isinstance(error, TimeoutError):
        return RedisRefusal("too_slow", "everything", True, f"{name}: it did not answer in time")
    if isinstance(error, MaxConnectionsError):
        return RedisRefusal("crowded", "call", True, f"{name}: every connection allowed is in use")
    if isinstance(error, (AuthenticationError, AuthorizationError)):
        reason = f"{name}: it does not take the user or password of REDIS_URL"
        return RedisRefusal("credentials", "everything", True, reason)
    if isinstance(error, ConnectionError) and "number of clients" in str(error):
        return RedisRefusal("crowded", "everything", True, "it has as many clients as it allows")
    if isinstance(error, ConnectionError):
        # No reply was read, so that this text is the driver's and the kernel's own.
        return RedisRefusal("unreachable", "everything", True, _first_line(f"{name}: {error}"))
    if isinstance(error, InvalidResponse):
        return RedisRefusal(
            "not_redis", "everything", True, f"{name}: this is not how Redis answers"
        )
    if isinstance(error, DataError):
        return RedisRefusal(
            "wrong_value", "call", False, f"{name}: the driver cannot send this value"
        )
    return None


def _unknown(error: RedisError, word: str, text: str) -> RedisRefusal:
    """Redis's words up to where it begins to quote ours."""
    own = _QUOTE.split(text, maxsplit=1)[0]
    said = f"{word} {own}" if word.isupper() else type(error).__name__
    return RedisRefusal("unknown", "call", False, _first_line(said))


def _first_line(text: str) -> str:
    return " ".join(text.splitlines()[:1]).strip()[:_LONGEST_REASON]
