"""Trouble for a fleet: cuts, kills, and bad clients."""

import asyncio
import random
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec

import settings
from benchmarks.sockets.bad_clients import Given
from benchmarks.sockets.fleet import THREAD, Fleet, FleetOutcome
from selftest.bed.launching import Launched
from webapp.http.auth import Tokens

STEADY_SECONDS = 3.0
TOKEN_SECONDS = 3_600
LONG_AGO_SECONDS = -60


class Killed(NamedTuple):
    """The result of killing one program. `silent_seconds`: how long no client received a new
    message."""

    name: str
    silent_seconds: float
    outcome: FleetOutcome


async def cut_at_random(fleet: Fleet, per_second: float) -> None:
    """Cuts sockets until it is cancelled, half of them with a close frame."""
    while True:
        client = random.choice(fleet.clients)
        await client.cut(cleanly=random.random() < 0.5)
        await asyncio.sleep(random.expovariate(per_second))


async def under_cuts(fleet: Fleet, per_second: float, cuts: float, seconds: float) -> FleetOutcome:
    """Writes for so many seconds while sockets are cut; gives the result."""
    await fleet.begin_anew()
    cutting = asyncio.create_task(cut_at_random(fleet, cuts))
    await fleet.write(per_second, seconds)
    cutting.cancel()
    return await fleet.settle()


async def under_kill(
    fleet: Fleet, stack: Launched, name: str, per_second: float, seconds: float
) -> Killed:
    """Writes for so many seconds, and kills all processes of a program early on."""
    await fleet.begin_anew()
    started = time.perf_counter()
    writing = asyncio.create_task(fleet.write(per_second, seconds))
    await asyncio.sleep(STEADY_SECONDS)
    before = stack.pids_now().get(name)
    stack.signal(name, signal.SIGKILL)
    await writing
    ended = time.perf_counter()
    outcome = await fleet.settle()
    if stack.pids_now().get(name) == before:
        raise RuntimeError(f"{name} was not restarted")
    return Killed(name, fleet.longest_silence(started, ended), outcome)


@asynccontextmanager
async def bad_company(
    env: Mapping[str, str], fleet: Fleet, kinds: list[str], seen: dict[str, Counter[str]]
) -> AsyncIterator[None]:
    """Runs bad clients during the block; adds their outcomes to `seen`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.sockets.bad_clients",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a process without pipes")
    process.stdin.write(msgspec.json.encode(_given(env, fleet, kinds)) + b"\n")
    await process.stdin.drain()
    try:
        yield
    finally:
        process.stdin.close()
        outcomes: dict[str, Any] = msgspec.json.decode(await process.stdout.read())
        await process.wait()
        for kind, counts in outcomes.items():
            seen.setdefault(kind, Counter()).update(counts)


def _given(env: Mapping[str, str], fleet: Fleet, kinds: list[str]) -> Given:
    own = settings.load(env)
    tokens = Tokens(own)
    stranger = Tokens(msgspec.structs.replace(own, jwt_secret=secrets.token_urlsafe(48)))
    victim = fleet.clients[0]
    return Given(
        kinds=kinds,
        ws_url=env["WS_URL"],
        own=_token(tokens, "intruder"),
        deaf=_token(tokens, "deaf"),
        expired=_token(tokens, victim.user_id, LONG_AGO_SECONDS),
        forged=_token(stranger, victim.user_id),
        theirs=_token(tokens, victim.user_id),
        their_user=victim.user_id,
        their_thread=THREAD,
        their_event_id=victim.last_event_id,
    )


def _token(tokens: Tokens, user_id: str, seconds: int = TOKEN_SECONDS) -> str:
    return tokens.issue(user_id, is_admin=False, ttl_seconds=seconds)
