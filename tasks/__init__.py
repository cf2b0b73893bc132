"""Celery's half: the queues, the tasks, and the programs that run them."""

# First, as it loads structlog without what we do not use of it.
import storage  # noqa: F401
