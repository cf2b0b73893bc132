"""What every page and file for browsers says: what it may do, and how long it may be kept."""

from flask import Response, request

YEAR_SECONDS = 31_536_000


def guarded(response: Response, policy: str, seconds: int = 0) -> Response:
    """The answer with its headers; asked for again each time, unless it is good for some while."""
    headers = response.headers
    headers["Content-Security-Policy"] = policy
    headers["Cache-Control"] = _kept(seconds)
    headers["Referrer-Policy"] = "no-referrer"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return response


def tagged(response: Response) -> Response:
    """The answer with a hash of it as its ETag, or 304 for who has it already."""
    response.add_etag()
    response.make_conditional(request)
    return response


def _kept(seconds: int) -> str:
    """What is good for a year has its build in its address, and never changes under it."""
    if not seconds:
        return "no-cache"
    return f"public, max-age={seconds}" + (", immutable" if seconds == YEAR_SECONDS else "")
