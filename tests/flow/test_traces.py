"""One trace from the request to ClickHouse, and nothing in it of what anybody wrote."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from celery import Celery

import settings as configuration
from models import ids
from support.api import Api, ok
from support.processes import Launched, launched
from support.receiver import Receiver, receiving
from support.sockets import opened
from support.spans import Spans, facts
from support.users import fresh_user
from support.waiting import eventually
from webapp.auth import Tokens

ROUTE = "/api/threads/<thread_id>/messages"
THREAD = "a-thread-named-in-confidence"
SECRET = "whatsomebodywrote"
REQUEST, OTHER = ("0af7651916cd43dd8448eb211c80319c", "4bf92f3577b34da6a3ce929d0e0e4736")
SPAN = "b7ad6b7169203331"


@pytest.fixture(scope="module")
def collector() -> Iterator[tuple[Receiver, ExitStack]]:
    """Somebody who takes traces, and the way to end it before its time."""
    with ExitStack() as ending:
        yield ending.enter_context(receiving()), ending


@pytest.fixture(scope="module")
def spans(collector: tuple[Receiver, ExitStack]) -> Spans:
    return Spans(collector[0])


@pytest.fixture(scope="module")
def traced(
    spans: Spans,
    collector: tuple[Receiver, ExitStack],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Launched]:
    """A stack whose traces are wanted."""
    options = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector[0].url.removesuffix("/hook"),
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        # A worker's own look would now and then be there before the task.
        "THREADKEEP_DRAIN_LOOK_SECONDS": "3600",
        "THREADKEEP_SHIP_LOOK_SECONDS": "0.5",
    }
    with launched(tmp_path_factory.mktemp("traced"), **options) as stack:
        yield stack


@pytest.fixture(scope="module")
def user_token(traced: Launched) -> str:
    tokens = Tokens(configuration.load(traced.env))
    return tokens.issue(fresh_user(), is_admin=False, ttl_seconds=600)


@pytest.fixture
def traced_api(traced: Launched, user_token: str) -> Api:
    return Api(traced.url, user_token)


def request_span(spans: Spans, reply: Any) -> Any:
    """The span of a request that was answered."""
    return eventually(lambda: spans.of_request(reply.headers["X-Request-ID"]))


def whole_trace(api: Api, spans: Spans) -> dict[str, Any]:
    """A message's trace as far as ClickHouse. A shipment that comes between a commit and the end
    of its drain carries the row and does not know it: then the next message shows it."""
    reply = api.post(f"/api/threads/{THREAD}/messages", json={"message": SECRET})
    ok(reply)
    trace_id = request_span(spans, reply).trace_id

    def whole() -> dict[str, Any]:
        found = spans.in_trace(trace_id)
        assert {"look replicate", "clickhouse INSERT"} <= set(found), list(found)
        return found

    return eventually(whole, 2)


def test_a_message_is_one_trace_from_the_request_to_clickhouse(
    traced_api: Api, spans: Spans
) -> None:
    found = eventually(lambda: whole_trace(traced_api, spans), 30)
    request = found[f"POST {ROUTE}"]
    assert facts(request)["http.route"] == ROUTE
    assert facts(request)["http.response.status_code"] == 200
    assert not request.parent_span_id
    assert found["redis script append"].parent_span_id == request.span_id
    drain = found["persist.drain_shard"]
    assert drain.parent_span_id == request.span_id
    asked = [facts(one) for one in spans.all() if one.parent_span_id == drain.span_id]
    shapes = [one["db.query.text"] for one in asked if "db.query.text" in one]
    assert any("json_to_recordset" in str(shape) for shape in shapes), shapes
    shipment = found["look replicate"]
    assert shipment.parent_span_id == drain.span_id
    assert found["clickhouse INSERT"].parent_span_id == shipment.span_id
    assert facts(found["clickhouse INSERT"])["db.query.text"].startswith("INSERT INTO messages")


def test_nothing_leaves_of_what_is_written_or_asked_for(
    traced_api: Api, spans: Spans, user_token: str
) -> None:
    message = traced_api.send(THREAD, SECRET, metadata={"note": "told to nobody"})
    replies = [
        traced_api.get(f"/api/threads/{THREAD}/messages", params={"cursor": message["id"]}),
        traced_api.get("/api/threads"),
        traced_api.get(f"/api/messages/{message['id']}"),
        traced_api.get(f"/api/threads/{THREAD}"),
        traced_api.get("/api/search", params={"q": SECRET}),
        traced_api.get("/api/analytics/summary"),
        traced_api.patch(f"/api/messages/{message['id']}", json={"message": f"{SECRET} again"}),
        traced_api.delete(f"/api/messages/{message['id']}"),
        traced_api.get(f"/{SECRET}?{SECRET}={SECRET}"),
        traced_api.post("/api/messages:batch", data=SECRET),
    ]
    for reply in replies:
        request_span(spans, reply)
    eventually(lambda: whole_trace(traced_api, spans), 30)
    tokens = user_token.split(".")
    for kept in (SECRET, THREAD, message["id"], message["user_id"], "told to nobody", *tokens[1:]):
        for text in (kept, kept.encode().hex(), kept.upper()):
            assert text.encode() not in spans.sent, kept
    assert request_span(spans, replies[-2]).name == "GET none"


def test_a_request_goes_on_with_the_trace_that_it_is_part_of(traced_api: Api, spans: Spans) -> None:
    headers = {"traceparent": f"00-{REQUEST}-{SPAN}-01"}
    found = request_span(spans, traced_api.get("/api/threads", headers=headers))
    assert (found.trace_id.hex(), found.parent_span_id.hex()) == (REQUEST, SPAN)
    wrong = {"traceparent": "nonsense"}
    assert not request_span(spans, traced_api.get("/api/threads", headers=wrong)).parent_span_id


def test_a_drain_names_every_request_that_it_was_sent_for(traced: Launched, spans: Spans) -> None:
    with Celery(broker=traced.env["CELERY_BROKER_URL"]) as sender:
        sender.conf.broker_transport_options = {"global_keyprefix": "celery:"}
        sent_for = [f"00-{trace}-{SPAN}-01" for trace in (REQUEST, OTHER)]
        headers = {"traceparents": [*sent_for, "nonsense"]}
        sender.send_task("persist.drain_shard", (0,), queue="persist", headers=headers)
    drain = eventually(lambda: spans.in_trace(bytes.fromhex(REQUEST)).get("persist.drain_shard"))
    assert drain.parent_span_id.hex() == SPAN
    assert [link.trace_id.hex() for link in drain.links] == [OTHER]


def test_a_message_of_a_socket_has_a_trace_of_its_own(
    traced: Launched, spans: Spans, user_token: str
) -> None:
    with opened(traced.env["WS_URL"], user_token) as socket:
        socket.hear("authenticated")
        socket.say("send_message", thread_id=f"{THREAD}-2", message=SECRET)

        def told() -> dict[str, Any]:
            (sent,) = [one for one in spans.all() if one.name == "socket send_message"] or [None]
            assert sent is not None, "no span of it yet"
            found = spans.in_trace(sent.trace_id)
            assert {"redis script append", "persist.drain_shard"} <= set(found), list(found)
            return found

        found = eventually(told)
    assert found["persist.drain_shard"].parent_span_id == found["socket send_message"].span_id
    assert SECRET.encode() not in spans.sent


def test_without_its_collector_everything_goes_on(
    traced_api: Api, collector: tuple[Receiver, ExitStack]
) -> None:
    """And the stack stops in time, which its own end proves."""
    collector[1].close()
    message = traced_api.send(THREAD, SECRET)
    assert ids.is_id(message["id"])
    eventually(lambda: traced_api.receipt(message["id"])["state"] != "acknowledged")
