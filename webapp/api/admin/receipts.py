"""The route of anybody's receipt."""

from flask import Blueprint, Response

from storage.messages.receipts import OwnedReceipt
from webapp.http.context import caller, web
from webapp.http.operation import Operation
from webapp.http.requests import answer

blueprint = Blueprint("operator_receipts", __name__, url_prefix="/messages")


@Operation("Where anybody's message is", {200: OwnedReceipt}, errors=(404,))
@blueprint.get("/<message_id>/receipt")
def get_operator_receipt(message_id: str) -> Response:
    """Which tiers have the message, and whose it is. The look is recorded in the audit trail."""
    service = web().services.jobs.operator_receipts
    return answer(service.receipt(message_id, by=caller().actor))
