"""Which pages of other origins may call, and how browsers are told (CORS, the Fetch standard).

A caller is known by a header and never by a cookie, so no answer allows credentials.
"""

import re
from collections.abc import Iterable, Iterator

from settings import Settings

READ = (
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "Last-Event-ID",
    "Threadkeep-User",
    "Traceparent",
    "X-Request-ID",
)
"""The headers of requests that a page may set."""
IGNORED = (
    "OpenAI-Beta",
    "OpenAI-Organization",
    "OpenAI-Project",
    "X-Stainless-Arch",
    "X-Stainless-Custom-Poll-Interval",
    "X-Stainless-Helper-Method",
    "X-Stainless-Lang",
    "X-Stainless-OS",
    "X-Stainless-Package-Version",
    "X-Stainless-Poll-Helper",
    "X-Stainless-Retry-Count",
    "X-Stainless-Runtime",
    "X-Stainless-Runtime-Version",
    "X-Stainless-Timeout",
)
"""What OpenAI's clients say of themselves. Nobody reads it, and a page that uses one may say it."""
SHOWN = (
    "Accept-Encoding",
    "Allow",
    "Date",
    "ETag",
    "Idempotency-Replayed",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-ID",
)
"""The headers of answers that a page may read, beside those that browsers always show."""
KEPT_SECONDS = 7_200
"""How long a browser keeps the answer to a preflight; Chromium keeps none for longer."""

VARY = ("Vary", "Origin")
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE",
    "Access-Control-Allow-Headers": ", ".join(READ + IGNORED),
    "Access-Control-Max-Age": str(KEPT_SECONDS),
}
_EXPOSE = ("Access-Control-Expose-Headers", ", ".join(SHOWN))

_ADDRESS = re.compile(r"(https?)://([^/?#\s]+)")
_STANDARD_PORTS = {"http": ":80", "https": ":443"}


class Origins:
    """The origins whose pages may call: that of `API_URL`, and those in `THREADKEEP_ORIGINS`."""

    def __init__(self, settings: Settings) -> None:
        self._named = frozenset(_origins((settings.api_url, *settings.origins.split(","))))

    def allow(self, origin: str) -> bool:
        """Whether pages of this origin may call."""
        host, _, port = origin.rpartition(":")
        is_port = port.isascii() and port.isdecimal()
        any_port = f"{host if is_port else origin}:*"
        return origin in self._named or any_port in self._named

    def headers(self, origin: str) -> list[tuple[str, str]]:
        """What any answer to a page of this origin has: leave to read it, if it may call."""
        if not self.allow(origin):
            return [VARY]
        return [VARY, ("Access-Control-Allow-Origin", origin), _EXPOSE]


def _origins(addresses: Iterable[str]) -> Iterator[str]:
    """The origins of addresses, as browsers write them."""
    for address in addresses:
        found = _ADDRESS.match(address.strip().lower())
        if found is not None:
            yield f"{found[1]}://{found[2].removesuffix(_STANDARD_PORTS[found[1]])}"
