"""Logs: facts as fields, one JSON object a line, on stderr. Never content, tokens or passwords."""

import logging
import sys

import structlog
from structlog.types import EventDict, WrappedLogger

from storage.postgres.driver import headline


def _without_values(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Cuts what exceptions say before the first value that they quote; details are lines below."""
    told = line.get("exception")
    for one in told if isinstance(told, list) else ():
        # ClickHouse quotes with apostrophes.
        one["exc_value"] = headline(one["exc_value"].split(": '", 1)[0])
    return line


def configure(level: int = logging.INFO, also: structlog.types.Processor | None = None) -> None:
    """Makes this process log that way. Control characters leave escaped, as JSON does.

    `also` adds to each line of our own what only the layer above knows.
    """
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Without the values of local variables, which may be what somebody wrote.
        structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        ),
        _without_values,
    ]
    structlog.configure(
        processors=[*shared, *([also] if also else []), structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries log through the standard module; their lines get the same form.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
