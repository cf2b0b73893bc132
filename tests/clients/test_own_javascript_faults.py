"""Our JavaScript client while parts of a stack are killed: nothing doubled, nothing lost."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from subprocess import Popen
from typing import Any

import pytest

from selftest.bed.stack import REALTIME, Testbed
from support.own_clients.breaking import WAIT_SECONDS, check_all, kill, more, writing
from support.own_clients.javascript import SOCKETS, end, has_option, started
from support.waiting import eventually
from threadkeep_client import NotFound, Threadkeep

Node = Callable[..., Any]
LONG = pytest.param(5, marks=pytest.mark.extensive)

pytestmark = pytest.mark.usefixtures("javascript_client")


@pytest.fixture
def node(bed: Testbed, bed_token: str) -> Node:
    """Runs a program of clients/js/test/programs: `with node("post") as process`."""
    sockets = [SOCKETS] if has_option(SOCKETS) else []

    @contextmanager
    def start(name: str, *arguments: str) -> Iterator[Popen[str]]:
        command = ("node", *sockets, f"test/programs/{name}.js", *arguments)
        with started(*command, API_URL=bed.url, API_TOKEN=bed_token) as process:
            try:
                yield process
            finally:
                end(process)

    return start


def result(process: "Popen[str]") -> Any:
    """What a program prints at its end, which follows that of its input."""
    said, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0, said
    return json.loads(said)


def pairs(found: list[list[str]]) -> list[tuple[str, str]]:
    return [(text, message_id) for text, message_id in found]


@pytest.mark.parametrize("times", [1, LONG])
def test_posts_survive_a_killed_redis_and_then_a_killed_web(
    bed: Testbed, node: Node, patient: Threadkeep, times: int
) -> None:
    with node("post") as process:
        for name in ("redis-data", "web") * times:
            eventually(lambda: has_more(patient), WAIT_SECONDS)
            kill(bed, name)
        eventually(lambda: has_more(patient), WAIT_SECONDS)
        sent = pairs(result(process))
    assert sent
    check_all(patient, sent)


def has_more(patient: Threadkeep) -> bool:
    """Whether posts come in just now."""
    with suppress(NotFound):
        known = patient.list_messages("t0", limit=1).items
        return patient.list_messages("t0", limit=1).items != known
    return False


@pytest.mark.parametrize("times", [1, LONG])
def test_events_continue_after_a_killed_realtime_process(
    bed: Testbed, node: Node, patient: Threadkeep, times: int
) -> None:
    transports = ("stream", "socket") if has_option(SOCKETS) else ("stream",)
    with ExitStack() as listeners:
        listening = [listeners.enter_context(node("listen", one)) for one in transports]
        for process in listening:
            assert process.stdout.readline() == "listening\n"
        # No more than the server keeps for who was away.
        with writing(patient, pause_seconds=0.1) as sent:
            for _ in range(times):
                more(sent)
                kill(bed, REALTIME)
            more(sent)
        patient.post_message("last", "end")
        wanted = sorted(one for one in sent if one[0].startswith(("t0 ", "t1 ")))
        for process in listening:
            assert sorted(pairs(result(process))) == wanted


def test_a_message_in_pieces_survives_a_killed_web(
    bed: Testbed, node: Node, patient: Threadkeep
) -> None:
    with node("stream") as process:
        message_id = process.stdout.readline().strip()
        kill(bed, "web")
        said, _ = process.communicate(timeout=WAIT_SECONDS)
        assert process.returncode == 0, said
    read = patient.get_message(message_id)
    assert read.content == "".join(f"piece {n} ☀ " for n in range(40))
    assert read.stream is None
