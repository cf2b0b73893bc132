"""What a page of another origin may read of an answer."""

from collections.abc import Iterable

SHOWN_ANYWAY = {"cache-control", "content-length", "content-type", "last-modified"}
"""Headers that every page may read."""
FOR_BROWSERS = {
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "connection",
    "content-security-policy",
    "cross-origin-opener-policy",
    "referrer-policy",
    "strict-transport-security",
    "vary",
    "x-content-type-options",
}
"""Headers that are no page's business."""


def cors_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Those that tell a browser what a page may do."""
    named = {name.lower(): value for name, value in headers}
    return {name: value for name, value in named.items() if name.startswith("access-control-")}
