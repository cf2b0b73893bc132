"""The three tiers, and what a request does with them."""

from storage.lean_imports import without

with without("rich"):
    # It would format tracebacks for terminals with it; our lines are JSON.
    import structlog  # noqa: F401
