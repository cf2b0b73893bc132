"""Where anybody's message is, for operators: each such look is an entry of the audit trail."""

import structlog

from jobs.audit import AuditTrail
from storage.errors import TierUnavailable
from storage.messages.receipts import OwnedReceipt, ReceiptService

log = structlog.get_logger(__name__)


class OperatorReceiptService:
    """The receipts of all users."""

    def __init__(self, receipts: ReceiptService, audit: AuditTrail) -> None:
        self._receipts = receipts
        self._audit = audit

    def receipt(self, message_id: str, *, by: str) -> OwnedReceipt:
        """The receipt of a message, with its owner. Raises `NotFound`, and `TierUnavailable` if no
        tier that answers has it but some are down.

        It is given with PostgreSQL out, too, when it is needed most; the entry is a line of the log
        then. It says nothing of the content but its hash.
        """
        found = self._receipts.of_anybody(message_id)
        subject = f"user:{found.user_id}"
        try:
            self._audit.note(by, "receipt.read", subject, details={"message": message_id})
        except TierUnavailable:
            log.warning("receipt_read", actor=by, subject=subject, message=message_id)
        return found
