"""What was deleted leaves the tiers, as a task."""

from celery import shared_task

from tasks.base import services


@shared_task(name="erase.erase_deleted_threads")
def erase_deleted_threads() -> dict[str, int]:
    """Turns the messages of deleted threads into tombstones, which replicate like any version."""
    return {"erased": services().erasure.erase_deleted_threads()}


@shared_task(name="erase.finish_user_erasures")
def finish_user_erasures() -> dict[str, int]:
    """Carries on the erasures of users that are not at their end, and looks again at late ones."""
    return {"looked_at": services().user_erasure.finish_due()}


@shared_task(name="erase.purge_deleted")
def purge_deleted() -> dict[str, int]:
    """Has ClickHouse give up what tombstones and deleted threads hide."""
    return services().physical_erasure.purge()._asdict()


@shared_task(name="erase.apply_retention")
def apply_retention() -> dict[str, object]:
    """Turns messages that have had their time into tombstones."""
    return services().retention.apply()._asdict()
