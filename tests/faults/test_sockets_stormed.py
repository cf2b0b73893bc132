"""Clients of the sockets at their worst: the others, and whoever posts, must not notice."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from selftest.bed.proxy import FaultProxy
from selftest.bed.stack import Testbed
from support.calls.clients import api_of, token_of
from support.calls.sockets import lazily, listening, opened
from support.data.users import fresh_user
from support.faults.trial import Trial
from support.waiting import eventually

Loaded = Callable[..., AbstractContextManager[Trial]]
STORM, AT_ONCE = 1_000, 20
SLOW, HALF_OPEN = 20, 20
LARGE, MANY = "x" * 60_000, 150
"""Together more than what the buffers of the machine hold between server and client."""
GONE_SECONDS = 100
"""Who says nothing is asked after 25 seconds, and given up after 60."""

ESTABLISHED = "01"

pytestmark = [pytest.mark.extensive, pytest.mark.timeout(300)]


def held(url: str) -> int:
    """How many connections the process that serves sockets holds."""
    local = f":{urlsplit(url).port or 0:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(local) and row[3] == ESTABLISHED for row in rows)


@contextmanager
def half_open(url: str, token: str, count: int) -> Iterator[None]:
    """Sockets whose clients are there no more, of which nobody was told."""
    parts = urlsplit(url)
    with FaultProxy(parts.hostname or "", parts.port or 0) as proxy, ExitStack() as links:
        behind = url.replace(f":{parts.port}/", f":{proxy.port}/")
        for _ in range(count):
            links.enter_context(listening(behind, token, ping_interval=None))
        proxy.blackhole()
        yield


def test_f45_a_storm_of_sockets_slow_readers_and_clients_that_are_gone(
    bed: Testbed, load: Loaded
) -> None:
    url, user, other = bed.env["WS_URL"], fresh_user(), fresh_user()
    token, api = token_of(bed, user), api_of(bed, user)
    theirs, their_api = token_of(bed, other), api_of(bed, other)

    def come_and_go(_: int) -> None:
        with opened(url, theirs) as socket:
            socket.receive("authenticated")

    with listening(url, token) as well, load() as trial, ExitStack() as bad:
        before = held(url)
        for _ in range(SLOW):
            bad.enter_context(lazily(url, theirs))
        bad.enter_context(half_open(url, theirs, HALF_OPEN))
        for _ in range(MANY):
            their_api.send("t", LARGE)
        told, began = [], trial.now()
        with ThreadPoolExecutor(AT_ONCE) as storm:
            done = [storm.submit(come_and_go, number) for number in range(STORM)]
            while not all(one.done() for one in done):
                made = api.send("t", "told")
                heard = well.receive_all(2)
                told.append(made["id"])
                assert [frame["message_id"] for frame in heard] == [made["id"]] * 2
        for one in done:
            one.result()
        assert well.is_silent()
        figures = trial.posts_since(began)
        assert (figures.unavailable, figures.unanswered) == (0, 0)
        eventually(lambda: held(url) <= before, GONE_SECONDS)
    assert len(told) > 10
