"""What the Redis tier and the pending log share: the driver's errors and the scripts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

from redis import Redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TimeoutError,
)

from storage.errors import TierRejected, TierUnavailable

_UNAVAILABLE = (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    TimeoutError,
)
_UNAVAILABLE_REPLIES = {"MISCONF", "NOAUTH", "LOADING", "CLUSTERDOWN", "MASTERDOWN"}


@contextmanager
def translated() -> Iterator[None]:
    """Turns the driver's errors into the tier's."""
    try:
        yield
    except _UNAVAILABLE as error:
        raise TierUnavailable("redis", f"{type(error).__name__}: {error}") from error
    except RedisError as error:
        text = str(error)
        if text.split(" ", 1)[0] in _UNAVAILABLE_REPLIES:
            raise TierUnavailable("redis", text) from error
        raise TierRejected("redis", text) from error


class Script:
    """A script of `storage/lua`, loaded again by itself where Redis has forgotten it."""

    def __init__(self, client: Redis, name: str) -> None:
        source = files("storage").joinpath(f"lua/{name}.lua").read_text(encoding="utf-8")
        self._script = client.register_script(source)

    def __call__(self, names: list[str], arguments: list[Any]) -> Any:
        """One call, one round trip."""
        with translated():
            return self._script(keys=names, args=arguments)

    def many(self, client: Redis, calls: Sequence[tuple[list[str], list[Any]]]) -> list[Any]:
        """Many calls, one round trip; each is atomic for itself."""
        with translated():
            pipeline = client.pipeline(transaction=False)
            for names, arguments in calls:
                self._script(keys=names, args=arguments, client=pipeline)
            return list(pipeline.execute())
