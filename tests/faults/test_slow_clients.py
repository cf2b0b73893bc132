"""Clients that send slowly, say nothing or vanish: nobody else notices, and they do not stay."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

import pytest

from selftest.bed.stack import Testbed
from support.calls.clients import token_of
from support.calls.slow_clients import LARGE, PREFACE, SlowClients, chunked, get, held, post
from support.calls.sockets import listening
from support.data.users import fresh_user
from support.faults.trial import Trial
from support.waiting import eventually

Loaded = Callable[..., AbstractContextManager[Trial]]
SLOW = 300
"""Of each kind; together some times as many as the threads that answer requests."""
SILENT = 1_200
GONE_SECONDS = 60
"""The slowest of them has ten seconds, on a machine that has others to see to as well."""


def test_f49_slow_silent_and_vanishing_clients(bed: Testbed, load: Loaded) -> None:
    url, token = bed.env["API_URL"], token_of(bed, fresh_user())
    before = held(url)
    with load(writers=6, readers=2) as trial, ExitStack() as stack:

        def come(count: int, says: bytes, drip: bytes = b"") -> SlowClients:
            return stack.enter_context(SlowClients(url, count, says, drip))

        began = trial.now()
        refused = [
            come(SLOW, post(None, LARGE), b" "),
            come(SLOW, chunked("no token"), b"1\r\n \r\n"),
        ]
        slow = [
            come(SLOW, post(token, 5_000), b" "),
            come(SLOW, chunked(token), b"1\r\n \r\n"),
        ]
        too_large = come(SLOW, post(token, LARGE), b" ")
        vanishing = come(SLOW, post(token, 5_000))
        preface = come(1, PREFACE)
        trial.calm()
        vanishing.vanish()
        everyone = [*refused, *slow, too_large, preface]
        eventually(lambda: all(each.are_all_ended for each in everyone), GONE_SECONDS)
        assert [each.statuses for each in refused] == [{401: SLOW}] * 2
        assert [each.statuses for each in slow] == [{408: SLOW}] * 2
        assert too_large.statuses == {413: SLOW}
        assert not {200, 101} & {*preface.statuses}
        silent = come(SILENT, b"")
        trial.calm()
        eventually(lambda: silent.are_all_ended, GONE_SECONDS)
        figures = trial.since(began)
        assert (figures.unavailable, figures.unanswered) == (0, 0)
    eventually(lambda: held(url) <= before, GONE_SECONDS)


@pytest.mark.extensive
def test_f49_slow_clients_of_the_sockets(bed: Testbed, load: Loaded) -> None:
    url, user = bed.env["WS_URL"], fresh_user()
    token = token_of(bed, user)
    before = held(url)
    with listening(url, token) as well, load(writers=6, readers=2) as trial, ExitStack() as stack:
        for says in (get("/api/events", None, LARGE), b"", b"GET /api/events HTTP/1.1\r\n"):
            clients = stack.enter_context(SlowClients(url, 1_100, says, b" " if says else b""))
            with listening(url, token) as another:
                assert another.is_silent()
            eventually(lambda clients=clients: clients.are_all_ended, GONE_SECONDS)
            if says.endswith(b"{"):
                assert clients.statuses == {401: 1_100}
        assert well.is_silent()
        trial.calm()
    eventually(lambda: held(url) <= before, GONE_SECONDS)
