"""How the Redis tier and the pending log reach their server: errors, the breaker, the scripts."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, NamedTuple, TypeVar

from hiredis import pack_command
from redis import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from storage.errors import TierError, TierUnavailable
from storage.redis.refusals import as_tier_error
from storage.resilience import budget
from storage.resilience.bites import bites
from storage.resilience.breaker import Breaker
from storage.telemetry.slow_queries import SlowQueries

One = TypeVar("One")

SCAN_KEYS = 1_000
"""Keys that one SCAN passes over: about a millisecond in which Redis does nothing else."""

MOST_BYTES = 512 * 1024
"""Of one round trip of many calls: Redis does nothing else meanwhile, nor while it syncs them."""

Call = tuple[list[str], list[Any]]
"""The names and the arguments of one call of a script."""


@contextmanager
def translated() -> Iterator[None]:
    """Turns the driver's errors into the tier's."""
    try:
        yield
    except RedisError as error:
        raise as_tier_error(error) from error


class Replicas(NamedTuple):
    """How many replicas must have a write on their disks, and how long that may take."""

    wanted: int = 0
    milliseconds: int = 0

    def commands(self) -> list[tuple[Any, ...]]:
        """What asks, after writes of a connection, whether they are there and on Redis's own disk.

        A replica tells what it has synced when it is asked, and asked at once it has not synced
        yet; it would be asked again a second later. Waiting for its memory first takes about 5 ms
        for both.
        """
        return [
            ("WAIT", self.wanted, self.milliseconds),
            ("WAITAOF", 1, self.wanted, self.milliseconds),
        ]

    def take(self, answers: list[Any]) -> None:
        """Takes the answers to that off the end of a pipeline's.

        Raises `TierError` where the writes are not there. They themselves have happened.
        """
        if not self.wanted:
            return
        answer, _ = answers.pop(), answers.pop()
        if isinstance(answer, RedisError):
            raise as_tier_error(answer)
        own, others = answer
        if own < 1 or others < self.wanted:
            reason = f"{others} of {self.wanted} replicas had it on disk in time"
            raise TierUnavailable("redis", reason)


@dataclass(eq=False)
class RedisGateway:
    """The one way to a Redis: its client, the breaker before it, and the replicas behind it."""

    client: Redis
    breaker: Breaker
    replicas: Replicas
    _slow: SlowQueries | None = None

    def guarded(self, *, is_bulk: bool = False) -> "_Calls":
        """The client, for one or a few calls; bulk may take its time. Raises `TierUnavailable` or
        `TierRejected`."""
        return _Calls(self, is_large=is_bulk)

    def ask(self, question: Callable[[Any], Any]) -> Any:
        """The client's answer to one question. Raises `TierUnavailable` or `TierRejected`."""
        with self.guarded() as client:
            return question(client)

    def scan(self, pattern: str | None = None) -> Iterator[list[str]]:
        """Every key that matches, page by page; one that is there throughout at least once."""
        cursor: Any = 0
        while True:
            with self.guarded() as client:
                answer: Any = client.scan(cursor, match=pattern, count=SCAN_KEYS)
            cursor, found = answer
            yield [name.decode(errors="replace") for name in found]
            if int(cursor) == 0:
                return

    def note(self, script: str, seconds: float, *, failed: bool) -> None:
        """Notes how long a round trip took."""
        if self._slow is not None:
            self._slow.note("redis", f"script {script}", seconds, failed=failed)

    def timed(self, script: str, size: int) -> "_RoundTrip":
        """Likewise for one round trip of a script, which is noted where it was slow.

        One that sends many bytes has as much longer for it.
        """
        return _RoundTrip(self, script, size)

    def every(self, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
        """The answers to commands, in one round trip. Raises the first refusal."""
        with self.guarded() as client:
            answers = _exchanged(client, list(map(pack_command, commands)), Replicas())
            for answer in answers:
                if isinstance(answer, RedisError):
                    raise answer
        return answers

    def each(self, ask: Callable[[Any, One], object], things: Iterable[One]) -> list[Any]:
        """The answers to what `ask` has a pipeline do for each thing, in one round trip."""
        with self.guarded() as client:
            pipeline = client.pipeline(transaction=False)
            for thing in things:
                ask(pipeline, thing)
            return list(pipeline.execute())


class _Calls:
    """The block that makes a few calls: watched by the breaker, its errors translated.

    No generator, for every read comes through here.
    """

    __slots__ = ("_gateway", "_guard")

    def __init__(self, gateway: RedisGateway, *, is_large: bool = False) -> None:
        self._gateway = gateway
        self._guard = gateway.breaker.guard(is_bulk=is_large)

    def __enter__(self) -> Any:
        self._guard.__enter__()
        return self._gateway.client

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        met = as_tier_error(error) if isinstance(error, RedisError) else error
        self._guard.__exit__(kind, met, trace)
        if met is not None and met is not error:
            raise met from error


class _RoundTrip(_Calls):
    """The block that makes one round trip, which is timed beside."""

    __slots__ = ("_granted", "_script", "_started")

    def __init__(self, gateway: RedisGateway, script: str, size: int) -> None:
        is_large = size > budget.LARGE_BYTES
        super().__init__(gateway, is_large=is_large)
        self._script = script
        self._granted = budget.moving(size) if is_large else None

    def __enter__(self) -> Any:
        client = super().__enter__()
        if self._granted is not None:
            self._granted.__enter__()
        self._started = time.perf_counter()
        return client

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        seconds = time.perf_counter() - self._started
        if self._granted is not None:
            self._granted.__exit__(kind, error, trace)
        self._gateway.note(self._script, seconds, failed=error is not None)
        super().__exit__(kind, error, trace)


class Script:
    """A script of `storage/redis/lua`, loaded where Redis does not have it yet or any more."""

    def __init__(
        self,
        door: RedisGateway,
        name: str,
        *,
        waits_for_replicas: bool = False,
        emits_events: bool = False,
    ) -> None:
        """One that `emits_events` has the functions of `events.lua` before it."""
        self._door = door
        self._name = name
        self._replicas = door.replicas if waits_for_replicas else Replicas()
        self._source = "".join(map(_source, ("events", name) if emits_events else (name,)))
        self._sha = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, names: list[str], arguments: list[Any]) -> Any:
        """One call, one round trip."""
        return self.every([(names, arguments)])[0]

    def many(self, calls: Sequence[Call]) -> list[Any]:
        """Many calls, one round trip or as many as they are large, each atomic for itself. A call
        that Redis refused gives its `TierError`; raises where one found Redis itself out."""
        sizes = [sum(len(one) for one in given if type(one) is bytes) for _, given in calls]
        if sum(sizes) <= MOST_BYTES:
            return self._round_trip(calls, sum(sizes))
        return [
            answer
            for part, size in bites(calls, sizes, MOST_BYTES)
            for answer in self._round_trip(part, size)
        ]

    def every(self, calls: Sequence[Call]) -> list[Any]:
        """Likewise, but raises the first refusal, after all the other calls were made."""
        answers = self.many(calls)
        for answer in answers:
            if isinstance(answer, TierError):
                raise answer
        return answers

    def _round_trip(self, calls: Sequence[Call], size: int) -> list[Any]:
        with self._door.timed(self._name, size) as client:
            answers = _exchanged(client, self._packed(calls), self._replicas)
            if NoScriptError in map(type, answers):
                missing = [at for at, one in enumerate(answers) if isinstance(one, NoScriptError)]
                client.script_load(self._source)
                packed = self._packed([calls[at] for at in missing])
                again = _exchanged(client, packed, self._replicas)
                for at, answer in zip(missing, again, strict=True):
                    answers[at] = answer
            return list(map(_classified, answers))

    def _packed(self, calls: Sequence[Call]) -> list[bytes]:
        return [
            pack_command(("EVALSHA", self._sha, len(names), *names, *arguments))
            for names, arguments in calls
        ]


def _exchanged(client: Redis, packed: list[bytes], replicas: Replicas) -> list[Any]:
    """The answers to commands, or the errors in their places, without the pipeline of the client,
    which costs more than Redis itself."""
    if replicas.wanted:
        packed = packed + [pack_command(command) for command in replicas.commands()]
    pool: Any = client.connection_pool
    connection = pool.get_connection()
    try:
        connection.send_packed_command([b"".join(packed)])
        answers = [_read(connection) for _ in packed]
    except BaseException:
        # What has yet to be read must not answer another call.
        connection.disconnect()
        raise
    finally:
        pool.release(connection)
    replicas.take(answers)
    return answers


def _read(connection: Any) -> Any:
    """The next answer of a connection; an error that answers one call alone is given."""
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def _source(name: str) -> str:
    return files("storage").joinpath(f"redis/lua/{name}.lua").read_text(encoding="utf-8")


def _classified(answer: Any) -> Any:
    if not isinstance(answer, RedisError):
        return answer
    error = as_tier_error(answer)
    if isinstance(error, TierUnavailable) and not error.passing:
        raise error
    return error
