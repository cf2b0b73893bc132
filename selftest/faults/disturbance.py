"""The faults as data, and a seeded sequence of them."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from selftest.bed.proxy import FaultProxy
from selftest.bed.stack import SERVERS, Testbed

KILLED = ("web", "worker", "beat", *SERVERS)
FROZEN = KILLED
LATENCY_SECONDS = 0.2
LATENCY_JITTER_SECONDS = 0.05
SHARE_OF_PAIRS = 0.25
CALM_SECONDS = (0.5, 2.0)

_WRITE_OF = {
    "redis-data": b"EVALSHA",
    "redis-broker": b"LPUSH",
    "postgres": b"COMMIT",
    "clickhouse": b"INSERT",
}
"""What requests contain that change data, by server."""

End = Callable[[], None]


@dataclass(frozen=True)
class Disturbance:
    """One kind of fault: `begin` injects it into a stack and returns what ends it.

    It lasts between the two `seconds`; its end returns once the target answers again, and raises
    `NotRecovered` if it does not within a minute.
    """

    name: str
    target: str
    what: str
    seconds: tuple[float, float]
    begin: Callable[[Testbed], End]


@dataclass(frozen=True)
class Step:
    """Faults that begin together, each with the seconds it lasts, and the seconds of calm after."""

    parts: tuple[tuple[Disturbance, float], ...]
    calm_seconds: float


def kill(target: str) -> Disturbance:
    """Kill all processes of a server or program; ended when the supervisor has it back."""

    def begin(bed: Testbed) -> End:
        return partial(bed.wait_until_back, target, bed.kill(target))

    what = f"kill -9 of every process of {target}, which is then restarted"
    return Disturbance(f"{target} killed", target, what, (0.0, 0.0), begin)


def freeze(target: str) -> Disturbance:
    """Stop every process of a server or program with SIGSTOP, and continue it."""

    def begin(bed: Testbed) -> End:
        return partial(bed.thaw, bed.freeze(target))

    what = f"SIGSTOP to every process of {target}, then SIGCONT"
    return Disturbance(f"{target} frozen", target, what, (1.0, 8.0), begin)


def cut_off(
    target: str,
    name: str,
    what: str,
    seconds: tuple[float, float],
    do: Callable[[FaultProxy], None],
) -> Disturbance:
    """Switch the proxy in front of a server; ended by passing everything again."""

    def begin(bed: Testbed) -> End:
        do(bed.proxies[target])
        return bed.proxies[target].pass_through

    return Disturbance(f"{target} {name}", target, what, seconds, begin)


def network_faults(target: str) -> tuple[Disturbance, ...]:
    """Return every fault of the network in front of a server."""

    def slow(proxy: FaultProxy) -> None:
        proxy.latency(LATENCY_SECONDS, LATENCY_JITTER_SECONDS)

    def lose_replies(proxy: FaultProxy) -> None:
        proxy.drop_reply_matching(_WRITE_OF[target], times=2)

    return (
        cut_off(target, "slow", "each of its replies comes 200 ms later", (1.0, 5.0), slow),
        cut_off(target, "refused", "its port is closed", (1.0, 5.0), FaultProxy.refuse),
        cut_off(
            target, "blackholed", "bytes go in, nothing arrives", (1.0, 6.0), FaultProxy.blackhole
        ),
        cut_off(target, "stalled", "bytes arrive after the end", (1.0, 6.0), FaultProxy.stall),
        cut_off(target, "reset", "its connections are reset", (0.0, 0.0), FaultProxy.reset),
        cut_off(
            target, "reply lost", "two writes happen without an answer", (1.0, 2.0), lose_replies
        ),
    )


KINDS: tuple[Disturbance, ...] = (
    *(kill(target) for target in KILLED),
    *(freeze(target) for target in FROZEN),
    *(fault for target in SERVERS for fault in network_faults(target)),
)
"""Every kind."""


def kind(name: str) -> Disturbance:
    """Return a kind by its name, such as `"redis-data frozen"`. Raises `KeyError`."""
    return {each.name: each for each in KINDS}[name]


def sequence(seed: int) -> Iterator[Step]:
    """Yield faults for ever, the same for the same seed: one at a time, sometimes two.

    Every kind comes once before any comes twice.
    """
    drawn = random.Random(seed)
    bag: list[Disturbance] = []
    while True:
        if not bag:
            bag = list(KINDS)
            drawn.shuffle(bag)
        chosen = [bag.pop()]
        if drawn.random() < SHARE_OF_PAIRS:
            other = next((each for each in bag if each.target != chosen[0].target), None)
            if other is not None:
                bag.remove(other)
                chosen.append(other)
        parts = tuple((each, drawn.uniform(*each.seconds)) for each in chosen)
        yield Step(parts, drawn.uniform(*CALM_SECONDS))
