"""The security and cache headers of pages and files for browsers."""

from flask import Response, request

from webapp.http.context import web

YEAR_SECONDS = 31_536_000


def guarded(response: Response, policy: str, seconds: int = 0) -> Response:
    """The answer with its headers. Browsers keep it for `seconds`; with 0 they ask each time."""
    headers = response.headers
    headers["Content-Security-Policy"] = policy
    headers["Cache-Control"] = _cache_control(seconds)
    headers["Referrer-Policy"] = "no-referrer"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    if web().settings.api_url.startswith("https://"):
        # Whoever was here once does not come in clear text again.
        headers["Strict-Transport-Security"] = f"max-age={YEAR_SECONDS}"
    return response


def tagged(response: Response) -> Response:
    """The answer with a hash of it as its ETag, or 304 if the caller has it already."""
    response.add_etag()
    response.make_conditional(request)
    return response


def _cache_control(seconds: int) -> str:
    """A file that is kept for a year has its build in its address, so it never changes."""
    if not seconds:
        return "no-cache"
    return f"public, max-age={seconds}" + (", immutable" if seconds == YEAR_SECONDS else "")
