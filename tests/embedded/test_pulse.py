"""Programs that hang: a stack ends and restarts what does not answer, and leaves what was stopped
on purpose."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from embedded.ports import free_port
from embedded.stack import Stack
from embedded.supervision import pulse
from support.stack.embedded_stack import NAMED, wait_for

# Python 3.12 and later warn of any fork beside other threads; here threads ask the programs.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")

HANGS_AFTER = """
import http.server, pathlib, sys, time
port, flag = int(sys.argv[1]), pathlib.Path(sys.argv[2])
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        while flag.exists():
            time.sleep(0.05)
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", port), Answers).serve_forever()
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "ROUND_SECONDS", 0.3)
    monkeypatch.setattr(pulse, "ANSWER_SECONDS", 1.0)


@contextmanager
def asked(tmp_path: Path, events: list[str]) -> Iterator[tuple[Stack, Path]]:
    """A stack of one program, which hangs while the file is there."""
    flag, script = tmp_path / "hangs", tmp_path / "program.py"
    script.write_text(HANGS_AFTER)
    port = free_port()
    line = f"{sys.executable} {script} {port} {flag}"
    with Stack(tmp_path / "data", on_event=events.append) as stack:
        stack.start_servers(NAMED)
        health = {"web": f"http://127.0.0.1:{port}/healthz", "nobody": "http://127.0.0.1:1/"}
        stack.start_programs({"web": line}, lambda _: dict(os.environ), health=health)
        wait_for(lambda: pulse.answers(health["web"]))
        # It is held to it from its first answer to the one who asks.
        serve(stack, 1.0)
        yield stack, flag


def serve(stack: Stack, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        stack.poll()
        time.sleep(0.02)


def test_a_program_that_hangs_is_started_anew(tmp_path: Path) -> None:
    events: list[str] = []
    with asked(tmp_path, events) as (stack, flag):
        before = stack.pids()["web"]
        flag.touch()
        wait_for(lambda: "web" in stack.poll(), 30)
        flag.unlink()
        assert stack.pids()["web"] != before
        assert events.count("web does not answer and is killed") == 1


def test_a_program_that_was_stopped_on_purpose_is_left(tmp_path: Path) -> None:
    events: list[str] = []
    with asked(tmp_path, events) as (stack, _):
        before = stack.pids()["web"]
        os.kill(before, signal.SIGSTOP)
        # More rounds without an answer than one that hangs is given.
        serve(stack, (pulse.MISSES + 3) * (pulse.ROUND_SECONDS + pulse.ANSWER_SECONDS))
        os.kill(before, signal.SIGCONT)
        serve(stack, 2 * (pulse.ROUND_SECONDS + pulse.ANSWER_SECONDS))
        assert stack.pids()["web"] == before
        assert not [event for event in events if "does not answer" in event]


def test_a_program_is_asked_as_often_as_its_processes_need() -> None:
    one = [sys.executable, "-c", "import time; time.sleep(60)"]
    starts = "import subprocess, time\n{}\nprint(flush=True); time.sleep(60)"
    child = f"subprocess.Popen({one!r})"
    for children, asks in ((0, 1), (1, 1), (2, pulse.ASKS)):
        code = starts.format("\n".join([child] * children))
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
        ) as leader:
            assert leader.stdout is not None
            leader.stdout.readline()
            try:
                assert pulse._asks(leader.pid) == asks, children
            finally:
                os.killpg(leader.pid, signal.SIGKILL)
    assert pulse._asks(leader.pid) == pulse.ASKS, "who is gone says nothing"
