"""Logs: facts as fields, one JSON object a line, and never what somebody wrote."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from flask import g

import settings
from storage.errors import headline
from support.stack.environment import COMPLETE
from tasks.logs import configure
from webapp.app import create_app
from webapp.http.log_lines import about_request
from webapp.identity.caller import Caller

CONTENT = "what somebody wrote in confidence"


@pytest.fixture
def fresh_logs() -> Iterator[None]:
    """Logging as a new process has it, and as it was before when the test is over."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.mark.usefixtures("fresh_logs")
def test_a_line_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    structlog.get_logger("fresh").warning("archived", rows=3, name="two\nlines\x1b[31m")
    logging.getLogger("somebody.else").error("%s\n", "not of ours")
    own, foreign = lines(capsys)
    assert (own["event"], own["rows"], own["level"]) == ("archived", 3, "warning")
    assert own["name"] == "two\nlines\x1b[31m"
    assert foreign["event"] == "not of ours\n"
    assert own["timestamp"]
    assert foreign["timestamp"]


@pytest.mark.usefixtures("fresh_logs")
def test_a_traceback_holds_no_content(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    try:
        _fail(CONTENT)
    except ValueError:
        structlog.get_logger("fresh").exception("unexpected")
    written = capsys.readouterr().err
    assert "_fail" in written
    assert CONTENT not in written


@pytest.mark.usefixtures("fresh_logs")
def test_a_foreign_traceback_holds_no_content(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    try:
        _fail(CONTENT)
    except ValueError:
        logging.getLogger("somebody.else").exception("unexpected")
    written = capsys.readouterr().err
    assert "_fail" in written
    assert CONTENT not in written


@pytest.mark.usefixtures("fresh_logs")
@pytest.mark.parametrize(
    "said",
    [
        f'invalid input syntax for type uuid: "{CONTENT}"',
        f'invalid input syntax for type uuid: "two\n{CONTENT}"',
        f'value "{CONTENT}" is out of range for type integer',
        f"null value\nDETAIL:  Failing row contains ({CONTENT}).",
        f"Code: 27. DB::Exception: Cannot parse input: expected ',' before: '{CONTENT}'",
    ],
)
def test_what_a_server_quotes_of_a_row_is_in_no_traceback(
    capsys: pytest.CaptureFixture[str], said: str
) -> None:
    configure()
    for log in (structlog.get_logger("fresh"), logging.getLogger("somebody.else")):
        try:
            raise ValueError(said)
        except ValueError:
            log.exception("unexpected")
    written = capsys.readouterr().err
    assert said.split(" ")[0] in written
    assert CONTENT not in written


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (
            'null value in column "role" of relation "messages" violates not-null constraint',
            'null value in column "role" of relation "messages" violates not-null constraint',
        ),
        ('invalid input syntax for type uuid: "x"', "invalid input syntax for type uuid"),
        ('value "x" is out of range for type integer', "value"),
        ('invalid byte sequence for encoding "UTF8": 0x00', None),
        ('could not extend file "base/5/16384": No space left on device', None),
    ],
)
def test_a_headline_has_names_and_no_values(said: str, kept: str | None) -> None:
    assert headline(said) == (said if kept is None else kept)


def _fail(content: str) -> None:
    """An error that has content at hand, as every frame between door and tier has."""
    raise ValueError(f"{len(content)} characters")


@pytest.mark.usefixtures("fresh_logs")
def test_a_line_of_a_request_says_whose_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    configure(also=about_request)
    app = create_app(settings.load(COMPLETE))
    log = structlog.get_logger("fresh")
    with app.test_request_context("/api/threads/t-1", headers={"X-Request-ID": "abc"}):
        g.request_id, g.caller = "abc", Caller("alice", is_admin=False)
        log.warning("slow_request", status=503)
    log.warning("outside")
    inside, outside = lines(capsys)
    assert (inside["request_id"], inside["user_id"], inside["status"]) == ("abc", "alice", 503)
    # The template: a path may hold what somebody chose as a name.
    assert inside["route"] == "/api/threads/<thread_id>"
    assert not {"request_id", "user_id", "route"} & outside.keys()
