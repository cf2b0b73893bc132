"""The sockets under load, under cuts, kills and bad clients, seen by 500 real clients.

`python -m benchmarks.live [--seconds 60] [--parts idle,load,company,cuts,kills]` starts a stack of
its own with one realtime process. 100 users have five sockets each, and 200 messages a second are
written, half of them over HTTP. Every client keeps what it receives, and each part ends with a
comparison of that with the acknowledgements. Exit status 1 if anything was missed, doubled, out of
order or another user's.
"""

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import settings
from benchmarks import costs
from benchmarks.sockets import trouble
from benchmarks.sockets.fleet import Fleet, FleetOutcome
from selftest.bed.launching import (
    NO_LIMITS,
    Launched,
    StackFailed,
    clean_environment,
    launch_up,
)
from webapp.http.auth import Tokens

USERS, SOCKETS_EACH = 100, 5
PARTS = ("idle", "load", "company", "cuts", "kills")
IDLE_SECONDS = 30.0
WARM_SECONDS = 5.0
COMPANY_ROUNDS, COMPANY_SECONDS = 3, 20.0
CUTS_PER_SECOND = 20.0
KILL_SECONDS = 20.0
KILLED = ("realtime", "redis-data", "web", "worker")
SHOWN_FINDINGS = 5


class LiveRun:
    """One run over all its parts, and its output."""

    def __init__(self, stack: Launched, options: argparse.Namespace) -> None:
        self._stack = stack
        self._rate = options.per_second
        self._seconds = options.seconds
        self._kinds = options.company.split(",") if options.company else []
        tokens = Tokens(settings.load(stack.env))
        self._fleet = Fleet(stack.env, tokens, options.users, SOCKETS_EACH, "live")
        self.table = Table(title=f"{options.users * SOCKETS_EACH} sockets, {self._rate:g}/s")
        self.table.add_column("")
        self.table.add_column("", justify="right")
        self.faults = 0

    async def go(self, parts: Sequence[str]) -> None:
        """Runs the named parts."""
        before = costs.resident_kib(self._stack, "realtime")
        await self._fleet.open()
        opened = costs.resident_kib(self._stack, "realtime") - before
        self._say("memory of the realtime process before", f"{before / 1024:.0f} MiB")
        self._say("and for each idle socket", f"{opened / len(self._fleet.clients):.1f} KiB")
        for name in parts:
            self.table.add_section()
            await getattr(self, f"_{name}")()
        await self._fleet.close()

    async def _idle(self) -> None:
        before = costs.processor_seconds(self._stack)
        await asyncio.sleep(IDLE_SECONDS)
        spent = costs.processor_seconds(self._stack)["realtime"] - before["realtime"]
        self._say("processor of the realtime process, idle", f"{spent / IDLE_SECONDS:.2%}")

    async def _load(self) -> None:
        await self._fleet.write(self._rate, WARM_SECONDS)
        await self._fleet.begin_anew()
        before, started = costs.processor_seconds(self._stack), time.perf_counter()
        await self._fleet.write(self._rate, self._seconds)
        ended, after = time.perf_counter(), costs.processor_seconds(self._stack)
        outcome = await self._fleet.settle()
        self._say_outcome("load", outcome)
        sent, acknowledged = self._fleet.latencies(started, ended)
        self._say("event after its sending: p50 · p95 · p99 · max", _milliseconds(sent))
        self._say("event after its acknowledgement", _milliseconds(acknowledged))
        self._say("HTTP acknowledgement", _milliseconds(self._fleet.ledger.http_latencies))
        for name, seconds in after.items():
            spent = seconds - before[name]
            self._say(f"processor: {name}", f"{spent:.1f} s of {ended - started:.0f}")

    async def _company(self) -> None:
        """The same load with and without bad clients, alternated."""
        seen: dict[str, Counter[str]] = {}
        alone: list[float] = []
        with_bad_clients: list[float] = []
        for _ in range(COMPANY_ROUNDS):
            alone += await self._one_round()
            async with trouble.bad_company(self._stack.env, self._fleet, self._kinds, seen):
                with_bad_clients += await self._one_round()
        self._say("event after its sending, alone", _milliseconds(alone))
        self._say("with bad clients", _milliseconds(with_bad_clients))
        for kind, counts in seen.items():
            self._say(
                f"came of: {kind}", ", ".join(f"{n:,} × {what}" for what, n in counts.items())
            )
        self.faults += sum(counts["leaked"] for counts in seen.values())

    async def _one_round(self) -> list[float]:
        await self._fleet.write(self._rate, 1)
        await self._fleet.begin_anew()
        started = time.perf_counter()
        await self._fleet.write(self._rate, COMPANY_SECONDS)
        sent, _ = self._fleet.latencies(started, time.perf_counter())
        self._say_outcome("a round", await self._fleet.settle())
        return sent

    async def _cuts(self) -> None:
        outcome = await trouble.under_cuts(self._fleet, self._rate, CUTS_PER_SECOND, self._seconds)
        self._say_outcome("cuts", outcome)

    async def _kills(self) -> None:
        for name in KILLED:
            killed = await trouble.under_kill(
                self._fleet, self._stack, name, self._rate, KILL_SECONDS
            )
            self._say_outcome(f"kill -9 of {name}", killed.outcome)
            self._say("no client received an event for", f"{killed.silent_seconds:.2f} s")

    def _say_outcome(self, part: str, outcome: FleetOutcome) -> None:
        by_fault = Counter(one.fault for one in outcome.findings)
        self.faults += outcome.findings != [] or outcome.unanswered
        self._say(
            f"{part}: acknowledged · unanswered · sent again",
            f"{outcome.written:,} · {outcome.unanswered:,} · {outcome.sent_again:,}",
        )
        self._say(
            "events · reconnects · resets",
            f"{outcome.events:,} · {outcome.opened:,} · {outcome.resets:,}",
        )
        names = ("missed", "doubled", "disordered", "foreign")
        self._say(" · ".join(names), " · ".join(f"{by_fault[name]:,}" for name in names))
        for code, count in outcome.refused.items():
            self._say(f"refused: {code}", f"{count:,}")
        for one in outcome.findings[:SHOWN_FINDINGS]:
            self._say(f"{one.fault}, client {one.client}", one.what)

    def _say(self, what: str, figure: str) -> None:
        Console(stderr=True, highlight=False).print(f"{what}: {figure}", markup=False)
        self.table.add_row(what, figure)


def main() -> int:
    """Runs it; gives the exit status."""
    options = _options()
    gc.disable()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="threadkeep-benchmark-") as name,
            launch_up(Path(name), clean_environment() | NO_LIMITS) as stack,
        ):
            run = LiveRun(stack, options)
            asyncio.run(run.go(options.parts.split(",")))
    except StackFailed as error:
        Console(stderr=True).print(str(error), markup=False)
        return 1
    Console(highlight=False, width=140).print(run.table)
    return 1 if run.faults else 0


def _milliseconds(latencies: list[float]) -> str:
    ordered = sorted(latencies) or [0.0]
    shares = (0.50, 0.95, 0.99, 1.0)
    at = [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in shares]
    return " · ".join(f"{one * 1000:.1f}" for one in at) + " ms"


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--per-second", type=float, default=200)
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--company", default="", help="kinds of bad clients, all if left out")
    parser.add_argument("--parts", default=",".join(PARTS))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
