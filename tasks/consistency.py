"""Comparing the tiers, as a task."""

import structlog
from celery import shared_task
from kombu.exceptions import KombuError, OperationalError

from jobs.audit import SYSTEM
from jobs.consistency.report import EVERYTHING
from jobs.consistency.reports import START_SECONDS, CheckRunning
from storage.errors import TierUnavailable
from tasks.base import services
from tasks.celery_app import app

log = structlog.get_logger(__name__)


@shared_task(name="consistency.check")
def check(report_id: int = 0) -> dict[str, float | int | None]:
    """Runs the check of an opened report; with 0, checks everything."""
    checker = services().jobs.consistency_checker
    try:
        if not report_id:
            report = checker.check(EVERYTHING, actor=SYSTEM)
        else:
            opened = checker.reports.get(report_id)
            if opened.state != "running":
                return {}
            report = checker.run(opened)
    except CheckRunning:
        log.info("check_skipped", reason="another check is running")
        return {}
    return {
        "report": report.id,
        "compared": report.compared,
        "differing": report.differing,
        "score": report.data_consistency_score,
    }


def start(report_id: int) -> None:
    """Has a worker run the check of a report. Raises `TierUnavailable` without a broker."""
    try:
        app.send_task("consistency.check", (report_id,), expires=START_SECONDS, retry=False)
    except (KombuError, OperationalError, OSError) as error:
        raise TierUnavailable("broker", type(error).__name__) from error
