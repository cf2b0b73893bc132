"""The routes of disaster recovery, and of drills."""

from typing import Annotated, Literal

import msgspec
from flask import Blueprint, Response
from msgspec import Meta

from jobs.recover.disaster import AlreadyRecovering
from jobs.recover.runs import DEFAULT_TARGET_SECONDS, RecoveryStatus, Source
from storage.availability.drills import MAX_INTENSITY, MAX_SECONDS, SCENARIOS
from webapp.http.body.reading import body_as, optional_body_as
from webapp.http.context import caller, web
from webapp.http.errors import BadRequest
from webapp.http.operation import Operation
from webapp.http.requests import answer

blueprint = Blueprint("disaster", __name__)


class InitiateDisasterRecovery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`recovery_tier` is the tier from which the others are rebuilt."""

    recovery_tier: Source = "clickhouse"
    target_rto_seconds: Annotated[float, Meta(gt=0, le=86_400)] = DEFAULT_TARGET_SECONDS


class RecoveryInitiated(msgspec.Struct, kw_only=True, frozen=True):
    """The requested recovery; `GET /api/admin/disaster-recovery-status` gives its progress."""

    id: str
    recovery_tier: Source
    target_rto_seconds: float
    state: str


class SimulateDisaster(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`none` ends the drill that is on."""

    scenario: Literal[
        "none",
        "redis_unavailable",
        "postgresql_unavailable",
        "clickhouse_unavailable",
        "redis_and_postgresql_unavailable",
        "all_unavailable",
    ]
    duration_seconds: Annotated[float, Meta(gt=0, le=MAX_SECONDS)] = 30.0


class SimulateDegradation(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`none` ends the drill that is on. At intensity 1 each call to the tier waits 25 ms first."""

    scenario: Literal["none", "redis_slow", "postgresql_slow", "clickhouse_slow"]
    intensity: Annotated[float, Meta(gt=0, le=MAX_INTENSITY)] = 1.0
    duration_seconds: Annotated[float, Meta(gt=0, le=MAX_SECONDS)] = 60.0


class DegradationBegun(msgspec.Struct, kw_only=True, frozen=True):
    """Which tiers are slow in every process, by how many milliseconds a call, and for how long."""

    id: str
    scenario: str
    delays_ms: dict[str, float]
    duration_seconds: float


class DrillBegun(msgspec.Struct, kw_only=True, frozen=True):
    """Which tiers every process treats as silent, and for how long."""

    id: str
    scenario: str
    tiers: list[str]
    duration_seconds: float


@Operation(
    "Rebuild lost tiers from another one",
    {202: RecoveryInitiated},
    InitiateDisasterRecovery,
    errors=(409,),
    optional_body=True,
)
@blueprint.post("/initiate-disaster-recovery")
def initiate_disaster_recovery() -> Response:
    """Requests a recovery; 409 while one is running."""
    body = optional_body_as(InitiateDisasterRecovery)
    service = web().services.jobs.disaster_recovery
    try:
        run = service.request(body.recovery_tier, caller().actor, body.target_rto_seconds)
    except AlreadyRecovering as error:
        raise BadRequest(409, "recovery_under_way", str(error)) from None
    web().wakeups.send("disaster.recover")
    asked = RecoveryInitiated(
        id=run.id,
        recovery_tier=run.source,
        target_rto_seconds=run.target_rto_seconds,
        state=run.state,
    )
    return answer(asked, 202)


@Operation("The progress of the latest recovery", {200: RecoveryStatus})
@blueprint.get("/disaster-recovery-status")
def get_disaster_recovery_status() -> Response:
    """The progress of the latest recovery; answered while the tiers are being rebuilt."""
    return answer(web().services.jobs.disaster_recovery.status())


def _only_where_drills_are_allowed() -> None:
    if not web().settings.drills:
        raise BadRequest(404, "not_found", "drills are not allowed here (THREADKEEP_DRILLS)")


@Operation(
    "Simulate silent tiers for a while, where drills are allowed",
    {200: DrillBegun},
    SimulateDisaster,
    errors=(404,),
)
@blueprint.post("/simulate-disaster")
def simulate_disaster() -> Response:
    """Has every process treat tiers as silent. 404 unless drills are allowed."""
    _only_where_drills_are_allowed()
    body = body_as(SimulateDisaster)
    begun = web().services.drills.begin(body.scenario, body.duration_seconds, caller().actor)
    return answer(
        DrillBegun(
            id=begun.id,
            scenario=begun.scenario,
            tiers=sorted(SCENARIOS[begun.scenario]),
            duration_seconds=begun.duration_seconds,
        )
    )


@Operation(
    "Simulate a slow tier for a while, where drills are allowed",
    {200: DegradationBegun},
    SimulateDegradation,
    errors=(404,),
)
@blueprint.post("/simulate-performance-degradation")
def simulate_degradation() -> Response:
    """Has every process wait before each call to a tier. 404 unless drills are allowed."""
    _only_where_drills_are_allowed()
    body = body_as(SimulateDegradation)
    begun = web().services.drills.begin(
        body.scenario, body.duration_seconds, caller().actor, body.intensity
    )
    return answer(
        DegradationBegun(
            id=begun.id,
            scenario=begun.scenario,
            delays_ms={tier: round(seconds * 1000, 3) for tier, seconds in begun.delays.items()},
            duration_seconds=begun.duration_seconds,
        )
    )
