"""The routes of consistency checks: starting one, and the last report."""

import msgspec
from flask import Blueprint, Response

from jobs.consistency.report import EVERYTHING, ConsistencyReport, Scope
from models.message import check_thread_id, check_user_id
from storage.errors import TierError
from tasks import consistency
from webapp.http.body.reading import optional_body_as
from webapp.http.context import caller, web
from webapp.http.operation import Operation
from webapp.http.requests import answer
from webapp.http.schemas import RequestBody

blueprint = Blueprint("consistency", __name__)


class CheckConsistency(RequestBody, kw_only=True, frozen=True):
    """What to check, everything if nothing is named, and whether to repair differences."""

    scope: Scope | None = None
    repair: bool = False


class CheckStarted(msgspec.Struct, kw_only=True, frozen=True):
    """A worker has been asked; the report will have this id."""

    report_id: int
    state: str


@Operation(
    "Compare the tiers, and repair them on request",
    {202: CheckStarted},
    CheckConsistency,
    errors=(409,),
    optional_body=True,
)
@blueprint.post("/check-consistency")
def check_consistency() -> Response:
    """Has a worker check the tiers, and repair them on request; 409 while another check runs."""
    body = optional_body_as(CheckConsistency)
    scope = body.scope or EVERYTHING
    if scope.user_id is not None:
        check_user_id(scope.user_id)
    if scope.thread_id is not None:
        check_thread_id(scope.thread_id)
    reports = web().services.jobs.consistency_checker.reports
    report = reports.open(scope, caller().actor, repair=body.repair)
    try:
        consistency.start(report.id)
    except TierError as error:
        reports.fail(report, str(error))
        raise
    started = answer(CheckStarted(report_id=report.id, state=report.state))
    started.status_code = 202
    return started


@Operation("The report of the last check", {200: ConsistencyReport}, errors=(404,))
@blueprint.get("/consistency")
def get_consistency_report() -> Response:
    """The report of the check that was started last, which may still run."""
    return answer(web().services.jobs.consistency_checker.reports.last())
