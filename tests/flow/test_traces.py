"""One trace from the request to ClickHouse, without any content of messages."""

import secrets
from typing import Any

import pytest
from celery import Celery

from models import ids
from support.calls.api import Api, ok
from support.calls.sockets import opened
from support.data.spans import Spans, facts
from support.faults.drilled import Drilled
from support.waiting import eventually

ROUTE = "/api/threads/<thread_id>/messages"
THREAD = "a-thread-named-in-confidence"
SECRET = "whatsomebodywrote"
REQUEST, OTHER = ("0af7651916cd43dd8448eb211c80319c", "4bf92f3577b34da6a3ce929d0e0e4736")
SPAN = "b7ad6b7169203331"
CARRIED = {"persist.drain_shard", "postgresql WITH", "look replicate", "clickhouse INSERT"}
"""What is in the trace of a message that its own task carried."""


@pytest.fixture(scope="module")
def spans(drilled: Drilled) -> Spans:
    """The spans that the stack's collector received, with all servers up."""
    drilled.wait_until_well()
    return Spans(drilled.collector)


@pytest.fixture
def traced_api(drilled: Drilled) -> Api:
    return drilled.user


def request_span(spans: Spans, reply: Any) -> Any:
    """The span of a request that was answered."""
    return eventually(lambda: spans.of_request(reply.headers["X-Request-ID"]))


def whole_trace(api: Api, spans: Spans) -> dict[str, Any]:
    """A message's trace up to ClickHouse. A worker's poll may carry the message before the task, or
    ship it before the task ends: then the next message is tried."""
    # Its slot was woken for no other message lately.
    thread = f"{THREAD}-{secrets.token_hex(4)}"
    reply = api.post(f"/api/threads/{thread}/messages", json={"message": SECRET})
    ok(reply)
    trace_id = request_span(spans, reply).trace_id

    def whole() -> dict[str, Any]:
        found = spans.in_trace(trace_id)
        assert set(found) >= CARRIED, sorted(found)
        drain = spans.under(found["persist.drain_shard"])
        shapes = [str(facts(one).get("db.query.text")) for one in drain]
        assert any("json_to_recordset" in shape for shape in shapes), shapes
        return found

    return eventually(whole, 1)


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
    shipment = found["look replicate"]
    assert shipment.parent_span_id == drain.span_id
    assert found["clickhouse INSERT"].parent_span_id == shipment.span_id
    assert facts(found["clickhouse INSERT"])["db.query.text"].startswith("INSERT INTO messages")


def test_a_drain_of_a_poll_has_a_trace_of_its_own(traced_api: Api, spans: Spans) -> None:
    def polled() -> list[Any]:
        """Of several messages of a slot at most one has a task."""
        traced_api.send(THREAD, SECRET)
        return [one for one in spans.all() if one.name == "look persist"]

    assert not any(one.parent_span_id for one in eventually(polled))


def test_nothing_leaves_of_what_is_written_or_asked_for(
    traced_api: Api, spans: Spans, drilled: Drilled
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
    tokens = drilled.token.split(".")
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


def test_a_drain_names_every_request_that_it_was_sent_for(drilled: Drilled, spans: Spans) -> None:
    with Celery(broker=drilled.stack.env["CELERY_BROKER_URL"]) as sender:
        sender.conf.broker_transport_options = {"global_keyprefix": "celery:"}
        sent_for = [f"00-{trace}-{SPAN}-01" for trace in (REQUEST, OTHER)]
        headers = {"traceparents": [*sent_for, "nonsense"]}
        sender.send_task("persist.drain_shard", (0,), queue="persist", headers=headers)
    drain = eventually(lambda: spans.in_trace(bytes.fromhex(REQUEST)).get("persist.drain_shard"))
    assert drain.parent_span_id.hex() == SPAN
    assert [link.trace_id.hex() for link in drain.links] == [OTHER]


def test_a_message_of_a_socket_has_a_trace_of_its_own(drilled: Drilled, spans: Spans) -> None:
    name = "socket send_message"
    with opened(drilled.stack.env["WS_URL"], drilled.token) as socket:
        socket.receive("authenticated")

        def sent() -> dict[str, Any]:
            """What follows from one of those that were sent. A slot that is to be drained anyway
            gets no task of its own."""
            socket.send(f"{THREAD}-{secrets.token_hex(4)}", SECRET)
            began = [one for one in spans.all() if one.name == name]
            traces = [spans.in_trace(one.trace_id) for one in began]
            return next((one for one in traces if "persist.drain_shard" in one), {})

        found = eventually(sent)
    assert not found[name].parent_span_id
    assert found["redis script append"].parent_span_id == found[name].span_id
    assert found["persist.drain_shard"].parent_span_id == found[name].span_id
    assert SECRET.encode() not in spans.sent


def test_without_its_collector_everything_goes_on(drilled: Drilled) -> None:
    """And the stack stops in time, which its own end proves."""
    drilled.collector.end()
    message = drilled.user.send(THREAD, SECRET)
    assert ids.is_id(message["id"])
    eventually(lambda: drilled.user.receipt(message["id"])["state"] != "acknowledged")
