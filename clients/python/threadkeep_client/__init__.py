"""Client of Threadkeep, the open message store for chat and agent applications."""

from msgspec import UNSET

from threadkeep_client.answers.events import Event
from threadkeep_client.answers.messages import AcknowledgedMessage, Message
from threadkeep_client.answers.threads import Thread
from threadkeep_client.async_client import AsyncThreadkeep
from threadkeep_client.calls.messages import BatchItem
from threadkeep_client.client import Threadkeep
from threadkeep_client.core.retries import Retries
from threadkeep_client.errors import (
    ApiError,
    Conflict,
    ConnectionLost,
    InvalidRequest,
    KeyReused,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    OffsetMismatch,
    RateLimited,
    ServerFailed,
    StreamInterrupted,
    ThreadkeepError,
    Unavailable,
    UnreadableAnswer,
    VersionConflict,
)

__all__ = [
    "UNSET",
    "AcknowledgedMessage",
    "ApiError",
    "AsyncThreadkeep",
    "BatchItem",
    "Conflict",
    "ConnectionLost",
    "Event",
    "InvalidRequest",
    "KeyReused",
    "Message",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "OffsetMismatch",
    "RateLimited",
    "Retries",
    "ServerFailed",
    "StreamInterrupted",
    "Thread",
    "Threadkeep",
    "ThreadkeepError",
    "Unavailable",
    "UnreadableAnswer",
    "VersionConflict",
]
