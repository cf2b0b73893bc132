"""Moves old partitions out of PostgreSQL, as a task."""

import structlog
from celery import shared_task

from jobs.archive.run import ArchiveCounts, ArchiveRequest
from jobs.archive.tiering import rules_of
from jobs.audit import SYSTEM
from storage.errors import Refused
from tasks.base import services

log = structlog.get_logger(__name__)


@shared_task(name="archive.archive_partition")
def archive_partition() -> dict[str, int]:
    """Archives old partitions, and continues an interrupted run; gives counts."""
    own = services()
    settings = own.settings
    request = ArchiveRequest(
        rules_of(settings), settings.archive_grace_seconds, SYSTEM, settings.archive_most_share
    )
    done = ArchiveCounts()
    try:
        for step in own.jobs.archive.archive_partitions(request):
            done = step
    except Refused as error:
        log.error("archive_refused", reason=str(error))
    return done._asdict()
