"""The calls of admins, for the API's description."""

from jobs.archive.progress import ArchiveProgress
from jobs.consistency.report import ConsistencyReport
from jobs.erase.policies import RetentionPolicy
from jobs.erase.receipt import UserErasure
from jobs.persist.dead_letters import DeadLetterRecord, Discarded, Replayed
from jobs.recover.runs import RecoveryStatus
from webapp.api.admin import disaster
from webapp.api.admin.audit import AuditPage
from webapp.api.admin.retention import RetentionPage, RetentionSet, SetRetention
from webapp.http import schemas
from webapp.http.operation import Operation

_LIST = ("limit", "cursor")
_LETTERS = "/api/admin/dead-letters"
_LETTER = _LETTERS + "/{letter_id}"
_RETENTION = "/api/admin/retention"

ADMIN_OPERATIONS = (
    Operation(
        "get", _LETTERS, "list_dead_letters", "What PostgreSQL refused, newest first",
        {200: schemas.DeadLetterPage}, query=_LIST, errors=(403, 422),
    ),
    Operation(
        "get", _LETTER, "get_dead_letter", "One refused write, whole",
        {200: DeadLetterRecord}, errors=(403, 404),
    ),
    Operation(
        "post", _LETTER + "/replay", "replay_dead_letter", "Try a refused write again",
        {200: Replayed}, schemas.ReplayDeadLetter, errors=(403, 404, 409, 422),
        optional_body=True,
    ),
    Operation(
        "delete", _LETTER, "discard_dead_letter", "Give a refused write up",
        {200: Discarded}, errors=(403, 404),
    ),
    Operation(
        "post", "/api/admin/recover-redis-cache", "recover_redis_cache",
        "Tell Redis what it missed, and warm what it lacks",
        {200: schemas.RecoveredRedisCache}, schemas.RecoverRedisCache, errors=(403, 422),
    ),
    Operation(
        "post", "/api/admin/check-consistency", "check_consistency",
        "Have the tiers compared, and mended if asked to",
        {202: schemas.CheckStarted}, schemas.CheckConsistency, errors=(403, 409, 422),
        optional_body=True,
    ),
    Operation(
        "get", "/api/admin/consistency", "last_consistency_report",
        "What the last check of the tiers found", {200: ConsistencyReport}, errors=(403, 404),
    ),
    Operation(
        "get", "/api/admin/archive", "get_archive", "How far the archive is",
        {200: ArchiveProgress}, errors=(403,),
    ),
    Operation(
        "delete", "/api/admin/users/{user_id}", "erase_user",
        "Erase a user from every tier, or carry that on",
        {200: UserErasure, 202: UserErasure}, errors=(403, 409, 422),
    ),
    Operation(
        "delete", "/api/admin/users", "erase_user_of_any_name",
        "Erase a user whose name no path can hold, as `..`",
        {200: UserErasure, 202: UserErasure}, query=("user_id",), errors=(403, 409, 422),
    ),
    Operation(
        "get", _RETENTION, "list_policies", "How long messages are kept, and what is on hold",
        {200: RetentionPage}, query=_LIST, errors=(403, 422),
    ),
    Operation(
        "put", _RETENTION, "set_policy", "Set how long messages are kept, or a legal hold",
        {200: RetentionSet}, SetRetention, errors=(403, 409, 422),
    ),
    Operation(
        "delete", _RETENTION, "clear_policy", "Take a policy away, a hold included",
        {200: RetentionPolicy}, query=("user_id", "thread_id"), errors=(403, 404, 422),
    ),
    Operation(
        "get", "/api/admin/audit", "list_audit", "Who did what, newest first",
        {200: AuditPage}, query=(*_LIST, "since", "actor", "action"), errors=(403, 422),
    ),
    Operation(
        "post", "/api/admin/initiate-disaster-recovery", "initiate_disaster_recovery",
        "Make tiers that were lost again from another",
        {202: disaster.RecoveryInitiated}, disaster.InitiateDisasterRecovery,
        errors=(403, 409, 422), optional_body=True,
    ),
    Operation(
        "get", "/api/admin/disaster-recovery-status", "disaster_recovery_status",
        "How the latest recovery stands", {200: RecoveryStatus}, errors=(403,),
    ),
    Operation(
        "post", "/api/admin/simulate-disaster", "simulate_disaster",
        "Have tiers seem silent for a while, where drills are allowed",
        {200: disaster.DrillBegun}, disaster.SimulateDisaster, errors=(403, 404, 422),
    ),
)  # fmt: skip
