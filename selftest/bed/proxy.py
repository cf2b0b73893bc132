"""A TCP proxy in front of a server that fails on command as networks do.

One loop in a thread of its own serves every connection of a proxy. Modes may be switched from any
thread at any time, and apply to existing and new connections.
"""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from embedded.ports import HOST, free_port
from selftest.bed.proxied import Connection, Faults

T = TypeVar("T")

ACCEPT_SECONDS = 0.01
SWITCH_SECONDS = 5.0
BACKLOG = 512
REBIND_ATTEMPTS = 50
REBIND_PAUSE_SECONDS = 0.02


class FaultProxy:
    """Listens on a loopback port and forwards to one server; a context manager.

    It begins by passing everything. `pass_through` ends any other mode.
    """

    def __init__(self, target_host: str, target_port: int) -> None:
        """Open nothing yet; `port` is chosen now and stays the same in every mode."""
        self.host = HOST
        self.port = free_port()
        self._target = (target_host, target_port)
        self._faults = Faults()
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=f"proxy-{self.port}", daemon=True)

    def start(self) -> None:
        """Listen. Raises `OSError` if the port was taken meanwhile."""
        self._thread.start()
        self._run(self._listen())

    def close(self) -> None:
        """Cut every connection and stop."""
        self._run(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SWITCH_SECONDS)

    def __enter__(self) -> Self:
        """Listen."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cut every connection and stop."""
        self.close()

    @property
    def mode(self) -> str:
        """`pass`, `latency`, `narrow`, `refuse`, `blackhole` or `stall`."""
        return self._faults.mode

    @property
    def dropped(self) -> int:
        """How many replies were dropped since the start."""
        return self._faults.dropped

    @property
    def open_connections(self) -> int:
        """How many client connections are open now."""
        return len(self._connections)

    def pass_through(self) -> None:
        """End every fault, including replies still to be dropped.

        After `stall` the held bytes arrive; after `blackhole` they are lost, and the connections
        that lost them are reset.
        """
        self._run(self._switch("pass"))

    def latency(self, seconds: float, jitter: float = 0.0) -> None:
        """Delay each reply by `seconds`, and up to `jitter` seconds more."""
        self._run(self._switch("latency", seconds, jitter))

    def narrow(self, bytes_per_second: int) -> None:
        """Let no more bytes of requests through each connection than that."""
        self._run(self._switch("narrow", rate=bytes_per_second))

    def refuse(self) -> None:
        """Refuse new connections and reset those that exist."""
        self._run(self._switch("refuse"))

    def reset(self) -> None:
        """Reset every existing connection, and keep the current mode."""
        self._run(self._reset())

    def blackhole(self) -> None:
        """Accept connections and bytes, but forward nothing, not even the end of a stream."""
        self._run(self._switch("blackhole"))

    def stall(self) -> None:
        """Hold every byte back, in both directions, until the mode ends."""
        self._run(self._switch("stall"))

    def redirect(self, target_host: str, target_port: int) -> None:
        """Forward to another server from now on; connections to the old one are reset."""
        self._target = (target_host, target_port)
        self._run(self._reset())

    def drop_reply(self, nth: int = 1) -> None:
        """Forward the n-th piece that a client sends from now on, then drop what answers it.

        A piece is what one read gives: one request of a client that waits for its answer, if it
        has at most 64 KiB. The client sees its connection reset once the server has answered.
        """
        self._run(self._arm(b"", nth, 1))

    def drop_reply_matching(self, request: bytes, times: int = 1) -> None:
        """Likewise for the next `times` requests that hold these bytes, such as `b"EVALSHA"`."""
        self._run(self._arm(request, 1, times))

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a function on the loop and wait until it is done."""
        done: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return done.result(SWITCH_SECONDS)

    async def _switch(
        self, mode: str, seconds: float = 0.0, jitter: float = 0.0, rate: int = 0
    ) -> None:
        before = self._faults.mode
        if before == "blackhole" and mode != before:
            self._cut()
        self._faults.switch(mode, seconds, jitter, rate)
        if mode == "refuse":
            await self._stop_listening()
            self._cut()
        elif self._server is None:
            await self._listen()

    async def _reset(self) -> None:
        self._cut()

    async def _arm(self, needle: bytes, nth: int, times: int) -> None:
        self._faults.arm(needle, nth, times)

    async def _listen(self) -> None:
        for attempt in range(REBIND_ATTEMPTS):
            try:
                self._server = await asyncio.start_server(
                    self._accept, self.host, self.port, backlog=BACKLOG
                )
                return
            except OSError:
                if attempt == REBIND_ATTEMPTS - 1:
                    raise
                await asyncio.sleep(REBIND_PAUSE_SECONDS)

    async def _stop_listening(self) -> None:
        if self._server is None:
            return
        server, self._server = self._server, None
        for listening in server.sockets:
            self._loop.remove_reader(listening.fileno())
        # Who was accepted in this step of the loop needs an open server to become a connection.
        await asyncio.sleep(0)
        server.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Listed before its task runs: one that is cancelled first closes nothing by itself.
        connection = Connection(self._faults, reader, writer)
        self._connections.add(connection)
        # A task of our own: asyncio's would report each connection that is cut as an error.
        task = self._loop.create_task(self._carry(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, connection: Connection) -> None:
        try:
            await connection.carry(*self._target)
        finally:
            self._connections.discard(connection)

    def _cut(self) -> None:
        for connection in list(self._connections):
            connection.reset()

    async def _shut(self) -> None:
        await self._stop_listening()
        # A connection accepted just now needs a transport, else nothing closes it.
        await asyncio.sleep(ACCEPT_SECONDS)
        self._cut()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            # Who was being accepted meanwhile has become a connection.
            self._cut()
