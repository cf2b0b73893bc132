"""Logs: facts as fields, one JSON object a line, on stderr. Never content, tokens or passwords."""

import logging
import sys

import structlog
from structlog.types import EventDict, WrappedLogger

from storage.errors import headline


def _without_values(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Cuts the texts of exceptions before the first value that they quote."""
    given = line.get("exception")
    for one in given if isinstance(given, list) else ():
        # ClickHouse quotes with apostrophes.
        one["exc_value"] = headline(one["exc_value"].split(": '", 1)[0])
    return line


def configure(level: int = logging.INFO, also: structlog.types.Processor | None = None) -> None:
    """Has this process log JSON lines on stderr; JSON escapes control characters.

    `also` is a processor that adds fields known only to the layer above.
    """
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Without local variables, which may hold users' content.
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
