"""The route that erases a user."""

import threading

import structlog
from flask import Blueprint, Response, request

from jobs.erase.receipt import UserErasure
from jobs.erase.users import UserErasureService
from models.message import check_user_id
from storage.errors import TierError, TierUnavailable
from webapp.http.context import caller, web
from webapp.http.operation import Operation
from webapp.http.requests import answer, latency_ms

log = structlog.get_logger(__name__)

blueprint = Blueprint("users", __name__, url_prefix="/users")

ANSWER_SECONDS = 3.5
"""An erasure that takes longer continues after the answer."""


@Operation(
    "Erase a user from every tier, or continue that",
    {200: UserErasure, 202: UserErasure},
    errors=(409,),
)
@blueprint.delete("/<path:user_id>")
def erase_user(user_id: str) -> Response:
    """Erases a user: 200 with the receipt when it is done, before that 202 with the receipt so far.

    A repeated call gives the newest receipt, and erases what was written since.
    """
    return _erase(user_id)


@Operation(
    "Erase a user whose id no path can hold, as `..`",
    {200: UserErasure, 202: UserErasure},
    query=("user_id",),
    required=("user_id",),
    errors=(409,),
)
@blueprint.delete("")
def erase_user_of_any_name() -> Response:
    """The same for an id that a path cannot hold, as `..` or one that begins with a slash."""
    return _erase(request.args.get("user_id", ""))


def _erase(user_id: str) -> Response:
    check_user_id(user_id)
    work = _Erasing(web().services.jobs.user_erasure, user_id, caller().actor)
    work.start()
    work.join(max(0.0, ANSWER_SECONDS - latency_ms() / 1000))
    found = work.found()
    return answer(found, 200 if found.state == "done" else 202)


class _Erasing(threading.Thread):
    """Runs as long as it takes, beyond the answer; a worker continues it if this process ends."""

    def __init__(self, service: UserErasureService, user_id: str, by: str) -> None:
        super().__init__(name="erase-user", daemon=True)
        self._service = service
        self._user_id = user_id
        self._by = by
        self._newest: UserErasure | None = None
        self._error: Exception | None = None

    def found(self) -> UserErasure:
        """The newest receipt. Raises the error that kept the erasure from beginning."""
        if self._newest is not None:
            return self._newest
        raise self._error or TierUnavailable("postgresql", "it did not answer in time")

    def run(self) -> None:
        try:
            self._newest = self._service.request(self._user_id, by=self._by)
            if self._newest.state == "pending":
                done = self._service.carry_on(self._user_id, self._note)
                self._newest = done or self._service.receipt(self._user_id)
        except TierError as error:
            log.warning("user_erasure_waits", tier=error.tier, reason=error.reason)
            self._error = error
        except Exception as error:
            # The caller is told if it did not begin.
            if self._newest is not None:
                log.exception("user_erasure_failed")
            self._error = error

    def _note(self, receipt: UserErasure) -> None:
        self._newest = receipt
