"""A call, sent until it is answered."""

from typing import TypeVar

import msgspec

from threadkeep_client.calls.call import Call
from threadkeep_client.core.effects import Disconnected, Flow, Pause, Request, Response
from threadkeep_client.core.identity import Identity
from threadkeep_client.core.retries import Attempts, Retries
from threadkeep_client.errors import (
    Conflict,
    ConnectionLost,
    NotAuthenticated,
    NotFound,
    ThreadkeepError,
    UnreadableAnswer,
    error_of,
)

Answer = TypeVar("Answer")


def exchange(call: Call[Answer], identity: Identity, retries: Retries) -> Flow[Answer]:
    """Makes a call and returns its answer.

    What passes (429, 503, a lost connection) is tried again with the same key. A token that is
    refused is renewed once, where that is possible.

    Raises:
        ThreadkeepError: The server refused, or the attempts have all failed.
    """
    attempts = Attempts(retries)
    is_renewed = False
    while True:
        try:
            request = yield from identity.signed(_request(call))
            response: Response = yield request
            return _answer(call, response, is_repeat=attempts.is_repeat)
        except Disconnected as error:
            failure: ThreadkeepError = ConnectionLost(str(error))
        except Conflict:
            if call.if_made is None:
                raise
            return (yield from exchange(call.if_made, identity, retries))
        except NotAuthenticated:
            if is_renewed or not identity.forget():
                raise
            is_renewed = True
            continue
        except ThreadkeepError as error:
            failure = error
        yield Pause(attempts.pause_after(failure))


def _request(call: Call[Answer]) -> Request:
    content = {} if call.body is None else {"Content-Type": "application/json"}
    return Request(call.method, call.path, call.query, {**content, **call.headers}, call.body)


def _answer(call: Call[Answer], response: Response, *, is_repeat: bool) -> Answer:
    """The body as the call's answer. A repeated deletion that finds nothing has been done."""
    if response.status >= 300:
        error = error_of(response.status, response.headers, response.body)
        if not (isinstance(error, NotFound) and call.method == "DELETE" and is_repeat):
            raise error
    body = b"null" if call.answer is type(None) else response.body
    try:
        return msgspec.json.decode(body, type=call.answer)
    except msgspec.DecodeError as error:
        raise UnreadableAnswer(f"{call.method} {call.path}: {error}") from error
