"""Flower's command, behind a password; who comes with a wrong one is logged."""

import logging
import os
import re
import sys
from typing import Any

from flower.command import flower

import settings
from storage.telemetry.refusals import RefusalLog
from tasks.logs import configure

VARIABLE = "FLOWER_BASIC_AUTH"
ACCESS = "tornado.access"
_CALLED = re.compile(r"\S+ \S+ \((?P<address>.*)\)")
"""How Tornado writes a request: its method, its path and the address that it is from."""
REASONS = {401: "no_password", 403: "forbidden"}


def command() -> Any:
    """Flower's command. Whoever reaches Flower may revoke tasks and stop workers, so it does not
    start without a password."""
    try:
        given = settings.with_files(os.environ, {VARIABLE}).get(VARIABLE, "")
    except settings.SettingsError as error:
        sys.exit(f"threadkeep: {error}")
    user, _, password = given.partition(":")
    if not user or not password:
        sys.exit(
            "threadkeep: refused: FLOWER_BASIC_AUTH is not set: anybody could stop workers through"
            " Flower; set it to user:password"
        )
    # Flower reads the variable itself, and knows nothing of files.
    os.environ[VARIABLE] = given
    os.environ.pop(f"{VARIABLE}_FILE", None)
    configure(logging.WARNING)
    logging.getLogger(ACCESS).addHandler(RefusalHandler(RefusalLog()))
    return flower


class RefusalHandler(logging.Handler):
    """Gets a line for each request of Flower, which itself keeps them from its log."""

    def __init__(self, refusals: RefusalLog) -> None:
        super().__init__(logging.WARNING)
        self._refusals = refusals

    def emit(self, record: logging.LogRecord) -> None:
        """Notes a request that was refused. Raises nothing."""
        status, request, *_ = record.args if isinstance(record.args, tuple) else (None, "")
        reason = REASONS.get(status) if isinstance(status, int) else None
        if reason:
            called = _CALLED.fullmatch(str(request))
            address = called["address"] if called else ""
            self._refusals.note("login" if status == 401 else "permission", reason, address, None)
