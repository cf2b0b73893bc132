"""The route that erases a user."""

import threading

import structlog
from flask import Blueprint, Response

from models.message import check_user_id
from storage.erasure.users import UserErasureService
from storage.errors import TierError
from webapp.context import caller, web
from webapp.requests import answer, latency_ms

log = structlog.get_logger(__name__)

blueprint = Blueprint("users", __name__, url_prefix="/users")

ANSWER_SECONDS = 3.0
"""An erasure that takes longer goes on behind the answer."""


@blueprint.delete("/<path:user_id>")
def erase_user(user_id: str) -> Response:
    """Erases a user: 200 with the receipt once it is done, 202 with the receipt so far before.

    Repeating it gives the newest receipt, and erases what came since.
    """
    check_user_id(user_id)
    service = web().services.user_erasure
    found = service.request(user_id, by=caller().user_id)
    if found.state == "pending":
        worker = threading.Thread(target=_carry_on, args=(service, user_id), daemon=True)
        worker.start()
        worker.join(max(0.0, ANSWER_SECONDS - latency_ms() / 1000))
        found = service.receipt(user_id)
    return answer(found, 200 if found.state == "done" else 202)


def _carry_on(service: UserErasureService, user_id: str) -> None:
    try:
        service.carry_on(user_id)
    except TierError as error:
        # A worker carries it on.
        log.warning("user_erasure_waits", tier=error.tier, reason=error.reason)
    except Exception:
        log.exception("user_erasure_failed")
