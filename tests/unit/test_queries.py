"""Times and cursors of queries: what cannot be meant is refused, and nothing of it is a fault of
this side. No server answers here, so 503 is past the door."""

import base64
from collections.abc import Iterator

import msgspec
import pytest
from flask.testing import FlaskClient

import settings
from models import ids
from support.stack.environment import COMPLETE
from webapp.app import create_app
from webapp.http.auth import Tokens
from webapp.http.requests import Asked

OWN = settings.load(COMPLETE)
TOKEN = Tokens(OWN).issue("somebody", is_admin=True, ttl_seconds=600)
TIMED = ("/api/admin/audit", "/api/analytics/summary", "/api/search?q=x")
PAST_THE_DOOR = 503


@pytest.fixture
def client() -> Iterator[FlaskClient]:
    with create_app(OWN).test_client() as client:
        yield client


def status(client: FlaskClient, path: str, **query: str) -> int:
    address, _, own = path.partition("?")
    given = dict(pair.split("=") for pair in own.split("&") if pair) | query
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return client.get(address, query_string=given, headers=headers).status_code


@pytest.mark.parametrize("path", TIMED)
@pytest.mark.parametrize(
    "time",
    [
        "2026-01-02T03:04:05Z",
        "2026-01-02t03:04:05z",
        "2026-01-02T03:04:05.123456+02:00",
        "2026-01-02T03:04:05 02:00",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
    ],
)
def test_a_time_of_rfc_3339_is_taken_however_far_away(
    client: FlaskClient, path: str, time: str
) -> None:
    assert status(client, path, since=time) == PAST_THE_DOOR


@pytest.mark.parametrize("path", TIMED)
@pytest.mark.parametrize("time", ["", "now", "2026-01-02", "2026-01-02T03:04:05", "1e400", "\0"])
def test_any_other_time_is_refused(client: FlaskClient, path: str, time: str) -> None:
    assert status(client, path, since=time) == 422


def packed(*values: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(values)).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        packed("0001-01-01T00:00:00+23:59", "t"),
        packed("9999-12-31T23:59:59-23:59", "t"),
        packed("2026-01-01T00:00:00Z", "a/b"),
        packed("2026-01-01T00:00:00", "t"),
        packed("2026-01-01T00:00:00Z"),
        "é",
        "x",
    ],
)
def test_a_cursor_that_no_list_of_threads_gave_is_refused(client: FlaskClient, cursor: str) -> None:
    assert status(client, "/api/threads", cursor=cursor) == 422


@pytest.mark.parametrize("cursor", [packed("u", "a\0b"), packed("\0", "t"), packed("u", 1), "x"])
def test_a_cursor_that_no_list_of_policies_gave_is_refused(
    client: FlaskClient, cursor: str
) -> None:
    assert status(client, "/api/admin/retention", cursor=cursor) == 422


@pytest.mark.parametrize("path", ["/api/search?q=x", "/api/admin/audit"])
def test_a_cursor_is_an_id_in_whichever_case(client: FlaskClient, path: str) -> None:
    cursor = ids.mint(1, 2)
    assert status(client, path, cursor=cursor.upper()) == PAST_THE_DOOR
    assert status(client, path, cursor=cursor[:-1]) == 422


def test_a_time_before_the_first_moment_is_the_first() -> None:
    assert ids.in_utc("0001-01-01T00:00:00+23:59") == "1970-01-01T00:00:00.000000Z"
    assert ids.in_utc("9999-12-31t23:59:59.5-23:59") == "9999-12-31T23:59:59.999999Z"
    assert ids.in_utc("2026-01-02t03:04:05.1+01:00") == "2026-01-02T02:04:05.100000Z"
    with pytest.raises(ValueError, match="zone"):
        ids.in_utc("2026-01-02T03:04:05")


def test_a_link_to_the_next_page_holds_the_rest_of_the_query_and_nothing_else() -> None:
    query = [("q", 'caf\u00e9 & "tea"'), ("cursor", "old"), ("role", "x\r\nX-Other: 1>")]
    (link,) = Asked("/api/search", query).link_to("new==").values()
    assert link == (
        "</api/search?q=caf%C3%A9+%26+%22tea%22&role=x%0D%0AX-Other%3A+1%3E&cursor=new%3D%3D>;"
        ' rel="next"'
    )
    assert Asked("/api/search", query).link_to(None) == {}
