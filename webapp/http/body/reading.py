"""A body of JSON as a typed value."""

from typing import TypeVar

import msgspec
from flask import request

from webapp.http.body.wrong_fields import body_error, is_json, no_json
from webapp.http.errors import BadRequest, UnsupportedCoding

T = TypeVar("T")


def body_as(shape: type[T]) -> T:
    """The body as a typed value. Raises `BadRequest`."""
    return decode(_body(), shape, sent_as=request.environ.get("CONTENT_TYPE", ""))


def optional_body_as(shape: type[T]) -> T:
    """The body as a typed value, that of an empty object where there is none. Raises
    `BadRequest`."""
    return decode(_body() or b"{}", shape, sent_as=request.environ.get("CONTENT_TYPE", ""))


def _body() -> bytes:
    coding = request.environ.get("HTTP_CONTENT_ENCODING", "identity")
    if coding.lower() not in {"", "identity"}:
        detail = f"a body with Content-Encoding {coding[:64]!r} is not taken; send it as it is"
        raise UnsupportedCoding(detail)
    return request.get_data(cache=False)


def decode(data: bytes, shape: type[T], *, at: str = "$", sent_as: str = "") -> T:
    """JSON as a typed value. `at` is where in the body it stands, `sent_as` its media type.

    Raises `BadRequest`, which says what is wrong where.
    """
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.ValidationError as error:
        raise body_error(data, shape, error, at) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if is_json(data):
            # Only a laxer parser takes it: it has lone surrogates or numbers that are not finite.
            detail = "the body holds a lone surrogate or a number that is not finite"
            raise BadRequest(422, "text_unkeepable", detail) from None
        raise BadRequest(400, "malformed_json", no_json(data, str(error), sent_as)) from None
    except RecursionError:
        raise BadRequest(422, "invalid_body", "the body is nested too deeply") from None
