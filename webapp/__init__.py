"""The HTTP API, the console, the sockets and the command line."""

# First, as it loads structlog without what we do not use of it.
import storage  # noqa: F401
