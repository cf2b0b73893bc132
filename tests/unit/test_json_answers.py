"""JSON answers say over the wire what the framework's own answers would."""

from typing import Any

import pytest
from flask import Flask, Response

from webapp.http.conditions import unless_known
from webapp.http.json_answer import JsonAnswer

BODY = '{"text":"äöü"}'.encode()
ETAG = {"ETag": '"7"'}


def reply(kind: type[Response], method: str, status: int, headers: dict[str, str]) -> Any:
    app = Flask("answers")

    @app.route("/", methods=["GET", "POST"])
    def view() -> Response:
        if kind is JsonAnswer:
            return unless_known(JsonAnswer(BODY, status, ETAG))
        given = Response(BODY, status=status, headers=ETAG, mimetype="application/json")
        return unless_known(given)

    return app.test_client().open("/", method=method, headers=headers)


@pytest.mark.parametrize("headers", [{}, {"If-None-Match": '"7"'}, {"If-None-Match": '"8"'}])
@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_a_json_answer_is_any_other_answer(
    method: str, status: int, headers: dict[str, str]
) -> None:
    own = reply(JsonAnswer, method, status, headers)
    usual = reply(Response, method, status, headers)
    assert (own.status, own.data) == (usual.status, usual.data)
    for answer in (own, usual):
        if "Date" in answer.headers:
            # One may be made a second after the other.
            answer.headers["Date"] = "now"
    assert sorted(own.headers) == sorted(usual.headers)
