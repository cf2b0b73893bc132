"""Fixtures of flow tests: access to the worker, and a stack for drills."""

from collections.abc import Callable, Iterator

import pytest
from celery import Celery
from sqlalchemy import text

from jobs.transfer.export import MessageExporter
from models import ids
from support.faults.drilled import WEBHOOK_SECRET, Drilled
from support.stack.processes import PATIENT, Launched, launched
from support.stack.receiver import receiving
from wiring.process import Services

YEAR_2019 = ids.mint(1_546_300_800_000_000, 0, 0)


@pytest.fixture(scope="package")
def celery(stack: Launched) -> Iterator[Celery]:
    """Sends tasks to the worker and asks what it did."""
    sender = Celery(broker=stack.env["CELERY_BROKER_URL"])
    # The prefix of `tasks.celery_app`, whose own settings need an environment.
    sender.conf.broker_transport_options = {"global_keyprefix": "celery:"}
    yield sender
    sender.close()


@pytest.fixture(scope="package")
def drains_run(celery: Celery) -> Callable[[], int]:
    """How many drain tasks the worker has run on request."""

    def count() -> int:
        stats = celery.control.inspect(timeout=5, limit=1).stats() or {}
        return sum(worker["total"].get("persist.drain_shard", 0) for worker in stats.values())

    return count


@pytest.fixture(scope="package")
def drilled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drilled]:
    """A stack on which drills are allowed, with receivers of its alerts and traces."""
    folder = tmp_path_factory.mktemp("drilled")
    with receiving() as webhook, receiving() as collector:
        # A drill is an outage at once, whatever the deadlines.
        options = PATIENT | {
            "THREADKEEP_DRILLS": "1",
            "THREADKEEP_ANALYTICS_CACHE_SECONDS": "0.5",
            "THREADKEEP_ALERT_WEBHOOK_URL": webhook.url,
            "THREADKEEP_ALERT_WEBHOOK_SECRET": WEBHOOK_SECRET,
            # Half of what a drill adds: a busy machine alone is no reason for an alert.
            "THREADKEEP_ALERT_DEGRADATION_MS": "25",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address,
            # Spans are batched for five seconds by default.
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        with launched(folder, "flower", **options) as stack:
            yield Drilled(stack, webhook, collector)


@pytest.fixture
def exporter(services: Services) -> MessageExporter:
    return MessageExporter(services.tiers, services.jobs.persistence, fetch_rows=100)


@pytest.fixture
def boundary(services: Services) -> Iterator[str]:
    """Messages before 2019 may be in ClickHouse alone. Other tests make none so old."""
    move = text("UPDATE archive_boundary SET below = :below")
    with services.tiers.job_engine.begin() as connection:
        connection.execute(move, {"below": YEAR_2019})
    yield YEAR_2019
    with services.tiers.job_engine.begin() as connection:
        connection.execute(move, {"below": ids.LOWEST})
