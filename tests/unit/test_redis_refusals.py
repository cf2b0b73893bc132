"""Every reply of Redis that refuses has a meaning, and no reason repeats what somebody sent."""

import pytest
from redis import exceptions
from redis._parsers.base import BaseParser
from redis.exceptions import RedisError

from storage.redis.refusals import refusal_of

REPLIES = [
    ("OOM command not allowed when used memory > 'maxmemory'.", "full", "writes", True),
    ("LOADING Redis is loading the dataset in memory", "loading", "everything", True),
    ("READONLY You can't write against a read only replica.", "read_only", "writes", True),
    ("MISCONF Errors writing to the AOF file: No space left on device", "disk", "writes", True),
    ("MISCONF Redis is configured to save RDB snapshots, but", "disk", "writes", True),
    ("NOAUTH Authentication required.", "credentials", "everything", True),
    ("WRONGPASS invalid username-password pair", "credentials", "everything", True),
    ("DENIED Redis is running in protected mode", "credentials", "everything", True),
    ("ERR invalid password", "credentials", "everything", True),
    (
        "ERR Client sent AUTH, but no password is set",
        "credentials",
        "everything",
        True,
    ),
    (
        "NOPERM this user has no permissions to run the 'evalsha' command",
        "not_allowed",
        "writes",
        True,
    ),
    (
        "NOPERM User app has no permissions to run the 'config|get' command",
        "not_allowed",
        "call",
        False,
    ),
    (
        "NOPERM No permissions to access the 'config' key used as argument",
        "not_allowed",
        "writes",
        True,
    ),
    (
        "ERR ACL failure in script: User app has no permissions to run the 'xadd' command",
        "not_allowed",
        "writes",
        True,
    ),
    ("NOSCRIPT No matching script. Please use EVAL.", "script_missing", "call", True),
    ("NOGROUP No such key 'mine' or consumer group 'g'", "group_missing", "call", True),
    (
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL",
        "busy",
        "everything",
        True,
    ),
    ("CLUSTERDOWN The cluster is down", "cluster_down", "everything", True),
    (
        "CLUSTERDOWN The cluster is down and only accepts read commands",
        "cluster_down",
        "writes",
        True,
    ),
    ("MASTERDOWN Link with MASTER is down", "primary_down", "everything", True),
    ("TRYAGAIN Multiple keys request during rehashing of slot", "elsewhere", "call", True),
    ("ASK 3999 127.0.0.1:6381", "elsewhere", "call", True),
    ("MOVED 3999 127.0.0.1:6381", "elsewhere", "call", True),
    (
        "CROSSSLOT Keys in request don't hash to the same slot",
        "wrong_value",
        "call",
        False,
    ),
    ("NOREPLICAS Not enough good replicas to write.", "too_few_replicas", "writes", True),
    ("EXECABORT Transaction discarded because of previous errors.", "aborted", "call", True),
    ("WRONGTYPE Operation against a key holding the wrong kind", "wrong_type", "call", False),
    ("ERR max number of clients reached", "crowded", "everything", True),
    ("ERR value is not an integer or out of range", "unknown", "call", False),
    ("NEVERHEARD of this", "unknown", "call", False),
    (
        "ERR Error running script (call to f_8d): @user_script:1: -OOM command not allowed",
        "full",
        "writes",
        True,
    ),
    (
        "ERR Error running script (call to f_8d): @user_script:9: @user_script: 9:"
        " WRONGTYPE Operation against a key",
        "wrong_type",
        "call",
        False,
    ),
]


def parsed(reply: str) -> RedisError:
    """The error that the driver makes of a reply."""
    error = BaseParser.parse_error(reply)
    assert isinstance(error, RedisError)
    return error


@pytest.mark.parametrize(("reply", "kind", "out", "passes"), REPLIES)
def test_a_reply_has_a_meaning(reply: str, kind: str, out: str, passes: bool) -> None:
    refusal = refusal_of(parsed(reply))
    assert (refusal.kind, refusal.out, refusal.passes) == (kind, out, passes)
    assert refusal.reason
    assert "\n" not in refusal.reason


@pytest.mark.parametrize(("reply", "kind", "out", "passes"), REPLIES)
def test_a_reply_has_the_same_meaning_when_a_pipeline_raised_it(
    reply: str, kind: str, out: str, passes: bool
) -> None:
    error = parsed(reply)
    error.args = (f"Command # 1 (SET mine WRONGTYPE) of pipeline caused error: {error.args[0]}",)
    refusal = refusal_of(error)
    assert (refusal.kind, refusal.out, refusal.passes) == (kind, out, passes)
    assert "mine" not in refusal.reason


@pytest.mark.parametrize(
    ("error", "kind", "out", "passes"),
    [
        (exceptions.TimeoutError("Timeout reading from socket"), "too_slow", "everything", True),
        (exceptions.ConnectionError("Error 111"), "unreachable", "everything", True),
        (exceptions.MaxConnectionsError("Too many"), "crowded", "call", True),
        (exceptions.AuthorizationError("no"), "credentials", "everything", True),
        (exceptions.InvalidResponse("Protocol error"), "not_redis", "everything", True),
        (exceptions.DataError("Invalid input"), "wrong_value", "call", False),
        (exceptions.WatchError("changed"), "unknown", "call", False),
        (exceptions.LockError("gone"), "unknown", "call", False),
        (RedisError(), "unknown", "call", False),
    ],
)
def test_the_drivers_own_errors_have_a_meaning(
    error: RedisError, kind: str, out: str, passes: bool
) -> None:
    refusal = refusal_of(error)
    assert (refusal.kind, refusal.out, refusal.passes) == (kind, out, passes)
    assert refusal.reason


@pytest.mark.parametrize(
    "reply",
    [
        "ERR unknown command 'whisper', with args beginning with: 'whisper' ",
        'ERR syntax error near "whisper"',
        "NOPERM No permissions to access the 'whisper' key used as argument",
        "NOGROUP No such key 'whisper' or consumer group 'whisper'",
        "WRONGTYPE whisper",
        "MOVED 1 whisper:6379",
        "OOM whisper",
    ],
)
def test_no_reason_repeats_what_was_sent(reply: str) -> None:
    assert "whisper" not in refusal_of(parsed(reply)).reason


def test_an_unknown_reply_keeps_what_redis_said_of_itself() -> None:
    refusal = refusal_of(parsed("ERR value is not an integer or out of range"))
    assert refusal.reason == "ERR value is not an integer or out of range"
